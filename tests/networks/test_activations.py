"""The six activation functions and their derivatives: closed forms, torch.nn, and autograd."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from plain_networks import ACTIVATION_MODULES
from torch import Tensor, nn

from gradflow.networks.activations import ACTIVATION_FUNCTIONS, make_activation
from gradflow.study.job import PAPER_ACTIVATIONS, Settings

# both sides of every kink, and none of them
POINTS = torch.tensor(
    [-8.0, -3.0, -1.5, -0.6, -0.01, 0.02, 0.4, 0.99, 1.01, 1.7, 4.0, 9.0], dtype=torch.float64
)
SLOPE = float(torch.tensor(0.2))  # parameters start in float32


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


VALUES: dict[str, Callable[[float], float]] = {
    "relu": lambda x: max(x, 0.0),
    "prelu": lambda x: x if x > 0 else 0.25 * x,
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "swish": lambda x: x * sigmoid(x),
    "srelu": lambda x: (
        SLOPE * x if x < 0 else x
    ),  # at its start: t_l = 0, a_l = 0.2, t_r = 1, a_r = 1
    "sigmoid": sigmoid,
}
DERIVATIVES: dict[str, Callable[[float], float]] = {
    "relu": lambda x: float(x > 0),
    "prelu": lambda x: 1.0 if x > 0 else 0.25,
    "elu": lambda x: 1.0 if x > 0 else math.exp(x),
    "swish": lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))),
    "srelu": lambda x: SLOPE if x < 0 else 1.0,
    "sigmoid": lambda x: sigmoid(x) * (1 - sigmoid(x)),
}
TORCH: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "prelu": nn.PReLU(dtype=torch.float64),
    "elu": F.elu,
    "swish": F.silu,
    "srelu": ACTIVATION_MODULES["srelu"]().double(),  # torch has none
    "sigmoid": F.sigmoid,
}


def derivative(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    x = points.clone().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


def test_there_are_six() -> None:
    assert set(ACTIVATION_FUNCTIONS) == set(PAPER_ACTIVATIONS) == set(VALUES)


@pytest.mark.parametrize("name", PAPER_ACTIVATIONS)
class TestFunction:
    def test_value(self, name: str) -> None:
        expected = torch.tensor([VALUES[name](x) for x in POINTS.tolist()], dtype=torch.float64)
        torch.testing.assert_close(
            ACTIVATION_FUNCTIONS[name](POINTS), expected, rtol=1e-12, atol=1e-12
        )

    def test_derivative(self, name: str) -> None:
        expected = torch.tensor(
            [DERIVATIVES[name](x) for x in POINTS.tolist()], dtype=torch.float64
        )
        found = derivative(ACTIVATION_FUNCTIONS[name], POINTS)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)

    def test_torch_agrees_at_the_kinks_too(self, name: str) -> None:
        points = torch.cat([POINTS, torch.tensor([0.0, 1.0], dtype=torch.float64)])
        ours, theirs = ACTIVATION_FUNCTIONS[name], TORCH[name]
        torch.testing.assert_close(ours(points), theirs(points).detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            derivative(ours, points), derivative(theirs, points), rtol=1e-12, atol=1e-12
        )

    @pytest.mark.parametrize("shape", [(3, 5, 4), (3, 2, 4, 6, 6)])
    def test_a_module_for_stacked_networks(self, name: str, shape: tuple[int, ...]) -> None:
        x = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        module = make_activation(name, 3, Settings()).double()
        torch.testing.assert_close(
            module(x).detach(), ACTIVATION_FUNCTIONS[name](x).detach(), rtol=1e-12, atol=1e-12
        )


def test_learning_activations_start_at_their_settings() -> None:
    settings = Settings(prelu_slope=0.1, srelu_left=(-0.5, 0.3), srelu_right=(0.7, 0.8))
    prelu = dict(make_activation("prelu", 2, settings).named_parameters())
    srelu = dict(make_activation("srelu", 2, settings).named_parameters())
    torch.testing.assert_close(prelu, {"slope": torch.tensor([0.1, 0.1])})
    expected = {"t_left": -0.5, "a_left": 0.3, "t_right": 0.7, "a_right": 0.8}
    torch.testing.assert_close(
        srelu, {name: torch.full((2,), value) for name, value in expected.items()}
    )
    for name in ("relu", "elu", "swish", "sigmoid"):
        assert list(make_activation(name, 2, settings).parameters()) == []


INPUTS = 2 * torch.randn((3, 7, 4), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
UPSTREAM = torch.randn((3, 7, 4), generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_stacked_prelu_learns_per_network() -> None:
    module = make_activation("prelu", 3, Settings()).double()
    slopes = [0.1, 0.25, -0.4]
    with torch.no_grad():
        module.slope.copy_(torch.tensor(slopes))
    outputs = module(INPUTS)
    outputs.backward(UPSTREAM)
    for k, slope in enumerate(slopes):
        own = nn.PReLU(init=slope, dtype=torch.float64)
        with torch.no_grad():
            own.weight.copy_(module.slope[k])
        expected = own(INPUTS[k])
        expected.backward(UPSTREAM[k])
        torch.testing.assert_close(outputs[k].detach(), expected.detach())
        torch.testing.assert_close(module.slope.grad[k], own.weight.grad[0])


def test_stacked_srelu_learns_per_network() -> None:
    """Gradients by the four values, from the closed form of Jin et al., Equation 3."""
    module = make_activation("srelu", 3, Settings()).double()
    values = {
        "t_left": [-0.5, 0.0, -1.0],
        "a_left": [0.2, 0.5, -0.1],
        "t_right": [1.0, 0.3, 0.8],
        "a_right": [1, 2, 0.4],
    }
    with torch.no_grad():
        for name, value in values.items():
            getattr(module, name).copy_(torch.tensor(value))
    outputs = module(INPUTS)
    outputs.backward(UPSTREAM)
    for k in range(3):
        t_left, a_left, t_right, a_right = (getattr(module, name)[k].item() for name in values)
        expected = dict.fromkeys(values, 0.0)
        regions = set()
        for x, y, g in zip(
            INPUTS[k].flatten().tolist(),
            outputs[k].flatten().tolist(),
            UPSTREAM[k].flatten().tolist(),
            strict=True,
        ):
            if x >= t_right:
                assert y == pytest.approx(t_right + a_right * (x - t_right))
                expected["t_right"] += g * (1 - a_right)
                expected["a_right"] += g * (x - t_right)
                regions.add("right")
            elif x <= t_left:
                assert y == pytest.approx(t_left + a_left * (x - t_left))
                expected["t_left"] += g * (1 - a_left)
                expected["a_left"] += g * (x - t_left)
                regions.add("left")
            else:
                assert y == x
                regions.add("middle")
        assert regions == {"left", "middle", "right"}
        for name, value in expected.items():
            assert getattr(module, name).grad[k].item() == pytest.approx(value, rel=1e-9, abs=1e-12)
