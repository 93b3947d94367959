"""Steps whose backward pass updates the weights, so that their gradients never reach memory.

For steps that measure nothing: a probe, and a rule that moves masks, need the gradients themselves.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradflow.networks.batched_product import product_dtype
from gradflow.study.job import Job
from gradflow.training.fused.operations import (
    has_triton,
    product,
    update_by_gradient,
    update_by_product,
)
from gradflow.training.optimizers import STATE, StackedOptimizer

SWITCH = "GRADFLOW_FUSED"  # environment variable: auto (the default: on a GPU), on or off


def fused_wanted(job: Job, device: torch.device) -> bool:
    """Whether a job's steps update in one kernel, by the environment variable GRADFLOW_FUSED.

    Never in float64, with Nesterov's momentum or an optimizer of one's own, which the kernels do
    not know, nor where L1 or a clipped norm need the gradients themselves.

    Raises:
        ValueError: the variable is none of auto, on and off.
    """
    wanted = os.environ.get(SWITCH, "auto")
    if wanted not in ("auto", "on", "off"):
        raise ValueError(f"{SWITCH} is {wanted}; it may be auto, on or off")
    settings = job.settings
    if (
        settings.precision == "float64"
        or settings.nesterov
        or settings.l1
        or settings.gradient_clip
        or job.configuration.optimizer not in STATE
    ):
        return False
    return device.type == "cuda" and has_triton(device) if wanted == "auto" else wanted == "on"


@dataclass(frozen=True)
class LayerUpdate:
    """How one layer's weights are updated in one step."""

    state: list[Tensor]
    mask: Tensor | None
    step: Tensor
    rule: str
    learning_rate: float
    decay: float
    alpha: float
    precision: str

    def by_product(self, x: Tensor, g: Tensor, weight: Tensor) -> None:
        """Update by the gradient x^T g."""
        update_by_product(
            x, g, weight, self.state, self.mask, self.step, *self._numbers, self.precision
        )

    def by_gradient(self, gradient: Tensor, weight: Tensor) -> None:
        """Update by a gradient at hand."""
        update_by_gradient(gradient, weight, self.state, self.mask, self.step, *self._numbers)

    @property
    def _numbers(self) -> tuple[str, float, float, float]:
        return self.rule, self.learning_rate, self.decay, self.alpha


class FusedUpdate:
    """The updates of a stack's layers in one step.

    As a function it is the product of a layer's inputs and weights (`mlp.Product`), whose backward
    pass updates the weights and leaves them without a gradient.

    Args:
        layers: weights [K, ...], the first of the optimizer's groups.
        masks: one a layer, or None.
        optimizer: of the stack.
        learning_rate: of this step.
        precision: a setting `precision`.
    """

    def __init__(
        self,
        layers: Iterable[Tensor],
        masks: list[Tensor] | None,
        optimizer: StackedOptimizer,
        learning_rate: float,
        precision: str,
    ):
        self.layers = list(layers)
        self.optimizer = optimizer
        group = optimizer.groups[0]
        torch._foreach_add_(group.steps, 1)
        self._updates = {
            id(layer): LayerUpdate(
                optimizer.state_of(layer),
                None if masks is None else masks[index],
                group.steps[index],
                optimizer.name,
                learning_rate,
                group.weight_decay,
                optimizer.settings.rmsprop_alpha,
                precision,
            )
            for index, layer in enumerate(self.layers)
        }

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """X [K, B, in] times a layer's weights: [K, B, out], which lie as [K, out, B]."""
        out: Tensor = _UpdatingProduct.apply(
            x.to(product_dtype(x)), weight, self._updates[id(weight)]
        )
        return out

    @torch.no_grad()
    def apply_gradients(self) -> None:
        """Update the layers that a backward pass gave a gradient."""
        for layer in self.layers:
            if layer.grad is not None:
                self._updates[id(layer)].by_gradient(layer.grad, layer.detach())
                layer.grad = None


class _UpdatingProduct(torch.autograd.Function):
    """`batched_product.FeatureMajorProduct`, with the weights' update in the place of their
    gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, update: LayerUpdate) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.update = update
        return multiply(x, weight.detach(), update.precision)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        g = gradients[0]
        x, weight = ctx.saved_tensors
        for_x = None
        if ctx.needs_input_grad[0]:  # by the weights as they were
            for_x = multiply(g, weight.detach().mT, ctx.update.precision)
        ctx.update.by_product(x, g, weight.detach())
        return for_x, None, None


def multiply(x: Tensor, weight: Tensor, precision: str) -> Tensor:
    """X [K, B, in] times weight [K, in, out] in x's type: [K, B, out], which lies as [K, out,
    B].
    """
    weight = weight.to(x.dtype)
    if precision != "tf32x3":
        return torch.bmm(weight.mT, x.mT).mT
    out = x.new_empty(weight.shape[0], weight.shape[2], x.shape[1])
    product(weight.mT, x.mT, out, precision)
    return out.mT
