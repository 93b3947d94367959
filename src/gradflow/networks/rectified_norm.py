"""BatchNorm and the ReLU behind it: on a GPU statistics first, then both in one pass, and so back.

Of images, and of an MLP's activations as [1, units, B, 1]. Apart they read the images twice and
write them, then read and write them again; together they read them twice and write them once. Back,
the gradient is masked by the ReLU where it is read: images and gradient are read twice and the
images' gradient is written, five passes where there were eight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK = 1024  # places of a program that goes from one to the next
SUMS = {"ROWS": 64, "CHANNELS": 32, "TILES": 16}  # of one that adds up by channels

_LIBRARY = torch.library.Library("gradflow", "FRAGMENT")
_LIBRARY.define("rectified_(Tensor x, Tensor scale, Tensor shift, Tensor(a!) out) -> ()")
_LIBRARY.define(
    "rectified_back_(Tensor gradient, Tensor x, Tensor scale, Tensor shift, Tensor mean, Tensor "
    "inverse, Tensor(a!) by_x, Tensor(b!) by_weight, Tensor(c!) by_bias) -> ()"
)


class RectifiedNorm(torch.autograd.Function):
    """relu(batch_norm(x)) by batch statistics, of x [B, C, H, W]; gives the statistics as well."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs, mean [C] and biased variance [C]."""
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        inverse = (variance + epsilon).rsqrt()
        scale = weight * inverse
        shift = bias - mean * scale
        out = torch.empty_like(x)
        torch.ops.gradflow.rectified_(x, scale, shift, out)
        ctx.save_for_backward(x, scale, shift, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """By x, weight and bias."""
        x, scale, shift, mean, inverse = ctx.saved_tensors
        gradient = gradients[0]
        if gradient.stride() != x.stride():  # of a mean over positions: one number for all of them
            gradient = torch.empty_like(x).copy_(gradient)
        by_x, by_weight, by_bias = (torch.empty_like(t) for t in (x, mean, mean))
        torch.ops.gradflow.rectified_back_(
            gradient, x, scale, shift, mean, inverse, by_x, by_weight, by_bias
        )
        return by_x, by_weight, by_bias, None


def rectified_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    epsilon: float,
    running: tuple[Tensor, Tensor] | None,
    share: float,
) -> Tensor:
    """ReLU of the BatchNorm of x [B, C, H, W] by its own statistics.

    Args:
        x: channels last or as it comes.
        weight: [C].
        bias: [C].
        epsilon: added to the variance.
        running: mean and variance so far [C], which learn from this minibatch; None for a probe.
        share: of this minibatch in them.
    """
    out, mean, variance = RectifiedNorm.apply(x, weight, bias, epsilon)
    if running is not None:
        with torch.no_grad():
            count = x.numel() // x.shape[1]
            running[0].lerp_(mean, share)
            running[1].lerp_(variance * (count / (count - 1)), share)
    result: Tensor = out
    return result


def _rectified(x: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> None:
    out.copy_(torch.relu(_by_channel(scale) * x + _by_channel(shift)))


def _rectified_back(
    gradient: Tensor,
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    inverse: Tensor,
    by_x: Tensor,
    by_weight: Tensor,
    by_bias: Tensor,
) -> None:
    upstream = gradient.masked_fill(_by_channel(scale) * x + _by_channel(shift) <= 0, 0.0)
    normalised = (x - _by_channel(mean)) * _by_channel(inverse)
    by_bias.copy_(upstream.sum((0, 2, 3)))
    by_weight.copy_((upstream * normalised).sum((0, 2, 3)))
    count = x.numel() // x.shape[1]
    centred = upstream - _by_channel(by_bias / count) - normalised * _by_channel(by_weight / count)
    by_x.copy_(_by_channel(scale) * centred)


def _by_channel(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1)


def launch_rectified(x: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> None:
    """The Triton kernel: out = relu(scale x + shift), by channels.

    Raises:
        ValueError: the images lie neither channels last nor as they come, or not alike.
    """
    from gradflow.networks.rectified_norm_kernel import rectified

    _check_layout(x, out)
    rectified[(-(-x.numel() // BLOCK),)](
        x, scale, shift, out, x.numel(), x.shape[1], _run(x), BLOCK=BLOCK
    )


def launch_rectified_back(
    gradient: Tensor,
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    inverse: Tensor,
    by_x: Tensor,
    by_weight: Tensor,
    by_bias: Tensor,
) -> None:
    """The Triton kernels: gradients by weight and bias first, of partial sums in a fixed order;
    then those by x.

    Raises:
        ValueError: see `launch_rectified`.
    """
    from gradflow.networks.rectified_norm_kernel import rectified_back, rectified_back_sums

    _check_layout(x, gradient, by_x)
    channels, rows = x.shape[1], x.numel() // x.shape[1]
    parts = -(-rows // (SUMS["ROWS"] * SUMS["TILES"]))
    sums = x.new_empty(2, parts, channels)
    rectified_back_sums[(parts, -(-channels // SUMS["CHANNELS"]))](
        gradient,
        x,
        scale,
        shift,
        mean,
        sums,
        rows,
        channels,
        parts,
        x.shape[2] * x.shape[3],
        x.stride(0),
        x.stride(1),
        x.stride(3),
        **SUMS,
    )
    torch.sum(sums[0], 0, out=by_bias)
    torch.sum(sums[1], 0, out=by_weight).mul_(inverse)
    rectified_back[(-(-x.numel() // BLOCK),)](
        gradient,
        x,
        scale,
        shift,
        mean,
        by_bias / rows,
        by_weight * inverse / rows,
        by_x,
        x.numel(),
        channels,
        _run(x),
        BLOCK=BLOCK,
    )


def _check_layout(x: Tensor, *others: Tensor) -> None:
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    if any(other.stride() != x.stride() for other in others) or not (
        channels_last or x.is_contiguous()
    ):
        raise ValueError("rectified: images must lie channels last or as they come, all alike")


def _run(x: Tensor) -> int:
    """How many values of one channel lie one after the other."""
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    return 1 if channels_last else x.shape[2] * x.shape[3]


for _name, _on_cpu, _on_gpu in (
    ("rectified_", _rectified, launch_rectified),
    ("rectified_back_", _rectified_back, launch_rectified_back),
):
    _LIBRARY.impl(_name, _on_cpu, "CPU")
    _LIBRARY.impl(_name, _on_gpu, "CUDA")
    _LIBRARY.impl(_name, lambda *_: None, "Meta")
