"""The steps of a cohort on a CPU, in place of those by autograd: the same on the same tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradflow.study.job import Job
from gradflow.training.batches import Batches, Epoch
from gradflow.training.native.choice import Choice, shape_class
from gradflow.training.native.images import gather, gather_augmented
from gradflow.training.native.network import Minibatch, NativeNetwork, Shared
from gradflow.training.native.updates import Numbers
from gradflow.training.stack import Stack

TEST_BATCH = 500
# Steps that a network takes in turn before the next one does: its weights and their optimizer's
# state stay in the core's cache. The minibatches of so many steps lie ready, as far as they fit.
STEPS_AT_ONCE = 8
MINIBATCH_BYTES = 4 * 2**20


class _Step(NamedTuple):
    """A step that was asked for."""

    drawn: Epoch
    position: int
    size: int
    learning_rate: float
    measure: bool
    stacks: Sequence[Stack]


class NativeSteps:
    """The steps of a cohort's networks, which know nothing of each other.

    They are done a few at once, network by network: `finish` does those that wait.
    """

    def __init__(self, job: Job, stacks: list[Stack], batches: Batches, choice: Choice):
        self.batches, self.choice = batches, choice
        self.stacks = [_NativeStack(job, stack, choice) for stack in stacks]
        self.features = batches.train_images[0].numel()
        self._images = batches.train_images.numpy(), batches.train_labels.numpy()
        self._test = batches.test_images.numpy(), batches.test_labels.numpy()
        self._padded = batches.padded.numpy()
        self._scale = batches.mean.numpy().reshape(-1), batches.std.numpy().reshape(-1)
        self._minibatches: dict[tuple[int, int, int], Minibatch] = {}
        self._waiting: list[_Step] = []
        columns = {column for native in self.stacks for column in native.columns}
        size = job.settings.batch_size * self.stacks[0].shared.dtype.itemsize
        fitting = MINIBATCH_BYTES // (len(columns) * self.features * size)
        self.steps_at_once = max(1, min(STEPS_AT_ONCE, fitting))

    def kernels_of(self, stack: Stack) -> str:
        """Which kernels the steps of a stack's networks are made of, in a line."""
        ways: dict[str, set[str]] = {}
        below: set[float] = set()
        [native] = [one for one in self.stacks if one.stack is stack]
        for (role, layer), way in native.shared.products.items():
            inputs, outputs = stack.layers[layer].shape[1:]
            ways.setdefault(way, set()).add(f"{role} {shape_class(inputs, outputs)}")
            if stack.masks is not None:
                below.add(self.choice.sparse_below(inputs, outputs))
        said = [
            way if len(ways) == 1 else f"{way} ({', '.join(sorted(of))})"
            for way, of in sorted(ways.items())
        ]
        if below:
            said.append(f"active weights alone below {'/'.join(f'{at:g}' for at in sorted(below))}")
        return "; ".join(said)

    def train(
        self,
        drawn: Epoch,
        position: int,
        size: int,
        learning_rate: float,
        measure: bool,
        stacks: Sequence[Stack],
    ) -> None:
        """A step of every network, on the minibatch of its column at `position` of the epoch; it
        may wait.
        """
        alone = measure or len(stacks) < len(self.stacks)
        if alone:
            self.finish()
        self._waiting.append(_Step(drawn, position, size, learning_rate, measure, stacks))
        if alone or len(self._waiting) == self.steps_at_once:
            self.finish()

    def finish(self) -> None:
        """Do the steps that wait."""
        steps, self._waiting = self._waiting, []
        if not steps:
            return
        stacks = [native for native in self.stacks if native.stack in steps[0].stacks]
        columns = sorted({column for stack in stacks for column in stack.columns})
        minibatches: dict[int, list[Minibatch]] = {column: [] for column in columns}
        for slot, step in enumerate(steps):
            for column in columns:
                minibatch = self._minibatch(column, step.size, slot)
                self._fill(minibatch, column, step)
                minibatches[column].append(minibatch)
        for stack in stacks:
            stack.train(steps, [minibatches[column] for column in stack.columns])

    def _fill(self, minibatch: Minibatch, column: int, step: _Step) -> None:
        """Gather a step's images and labels for the networks of a column."""
        place = slice(step.position, step.position + step.size)
        chosen = step.drawn.order.numpy()[column, place]
        filled = minibatch.x.numpy(), minibatch.labels
        if step.drawn.draws is None:
            gather(*self._images, chosen, *self._scale, *filled)
            return
        draws, labels = step.drawn.draws.numpy()[column, place], self._images[1]
        sides = self.batches.train_images.shape[2:]
        gather_augmented(self._padded, labels, chosen, draws, *sides, *self._scale, *filled)

    def probe(self, position: int, size: int, share: float) -> None:
        """Add `share` times the loss and the gradients of a minibatch of the probe images."""
        minibatch = self._minibatch(-1, size)
        chosen = self.batches.probe_order.numpy()[position : position + size]
        gather(*self._images, chosen, *self._scale, minibatch.x.numpy(), minibatch.labels)
        for stack in self.stacks:
            stack.probe(minibatch, share)

    def test(self) -> list[tuple[Tensor, Tensor]]:
        """Mean loss [K] and accuracy [K] in percent over the test set, for each stack."""
        images = len(self._test[1])
        for stack in self.stacks:
            stack.shared.test_loss.fill(0.0)
            stack.shared.correct.fill(0.0)
        for begin in range(0, images, TEST_BATCH):
            size = min(TEST_BATCH, images - begin)
            minibatch = self._minibatch(-1, size)
            chosen = np.arange(begin, begin + size)
            gather(*self._test, chosen, *self._scale, minibatch.x.numpy(), minibatch.labels)
            for stack in self.stacks:
                stack.test(minibatch, size / images)
        return [
            (
                torch.from_numpy(stack.shared.test_loss.copy()),
                torch.from_numpy(100.0 * stack.shared.correct / images),
            )
            for stack in self.stacks
        ]

    def _minibatch(self, column: int, size: int, slot: int = 0) -> Minibatch:
        key = column, size, slot
        if key not in self._minibatches:
            dtype = self.stacks[0].shared.dtype
            self._minibatches[key] = Minibatch.empty(self.features, size, dtype)
        return self._minibatches[key]


class _NativeStack:
    """The steps of a stack's networks."""

    def __init__(self, job: Job, stack: Stack, choice: Choice):
        self.job, self.stack = job, stack
        self.columns = stack.columns
        self.shared = Shared(job, stack, choice)
        self.numbers = Numbers(job.configuration.optimizer, job.settings.rmsprop_alpha)
        self._networks: list[NativeNetwork] = []
        self._masks = -1  # which of the stack's masks the networks are bound to
        self.networks()

    def networks(self) -> list[NativeNetwork]:
        """The networks, bound anew where the masks have moved."""
        if self._masks != self.stack.mask_version:
            self._networks = [NativeNetwork(self.shared, k) for k in range(len(self.stack.runs))]
            self._masks = self.stack.mask_version
        return self._networks

    def train(self, steps: Sequence[_Step], minibatches: list[list[Minibatch]]) -> None:
        """Steps of each network in turn, on its minibatches, one a step.

        In a step that measures, the losses and the flow are added to the stack's sums.
        """
        shared, measure = self.shared, steps[0].measure
        numbers = self._numbers_of([step.learning_rate for step in steps])
        shared.totals.fill(0.0)
        for network, own in zip(self.networks(), minibatches, strict=True):
            for (layers, others), minibatch in zip(numbers, own, strict=True):
                shared.layer_numbers[:], shared.other_numbers[:] = layers, others
                network.run("train_and_measure" if measure else "train", minibatch)
        if measure:  # one step, then
            self.stack.minibatch += torch.from_numpy(shared.totals.T)

    def _numbers_of(self, learning_rates: Sequence[float]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The next steps' numbers, which their updates of layers and of other parameters take."""
        groups, done = self.stack.optimizer.groups, 0
        if self.numbers.name in ("adam", "adamw"):  # the others do not use the count
            done = int(groups[0].steps[0])
            for group in groups:
                torch._foreach_add_(group.steps, len(learning_rates))
        shared, made = self.shared, []
        for count, learning_rate in enumerate(learning_rates, done + 1):
            found = np.zeros_like(shared.layer_numbers), np.zeros_like(shared.other_numbers)
            for filled, group in zip(found, (groups[0], groups[-1]), strict=True):
                self.numbers.fill(filled, learning_rate, group.weight_decay, count)
            made.append(found)
        return made

    def probe(self, minibatch: Minibatch, share: float) -> None:
        """Add to the stack's probe loss and to every `.grad`."""
        self.shared.share[0] = share
        for network in self.networks():
            network.run("probe", minibatch)

    def test(self, minibatch: Minibatch, share: float) -> None:
        """Add to the losses and counts of the test."""
        self.shared.share[0] = share
        for network in self.networks():
            network.run("test", minibatch)
