"""Initial weights: spread by formula, zero where masked."""

from __future__ import annotations

import math

import pytest
import torch
from cohorts import make_data, make_job, make_wide_resnet_job
from torch import Tensor

from gradflow.networks.build import build_networks
from gradflow.networks.initialisation import initial_weight
from gradflow.networks.masks import random_mask
from gradflow.study.job import Run, Settings
from gradflow.study.streams import stream

SHAPE, DENSE_FAN_IN, MAX_FAN_IN = (400, 300), 120, 400
ACTIVE = 120 * 90  # of a dense twin [120, 90]: 36 inputs a unit on average
CHOICES = ("shared_dense_fan_in", "shared_max_fan_in", "own_shape", "active_fan_in")


def draw(
    *, sparse: bool = True, shape: tuple[int, ...] = SHAPE, active: int = ACTIVE, **settings: str
) -> tuple[Tensor, Tensor | None]:
    mask = random_mask(shape, active, stream("test", "mask")) if sparse else None
    return initial_weight(
        shape, mask, DENSE_FAN_IN, MAX_FAN_IN, Settings(**settings), stream("test", "draw")
    ), mask


def assert_std(values: Tensor, expected: float) -> None:
    """Within four standard errors (those of a normal distribution, which has the larger), around a
    mean of zero.
    """
    count = values.numel()
    assert count > 1000
    assert values.std().item() == pytest.approx(expected, rel=4 / math.sqrt(2 * count))
    assert abs(values.mean().item()) < 4 * expected / math.sqrt(count)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize(("gain", "factor"), [("relu", 2.0), ("linear", 1.0)])
@pytest.mark.parametrize(
    ("initialisation", "sparse", "fan_in"),
    [
        ("shared_dense_fan_in", False, DENSE_FAN_IN),
        ("shared_dense_fan_in", True, DENSE_FAN_IN),
        ("shared_max_fan_in", False, MAX_FAN_IN),
        ("shared_max_fan_in", True, MAX_FAN_IN),
        ("own_shape", False, DENSE_FAN_IN),
        ("own_shape", True, MAX_FAN_IN),
        ("active_fan_in", False, DENSE_FAN_IN),
    ],
)
def test_standard_deviation(
    initialisation: str, sparse: bool, fan_in: int, gain: str, factor: float, distribution: str
) -> None:
    weight, mask = draw(
        sparse=sparse, initialisation=initialisation, init_gain=gain, init_distribution=distribution
    )
    values = weight[mask] if mask is not None else weight.flatten()
    std = math.sqrt(factor / fan_in)
    assert_std(values, std)
    if distribution == "uniform":
        bound = math.sqrt(3) * std
        assert 0.999 * bound < values.abs().max() <= bound * (1 + 1e-6)
    else:
        assert values.abs().max() > 3 * std


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_active_fan_in_is_each_units_own(distribution: str) -> None:
    weight, mask = draw(initialisation="active_fan_in", init_distribution=distribution)
    inputs = mask.sum(0)
    assert len(inputs.unique()) > 10
    assert_std((weight * torch.sqrt(inputs / 2))[mask], 1.0)
    few, many = inputs <= inputs.double().quantile(0.2), inputs >= inputs.double().quantile(0.8)
    assert weight[:, few][mask[:, few]].std() > 1.1 * weight[:, many][mask[:, many]].std()


def test_active_fan_in_of_a_convolution() -> None:
    shape = (64, 32, 3, 3)
    weight, mask = draw(shape=shape, active=5000, initialisation="active_fan_in")
    inputs = mask.sum((1, 2, 3), keepdim=True)
    assert_std((weight * torch.sqrt(inputs / 2))[mask], 1.0)
    one = torch.zeros(shape, dtype=torch.bool)
    one[0], one[1, 0, 0, 0] = True, True  # 288 inputs and one
    reference = initial_weight(
        shape, torch.ones(shape, dtype=torch.bool), 288, 288, Settings(), stream("test", "draw")
    )
    weight = initial_weight(
        shape, one, 1, 288, Settings(initialisation="active_fan_in"), stream("test", "draw")
    )
    torch.testing.assert_close(weight[0], reference[0])
    torch.testing.assert_close(weight[1, 0, 0, 0], reference[1, 0, 0, 0] * math.sqrt(288))


@pytest.mark.parametrize("initialisation", CHOICES)
def test_zero_exactly_where_masked(initialisation: str) -> None:
    weight, mask = draw(initialisation=initialisation)
    assert weight.dtype == torch.float32
    assert torch.all(weight[~mask] == 0)
    assert torch.all(weight[mask] != 0)
    empty = torch.ones(4, 3, dtype=torch.bool)
    empty[:, 1] = False  # a unit without inputs
    unit = initial_weight(
        (4, 3), empty, 2, 4, Settings(initialisation=initialisation), stream("test")
    )
    assert (
        torch.all(unit[:, 1] == 0)
        and torch.all(unit[:, [0, 2]] != 0)
        and torch.isfinite(unit).all()
    )


def test_the_draw_is_the_streams_alone() -> None:
    (first, _), (second, _) = draw(), draw()
    assert torch.equal(first, second)
    other = initial_weight(
        SHAPE, None, DENSE_FAN_IN, MAX_FAN_IN, Settings(), stream("test", "other")
    )
    dense, _ = draw(sparse=False)
    assert not torch.allclose(dense, other)


class TestNetworks:
    """The same formulas in the networks of a job, layer by layer."""

    INPUTS, MAX_WIDTH, WIDTH = 64, 200, 100

    @pytest.mark.parametrize(
        ("initialisation", "architecture", "first", "hidden", "last"),
        [
            ("shared_dense_fan_in", "dense", INPUTS, WIDTH, WIDTH),
            ("shared_dense_fan_in", "sparse", INPUTS, WIDTH, WIDTH),
            ("shared_max_fan_in", "dense", INPUTS, MAX_WIDTH, MAX_WIDTH),
            ("shared_max_fan_in", "sparse", INPUTS, MAX_WIDTH, MAX_WIDTH),
            ("own_shape", "dense", INPUTS, WIDTH, WIDTH),
            ("own_shape", "sparse", INPUTS, MAX_WIDTH, MAX_WIDTH),
            ("active_fan_in", "dense", INPUTS, WIDTH, WIDTH),
            # a hidden unit shares the dense twin's weights with twice as many; an output with no
            # more
            ("active_fan_in", "sparse", INPUTS // 2, WIDTH // 2, WIDTH),
        ],
    )
    def test_mlp(
        self, initialisation: str, architecture: str, first: int, hidden: int, last: int
    ) -> None:
        job = make_job(
            "sgd",
            max_width=self.MAX_WIDTH,
            architectures=(architecture,),
            initialisation=initialisation,
        )
        ((_, network, _),) = build_networks(job, make_data())
        for layer, fan_in in zip(
            network.layers, [first, hidden, hidden, hidden, last], strict=True
        ):
            values = layer.detach()[layer != 0]
            # of units with their own fan-in only the mean one is known: 1 / k averages to a little
            # more than 1 / mean
            tolerance = (
                0.02 if initialisation == "active_fan_in" and architecture == "sparse" else 0.0
            )
            tolerance += 4 / math.sqrt(2 * values.numel())
            assert values.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=tolerance)

    def test_wide_resnet(self) -> None:
        job = make_wide_resnet_job(architecture="dense", percent=100)
        ((_, network, _),) = build_networks(job, make_data())
        for layer, weight in zip(network.plan, network.layers, strict=True):
            if weight.numel() > 1000:
                fan_in = layer.shape[1] * layer.shape[2] * layer.shape[3]
                assert_std(weight.detach().flatten(), math.sqrt(2 / fan_in))
        assert network.plan[-1].fan_in == 64

    def test_every_run_and_layer_has_a_stream_of_its_own(self) -> None:
        job = make_job("sgd", max_width=60, percents=(50, 70))
        weights = {}
        for runs, network, _ in build_networks(job, make_data()):
            weights |= {
                run: [layer.detach()[k] for layer in network.layers] for k, run in enumerate(runs)
            }
        dense = weights[Run("dense", 50)]
        assert not torch.equal(dense[1], dense[2])
        first, second = (weights[Run("sparse", percent)][1] for percent in (50, 70))
        shared = (first != 0) & (second != 0)
        assert shared.sum() > 50
        assert abs(
            torch.corrcoef(torch.stack([first[shared], second[shared]]))[0, 1]
        ) < 4 / math.sqrt(shared.sum())
