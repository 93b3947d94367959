"""The product of a stack's inputs and weights: by oneDNN on a CPU with AVX-512, else by
`torch.bmm`.

PyTorch hands float32 products on an x86 CPU to MKL, which on AMD processors keeps to AVX2; oneDNN,
which PyTorch brings along, uses AVX-512 there and takes half the time. On a CPU without AVX-512 it
takes longer (docs/performance.md).

On a GPU the outputs lie in memory as [K, out, B]: BatchNorm of K networks then needs no copy, since
its channels are K times out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

ONEDNN = (
    torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    and torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)


def stacked_product(x: Tensor, weights: Tensor) -> Tensor:
    """X [K, B, in] times weights [K, in, out]: [K, B, out]."""
    if (
        ONEDNN
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    ):
        product: Tensor = _Product.apply(x, weights)
        return product
    return torch.bmm(x, weights)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor) -> Tensor:
        # strides other than a transpose's send oneDNN to a reference loop, a thousand times slower
        x = x.contiguous()
        ctx.save_for_backward(x, weights)
        return _stack(_times_transposed(a, w.mT) for a, w in zip(x, weights, strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        upstream = gradients[0].contiguous()
        x, weights = ctx.saved_tensors
        for_x = for_weights = None
        if ctx.needs_input_grad[0]:
            for_x = _stack(_times_transposed(g, w) for g, w in zip(upstream, weights, strict=True))
        if ctx.needs_input_grad[1]:
            for_weights = _stack(
                _times_transposed(a.mT, g.mT) for a, g in zip(x, upstream, strict=True)
            )
        return for_x, for_weights


def feature_major_product(x: Tensor, weights: Tensor) -> Tensor:
    """X [K, B, in] times weights [K, in, out]: [K, B, out], which lies in memory as [K, out, B]."""
    dtype = product_dtype(x)
    product: Tensor = FeatureMajorProduct.apply(x.to(dtype), weights.to(dtype))
    return product


def product_dtype(x: Tensor) -> torch.dtype:
    """The type of a product's operands: that of autocast where it is on, which a function of one's
    own must heed.
    """
    device = x.device.type
    if device in ("cpu", "cuda") and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype


class FeatureMajorProduct(torch.autograd.Function):
    """Of its own, since autograd's gradient by the weights would lie transposed, and be copied."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor) -> Tensor:
        """See `feature_major_product`."""
        ctx.save_for_backward(x, weights)
        return torch.bmm(weights.mT, x.mT).mT

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Gradients by x, which lies like the outputs, and by the weights, which lies as they
        do.
        """
        x, weights = ctx.saved_tensors
        upstream = gradients[0]
        for_x = torch.bmm(weights, upstream.mT).mT if ctx.needs_input_grad[0] else None
        for_weights = torch.bmm(x.mT, upstream) if ctx.needs_input_grad[1] else None
        return for_x, for_weights


def _times_transposed(a: Tensor, b: Tensor) -> Tensor:
    """A [m, n] times the transpose of b [o, n]."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    return product


def _stack(products: Iterable[Tensor]) -> Tensor:
    found = list(products)
    return found[0].unsqueeze(0) if len(found) == 1 else torch.stack(found)
