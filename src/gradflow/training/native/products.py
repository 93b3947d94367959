"""A layer's products over all of its weights: the ways that PyTorch has on a CPU.

Which is faster differs from processor to processor, and by shape; see `choice`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor, Tensor, Tensor], object]  # of a [m, n] and b [n, o] into out [m, o]


def by_mm(a: Tensor, b: Tensor, out: Tensor) -> object:
    """By the BLAS that PyTorch was built with: MKL on x86, which on AMD's processors keeps to
    AVX2.
    """
    return torch.mm(a, b, out=out)


def by_onednn(a: Tensor, b: Tensor, out: Tensor) -> object:
    """By oneDNN, which PyTorch brings along for convolutions; it uses AVX-512 wherever there is
    any.
    """
    return out.copy_(torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], ""))


PRODUCTS: dict[str, Product] = {"mm": by_mm}
if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
    PRODUCTS["onednn"] = by_onednn
