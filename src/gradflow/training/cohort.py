"""The cohort engine: trains a job's networks side by side and logs their gradient flow.

Networks of one shape form a stack with weights [K, ...]; all stacks step together on the same
minibatches. Weights are kept masked: the gradient is masked before the update, which leaves a
masked weight at zero under every optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gradflow.data.store import ImageData
from gradflow.flow import EXPONENTS, norm
from gradflow.networks.build import build_networks
from gradflow.networks.dropout import Dropout
from gradflow.study.job import Job, Run, probe_epochs
from gradflow.training.batches import Batches, Epoch
from gradflow.training.cuda_graphs import Replayer
from gradflow.training.log_rows import Probe, probe_rows
from gradflow.training.made_by import MadeBy
from gradflow.training.mask_updates import mask_update_of, rehearse
from gradflow.training.stack import MaskUpdate, Stack, forget_gradients, gradient, make_stack
from gradflow.training.step import (
    ieee_float32,
    learning_rate_at,
    masked_flow,
    network_losses,
    probe_step,
    train_step,
)
from gradflow.training.step_choice import native_steps, step_kind

if TYPE_CHECKING:
    from gradflow.training.native.choice import Choice


def _has_another_rate(learning_rate: float, key: Hashable) -> bool:
    """Whether a graph's key is that of a training step at another learning rate; see
    `Cohort.train`.
    """
    return isinstance(key, tuple) and key[0] == "train" and key[2] != learning_rate


class Cohort:
    """The networks of one job on one device.

    Args:
        job: what to train.
        data: the data set.
        device: where; CPU and CUDA run the same code.
        runs: those of the job's runs to train; all by default. Where networks share products (not
            with compiled steps), a stack is trained whole or not at all, so that its numbers stay
            the same to the last bit.
        mask_update: may replace masks at a step; by default what the job's settings name. It is
            Python, so that steps that call it are not captured.
    """

    def __init__(
        self,
        job: Job,
        data: ImageData,
        device: torch.device,
        runs: Sequence[Run] | None = None,
        mask_update: MaskUpdate | None = None,
        choice: Choice | None = None,
    ):
        self.job = job
        self.device = device
        self.made_by: list[MadeBy] = []  # each attempt at the job, by who keeps checkpoints
        dtype = torch.float64 if job.settings.precision == "float64" else torch.float32
        self.batches = Batches(data, job, device, dtype)
        self.mask_update = mask_update or mask_update_of(job, self.steps_per_epoch)
        self.classes = data.classes
        self.probes = set(probe_epochs(job.epochs))
        self.epoch = 0  # the one under way
        self.step_in_epoch = 0  # steps done in it
        self.rows: dict[Run, list[dict[str, Any]]] = {}
        self.stacks: list[Stack] = []
        self._replayer = Replayer(device, self._changing)
        compiled, self.step_kind = step_kind(job, device, self._replayer.capturing)
        for group in build_networks(job, data, runs if compiled else None):
            if runs is None or set(group[0]) & set(runs):
                self.stacks.append(make_stack(job, group, device, dtype))
                self.rows |= {run: [] for run in group[0]}
        if mask_update is None:
            rehearse(job, self.stacks)
        self.native = native_steps(job, self.stacks, self.batches, choice) if compiled else None
        # a step finds its minibatch through these tensors
        self._drawn: Epoch | None = None
        self._position = torch.zeros((), dtype=torch.int64, device=device)
        self._offsets = torch.arange(job.settings.batch_size, device=device)
        self._gradients: list[Tensor] = []  # of the probe, a tensor a parameter

    @property
    def kernels(self) -> dict[str, str]:
        """Which kernels the steps of each run are made of, by its name; empty for steps by
        autograd.
        """
        if self.native is None:
            return {}
        return {
            self.job.run_name(run): self.native.kernels_of(stack)
            for stack in self.stacks
            for run in stack.runs
        }

    @property
    def steps_per_epoch(self) -> int:
        """Minibatches in an epoch; the last may be short."""
        return math.ceil(len(self.batches.train_images) / self.job.settings.batch_size)

    @property
    def _steps(self) -> int:
        """Steps done."""
        return self.epoch * self.steps_per_epoch + self.step_in_epoch

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes, by name; the tensors themselves, so that copying into
        them restores it.
        """
        self._finish_steps()
        return {
            f"{index}.{name}": tensor
            for index, stack in enumerate(self.stacks)
            for name, tensor in stack.tensors().items()
        }

    def train(self, until: int, at_step: Callable[[], bool] = lambda: False) -> bool:
        """Train to the end of epoch `until` - 1, from wherever the cohort stands.

        Args:
            until: number of epochs done when it returns.
            at_step: called at each step boundary; true stops the training there. Some of the steps
                may still have to be done, until `tensors` is asked for.

        Returns:
            Whether it got there.
        """
        while self.epoch < until:
            self._draw()
            probing = self.epoch in self.probes
            learning_rate = learning_rate_at(self.job, self.epoch)
            # a rate is built into graphs, and a schedule may have one an epoch
            self._replayer.forget(partial(_has_another_rate, learning_rate))
            while self.step_in_epoch < self.steps_per_epoch:
                size = self._minibatch_size(len(self.batches.train_images), self.step_in_epoch)
                if self.mask_update is not None and self.mask_update.due(self._steps):
                    self._train_step(size, learning_rate, probing, self._update_masks)
                else:
                    step = partial(self._train_step, size, learning_rate, probing)
                    self._replayer.run(("train", size, learning_rate, probing), step)
                self.step_in_epoch += 1
                if at_step():
                    self._finish_steps()
                    return False
            self._finish_steps()
            if probing:
                self._probe()
            self.epoch, self.step_in_epoch = self.epoch + 1, 0
            for stack in self.stacks:
                stack.train_loss.zero_()
                stack.minibatch.zero_()
        return True

    def _finish_steps(self) -> None:
        """Do the compiled steps that wait to be done together."""
        if self.native is not None:
            self.native.finish()

    def _changing(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        losses = [stack.probe_loss for stack in self.stacks]
        return [*self.tensors().values(), *losses, *self._gradients, self._position]

    def _minibatch_size(self, images: int, step: int) -> int:
        size = self.job.settings.batch_size
        return min(size, images - step * size)

    def _draw(self) -> None:
        """Put the epoch's draws, and the position in them, where its steps look for them."""
        drawn = self.batches.epoch(self.epoch)
        if self._drawn is None:
            self._drawn = drawn
        else:
            self._drawn.replace(drawn)
        self._position.fill_(self.step_in_epoch * self.job.settings.batch_size)

    def _train_step(
        self,
        size: int,
        learning_rate: float,
        probing: bool,
        update_masks: Callable[[Stack], None] | None = None,
    ) -> None:
        if self._drawn is None:
            raise RuntimeError("an epoch begins with its draws")
        stacks = self.stacks
        if self.native is not None:
            # where masks move, their stack steps by autograd, whose gradients a rule looks at
            stacks = [stack for stack in self.stacks if update_masks is not None and stack.masks]
            others = [stack for stack in self.stacks if stack not in stacks]
            position = int(self._position)
            self.native.train(self._drawn, position, size, learning_rate, probing, others)
            if not stacks:
                self._position += size
                return
        places = self._position + self._offsets[:size]
        images, labels = self.batches.training(self._drawn, places)
        self._replayer.side_by_side(
            [
                partial(
                    train_step,
                    stack,
                    images[stack.picks],
                    labels[stack.picks],
                    learning_rate,
                    precision=self.job.settings.precision,
                    probing=probing,
                    update_masks=update_masks,
                    drop=self._drop(stack, places),
                )
                for stack in stacks
            ]
        )
        self._position += size

    def _drop(self, stack: Stack, places: Tensor) -> Dropout | None:
        """Which units a stack's networks drop, of images at these places of the epoch's order; None
        without dropout.
        """
        if self._drawn is None or self._drawn.seeds is None:
            return None
        return Dropout(self.job.settings.dropout, self._drawn.seeds[stack.picks], places)

    def _update_masks(self, stack: Stack) -> None:
        if self.mask_update is not None and stack.masks is not None:
            masks = self.mask_update.rule(stack, self._steps)
            if masks is not None:
                stack.replace_masks(masks)

    def _probe(self) -> None:
        """Append a row to the log of each run."""
        self._probe_gradients()
        tests = map(self._test, self.stacks) if self.native is None else self.native.test()
        for stack, (test_loss, accuracy) in zip(self.stacks, tests, strict=True):
            flow = masked_flow(stack)
            networks = len(stack.runs)
            flat = [gradient(p).view(networks, -1) for p in stack.others]
            others = (
                torch.cat(flat, dim=1)
                if flat
                else torch.zeros_like(stack.probe_loss).view(networks, 1)
            )
            probe = Probe(
                flow=flow,
                other_norms={p: norm(others, p) for p in EXPONENTS},
                train_loss=stack.train_loss / self.steps_per_epoch,
                minibatch=stack.minibatch / self.steps_per_epoch,
                probe_loss=stack.probe_loss,
                test_loss=test_loss,
                test_accuracy=accuracy,
            )
            step = (self.epoch + 1) * self.steps_per_epoch
            for run, row in probe_rows(
                self.job, stack, probe, self.epoch, step, self.classes
            ).items():
                self.rows[run].append(row)
            forget_gradients(stack.network)
        if not self._replayer.capturing and self.native is None:
            self._gradients.clear()  # only captured and compiled steps need them where they are

    def _probe_gradients(self) -> None:
        """Put the gradient of the mean loss over the probe images into each `.grad`, and that loss
        into the stacks.
        """
        parameters = [
            parameter for stack in self.stacks for parameter in stack.network.parameters()
        ]
        if not self._gradients:
            self._gradients = [torch.empty_like(parameter) for parameter in parameters]
        for parameter, total in zip(parameters, self._gradients, strict=True):
            parameter.grad = total.zero_()
        for stack in self.stacks:
            stack.probe_loss.zero_()
        self._position.zero_()
        images = len(self.batches.probe_order)
        for step in range(math.ceil(images / self.job.settings.batch_size)):
            size = self._minibatch_size(images, step)
            self._replayer.run(("probe", size), partial(self._probe_step, size, images))

    def _probe_step(self, size: int, images: int) -> None:
        if self.native is not None:
            self.native.probe(int(self._position), size, size / images)
            self._position += size
            return
        x, y = self.batches.probe(self._position + self._offsets[:size])
        self._replayer.side_by_side(
            [partial(probe_step, stack, x, y, size / images) for stack in self.stacks]
        )
        self._position += size

    @torch.no_grad()
    def _test(self, stack: Stack) -> tuple[Tensor, Tensor]:
        """Mean loss [K] and accuracy [K] in percent over the test set."""
        loss = torch.zeros_like(stack.train_loss)
        correct = torch.zeros_like(stack.train_loss)
        images = len(self.batches.test_labels)
        stack.network.eval()
        with ieee_float32():
            for x, y in self.batches.test():
                x, y = (t.expand(len(stack.runs), *t.shape[1:]) for t in (x, y))
                logits = stack.network(x)
                loss += network_losses(logits, y) * (y.shape[1] / images)
                correct += (logits.argmax(-1) == y).sum(1)
        stack.network.train()
        return loss, 100.0 * correct / images
