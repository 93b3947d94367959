"""The steps of a cohort on a CPU, in place of those by autograd: the same on the same tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gradflow.study.job import Job, Settings
from gradflow.training.batches import Batches, Epoch
from gradflow.training.native.between_products import ACTIVATIONS
from gradflow.training.native.choice import Choice, shape_class
from gradflow.training.native.images import gather, gather_augmented
from gradflow.training.native.network import Minibatch, NativeNetwork, Shared
from gradflow.training.native.updates import UPDATES, Numbers
from gradflow.training.stack import Stack

TEST_BATCH = 500
METHODS = {"NR", "DA", "L2", "SC", "BN"}
# settings that the steps follow or that do not concern them; any other must be at its default
FOLLOWED = {
    "batch_size", "mlp_schedule", "initialisation", "init_distribution", "init_gain", "l2",
    "l2_scope", "skip_place", "skip_overlap", "batchnorm_place", "prelu_slope", "srelu_left",
    "srelu_right", "rmsprop_alpha", "probe_images", "flip", "train_images", "mask_update",
    "mask_update_interval", "mask_update_fraction", "precision", "image_side", "max_width",
    "wide_resnet_l2", "wide_resnet_schedule", "wide_resnet_keep_dense", "finetune_optimizer",
    "initial_mask",
}  # fmt: skip


def why_not(job: Job) -> str:
    """Why a job's steps are not native ones, in a few words; empty where they are."""
    configuration, settings = job.configuration, job.settings
    if configuration.model != "mlp":
        return "not an MLP"
    if settings.precision == "bf16":
        return "bfloat16"
    if configuration.optimizer not in UPDATES:
        return f"optimizer {configuration.optimizer}"
    if configuration.activation not in ACTIVATIONS:
        return f"activation {configuration.activation}"
    other = set(configuration.regularization.split("_")) - METHODS
    if other:
        return f"regularization {min(other)}"
    default = Settings()
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name not in FOLLOWED and value != getattr(default, field.name):
            return f"setting {field.name}"
    return ""


class NativeSteps:
    """The steps of a cohort's networks, one network after the other."""

    def __init__(self, job: Job, stacks: list[Stack], batches: Batches, choice: Choice):
        self.batches, self.choice = batches, choice
        self.stacks = [_NativeStack(job, stack, choice) for stack in stacks]
        self.features = batches.train_images[0].numel()
        self._images = batches.train_images.numpy(), batches.train_labels.numpy()
        self._test = batches.test_images.numpy(), batches.test_labels.numpy()
        self._padded = batches.padded.numpy()
        self._scale = batches.mean.numpy().reshape(-1), batches.std.numpy().reshape(-1)
        self._minibatches: dict[tuple[int, int], Minibatch] = {}

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
        """A step of every network, on the minibatch of its column at `position` of the epoch."""
        height, width = self.batches.train_images.shape[2:]
        order = drawn.order.numpy()
        chosen_stacks = [native for native in self.stacks if native.stack in stacks]
        needed = sorted({column for stack in chosen_stacks for column in stack.columns})
        minibatches = {column: self._minibatch(column, size) for column in needed}
        for column, minibatch in minibatches.items():
            chosen = order[column, position : position + size]
            filled = minibatch.x.numpy(), minibatch.labels
            if drawn.draws is None:
                gather(*self._images, chosen, *self._scale, *filled)
            else:
                draws = drawn.draws.numpy()[column, position : position + size]
                labels = self._images[1]
                gather_augmented(
                    self._padded, labels, chosen, draws, height, width, *self._scale, *filled
                )
        for stack in chosen_stacks:
            stack.train([minibatches[column] for column in stack.columns], learning_rate, measure)

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

    def _minibatch(self, column: int, size: int) -> Minibatch:
        key = column, size
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

    def train(self, minibatches: list[Minibatch], learning_rate: float, measure: bool) -> None:
        """A step; with `measure` the losses and the flow are added to the stack's sums."""
        shared, groups = self.shared, self.stack.optimizer.groups
        steps = 0
        if self.numbers.name in ("adam", "adamw"):  # the others do not use the count
            for group in groups:
                torch._foreach_add_(group.steps, 1)
            steps = int(groups[0].steps[0])
        self.numbers.fill(shared.layer_numbers, learning_rate, groups[0].weight_decay, steps)
        self.numbers.fill(shared.other_numbers, learning_rate, groups[-1].weight_decay, steps)
        shared.totals.fill(0.0)
        for network, minibatch in zip(self.networks(), minibatches, strict=True):
            network.run("train_and_measure" if measure else "train", minibatch)
        if measure:
            self.stack.minibatch += torch.from_numpy(shared.totals.T)

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
