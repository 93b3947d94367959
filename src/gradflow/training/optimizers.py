"""The optimizers of section 3.2, by PyTorch's own update functions, and those of the folder `own`.

Every update is elementwise, so K stacked networks are K independent ones. The functional forms are
called rather than the classes, since creating a `torch.optim.Optimizer` imports the compiler, which
costs seconds a process. tests/training/test_optimizers.py holds them to the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.adagrad import adagrad
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from gradflow.study import own
from gradflow.study.job import Optimizer, Settings
from gradflow.training.contracts import check_optimizer

# the state that each of the paper's keeps for a parameter
STATE: dict[str, tuple[str, ...]] = {
    "sgd": (),
    "momentum": ("momentum",),
    "adagrad": ("sum",),
    "rmsprop": ("square_average",),
    "adam": ("average", "square_average"),
    "adamw": ("average", "square_average"),
}


def state_names(name: Optimizer) -> tuple[str, ...]:
    """What an optimizer keeps for a parameter, by name."""
    if name in STATE:
        return STATE[name]
    return tuple(own.load("optimizers", name, "STATE", "update").STATE)


@dataclass
class ParameterGroup:
    """Parameters with one weight decay, and their optimizer state, keyed as in `state_names`."""

    parameters: list[Tensor]
    weight_decay: float
    state: dict[str, list[Tensor]] = field(default_factory=dict)
    steps: list[Tensor] = field(default_factory=list)


class StackedOptimizer:
    """One of the optimizers over parameters of any shape.

    With a zero gradient and a zero weight every one of them leaves the weight at zero, L2 or decay
    included: a network whose gradients are masked stays masked.
    """

    def __init__(
        self, name: Optimizer, groups: Sequence[tuple[Sequence[Tensor], float]], settings: Settings
    ):
        """Take groups of (parameters, weight decay): L2 added to the gradient, or for adamw
        decoupled.
        """
        self.name = name
        self.settings = settings
        self.own: Any = None if name in STATE else own.load("optimizers", name, "STATE", "update")
        if self.own is not None:
            check_optimizer(name, self.own.update, state_names(name))
        self.groups = [
            ParameterGroup(
                parameters=list(parameters),
                weight_decay=decay,
                state={key: [torch.zeros_like(p) for p in parameters] for key in state_names(name)},
                steps=[
                    torch.zeros((), device=p.device) for p in parameters
                ],  # on the device, or a captured step would freeze it
            )
            for parameters, decay in groups
            if parameters
        ]

    @torch.no_grad()
    def step(self, learning_rate: float, first_group: int = 0) -> None:
        """Update the parameters of the groups from `first_group` on by their `.grad`."""
        for group in self.groups[first_group:]:
            gradients = [p.grad for p in group.parameters if p.grad is not None]
            if len(gradients) != len(group.parameters):
                raise RuntimeError("a parameter has no gradient: run the backward pass first")
            self._update(group, gradients, learning_rate)

    def _update(self, group: ParameterGroup, gradients: list[Tensor], lr: float) -> None:
        if self.own is not None:
            self.own.update(group.parameters, gradients, group.state, lr, group.weight_decay)
            return
        update_parameters(
            self.name,
            group.parameters,
            gradients,
            group.state,
            group.steps,
            Hyperparameters(
                lr, group.weight_decay, self.settings.rmsprop_alpha, self.settings.nesterov
            ),
        )

    def tensors(self) -> dict[str, Tensor]:
        """The state, for a checkpoint; the tensors themselves, so copying into them restores it."""
        found: dict[str, Tensor] = {}
        for g, group in enumerate(self.groups):
            if self.name in ("adam", "adamw"):  # the others take their step count and do not use it
                found |= {f"{g}.{i}.step": step for i, step in enumerate(group.steps)}
            for key, values in group.state.items():
                found |= {f"{g}.{i}.{key}": value for i, value in enumerate(values)}
        return found

    def state_of(self, parameter: Tensor) -> list[Tensor]:
        """The state tensors of one parameter, each of its shape."""
        for group in self.groups:
            for index, candidate in enumerate(group.parameters):
                if candidate is parameter:
                    return [values[index] for values in group.state.values()]
        raise KeyError("not a parameter of this optimizer")


@dataclass(frozen=True)
class Hyperparameters:
    """What an update takes beside tensors."""

    learning_rate: float
    weight_decay: float
    rmsprop_alpha: float
    nesterov: bool = False


def update_parameters(
    name: str,
    parameters: list[Tensor],
    gradients: list[Tensor],
    state: Mapping[str, list[Tensor]],
    steps: list[Tensor],
    numbers: Hyperparameters,
) -> None:
    """One step of one of the paper's optimizers, in place; `steps` counts it.

    Args:
        name: one of `STATE`.
        parameters: of one data type, on one device.
        gradients: one a parameter.
        state: by the names in `STATE`, one tensor a parameter.
        steps: one tensor without dimensions a parameter, on its device.
        numbers: learning rate, weight decay, RMSProp's alpha, and whether momentum is Nesterov's.
    """
    lr, decay = numbers.learning_rate, numbers.weight_decay
    match name:
        case "sgd" | "momentum":
            momentum = 0.9 if name == "momentum" else 0.0
            # a zero buffer gives the same first step as PyTorch's, which starts from the gradient
            buffers: list[Tensor | None] = (
                list(state["momentum"]) if momentum else [None] * len(parameters)
            )
            sgd(
                parameters,
                gradients,
                buffers,
                fused=True,
                weight_decay=decay,
                momentum=momentum,
                lr=lr,
                dampening=0.0,
                nesterov=numbers.nesterov and momentum > 0,
                maximize=False,
            )
        case "adagrad":
            adagrad(
                parameters,
                gradients,
                state["sum"],
                steps,
                fused=True,
                lr=lr,
                weight_decay=decay,
                lr_decay=0.0,
                eps=1e-10,
                maximize=False,
            )
        case "rmsprop":
            rmsprop(
                parameters,
                gradients,
                state["square_average"],
                [],
                [],
                steps,
                foreach=parameters[0].device.type != "cpu",
                lr=lr,
                alpha=numbers.rmsprop_alpha,
                eps=1e-8,
                weight_decay=decay,
                momentum=0.0,
                centered=False,
            )
        case "adam" | "adamw":
            adam(
                parameters,
                gradients,
                state["average"],
                state["square_average"],
                [],
                steps,
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=lr,
                weight_decay=decay,
                eps=1e-8,
                maximize=False,
                decoupled_weight_decay=name == "adamw",
            )
        case _:
            raise ValueError(f"{name} is none of {', '.join(STATE)}")
