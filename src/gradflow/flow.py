"""Gradient flow: ||g||_p of Equation 5 and effective gradient flow, EGF_p, of Equations 6 and 7.

Both are taken with respect to the effective weight (theta * m). ||g||_p counts the gradients of
masked weights, which are not zero; EGF_p leaves them out and averages the norms of the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

EXPONENTS = (1, 2)


@dataclass(frozen=True)
class GradientFlow:
    """Norms by layer, float64, for p = 1 and p = 2; `[..., L]` with a leading axis where networks are stacked."""

    layer_grad_norm: Mapping[int, Tensor]
    layer_egf: Mapping[int, Tensor]

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
    """The same norm, summed in the tensor's own precision along the last axis and in float64 across the others.

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
    layers: Sequence[str],
    masks: Mapping[str, Tensor] | None = None,
) -> GradientFlow:
    """Measure the flow of any torch module with any masks, leaving the module as it was.

    The gradient is that of the mean loss over all examples of `batches`. The module runs in the
    mode it is in; BatchNorm's running statistics are left alone.

    Args:
        module: the network; its weights need not be masked.
        loss: mean loss of (outputs, targets), for example `torch.nn.functional.cross_entropy`.
        batches: pairs (inputs, targets), weighted by their number of examples.
        layers: names of the weight parameters which are layers, as in `module.named_parameters()`:
            weight matrices and kernels, not the parameters of BatchNorm or of activations.
        masks: by layer name; a layer without one is dense.

    Returns:
        Norms [L] for each p, in the order of `layers`.

    Raises:
        KeyError: a name is no parameter of the module, or a mask belongs to no layer.
        ValueError: there are no batches.
    """
    masks = masks or {}
    parameters = dict(module.named_parameters())
    unknown = [name for name in layers if name not in parameters] + [
        name for name in masks if name not in layers
    ]
    if unknown:
        raise KeyError(
            f"{unknown[0]} is not a layer of the module; its parameters are {', '.join(parameters)}"
        )
    effective = {
        name: (parameters[name] * masks[name] if name in masks else parameters[name])
        .detach()
        .clone()
        .requires_grad_()
        for name in layers
    }
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    totals = [torch.zeros_like(weight, dtype=torch.float64) for weight in effective.values()]
    examples = 0
    for inputs, targets in batches:
        mean = loss(functional_call(module, {**effective, **buffers}, (inputs,)), targets)
        for total, gradient in zip(
            totals, torch.autograd.grad(mean, list(effective.values())), strict=True
        ):
            total += gradient * len(targets)
        examples += len(targets)
    if examples == 0:
        raise ValueError("gradient flow needs at least one batch")
    return gradient_flow(
        [total / examples for total in totals], [masks.get(name) for name in layers]
    )
