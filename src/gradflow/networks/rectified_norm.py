"""BatchNorm of images and the ReLU behind it: on a GPU statistics first, then both in one pass.

Apart they read the images twice and write them, then read and write them again; together they read
them twice and write them once. The backward pass is torch's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK = 1024

_LIBRARY = torch.library.Library("gradflow", "FRAGMENT")
_LIBRARY.define("rectified_(Tensor x, Tensor scale, Tensor shift, Tensor(a!) out) -> ()")


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
        out = torch.empty_like(x)
        torch.ops.gradflow.rectified_(x, scale, bias - mean * scale, out)
        ctx.save_for_backward(x, weight, mean, inverse, out)
        ctx.epsilon = epsilon
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """By x, weight and bias."""
        x, weight, mean, inverse, out = ctx.saved_tensors
        upstream = torch.ops.aten.threshold_backward(gradients[0], out, 0)
        by_x, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            upstream, x, weight, None, None, mean, inverse, True, ctx.epsilon, [True, True, True]
        )
        return by_x, by_weight, by_bias, None


def _rectified(x: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> None:
    out.copy_(torch.relu(x * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)))


def launch_rectified(x: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> None:
    """The Triton kernel: out = relu(scale x + shift), by channels."""
    from gradflow.networks.rectified_norm_kernel import rectified

    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    if x.stride() != out.stride() or not (channels_last or x.is_contiguous()):
        raise ValueError("rectified: images must lie channels last or as they come, both alike")
    # a channel's values lie one after the other, or one to a pixel
    run = 1 if channels_last else x.shape[2] * x.shape[3]
    rectified[(-(-x.numel() // BLOCK),)](
        x, scale, shift, out, x.numel(), x.shape[1], run, BLOCK=BLOCK
    )


_LIBRARY.impl("rectified_", _rectified, "CPU")
_LIBRARY.impl("rectified_", launch_rectified, "CUDA")
_LIBRARY.impl("rectified_", lambda *_: None, "Meta")
