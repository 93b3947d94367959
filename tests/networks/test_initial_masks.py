"""Methods that choose masks before training: hand-computed masks, and what their authors say of
them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cohorts import DEVICE, find_run, layer_masks, make_data, make_job, make_wide_resnet_job
from torch import Tensor

from gradflow.networks import initial_masks
from gradflow.networks.build import build_networks
from gradflow.networks.contracts import ContractError
from gradflow.networks.pruning import (
    Start,
    checked_masks,
    erk_counts,
    largest_by_layer,
    largest_of_all,
    method,
)
from gradflow.study.job import LIBRARY_INITIAL_MASKS, Job, Run, Settings
from gradflow.study.streams import stream
from gradflow.training.cohort import Cohort

F64 = torch.float64


def t(*rows: Sequence[float]) -> Tensor:
    return torch.tensor(rows, dtype=F64)


def linear(weights: list[Tensor], active: list[int], x: Tensor, square: bool = False) -> Start:
    """A linear network of one output y; the loss is y, or y squared halved."""

    def forward(ws: Sequence[Tensor], start: Tensor) -> Tensor:
        for w in ws:
            start = start @ w
        return start.sum()

    def loss(ws: Sequence[Tensor]) -> Tensor:
        y = forward(ws, x)
        return y * y / 2 if square else y

    return Start(
        weights=weights,
        active=active,
        loss=loss,
        paths=lambda ws: forward(ws, torch.ones_like(x)),
        stream=lambda *key: stream("test", *key),
    )


# y = (3 a0 + a1) ... : inputs 3 and 1, two hidden units, one output
A, B, X = t([1.0, -2.0], [4.0, 0.5]), t([0.5], [3.0]), t([3.0, 1.0])


class TestByHand:
    def test_magnitude(self) -> None:
        masks = method("magnitude")(linear([A, B], [2, 1], X))
        assert masks[0].tolist() == [[False, True], [True, False]]
        assert masks[1].tolist() == [[False], [True]]

    def test_snip(self) -> None:
        """dy/dA = x B' = [[1.5, 9], [0.5, 3]], dy/dB = (x A)' = [7, -5.5]."""
        # |A dA| = [[1.5, 18], [2, 1.5]], |B dB| = [3.5, 16.5]
        masks = method("snip")(linear([A, B], [2, 1], X))
        assert masks[0].tolist() == [[False, True], [False, False]]
        assert masks[1].tolist() == [[True], [True]]

    def test_grasp(self) -> None:
        """For y squared halved, with y = 1/2 7 - 3 5.5 = -13: H g = J (J' g) + y (d2y g)."""
        start = linear([A, B], [2, 1], X, square=True)
        y = -13.0
        j_a, j_b = t([1.5, 9.0], [0.5, 3.0]), t([7.0], [-5.5])
        g_a, g_b = y * j_a, y * j_b
        inner = (j_a * g_a).sum() + (j_b * g_b).sum()
        h_a = j_a * inner + y * X.T @ g_b.T  # d2y/dA dB is x
        h_b = j_b * inner + y * (X @ g_a).T
        scores = [A * h_a, B * h_b]
        expected = largest_of_all(scores, [2, 1])
        assert [m.tolist() for m in method("grasp")(start)] == [m.tolist() for m in expected]
        assert sum(int(mask.sum()) for mask in expected) == 3

    def test_synflow_in_one_round(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """R = sum_h (|a0h| + |a1h|) |bh|: through A [[.5, 6], [2, 1.5]], through B [2.5, 7.5]."""
        monkeypatch.setattr("gradflow.networks.initial_masks.synflow.ROUNDS", 1)
        masks = method("synflow")(linear([A, B], [2, 1], X))
        assert masks[0].tolist() == [[False, True], [False, False]]
        assert masks[1].tolist() == [[True], [True]]

    def test_synflow_in_many_rounds(self) -> None:
        """Once A's .5 is gone, B's first falls to 2; it ties with A's 2, which comes first."""
        masks = method("synflow")(linear([A, B], [2, 1], X))
        assert masks[0].tolist() == [[False, True], [True, False]]
        assert masks[1].tolist() == [[False], [True]]

    def test_egf(self) -> None:
        """The derivative by each mask, by differences of EGF itself."""
        start = linear([A, B], [2, 1], X, square=True)

        def egf(masks: list[Tensor]) -> Tensor:
            weights = [w * m for w, m in zip(start.weights, masks, strict=True)]
            gradients = start.gradients(weights)
            return sum((g * m).norm() for g, m in zip(gradients, masks, strict=True)) / 2

        whole, slopes = [torch.ones_like(w) for w in start.weights], []
        for layer, weight in enumerate(start.weights):
            slope = torch.zeros_like(weight)
            for place in range(weight.numel()):
                near = [m.clone() for m in whole]
                near[layer].view(-1)[place] -= 1e-6
                slope.view(-1)[place] = (egf(whole) - egf(near)) / 1e-6
            slopes.append(slope)
        expected = largest_by_layer(slopes, [2, 1])
        assert [m.tolist() for m in method("egf")(start)] == [m.tolist() for m in expected]

    def test_erk(self) -> None:
        # 66 by sides of 20, 20 and 12: 25.4, 25.4 and 15.2; the first has what is left over
        assert erk_counts([(10, 10), (10, 10), (10, 2)], [30, 30, 6]) == [26, 25, 15]
        assert erk_counts([(100, 100), (2, 2)], [600, 4]) == [600, 4]
        # 990 by sides of 200 and 101 would be more than the second has
        assert erk_counts([(100, 100), (100, 1)], [900, 90]) == [890, 100]

    def test_a_layer_that_is_whole_stays_whole(self) -> None:
        scores = [t([1.0, 2.0]), t([9.0, 8.0, 7.0])]
        masks = largest_of_all(scores, [2, 1])
        assert masks[0].tolist() == [[True, True]]
        assert masks[1].tolist() == [[True, False, False]]

    def test_equal_scores_keep_the_first(self) -> None:
        (mask,) = largest_by_layer([torch.ones(2, 3)], [4])
        assert mask.flatten().tolist() == [True] * 4 + [False] * 2


def test_every_file_is_a_method() -> None:
    files = Path(initial_masks.__file__).parent.glob("*.py")
    assert {file.stem for file in files} - {"__init__"} == set(LIBRARY_INITIAL_MASKS)
    assert all(callable(method(name)) for name in LIBRARY_INITIAL_MASKS)
    assert Settings().initial_mask == "random" and "initial_mask" not in make_job().to_json()


THREE = (10, 50, 100)


@pytest.mark.parametrize("name", LIBRARY_INITIAL_MASKS)
@pytest.mark.parametrize("regularization", ["NR", "SC_BN"])
class TestInTheEngine:
    def test_capacity(self, name: str, regularization: str) -> None:
        job = make_job("adam", regularization, percents=THREE, initial_mask=name, epochs=1)
        cohort = Cohort(job, make_data(), DEVICE)
        assert cohort.train(1)
        for percent in THREE:
            sparse, dense = (cohort.rows[Run(a, percent)][-1] for a in ("sparse", "dense"))
            assert sum(sparse["active_weights"]) == sum(dense["active_weights"])
            if name in ("random", "magnitude", "egf"):
                assert sparse["active_weights"] == dense["active_weights"]
        for layer in layer_masks(cohort, Run("sparse", 100)):
            assert layer.bool().all()

    def test_masks_do_not_depend_on_company(self, name: str, regularization: str) -> None:
        together = Cohort(
            make_job("adam", regularization, percents=THREE, initial_mask=name), make_data(), DEVICE
        )
        alone = Cohort(
            make_job("adam", regularization, percents=(50,), initial_mask=name), make_data(), DEVICE
        )
        run = Run("sparse", 50)
        for ours, theirs in zip(layer_masks(together, run), layer_masks(alone, run), strict=True):
            assert torch.equal(ours, theirs)
        assert find_run(alone, run)[0].masks is not None


@pytest.mark.parametrize("name", LIBRARY_INITIAL_MASKS)
def test_a_wide_resnet_too(name: str) -> None:
    job = make_wide_resnet_job("adam", percent=20, initial_mask=name)
    data = make_data(train=38, test=10)
    ((_, network, masks),) = build_networks(job, data)
    assert masks is not None and len(masks) == len(network.layers)
    random = dataclasses.replace(
        job, settings=dataclasses.replace(job.settings, initial_mask="random")
    )
    ((_, _, expected),) = build_networks(random, data)
    assert expected is not None
    assert sum(int(m.sum()) for m in masks) == sum(int(m.sum()) for m in expected)
    for layer, mask in zip(network.layers, masks, strict=True):
        assert torch.all(layer[~mask] == 0)


def dense_start(depth: int, widths: Sequence[int], share: float) -> Start:
    """A ReLU network at its initial weights, to be pruned to a share of them."""
    generator = torch.Generator().manual_seed(0)
    weights = [
        torch.randn(a, b, generator=generator, dtype=F64) * (2 / a) ** 0.5
        for a, b in itertools.pairwise(widths)
    ]
    x = torch.randn(64, widths[0], generator=generator, dtype=F64)
    y = torch.arange(64) % widths[-1]

    def loss(ws: Sequence[Tensor]) -> Tensor:
        hidden = x
        for w in ws[:-1]:
            hidden = torch.relu(hidden @ w)
        return F.cross_entropy(hidden @ ws[-1], y)

    def paths(ws: Sequence[Tensor]) -> Tensor:
        hidden = torch.ones(1, widths[0], dtype=F64)
        for w in ws:
            hidden = hidden @ w
        return hidden.sum()

    counts = [max(1, int(share * w.numel())) for w in weights]
    return Start(weights, counts, loss, paths, lambda *key: stream("test", *key))


class TestLayerCollapse:
    """Tanaka et al. (2020): at extreme densities SNIP empties a large layer; SynFlow does not."""

    START = dense_start(4, [50, 400, 400, 400, 10], 0.0005)

    @pytest.mark.parametrize(("name", "collapses"), [("snip", True), ("synflow", False)])
    def test_at_an_extreme_density(self, name: str, collapses: bool) -> None:
        left = [int(mask.sum()) for mask in method(name)(self.START)]
        assert sum(left) == sum(self.START.active)
        assert (min(left) == 0) == collapses, left

    def test_egf_keeps_its_share_of_each_layer(self) -> None:
        assert [int(m.sum()) for m in method("egf")(self.START)] == self.START.active

    def test_snip_prunes_large_layers_most(self) -> None:
        start = dense_start(4, [50, 400, 400, 400, 10], 0.05)
        densities = [mask.double().mean().item() for mask in method("snip")(start)]
        assert densities[2] < 0.5 * densities[-1]


def test_egf_as_criterion_keeps_more_egf_than_chance() -> None:
    start = dense_start(3, [30, 60, 60, 5], 0.3)

    def egf(masks: list[Tensor]) -> float:
        weights = [w * m for w, m in zip(start.weights, masks, strict=True)]
        gradients = start.gradients(weights)
        norms = [(g * m).norm() for g, m in zip(gradients, masks, strict=True)]
        return float(sum(norms) / len(norms))

    assert egf(method("egf")(start)) > 2 * egf(method("random")(start))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda masks: masks[:1], "must return a mask for each of the 2 layers"),
        (lambda masks: [m * 0.5 for m in masks], "other values than 0 and 1"),
        (lambda masks: [torch.ones_like(m) for m in masks], "keeps 6 weights where the dense twin"),
    ],
)
def test_a_method_of_ones_own_is_checked(
    change: Callable[[list[Tensor]], Any], sentence: str
) -> None:
    start = linear([A, B], [2, 1], X)
    masks = [m.double() for m in method("magnitude")(start)]
    checked_masks("mine.py", masks, start)
    with pytest.raises(ContractError, match=rf"mine\.py: masks .*{sentence}"):
        checked_masks("mine.py", change(masks), start)


def test_rigl_grows_where_the_gradient_is_largest() -> None:
    from gradflow.training.mask_updates import _grow

    weight, slope = t([1.0, 0.2, 3.0, 0.0, 0.0, 0.0]), t([0.1, 0.3, 9.0, 5.0, 0.2, 7.0])
    mask = t([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    assert _grow(weight, slope, mask, 0.4).tolist() == [[1, 0, 1, 0, 0, 1]]
    assert _grow(weight, slope, mask, 0.7).tolist() == [[0, 0, 1, 1, 0, 1]]
    assert _grow(weight, slope, mask, 0.0).tolist() == mask.tolist()


def rigl_job() -> Job:
    return make_job("adam", "BN", percents=(30, 50), mask_update="rigl", epochs=8)


def test_rigl_slows_down_and_stops() -> None:
    job = rigl_job()
    cohort = Cohort(job, make_data(), DEVICE)
    moved = []
    for epoch in range(job.epochs):
        before = [mask.clone() for mask in cohort.stacks[0].masks or []]
        cohort.train(epoch + 1)
        after = cohort.stacks[0].masks or []
        moved.append(sum(int((a != b).sum()) for a, b in zip(before, after, strict=True)))
    assert moved[0] == 0 and moved[6] == moved[7] == 0  # three quarters of 8 epochs
    assert moved[1] > moved[4] > 0
