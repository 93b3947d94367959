"""What user code promises, checked where it runs: one sentence that names the file, before anything
is trained.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gradflow.study.own import own_file


class ContractError(ValueError):
    """User code does not do what it promises; the message is one sentence that names the file."""


def called(place: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call user code; what it raises becomes one sentence."""
    try:
        return function(*arguments)
    except Exception as error:
        said = " ".join(str(error).split()) or "no message"
        raise ContractError(
            f"{place}: {function.__name__} fails with {type(error).__name__}: {said}"
        ) from error


def check_activation(name: str, module: nn.Module, networks: int) -> None:
    """Try one layer's activation on inputs of its K networks.

    Raises:
        ContractError: it fails, changes the shape, couples networks, or does not repeat its bits.
    """
    place = str(own_file("activations", name))
    x = torch.randn(networks, 6, 5, generator=torch.Generator().manual_seed(3))
    tried = copy.deepcopy(module)
    with torch.no_grad():
        once = called(place, tried.forward, x)
        if not isinstance(once, Tensor) or once.shape != x.shape:
            raise ContractError(
                f"{place}: the module maps {tuple(x.shape)} to "
                f"{tuple(once.shape) if isinstance(once, Tensor) else type(once).__name__}; the "
                "shape must stay"
            )
        if not torch.equal(once, called(place, tried.forward, x)):
            raise ContractError(
                f"{place}: the module gives other values for the same inputs, as if it drew "
                "random numbers"
            )
        if networks > 1:
            perturbed = x.clone()
            perturbed[0] *= 3.0
            if not torch.equal(once[1:], called(place, tried.forward, perturbed)[1:]):
                raise ContractError(
                    f"{place}: the module couples networks: other inputs of one change the "
                    "others; the first axis counts networks"
                )
