"""The six activation functions of section 3.2 and Figure 14; two of them learn parameters.

The folder `own` adds others.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.networks.contracts import called, check_activation
from gradflow.study import own
from gradflow.study.job import Activation, Settings


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """PReLU (He et al., 2015): x where positive, slope * x elsewhere."""
    return torch.where(x > 0, x, slope * x)


def srelu(x: Tensor, t_left: Tensor, a_left: Tensor, t_right: Tensor, a_right: Tensor) -> Tensor:
    """SReLU (Jin et al., 2015): x between two thresholds, a line of its own slope beyond each."""
    above = t_right + a_right * (x - t_right)
    below = t_left + a_left * (x - t_left)
    return torch.where(x >= t_right, above, torch.where(x <= t_left, below, x))


class StackedPReLU(nn.Module):
    """PReLU with one learned slope for each of K networks; inputs [K, ...]."""

    def __init__(self, networks: int, settings: Settings):
        super().__init__()
        self.slope = nn.Parameter(torch.full((networks,), settings.prelu_slope))

    def forward(self, x: Tensor) -> Tensor:
        """Apply each network's own slope."""
        return prelu(x, _per_network(self.slope, x))


class StackedSReLU(nn.Module):
    """SReLU with one learned set of four values for each of K networks; inputs [K, ...]."""

    t_left: nn.Parameter
    a_left: nn.Parameter
    t_right: nn.Parameter
    a_right: nn.Parameter

    def __init__(self, networks: int, settings: Settings):
        super().__init__()
        for name, value in zip(
            ("t_left", "a_left", "t_right", "a_right"),
            (*settings.srelu_left, *settings.srelu_right),
            strict=True,
        ):
            setattr(self, name, nn.Parameter(torch.full((networks,), value)))

    def forward(self, x: Tensor) -> Tensor:
        """Apply each network's own four values."""
        values = (self.t_left, self.a_left, self.t_right, self.a_right)
        return srelu(x, *(_per_network(value, x) for value in values))


class Stateless(nn.Module):
    """An activation function without parameters."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function."""
        return self.function(x)


def make_activation(name: Activation, networks: int, settings: Settings) -> nn.Module:
    """Build the activation of one layer for K = `networks` stacked networks; it maps [K, ...] to
    [K, ...].
    """
    if name == "prelu":
        return StackedPReLU(networks, settings)
    if name == "srelu":
        return StackedSReLU(networks, settings)
    if name in ACTIVATION_FUNCTIONS:
        return Stateless(ACTIVATION_FUNCTIONS[name])
    if name in OTHER_FUNCTIONS:
        return Stateless(OTHER_FUNCTIONS[name])
    make = own.load("activations", name, "make").make
    module = called(str(own.own_file("activations", name)), make, networks, settings)
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"{own.own_file('activations', name)}: make returns {module!r}, which is no torch "
            "module"
        )
    check_activation(name, module, networks)
    return module


def _per_network(value: Tensor, x: Tensor) -> Tensor:
    return value.view(-1, *[1] * (x.dim() - 1))


def functions_at_start(settings: Settings) -> dict[str, Callable[[Tensor], Tensor]]:
    """The paper's activation functions by name, of one tensor each; the learning ones at their
    initial parameters.
    """

    def at_start(module: type[StackedPReLU] | type[StackedSReLU]) -> Callable[[Tensor], Tensor]:
        return lambda x: module(1, settings).to(x.dtype)(x.unsqueeze(0)).squeeze(0)

    return {
        "relu": torch.relu,
        "prelu": at_start(StackedPReLU),
        "elu": F.elu,
        "swish": F.silu,
        "srelu": at_start(StackedSReLU),
        "sigmoid": torch.sigmoid,
    }


ACTIVATION_FUNCTIONS = functions_at_start(Settings())

# PyTorch's, at its defaults; not the paper's
OTHER_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "mish": F.mish,
    "leaky_relu": F.leaky_relu,
}
