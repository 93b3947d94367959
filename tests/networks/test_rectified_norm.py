"""BatchNorm and ReLU in one pass against torch's two; the Triton kernel in its interpreter."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from cohorts import DEVICE
from torch import Tensor, nn

from gradflow.networks.mlp import StackedBatchNorm
from gradflow.networks.rectified_norm import launch_rectified, launch_rectified_back
from gradflow.networks.wide_resnet import ProbeableBatchNorm

LAYOUTS = (torch.channels_last, torch.contiguous_format)


def images(seed: int, layout: torch.memory_format) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = 3 * torch.randn(8, 6, 5, 5, generator=generator) + 1
    return drawn.to(DEVICE).contiguous(memory_format=layout)


def assert_backward_agrees(
    ours: nn.Module,
    theirs: nn.Module,
    own: tuple[Tensor, Tensor],
    other: tuple[Tensor, Tensor],
    upstream: Tensor,
) -> None:
    """Outputs, gradients and buffers of two modules, each given with its input and output."""
    for _, out in (own, other):
        out.backward(upstream)
    torch.testing.assert_close(own[1], other[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(own[0].grad, other[0].grad, rtol=1e-4, atol=1e-5)
    for first, second in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(first.grad, second.grad, rtol=1e-4, atol=1e-4)
    for first, second in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_outputs_gradients_and_statistics_are_torchs(layout: torch.memory_format) -> None:
    ours, theirs = (ProbeableBatchNorm(6).to(DEVICE) for _ in range(2))
    with torch.no_grad():
        for norm in (ours, theirs):
            norm.weight.copy_(torch.linspace(-1, 2, 6))
            norm.bias.copy_(torch.linspace(0.5, -0.5, 6))
    for step in range(3):
        x = images(step, layout).requires_grad_()
        twin = x.detach().clone().requires_grad_()
        ours.update_statistics = theirs.update_statistics = step != 1  # a probe in between
        upstream = images(10 + step, layout)
        out, expected = ours.rectified(x), torch.relu(theirs(twin))
        assert_backward_agrees(ours, theirs, (x, out), (twin, expected), upstream)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours.rectified(x), torch.relu(theirs(x)), rtol=1e-5, atol=1e-5)


def test_activations_of_an_mlp_are_an_image_of_as_many_channels() -> None:
    ours, theirs = (StackedBatchNorm(3, 6).to(DEVICE) for _ in range(2))
    with torch.no_grad():
        for norm in (ours, theirs):
            norm.weight.copy_(torch.linspace(-1, 2, 18).view(3, 6))
            norm.bias.copy_(torch.linspace(0.5, -0.5, 18).view(3, 6))
    generator = torch.Generator().manual_seed(2)
    for step in range(3):
        lying = (3 * torch.randn(3, 6, 8, generator=generator) + 1).to(DEVICE)
        x, twin = (lying.clone().requires_grad_() for _ in range(2))
        upstream = torch.randn(3, 6, 8, generator=generator).to(DEVICE).mT
        ours.update_statistics = theirs.update_statistics = step != 1  # a probe in between
        out, expected = ours.rectified(x.mT), torch.relu(theirs(twin.mT))
        assert_backward_agrees(ours, theirs, (x, out), (twin, expected), upstream)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_kernel(layout: torch.memory_format) -> None:
    pytest.importorskip("triton", reason="Triton comes with torch for CUDA")
    x = images(0, layout)
    scale, shift = torch.linspace(-1, 2, 6).to(DEVICE), torch.linspace(1, -1, 6).to(DEVICE)
    x[0, 0, 0, 0] = float("nan")
    out = torch.empty_like(x)
    launch_rectified(x, scale, shift, out)
    expected = F.relu(x * scale.view(-1, 1, 1) + shift.view(-1, 1, 1))
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6, equal_nan=True)
    with pytest.raises(ValueError, match="all alike"):
        launch_rectified(x, scale, shift, torch.empty(8, 6, 5, 5).mT)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [6, 40])  # a program adds up 32 at a time
def test_the_kernels_of_the_gradient(layout: torch.memory_format, channels: int) -> None:
    """Against torch's BatchNorm and ReLU in float64, over more places than a program adds up."""
    pytest.importorskip("triton", reason="Triton comes with torch for CUDA")
    generator = torch.Generator().manual_seed(1)
    x, gradient = (
        (3 * torch.randn(23, channels, 7, 7, generator=generator) + 1)
        .to(DEVICE)
        .contiguous(memory_format=layout)
        for _ in range(2)
    )
    weight, bias = torch.linspace(-1, 2, channels), torch.linspace(1, -1, channels)
    weight, bias = weight.to(DEVICE), bias.to(DEVICE)
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    inverse = (variance + 1e-5).rsqrt()
    scale = weight * inverse
    by_x, by_weight, by_bias = (torch.empty_like(t) for t in (x, weight, bias))
    launch_rectified_back(
        gradient, x, scale, bias - mean * scale, mean, inverse, by_x, by_weight, by_bias
    )
    twins = [t.double().requires_grad_() for t in (x, weight, bias)]
    F.relu(F.batch_norm(twins[0], None, None, *twins[1:], True)).backward(gradient.double())
    for ours, twin in zip((by_x, by_weight, by_bias), twins, strict=True):
        torch.testing.assert_close(ours.double(), twin.grad, rtol=1e-4, atol=1e-3)
    with pytest.raises(ValueError, match="all alike"):
        launch_rectified_back(gradient.mT, x, scale, scale, mean, inverse, by_x, by_weight, by_bias)
