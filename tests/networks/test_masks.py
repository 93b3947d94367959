"""Masks: exact counts, chance overlap, magnitude, and which weights lie on a path."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from cohorts import make_data, make_job, make_wide_resnet_job
from torch import Tensor

from gradflow.networks.build import active_at, build_networks, mlp_shapes
from gradflow.networks.masks import live_weights, magnitude_mask, random_mask
from gradflow.networks.mlp import StackedMLP
from gradflow.study.job import Configuration, Job, Run, Settings, dense_width
from gradflow.study.shapes import capacity, mlp_layer_shapes
from gradflow.study.streams import stream

PERCENTS = (10, 30, 50, 70, 90)


def build_masks(job: Job) -> dict[Run, list[Tensor]]:
    """The masks of each sparse run of a job, a tensor a layer."""
    found = {}
    for runs, _, masks in build_networks(job, make_data()):
        if masks is not None:
            found |= {run: [mask[k] for mask in masks] for k, run in enumerate(runs)}
    return found


class TestCapacity:
    @pytest.mark.parametrize(
        ("hidden_layers", "expected"),
        [
            (1, [(7, 5), (5, 3)]),
            (2, [(7, 5), (5, 5), (5, 3)]),
            (4, [(7, 5), (5, 5), (5, 5), (5, 5), (5, 3)]),
        ],
    )
    def test_layer_shapes(self, hidden_layers: int, expected: list[tuple[int, int]]) -> None:
        assert mlp_layer_shapes(7, 5, hidden_layers, 3) == expected

    def test_dense_widths_of_the_paper(self) -> None:
        assert [dense_width(3076, percent) for percent in PERCENTS] == [308, 923, 1538, 2153, 2768]
        assert [dense_width(788, percent) for percent in PERCENTS] == [79, 236, 394, 552, 709]

    @pytest.mark.parametrize(
        ("depth", "classes", "percent", "total"), [(1, 10, 10, 949_256), (4, 100, 90, 31_765_568)]
    )
    def test_active_weights_of_the_paper(
        self, depth: int, classes: int, percent: int, total: int
    ) -> None:
        """The two ends of the CIFAR grid, as a training job plans them."""
        job = make_job("sgd", depth=depth, max_width=3076, percents=(percent,))
        data = make_data(train=1, test=1, channels=3, side=32, classes=classes)
        shapes, twin = mlp_shapes(job, Run("sparse", percent), data)
        assert sum(capacity(twin)) == total
        assert mlp_shapes(job, Run("dense", percent), data) == (twin, twin)
        assert shapes == mlp_layer_shapes(3072, 3076, depth, classes)

    def test_masks_of_the_papers_smallest_network(self) -> None:
        job = make_job("sgd", depth=1, max_width=3076, percents=(10,), architectures=("sparse",))
        data = make_data(train=1, test=1, channels=3, side=32, classes=10)
        ((_, _, masks),) = build_networks(job, data)
        assert [tuple(mask.shape) for mask in masks] == [(1, 3072, 3076), (1, 3076, 10)]
        assert [int(mask.sum()) for mask in masks] == [3072 * 308, 308 * 10]
        assert sum(int(mask.sum()) for mask in masks) == 949_256


class TestRandomMask:
    @pytest.mark.parametrize("active", [0, 1, 59, 60])
    @pytest.mark.parametrize("shape", [(6, 10), (2, 3, 2, 5)])
    def test_exact_count(self, shape: tuple[int, ...], active: int) -> None:
        mask = random_mask(shape, active, stream("test", active))
        assert mask.dtype == torch.bool
        assert tuple(mask.shape) == shape
        assert int(mask.sum()) == active

    @pytest.mark.parametrize("active", [-1, 61])
    def test_impossible_counts(self, active: int) -> None:
        with pytest.raises(ValueError, match="60"):
            random_mask((6, 10), active, stream("test"))

    def test_every_place_is_equally_likely(self) -> None:
        draws = 4000
        counts = sum(random_mask((5, 8), 12, stream("test", i)).double() for i in range(draws))
        share = 12 / 40
        sigma = math.sqrt(draws * share * (1 - share))
        assert (counts - draws * share).abs().max() < 4.5 * sigma
        # and not more evenly than chance would have it
        assert counts.std() > 0.5 * sigma


class TestOverlap:
    # wide enough (more than 10,000 places a hidden layer) for numpy to draw large layers as it
    # draws the paper's
    JOB = make_job("sgd", max_width=160, percents=PERCENTS)

    @staticmethod
    def assert_chance(first: Tensor, second: Tensor) -> None:
        """The overlap of two independent draws is hypergeometric."""
        places, a, b = first.numel(), int(first.sum()), int(second.sum())
        p, q = a / places, b / places
        sigma = math.sqrt(places * p * q * (1 - p) * (1 - q) * places / (places - 1))
        overlap = int((first & second).sum())
        assert abs(overlap - p * q * places) < 4 * sigma

    def test_two_widths(self) -> None:
        masks = build_masks(self.JOB)
        assert len(masks) == 5
        for first, second in itertools.combinations(masks.values(), 2):
            for mask, other in zip(first, second, strict=True):
                self.assert_chance(mask, other)

    def test_two_seeds(self) -> None:
        masks, others = build_masks(self.JOB), build_masks(dataclasses.replace(self.JOB, seed=4))
        for run in masks:
            for mask, other in zip(masks[run], others[run], strict=True):
                self.assert_chance(mask, other)

    def test_two_layers_of_one_shape(self) -> None:
        for masks in build_masks(self.JOB).values():
            for mask, other in itertools.combinations(masks[1:4], 2):
                self.assert_chance(mask, other)

    def test_densities_and_seeds_of_a_wide_resnet(self) -> None:
        def masks(**options: int) -> list[Tensor]:
            (found,) = build_masks(make_wide_resnet_job(**options)).values()
            return found

        for other in (masks(percent=50), masks(percent=30, seed=4)):
            for first, second in zip(masks(percent=30), other, strict=True):
                self.assert_chance(first, second)

    def test_the_assertion_can_fail(self) -> None:
        nested = torch.zeros(10_000, dtype=torch.bool)
        nested[:3000] = True
        with pytest.raises(AssertionError):
            self.assert_chance(nested, nested)

    def test_one_run_has_one_mask_whatever_the_configuration(self) -> None:
        """Keyed by dataset, seed and width: comparisons between optimizers are not blurred by other
        masks.
        """
        first, second = (
            build_masks(self.JOB),
            build_masks(make_job("adam", "DA_BN", max_width=160, percents=(50, 70))),
        )
        for run, masks in second.items():
            assert all(
                torch.equal(mask, other) for mask, other in zip(masks, first[run], strict=True)
            )


class TestMagnitudeMask:
    def test_keeps_the_largest(self) -> None:
        weight = torch.tensor([[0.1, -0.9, 0.5], [-0.6, 0.0, 0.2]])
        assert magnitude_mask(weight, 3).tolist() == [[False, True, True], [True, False, False]]

    @pytest.mark.parametrize("shape", [(13, 7), (4, 3, 3, 3)])
    @pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 1.0])
    def test_against_sorting_by_hand(self, shape: tuple[int, ...], share: float) -> None:
        weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        active = round(share * weight.numel())
        mask = magnitude_mask(weight, active)
        magnitudes = np.abs(weight.numpy()).ravel()
        largest = set(np.argsort(magnitudes)[len(magnitudes) - active :].tolist())
        assert set(mask.flatten().nonzero().flatten().tolist()) == largest
        assert mask.shape == weight.shape and mask.dtype == torch.bool

    def test_of_equal_ones_the_first(self) -> None:
        weight = torch.tensor([0.5, -0.5, 1.0, 0.5, -0.5, 0.1])
        assert magnitude_mask(weight, 3).tolist() == [True, True, True, False, False, False]
        zeros = torch.zeros(5000)  # more than a sort that is not stable would keep in order
        assert magnitude_mask(zeros, 1234).nonzero().flatten().tolist() == list(range(1234))

    @pytest.mark.parametrize("active", [-1, 7])
    def test_impossible_counts(self, active: int) -> None:
        with pytest.raises(ValueError, match="6"):
            magnitude_mask(torch.zeros(2, 3), active)


def brute_force_live(masks: list[Tensor], skips: dict[int, int]) -> list[int]:
    """Walk every path of a network; masks [in, out], `skips` from hidden layer to hidden layer."""
    live = [torch.zeros_like(mask, dtype=torch.bool) for mask in masks]

    def walk(layer: int, unit: int, passed: list[tuple[int, int, int]]) -> None:
        if layer == len(masks):
            for index, a, b in passed:
                live[index][a, b] = True
            return
        for following in masks[layer][unit].nonzero().flatten().tolist():
            walk(layer + 1, following, [*passed, (layer, unit, following)])
        for target, source in skips.items():
            if source == layer:
                walk(target, unit, passed)

    for unit in range(masks[0].shape[0]):
        walk(0, unit, [])
    return [int(mask.sum()) for mask in live]


class TestLiveWeights:
    SHAPES = mlp_layer_shapes(4, 5, 4, 3)

    @pytest.mark.parametrize(
        ("regularization", "overlap", "skips"),
        [("NR", False, {}), ("SC", False, {3: 1}), ("SC", True, {3: 1, 4: 2})],
    )
    @pytest.mark.parametrize("share", [0.15, 0.3, 0.6])
    def test_against_every_path(
        self, regularization: str, overlap: bool, skips: dict[int, int], share: float
    ) -> None:
        configuration = Configuration("digits", "mlp", 4, 0, "relu", "sgd", 0.1, regularization)
        networks = 4
        masks = [
            torch.stack(
                [
                    random_mask(s, round(share * math.prod(s)), stream("live", i, k))
                    for k in range(networks)
                ]
            )
            for i, s in enumerate(self.SHAPES)
        ]
        network = StackedMLP(
            configuration, Settings(skip_overlap=overlap), [mask.float() for mask in masks]
        )
        found = torch.stack(live_weights(network.linear_paths, masks), dim=1).tolist()
        expected = [brute_force_live([mask[k] for mask in masks], skips) for k in range(networks)]
        assert found == expected
        if share == 0.3:  # some are dead, not all
            active = [int(mask[0].sum()) for mask in masks]
            assert 0 < sum(expected[0]) < sum(active)

    def test_a_skip_keeps_what_a_cut_layer_would_kill(self) -> None:
        masks = [torch.ones(1, *shape) for shape in self.SHAPES]
        masks[1].zero_()  # nothing from h_1 to h_2
        live = {}
        for regularization in ("NR", "SC"):
            configuration = Configuration("digits", "mlp", 4, 0, "relu", "sgd", 0.1, regularization)
            network = StackedMLP(configuration, Settings(), masks)
            live[regularization] = [
                count.item() for count in live_weights(network.linear_paths, masks)
            ]
        assert live == {"NR": [0, 0, 0, 0, 0], "SC": [20, 0, 0, 25, 15]}

    @pytest.mark.parametrize("widen_factor", [1, 2])
    def test_a_dense_wide_resnet_is_all_alive(self, widen_factor: int) -> None:
        job = make_wide_resnet_job(architecture="dense", percent=100, widen_factor=widen_factor)
        ((_, network, masks),) = build_networks(job, make_data())
        assert masks is None
        ones = [torch.ones_like(layer) for layer in network.layers]
        live = live_weights(network.linear_paths, ones)
        assert [count.item() for count in live] == [layer.numel() for layer in network.layers]

    def test_a_cut_block_of_a_wide_resnet(self) -> None:
        """Without a block's second convolution its first is dead; the shortcut carries the rest."""
        ((_, network, _),) = build_networks(
            make_wide_resnet_job(architecture="dense", percent=100), make_data()
        )
        roles = [layer.role for layer in network.plan]
        shortcut = roles.index("shortcuts")
        assert roles[shortcut - 2 : shortcut + 1] == ["blocks", "blocks", "shortcuts"]
        for cut, dead in ((shortcut - 1, {shortcut - 2, shortcut - 1}), (shortcut, {shortcut})):
            masks = [torch.ones_like(layer) for layer in network.layers]
            masks[cut].zero_()
            live = [count.item() for count in live_weights(network.linear_paths, masks)]
            assert live == [
                0 if i in dead else layer.numel() for i, layer in enumerate(network.layers)
            ]

    def test_a_sparse_wide_resnet_has_dead_weights(self) -> None:
        ((_, network, masks),) = build_networks(make_wide_resnet_job(percent=1), make_data())
        live = [count.item() for count in live_weights(network.linear_paths, masks)]
        active = [int(mask.sum()) for mask in masks]
        assert all(0 <= count <= total for count, total in zip(live, active, strict=True))
        assert sum(live) < sum(active)


class TestDensity:
    def test_counts_of_a_wide_resnet(self) -> None:
        for percent in (1, 5, 10, 50, 100):
            job = make_wide_resnet_job(percent=percent)
            ((_, network, masks),) = build_networks(job, make_data())
            for layer, mask in zip(network.plan, masks, strict=True):
                exact = math.prod(layer.shape) * percent / 100
                assert int(mask.sum()) == max(1, math.floor(exact + 0.5))

    def test_at_least_one_weight(self) -> None:
        job = make_wide_resnet_job(percent=1)
        assert active_at(job, job.runs[0], "blocks", (2, 2)) == 1

    @pytest.mark.parametrize("roles", [("stem",), ("stem", "classifier", "shortcuts")])
    def test_keep_dense(self, roles: tuple[str, ...]) -> None:
        job = make_wide_resnet_job(percent=10, wide_resnet_keep_dense=roles)
        ((_, network, masks),) = build_networks(job, make_data())
        assert {layer.role for layer in network.plan} == {
            "stem",
            "blocks",
            "shortcuts",
            "classifier",
        }
        for layer, mask in zip(network.plan, masks, strict=True):
            assert bool(mask.all()) == (layer.role in roles)
