"""The stacked optimizers against the classes of torch.optim."""

from __future__ import annotations

import pytest
import torch
from plain_training import make_optimizer
from torch import Tensor, nn

from gradflow.study.job import OPTIMIZERS, PAPER_OPTIMIZERS, Settings
from gradflow.training.optimizers import StackedOptimizer, state_names

SHAPES = [(3, 4, 5), (3, 5), (3,)]
RATE = 0.05


def make_parameters(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in SHAPES]


def set_gradients(parameters: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize("decays", [(0.0, 0.0), (0.1, 0.1), (0.1, 0.0)])
@pytest.mark.parametrize("name", PAPER_OPTIMIZERS)
def test_steps_as_the_class_does(
    name: str, decays: tuple[float, float], dtype: torch.dtype, rtol: float
) -> None:
    ours, theirs = make_parameters(dtype), make_parameters(dtype)
    optimizer = StackedOptimizer(name, [(ours[:1], decays[0]), (ours[1:], decays[1])], Settings())
    reference = make_optimizer(
        name,
        [
            {"params": theirs[:1], "weight_decay": decays[0]},
            {"params": theirs[1:], "weight_decay": decays[1]},
        ],
        RATE,
    )
    for step in range(12):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        if step == 6:  # a learning rate drop
            reference.param_groups[0]["lr"] = reference.param_groups[1]["lr"] = RATE / 5
        optimizer.step(RATE if step < 6 else RATE / 5)
        reference.step()
        for own, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(own.detach(), other.detach(), rtol=rtol, atol=rtol)


def test_rmsprop_alpha_is_a_setting() -> None:
    results = []
    for alpha in (0.9, 0.99):
        ours, theirs = make_parameters(), make_parameters()
        optimizer = StackedOptimizer("rmsprop", [(ours, 0.0)], Settings(rmsprop_alpha=alpha))
        reference = make_optimizer("rmsprop", [{"params": theirs}], RATE, alpha)
        for step in range(3):
            set_gradients(ours, step)
            set_gradients(theirs, step)
            optimizer.step(RATE)
            reference.step()
        torch.testing.assert_close(ours[0].detach(), theirs[0].detach(), rtol=1e-13, atol=1e-13)
        results.append(ours[0].detach())
    assert not torch.allclose(*results, rtol=1e-3)


def test_nesterov_is_a_setting_of_momentum_alone() -> None:
    for name, momentum in (("momentum", 0.9), ("sgd", 0.0)):
        ours, theirs = make_parameters(), make_parameters()
        optimizer = StackedOptimizer(name, [(ours, 0.01)], Settings(nesterov=True))
        reference = torch.optim.SGD(
            theirs, RATE, momentum=momentum, weight_decay=0.01, nesterov=momentum > 0
        )
        for step in range(3):
            set_gradients(ours, step)
            set_gradients(theirs, step)
            optimizer.step(RATE)
            reference.step()
        for own, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(own.detach(), other.detach(), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_zero_gradient_and_zero_weight_stay_exactly_zero(name: str) -> None:
    parameters = make_parameters()
    masks = [
        torch.rand(p.shape, generator=torch.Generator().manual_seed(2)) < 0.5 for p in parameters
    ]
    with torch.no_grad():
        for parameter, mask in zip(parameters, masks, strict=True):
            parameter.mul_(mask)
    optimizer = StackedOptimizer(name, [(parameters, 0.1)], Settings())
    for step in range(50):
        set_gradients(parameters, step)
        for parameter, mask in zip(parameters, masks, strict=True):
            parameter.grad.mul_(mask)
        optimizer.step(RATE)
    for parameter, mask in zip(parameters, masks, strict=True):
        assert torch.all(parameter[~mask] == 0)
        assert torch.all(parameter[mask] != 0)
        assert all(torch.all(state[~mask] == 0) for state in optimizer.state_of(parameter))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_restores_into_another_optimizer(name: str) -> None:
    def run(
        optimizer: StackedOptimizer, parameters: list[nn.Parameter], steps: range
    ) -> list[Tensor]:
        for step in steps:
            set_gradients(parameters, step)
            optimizer.step(RATE)
        return [parameter.detach().clone() for parameter in parameters]

    parameters = make_parameters()
    optimizer = StackedOptimizer(name, [(parameters, 0.1)], Settings())
    halfway = run(optimizer, parameters, range(5))
    state = {key: tensor.clone() for key, tensor in optimizer.tensors().items()}
    expected = run(optimizer, parameters, range(5, 10))

    resumed = [nn.Parameter(weight.clone()) for weight in halfway]
    other = StackedOptimizer(name, [(resumed, 0.1)], Settings())
    assert other.tensors().keys() == state.keys()
    for key, tensor in other.tensors().items():
        tensor.copy_(state[key])
    for own, value in zip(run(other, resumed, range(5, 10)), expected, strict=True):
        assert torch.equal(own, value)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_of_a_parameter(name: str) -> None:
    parameters = make_parameters()
    optimizer = StackedOptimizer(name, [(parameters[:1], 0.1), (parameters[1:], 0.0)], Settings())
    for parameter in parameters:
        state = optimizer.state_of(parameter)
        assert [tensor.shape for tensor in state] == [parameter.shape] * len(state_names(name))
    with pytest.raises(KeyError):
        optimizer.state_of(parameters[0].detach().clone())


def test_a_missing_gradient_is_an_error() -> None:
    parameters = make_parameters()
    optimizer = StackedOptimizer("sgd", [(parameters, 0.0)], Settings())
    set_gradients(parameters[:-1], 0)
    with pytest.raises(RuntimeError, match="no gradient"):
        optimizer.step(RATE)
