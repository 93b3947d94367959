"""The stacked product by oneDNN against `torch.bmm` and autograd."""

from __future__ import annotations

import pytest
import torch

from gradflow.networks import batched_product as products
from gradflow.networks.batched_product import stacked_product


def gradients(
    x: torch.Tensor, weights: torch.Tensor, upstream: torch.Tensor, product
) -> list[torch.Tensor]:
    x, weights = x.detach().requires_grad_(), weights.detach().requires_grad_()
    out = product(x, weights)
    out.backward(upstream)
    assert x.grad is not None and weights.grad is not None
    return [out.detach(), x.grad, weights.grad]


@pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this PyTorch has no oneDNN product"
)
@pytest.mark.parametrize("strided", [False, True], ids=["contiguous", "as BatchNorm leaves it"])
@pytest.mark.parametrize(
    ("networks", "batch", "inputs", "outputs"),
    [(1, 128, 64, 31), (5, 128, 308, 308), (3, 7, 28, 10)],
)
def test_as_bmm(
    networks: int,
    batch: int,
    inputs: int,
    outputs: int,
    strided: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "ONEDNN", True)  # whatever this CPU is
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(networks, batch, inputs, generator=generator)
    upstream = torch.randn(networks, batch, outputs, generator=generator)
    weights = torch.randn(networks, inputs, outputs, generator=generator)
    if strided:
        x, upstream = (t.transpose(0, 1).contiguous().transpose(0, 1) for t in (x, upstream))
    ours = gradients(x, weights, upstream, stacked_product)
    exact = gradients(x.double(), weights.double(), upstream.double(), torch.bmm)
    for mine, theirs in zip(ours, exact, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-4)


def test_inputs_that_want_no_gradient_get_none() -> None:
    x, weights = torch.randn(2, 5, 3), torch.randn(2, 3, 4, requires_grad=True)
    stacked_product(x, weights).sum().backward()
    assert weights.grad is not None and x.grad is None


def test_float64_is_left_to_bmm() -> None:
    x, weights = (
        torch.randn(2, 5, 3, dtype=torch.float64),
        torch.randn(2, 3, 4, dtype=torch.float64),
    )
    assert torch.equal(stacked_product(x, weights), torch.bmm(x, weights))
