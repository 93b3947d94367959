"""The stacked MLP and its BatchNorm against one `nn.Module` a network."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from cohorts import assert_close, make_data, make_job
from plain_networks import plain_network
from torch import Tensor, nn

from gradflow.networks.mlp import StackedBatchNorm, StackedMLP, skip_connections
from gradflow.study.job import PAPER_ACTIVATIONS, Configuration, Settings
from gradflow.training.cohort import Cohort
from gradflow.training.stack import forget_gradients, probing_mode

PLACES = ("before_activation", "after_activation")


@pytest.mark.parametrize(
    ("hidden_layers", "overlap", "expected"),
    [
        (1, False, {}),
        (2, False, {}),
        (3, False, {3: 1}),
        (4, False, {3: 1}),
        (5, False, {3: 1, 5: 3}),
        (1, True, {}),
        (2, True, {}),
        (3, True, {3: 1}),
        (4, True, {3: 1, 4: 2}),
        (6, True, {3: 1, 4: 2, 5: 3, 6: 4}),
    ],
)
def test_skip_connections(hidden_layers: int, overlap: bool, expected: dict[int, int]) -> None:
    assert skip_connections(hidden_layers, overlap) == expected


def perturb(network: nn.Module) -> None:
    """Give BatchNorm and learned activations values of their own, so that nothing is 0 or 1 by
    chance.
    """
    generator = torch.Generator().manual_seed(0)
    layers = {id(layer) for layer in network.layers}
    tensors = [p for p in network.parameters() if id(p) not in layers] + list(network.buffers())
    with torch.no_grad():
        for tensor in tensors:
            tensor += 0.3 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)


def assert_forward_and_backward_agree(
    depth: int, regularization: str, activation: str, **settings: Any
) -> None:
    job = make_job(
        "sgd", regularization, activation=activation, depth=depth, percents=(30, 50, 70), **settings
    )
    cohort = Cohort(job, make_data(), torch.device("cpu"))
    for stack in cohort.stacks:
        perturb(stack.network)
        plain = [plain_network(cohort, run, masked=False) for run in stack.runs]
        images = torch.randn(
            (len(stack.runs), 9, 1, 8, 8),
            generator=torch.Generator().manual_seed(1),
            dtype=torch.float64,
        )
        for training in (True, False):
            stack.network.train(training)
            forget_gradients(stack.network)
            logits = stack.network(images)
            upstream = torch.randn(
                logits.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64
            )
            logits.backward(upstream)
            for k, network in enumerate(plain):
                network.train(training)
                network.zero_grad()
                expected = network(images[k])
                expected.backward(upstream[k])
                assert_close(logits[k].detach(), expected.detach(), 1e-12, "logits")
                for layer, weight in zip(stack.layers, network.weights, strict=True):
                    assert_close(layer.grad[k].T, weight.grad, 1e-11, "gradient")


@pytest.mark.parametrize("activation", PAPER_ACTIVATIONS)
@pytest.mark.parametrize("regularization", ["NR", "SC_BN"])
def test_every_activation(activation: str, regularization: str) -> None:
    assert_forward_and_backward_agree(4, regularization, activation)


@pytest.mark.parametrize("depth", [1, 2, 4, 5])
@pytest.mark.parametrize(
    ("skip", "norm", "overlap"), [*itertools.product(PLACES, PLACES, (False, True))]
)
def test_every_place(depth: int, skip: str, norm: str, overlap: bool) -> None:
    assert_forward_and_backward_agree(
        depth, "SC_BN", "swish", skip_place=skip, batchnorm_place=norm, skip_overlap=overlap
    )


def test_places_differ() -> None:
    """So that the test above can tell them apart."""
    weights = [
        torch.randn(2, a, b, generator=torch.Generator().manual_seed(a + b))
        for a, b in [(64, 9)] + 3 * [(9, 9)]
    ]
    weights.append(torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(7)))
    images = torch.randn(2, 6, 1, 8, 8, generator=torch.Generator().manual_seed(8))
    configuration = Configuration("digits", "mlp", 4, 0, "swish", "sgd", 0.1, "SC_BN")
    outputs = [
        StackedMLP(
            configuration, Settings(skip_place=s, batchnorm_place=n, skip_overlap=o), weights
        )(images)
        for s, n, o in itertools.product(PLACES, PLACES, (False, True))
    ]
    for first, second in itertools.combinations(outputs, 2):
        assert not torch.allclose(first, second, rtol=1e-2, atol=1e-2)


class TestBatchNorm:
    K, B, WIDTH = 3, 11, 6

    def make(self) -> tuple[StackedBatchNorm, list[nn.BatchNorm1d]]:
        stacked = StackedBatchNorm(self.K, self.WIDTH).double()
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            stacked.weight.uniform_(0.5, 2, generator=generator)
            stacked.bias.uniform_(-1, 1, generator=generator)
        single = [nn.BatchNorm1d(self.WIDTH).double() for _ in range(self.K)]
        with torch.no_grad():
            for k, norm in enumerate(single):
                norm.weight.copy_(stacked.weight[k])
                norm.bias.copy_(stacked.bias[k])
        return stacked, single

    def inputs(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return 2 + 3 * torch.randn(
            (self.K, self.B, self.WIDTH), generator=generator, dtype=torch.float64
        )

    def test_training_and_evaluation(self) -> None:
        stacked, single = self.make()
        for seed in range(4):
            x = self.inputs(seed)
            found = stacked(x)
            for k, norm in enumerate(single):
                torch.testing.assert_close(found[k], norm(x[k]), rtol=1e-12, atol=1e-12)
        for k, norm in enumerate(single):
            torch.testing.assert_close(
                stacked.running_mean[k], norm.running_mean, rtol=1e-12, atol=1e-12
            )
            torch.testing.assert_close(
                stacked.running_var[k], norm.running_var, rtol=1e-12, atol=1e-12
            )
        stacked.eval()
        before = stacked.running_mean.clone()
        x = self.inputs(9)
        found = stacked(x)
        for k, norm in enumerate(single):
            torch.testing.assert_close(found[k], norm.eval()(x[k]), rtol=1e-12, atol=1e-12)
        assert torch.equal(stacked.running_mean, before)

    def test_a_probe_normalises_by_the_batch_and_leaves_no_trace(self) -> None:
        stacked, single = self.make()
        stacked(self.inputs(0))
        before = {name: value.clone() for name, value in stacked.state_dict().items()}
        x = self.inputs(1)
        with probing_mode(stacked):
            found = stacked(x)
        assert all(torch.equal(value, before[name]) for name, value in stacked.state_dict().items())
        for k, norm in enumerate(single):
            torch.testing.assert_close(found[k], norm(x[k]), rtol=1e-12, atol=1e-12)
        stacked(x)
        assert not torch.equal(stacked.running_mean, before["running_mean"])
