"""Networks of one shape that train as one: weights [K, ...], masks, optimizer state, and what an
epoch adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gradflow.networks.build import Group, Network
from gradflow.networks.masks import live_weights
from gradflow.networks.mlp import StackedBatchNorm, StackedMLP
from gradflow.networks.wide_resnet import ProbeableBatchNorm
from gradflow.study.job import Job, Run
from gradflow.training.contracts import check_masked_weights
from gradflow.training.fused.operations import has_triton
from gradflow.training.fused.update import fused_wanted
from gradflow.training.optimizers import StackedOptimizer
from gradflow.training.run_log import MEASURES


@dataclass(eq=False)  # one and the same, never alike
class Stack:
    """Networks of one shape, trained as one. Every tensor stays where it is while it trains."""

    runs: tuple[Run, ...]
    columns: tuple[int, ...]  # which of the cohort's percents the runs train on
    network: Network
    masks: (
        list[Tensor] | None
    )  # [K, ...] a layer, ones and zeros (see `place_mask`); None when dense
    optimizer: StackedOptimizer
    train_loss: Tensor  # [K], sum over the epoch's minibatches
    minibatch: Tensor  # [measures, K], likewise
    probe_loss: Tensor  # [K], sum over the probe's minibatches
    diverged: Tensor  # bool [K]
    fused: bool = False  # whether steps that measure nothing update in one kernel
    live: list[Tensor] = field(default_factory=list)  # counts [K] a layer, by `count_live`
    mask_version: int = 0  # counts how often the masks became others

    @property
    def layers(self) -> list[Tensor]:
        """The weights [K, ...] of each layer."""
        return list(self.network.layers)

    @property
    def picks(self) -> slice | list[int]:
        """The columns as an index; a slice where they lie side by side, which copies nothing."""
        first, last = self.columns[0], self.columns[-1]
        if last - first + 1 == len(self.columns):
            return slice(first, last + 1)
        return list(self.columns)

    @property
    def others(self) -> list[Tensor]:
        """BatchNorm's and activations' parameters."""
        return other_parameters(self.network)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes, by name; the tensors themselves."""
        return {
            **{f"network.{name}": tensor for name, tensor in self.network.state_dict().items()},
            **{f"optimizer.{name}": tensor for name, tensor in self.optimizer.tensors().items()},
            **{f"mask.{layer}": mask for layer, mask in enumerate(self.masks or [])},
            "train_loss": self.train_loss,
            "minibatch": self.minibatch,
            "diverged": self.diverged,
        }

    def mask_gradients(self) -> None:
        """Zero the gradients of masked weights, in place."""
        if self.masks is not None:
            torch._foreach_mul_([gradient(layer) for layer in self.layers], self.masks)

    def active(self) -> list[Tensor]:
        """Active weights [K] of each layer."""
        masks = self.masks or [torch.ones_like(layer) for layer in self.layers]
        return [mask.bool().flatten(1).sum(1) for mask in masks]

    def replace_masks(self, masks: Sequence[Tensor]) -> None:
        """Put other masks in the place of the present ones; weights and optimizer state outside
        them become zero.

        Raises:
            ValueError: a count of active weights would change, a mask holds other values than 0 and
                1, or the stack is dense.
        """
        if self.masks is None:
            raise ValueError("a dense network has no masks to replace")
        if not all(((mask == 0) | (mask == 1)).all() for mask in masks):
            raise ValueError("a mask holds other values than 0 and 1")
        for old, new in zip(self.masks, masks, strict=True):
            if not torch.equal(old.bool().flatten(1).sum(1), new.bool().flatten(1).sum(1)):
                raise ValueError(
                    "a mask update must keep the number of active weights in every layer"
                )
        with torch.no_grad():
            for layer, old, new in zip(self.layers, self.masks, masks, strict=True):
                # a weight that comes back starts from zero, with a state to match
                kept = old * new
                for tensor in (layer, *self.optimizer.state_of(layer)):
                    tensor.mul_(kept)
                old.copy_(new)
        self.count_live()

    def count_live(self) -> None:
        """Count the weights on some path from an input to an output, once for every set of masks.

        Whoever changes masks in place calls it; steps that are bound to them look at
        `mask_version`.
        """
        self.mask_version += 1
        check_masked_weights(self, self.optimizer.name)
        masks = self.masks or [torch.ones_like(layer) for layer in self.layers]
        self.live = live_weights(self.network.linear_paths, masks)


@dataclass(frozen=True)
class MaskUpdate:
    """How masks move while networks train.

    `rule` is called between a step's backward pass and its update, with a stack (its layers'
    `.grad` unmasked) and the number of steps done. It returns other masks with as many active
    weights in every layer, or None to keep the present ones.
    """

    rule: Callable[[Stack, int], Sequence[Tensor] | None]
    every: int = 1  # steps between two calls

    def due(self, steps: int) -> bool:
        """Whether the step after `steps` others calls the rule."""
        return steps % self.every == 0


def make_stack(job: Job, group: Group, device: torch.device, dtype: torch.dtype) -> Stack:
    """A stack of a job at its start."""
    runs, network, masks = group
    network = network.to(device, dtype)
    if device.type != "cpu":
        lie_as_gpus_like(network, job.settings.precision)
    if masks is not None:
        masks = [place_mask(*pair) for pair in zip(masks, network.layers, strict=True)]
    l2 = weight_decay(job)
    decays = [
        (list(network.layers), l2),
        (other_parameters(network), l2 if job.settings.l2_scope == "all" else 0.0),
    ]
    stack = Stack(
        runs=runs,
        columns=tuple(job.percents.index(run.percent) for run in runs),
        network=network,
        masks=masks,
        optimizer=StackedOptimizer(job.configuration.optimizer, decays, job.settings),
        train_loss=torch.zeros(len(runs), dtype=torch.float64, device=device),
        minibatch=torch.zeros(len(MEASURES), len(runs), dtype=torch.float64, device=device),
        probe_loss=torch.zeros(len(runs), dtype=torch.float64, device=device),
        diverged=torch.zeros(len(runs), dtype=torch.bool, device=device),
        fused=fused_wanted(job, device),
    )
    if device.type != "meta":  # tensors without values, of which a step's operations are counted
        stack.count_live()
    return stack


def lie_as_gpus_like(network: Network, precision: str) -> None:
    """Choose how activations and weights lie in memory, so that no operation of a GPU copies them
    first.

    An MLP's activations lie as [K, features, B]. A Wide ResNet's images and weights lie channels
    last where tensor cores multiply, and as they come in IEEE float32, whose convolutions would
    each convert them.
    """
    network.rectify_at_once = network.is_rectified and has_triton(network.layers[0].device)
    if isinstance(network, StackedMLP):
        network.feature_major = True
    else:
        network.lie_channels_last(precision in ("tf32", "bf16"))


def place_mask(mask: Tensor, layer: Tensor) -> Tensor:
    """Ones and zeros on a layer's device, in memory like its weights: bytes on a GPU, where memory
    sets the pace.

    A CPU, which converts slowly, has them in the weights' type.
    """
    dtype = layer.dtype if layer.device.type == "cpu" else torch.uint8
    return torch.empty_like(layer, dtype=dtype, requires_grad=False).copy_(mask)


def weight_decay(job: Job) -> float:
    """The L2 coefficient in use: 0 without L2."""
    if not job.configuration.has("L2"):
        return 0.0
    return job.settings.l2 if job.configuration.model == "mlp" else job.settings.wide_resnet_l2


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
