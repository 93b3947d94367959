"""The cohort engine: trains a job's networks side by side and logs their gradient flow.

Networks of one shape form a stack with weights [K, ...]; all stacks step together on the same minibatches. Weights are
kept masked: the gradient is masked before the update, which leaves a masked weight at zero under every optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.batches import Batches
from gradflow.data import ImageData
from gradflow.flow import EXPONENTS, GradientFlow, norm, norm_by_rows
from gradflow.masks import live_weights
from gradflow.mlp import StackedBatchNorm
from gradflow.networks import Network, build_networks
from gradflow.optimizers import StackedOptimizer
from gradflow.runlog import MEASURES
from gradflow.spec import Job, Run, dense_width, probe_epochs
from gradflow.wide_resnet import ProbeableBatchNorm

COLLAPSED = 0.98  # of log C: a training loss above it never left chance


@dataclass
class Stack:
    """Networks of one shape, trained as one."""

    runs: tuple[Run, ...]
    columns: list[int]  # which of the cohort's percents each run trains on
    network: Network
    masks: list[Tensor] | None  # [K, ...] a layer, ones and zeros in the weights' dtype; None when dense
    optimizer: StackedOptimizer
    train_loss: Tensor  # [K], sum over the epoch's minibatches
    minibatch: Tensor  # [measures, K], likewise
    diverged: Tensor  # bool [K]
    live: list[Tensor] = field(default_factory=list)  # counts [K] a layer, by `count_live`

    @property
    def layers(self) -> list[Tensor]:
        """The weights [K, ...] of each layer."""
        return list(self.network.layers)

    @property
    def others(self) -> list[Tensor]:
        """BatchNorm's and activations' parameters."""
        return other_parameters(self.network)

    def mask_gradients(self) -> None:
        """Zero the gradients of masked weights, in place."""
        if self.masks is not None:
            for layer, mask in zip(self.layers, self.masks, strict=True):
                gradient(layer).mul_(mask)

    def active(self) -> list[Tensor]:
        """Active weights [K] of each layer."""
        masks = self.masks or [torch.ones_like(layer) for layer in self.layers]
        return [mask.bool().flatten(1).sum(1) for mask in masks]

    def replace_masks(self, masks: Sequence[Tensor]) -> None:
        """Put other masks in the place of the present ones; weights and optimizer state outside them become zero.

        Raises:
            ValueError: a count of active weights would change, or the stack is dense.
        """
        if self.masks is None:
            raise ValueError("a dense network has no masks to replace")
        for old, new in zip(self.masks, masks, strict=True):
            if not torch.equal(old.bool().flatten(1).sum(1), new.bool().flatten(1).sum(1)):
                raise ValueError("a mask update must keep the number of active weights in every layer")
        with torch.no_grad():
            for layer, old, new in zip(self.layers, self.masks, masks, strict=True):
                # a weight that comes back starts from zero, with a state to match
                kept = old * new
                for tensor in (layer, *self.optimizer.state_of(layer)):
                    tensor.mul_(kept)
                old.copy_(new)
        self.count_live()

    def count_live(self) -> None:
        """Count the weights on some path from an input to an output, once for every set of masks."""
        masks = self.masks or [torch.ones_like(layer) for layer in self.layers]
        self.live = live_weights(self.network.linear_paths, masks)


# Called after each backward pass with the stack (its layers' `.grad` unmasked) and the number of steps done; returns
# new masks with the same number of active weights in every layer, or None to keep the present ones.
MaskUpdate = Callable[[Stack, int], Sequence[Tensor] | None]


class Cohort:
    """The networks of one job on one device.

    Args:
        job: what to train.
        data: the data set.
        device: where; CPU and CUDA run the same code.
        runs: those of the job's runs to train; all by default. A stack is trained whole or not at all, so that its
            numbers stay the same to the last bit.
        mask_update: called at every step, may replace masks (for SET, RigL and the like).
    """

    def __init__(
        self,
        job: Job,
        data: ImageData,
        device: torch.device,
        runs: Sequence[Run] | None = None,
        mask_update: MaskUpdate | None = None,
    ):
        self.job = job
        self.mask_update = mask_update
        self.dtype = torch.float64 if job.settings.precision == "float64" else torch.float32
        self.batches = Batches(data, job, device, self.dtype)
        self.classes = data.classes
        self.probes = set(probe_epochs(job.epochs))
        self.epoch = 0  # the one under way
        self.step_in_epoch = 0  # steps done in it
        self.rows: dict[Run, list[dict[str, Any]]] = {}
        self.stacks = []
        for group, network, masks in build_networks(job, data):
            if runs is None or set(group) & set(runs):
                self.stacks.append(self._stack(group, network.to(device, self.dtype), masks, device))
                self.rows |= {run: [] for run in group}

    def _stack(
        self, runs: tuple[Run, ...], network: Network, masks: list[Tensor] | None, device: torch.device
    ) -> Stack:
        job = self.job
        if masks is not None:
            masks = [mask.to(device, self.dtype) for mask in masks]
        l2 = weight_decay(job)
        decays = [
            (list(network.layers), l2),
            (other_parameters(network), l2 if job.settings.l2_scope == "all" else 0.0),
        ]
        stack = Stack(
            runs=runs,
            columns=[job.percents.index(run.percent) for run in runs],
            network=network,
            masks=masks,
            optimizer=StackedOptimizer(job.configuration.optimizer, decays, job.settings),
            train_loss=torch.zeros(len(runs), dtype=torch.float64, device=device),
            minibatch=torch.zeros(len(MEASURES), len(runs), dtype=torch.float64, device=device),
            diverged=torch.zeros(len(runs), dtype=torch.bool, device=device),
        )
        stack.count_live()
        return stack

    @property
    def steps_per_epoch(self) -> int:
        """Minibatches in an epoch; the last may be short."""
        return math.ceil(len(self.batches.train_images) / self.job.settings.batch_size)

    def train(self, until: int, at_step: Callable[[], bool] = lambda: False) -> bool:
        """Train to the end of epoch `until` - 1, from wherever the cohort stands.

        Args:
            until: number of epochs done when it returns.
            at_step: called at each step boundary; true stops the training there.

        Returns:
            Whether it got there.
        """
        while self.epoch < until:
            drawn = self.batches.epoch(self.epoch)
            probing = self.epoch in self.probes
            learning_rate = learning_rate_at(self.job, self.epoch)
            while self.step_in_epoch < self.steps_per_epoch:
                start = self.step_in_epoch * self.job.settings.batch_size
                images, labels = self.batches.training(drawn, start)
                for stack in self.stacks:
                    whole = len(stack.columns) == len(self.job.percents)
                    x, y = (images, labels) if whole else (images[stack.columns], labels[stack.columns])
                    self._step(stack, x, y, learning_rate, probing)
                self.step_in_epoch += 1
                if at_step():
                    return False
            if probing:
                for stack in self.stacks:
                    self._probe(stack)
            self.epoch, self.step_in_epoch = self.epoch + 1, 0
            for stack in self.stacks:
                stack.train_loss.zero_()
                stack.minibatch.zero_()
        return True

    def _step(self, stack: Stack, images: Tensor, labels: Tensor, learning_rate: float, probing: bool) -> None:
        forget_gradients(stack.network)
        losses = network_losses(stack.network(images), labels)
        losses.sum().backward()  # a sum, so that each network's gradient is that of its own mean loss
        if self.mask_update is not None and stack.masks is not None:
            steps = self.epoch * self.steps_per_epoch + self.step_in_epoch
            masks = self.mask_update(stack, steps)
            if masks is not None:
                stack.replace_masks(masks)
        unmasked = norms_by_layer(stack.layers, norm_by_rows) if probing else {}
        stack.mask_gradients()
        if probing:
            flow = GradientFlow(unmasked, norms_by_layer(stack.layers, norm_by_rows) if stack.masks else unmasked)
            stack.train_loss += losses.detach()
            stack.minibatch += torch.stack(measures(flow))
        stack.optimizer.step(learning_rate)

    def _probe(self, stack: Stack) -> None:
        """Append a row to the log of each run of the stack."""
        networks = len(stack.runs)
        flow, others, probe_loss = self._flow(stack)
        test_loss, accuracy = self._test(stack)
        train_loss = stack.train_loss / self.steps_per_epoch
        finite = torch.isfinite(train_loss) & torch.isfinite(probe_loss) & torch.isfinite(test_loss)
        for parameter in stack.network.parameters():
            finite &= torch.isfinite(parameter.detach()).view(networks, -1).all(1)
        stack.diverged |= ~finite
        minibatch = stack.minibatch / self.steps_per_epoch
        whole = measures(flow)
        other_parameters = sum(p.numel() for p in stack.others) // networks
        active = torch.stack(stack.active(), dim=-1)
        live = torch.stack(stack.live, dim=-1)
        identity = log_identity(self.job)
        for k, run in enumerate(stack.runs):
            diverged = bool(stack.diverged[k])
            row = {
                **identity,
                **run_identity(self.job, run),
                "epoch": self.epoch,
                "step": (self.epoch + 1) * self.steps_per_epoch,
                "train_loss": train_loss[k].item(),
                "probe_loss": probe_loss[k].item(),
                # a network that is no longer finite keeps its pair: at chance, and worst in loss
                "test_loss": math.inf if diverged else test_loss[k].item(),
                "test_accuracy": 100.0 / self.classes if diverged else accuracy[k].item(),
                "other_grad_norm_l1": others[1][k].item(),
                "other_grad_norm_l2": others[2][k].item(),
                "active_weights": active[k].tolist(),
                "live_weights": live[k].tolist(),
                "total_weights": [layer[0].numel() for layer in stack.layers],
                "trainable_parameters": int(active[k].sum()) + other_parameters,
                "diverged": diverged,
                "collapsed": not diverged and train_loss[k].item() > COLLAPSED * math.log(self.classes),
            }
            for index, name in enumerate(MEASURES):
                by_layer = flow.layer_grad_norm if name.startswith("grad_norm") else flow.layer_egf
                row[name] = whole[index][k].item()
                row[f"layer_{name}"] = by_layer[int(name[-1])][k].tolist()
                row[f"minibatch_{name}"] = minibatch[index, k].item()
            self.rows[run].append(row)

    def _flow(self, stack: Stack) -> tuple[GradientFlow, dict[int, Tensor], Tensor]:
        """Flow, the other parameters' gradient norms [K] and the loss [K] over the probe images."""
        loss = torch.zeros_like(stack.train_loss)
        images = len(self.batches.probe_order)
        forget_gradients(stack.network)
        with probing_mode(stack.network), ieee_float32():
            for x, y in self.batches.probe():
                x, y = (t.expand(len(stack.runs), *t.shape[1:]) for t in (x, y))
                losses = network_losses(stack.network(x), y) * (y.shape[1] / images)
                loss += losses.detach()
                losses.sum().backward()
        unmasked = norms_by_layer(stack.layers)
        stack.mask_gradients()
        flow = GradientFlow(unmasked, norms_by_layer(stack.layers) if stack.masks else unmasked)
        networks = len(stack.runs)
        flat = [gradient(p).view(networks, -1) for p in stack.others] or [torch.zeros(networks, 1, device=loss.device)]
        others = {p: norm(torch.cat(flat, dim=1), p) for p in EXPONENTS}
        forget_gradients(stack.network)
        return flow, others, loss

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


def network_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy [K] of each network: logits [K, B, C], labels [K, B]."""
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape).mean(1)


def other_parameters(network: Network) -> list[Tensor]:
    """The parameters that are no layer: BatchNorm's and the activations'."""
    layers = {id(layer) for layer in network.layers}
    return [p for p in network.parameters() if id(p) not in layers]


def gradient(parameter: Tensor) -> Tensor:
    """The `.grad` of a parameter after a backward pass."""
    if parameter.grad is None:
        raise RuntimeError("the parameter has no gradient: run the backward pass first")
    return parameter.grad


def forget_gradients(network: nn.Module) -> None:
    """Drop every `.grad`, so that the next backward pass writes instead of adding."""
    for parameter in network.parameters():
        parameter.grad = None


def norms_by_layer(layers: Sequence[Tensor], norm: Callable[[Tensor, int], Tensor] = norm) -> dict[int, Tensor]:
    """Norms [K, L] of the layers' gradients as they are, for each p."""
    return {p: torch.stack([norm(gradient(layer), p) for layer in layers], dim=-1) for p in EXPONENTS}


def measures(flow: GradientFlow) -> list[Tensor]:
    """The four measures [K], in the order of `runlog.MEASURES`."""
    return [flow.grad_norm(1), flow.grad_norm(2), flow.egf(1), flow.egf(2)]


def weight_decay(job: Job) -> float:
    """The L2 coefficient in use: 0 without L2."""
    if not job.configuration.has("L2"):
        return 0.0
    return job.settings.l2 if job.configuration.model == "mlp" else job.settings.wide_resnet_l2


def learning_rate_at(job: Job, epoch: int) -> float:
    """Constant, or in steps: times 0.2 after 30, 60 and 80 % of the epochs (60, 120 and 160 of 200; section 3.4)."""
    mlp = job.configuration.model == "mlp"
    schedule = job.settings.mlp_schedule if mlp else job.settings.wide_resnet_schedule
    drops = 0 if schedule == "constant" else sum(epoch * 10 >= job.epochs * tenths for tenths in (3, 6, 8))
    return float(job.configuration.learning_rate * 0.2**drops)


def log_identity(job: Job) -> dict[str, Any]:
    """The columns of a run log which are the same for every run of a job."""
    configuration = job.configuration
    mlp = configuration.model == "mlp"
    return {
        "scale": job.scale,
        "variant": job.variant,
        "dataset": configuration.dataset,
        "configuration": configuration.name,
        "model": configuration.model,
        "hidden_layers": configuration.depth if mlp else None,
        "depth": None if mlp else configuration.depth,
        "widen_factor": None if mlp else configuration.widen_factor,
        "activation": configuration.activation,
        "optimizer": configuration.optimizer,
        "learning_rate": configuration.learning_rate,
        "regularization": configuration.regularization,
        "l2": weight_decay(job),
        "batch_size": job.settings.batch_size,
        "initialisation": job.settings.initialisation,
        "max_width": job.max_width if mlp else None,
        "seed": job.seed,
        "epochs": job.epochs,
    }


def run_identity(job: Job, run: Run) -> dict[str, Any]:
    """The columns of a run log which tell the runs of a job apart."""
    mlp = job.configuration.model == "mlp"
    return {
        "architecture": run.architecture,
        "dense_width": dense_width(job.max_width, run.percent) if mlp else None,
        "width_percent": run.percent if mlp else None,
        "density_percent": None if mlp else run.percent,
    }


@contextmanager
def probing_mode(network: nn.Module) -> Iterator[None]:
    """BatchNorm normalises by batch statistics but does not learn from them."""
    steady = [m for m in network.modules() if isinstance(m, StackedBatchNorm | ProbeableBatchNorm)]
    for module in steady:
        module.update_statistics = False
    try:
        yield
    finally:
        for module in steady:
            module.update_statistics = True


@contextmanager
def ieee_float32() -> Iterator[None]:
    """Measure in IEEE float32 whatever the training uses: TF32 moves norms by up to 3e-3."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
