"""Gradient flow: ||g||_p of Equation 5 and effective gradient flow, EGF_p, of Equations 6 and 7.

Both are taken with respect to the effective weight (theta * m). ||g||_p counts the gradients of
masked weights, which are not zero; EGF_p leaves them out and averages the norms of the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gradflow.effective_weights import find_weights, replaced

EXPONENTS = (1, 2)


@dataclass(frozen=True)
class GradientFlow:
    """Norms by layer, float64, for p = 1 and p = 2; `[..., L]` with a leading axis where networks
    are stacked.
    """

    layer_grad_norm: Mapping[int, Tensor]
    layer_egf: Mapping[int, Tensor]
    layers: tuple[str, ...] = ()  # their names, where they have some

    def grad_norm(self, p: int) -> Tensor:
        """||g||_p of all layers' gradients as one vector (Equation 5)."""
        layers = self.layer_grad_norm[p]
        return layers.sum(-1) if p == 1 else layers.square().sum(-1).sqrt()

    def egf(self, p: int) -> Tensor:
        """EGF_p: the mean over layers of the masked gradient's p-norm (Equation 7)."""
        return self.layer_egf[p].mean(-1)


def gradient_flow(gradients: Sequence[Tensor], masks: Sequence[Tensor | None]) -> GradientFlow:
    """Measure the flow of one network.

    Args:
        gradients: one tensor a layer, with respect to the effective weight, unmasked.
        masks: one tensor a layer, of the same shape; None for a dense layer.

    Returns:
        Norms [L] for each p.
    """
    masked = [g if mask is None else g * mask for g, mask in zip(gradients, masks, strict=True)]
    return GradientFlow(_by_layer(gradients), _by_layer(masked))


def norm(stacked: Tensor, p: int) -> Tensor:
    """p-norm [K] of each network in a tensor [K, ...], accumulated in float64."""
    flat = stacked.detach().flatten(1)
    if p == 1:
        return flat.abs().sum(1, dtype=torch.float64)
    return torch.linalg.vector_norm(flat, 2, dim=1, dtype=torch.float64)


def norm_by_rows(stacked: Tensor, p: int) -> Tensor:
    """The same norm, summed in the tensor's own precision along the last axis and in float64 across
    the others.

    A few times faster on a CPU, and within 1e-7 of `norm` unless squares overflow; for what is
    measured at every step.
    """
    if p == 1:
        return stacked.detach().abs().sum(-1).flatten(1).sum(1, dtype=torch.float64)
    rows = torch.linalg.vector_norm(stacked.detach(), 2, dim=-1)
    return torch.linalg.vector_norm(rows.flatten(1), 2, dim=1, dtype=torch.float64)


def _by_layer(gradients: Sequence[Tensor]) -> dict[int, Tensor]:
    return {
        p: torch.cat([norm(gradient.unsqueeze(0), p) for gradient in gradients]) for p in EXPONENTS
    }


def measure_gradient_flow(
    module: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    layers: Sequence[str] | None = None,
    masks: Mapping[str, Tensor] | None = None,
) -> GradientFlow:
    """Measure the flow of any torch module with any masks, leaving the module as it was.

    The gradient is that of the mean loss over all examples of `batches`, by the effective weights:
    those that the forward pass uses, whether the module is plain, pruned (`torch.nn.utils.prune`)
    or parametrized. The module runs in the mode it is in: in training mode BatchNorm takes the
    minibatch's statistics and dropout draws, so that two calls differ unless torch is seeded before
    each; after `module.eval()` neither. Afterwards it is what it was to the last
    bit, BatchNorm's statistics, tied weights, hooks, `.grad` and torch's random numbers included.

    Args:
        module: the network; its weights need not be masked.
        loss: mean loss of (outputs, targets), for example `torch.nn.functional.cross_entropy`.
        batches: pairs (inputs, targets), weighted by their number of examples.
        layers: names of the weights which are layers, for example `conv1.weight`; by default all
            matrices and kernels but those of normalisation.
        masks: by layer name, bool or ones and zeros, of the weight's shape. A pruned layer's is
            known, and so is one that a parametrization holds; a layer without one is dense.

    Returns:
        Norms [L] for each p, in the order of `layers`. A layer off the loss's path has norm zero.

    Raises:
        KeyError: a name is no parameter of the module, or a mask belongs to no layer.
        ValueError: there are no batches, inputs are not finite, gradients are switched off, or a
            layer or mask is of no use; see `effective_weights.find_weights`.
    """
    if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
        raise ValueError(
            "gradient flow needs gradients; call it outside of torch.no_grad() and inference_mode()"
        )
    if getattr(parametrize, "_cache_enabled", 0):
        raise ValueError("call it outside of parametrize.cached(), which holds old weights")
    weights = find_weights(module, layers, masks)
    if not weights:
        raise ValueError("the module has no layer: no parameter of it is a matrix or a kernel")
    totals = [torch.zeros_like(weight.value, dtype=torch.float64) for weight in weights]
    examples = 0
    with replaced(module, weights) as leaves:
        for inputs, targets in batches:
            if isinstance(inputs, Tensor) and not torch.isfinite(inputs).all():
                raise ValueError("the inputs hold values that are not finite; remove them first")
            mean = loss(module(inputs), targets)
            if not mean.requires_grad:
                raise ValueError(
                    "the loss does not depend on any layer; does the module's forward pass detach "
                    "its outputs or switch gradients off?"
                )
            gradients = torch.autograd.grad(mean, leaves, allow_unused=True)
            for total, gradient in zip(totals, gradients, strict=True):
                if gradient is not None:
                    total += gradient * len(targets)
            examples += len(targets)
    if examples == 0:
        raise ValueError("gradient flow needs at least one batch")
    flow = gradient_flow([total / examples for total in totals], [w.mask for w in weights])
    return replace(flow, layers=tuple(weight.name for weight in weights))


measure = measure_gradient_flow  # the short name, `gradflow.measure`
