"""Our correlations beside the published ones, and what they would be without any relation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from made_runs import ARTIFACT, one

from gradflow.analysis.stats import mean_absolute_tau
from gradflow.paper.cells import Runs
from gradflow.paper.permutation_null import PERMUTATIONS, correlation_rows, correlations_of, tau_b
from gradflow.paper.published import load_correlations
from gradflow.training.run_log import MEASURES

pytestmark = pytest.mark.filterwarnings("error")


class TestCorrelations:
    @pytest.mark.parametrize("ties", [False, True])
    def test_tau_b_is_scipys(self, ties: bool) -> None:
        generator = np.random.default_rng(3)
        x, y = generator.normal(size=(6, 4, 15)), generator.normal(size=(2, 15))
        if ties:
            x, y = x.round(), y.round()
            x[x > 1] = np.inf  # diverged runs
        taus = tau_b(x, y)
        for place in np.ndindex(6, 4, 2):
            expected = scipy.stats.kendalltau(
                scipy.stats.rankdata(x[place[:2]]), y[place[2]]
            ).statistic
            assert taus[place] == pytest.approx(expected)

    def test_tau_b_without_variation_is_undefined(self) -> None:
        assert math.isnan(tau_b(np.ones((1, 5)), np.arange(5.0)[None])[0, 0])
        assert math.isnan(tau_b(np.array([[1.0, 2.0]]), np.array([[1.0, 2.0]]))[0, 0])

    def test_ours_is_the_mean_absolute_tau(self, runs: Runs) -> None:
        rows = correlation_rows(load_correlations(), runs, ARTIFACT)
        assert len(rows) == 48
        for architecture in ("sparse", "dense"):
            chosen = runs.together["stands_for"].eq("cifar100") & runs.together["architecture"].eq(
                architecture
            )
            for measure in MEASURES:
                expected = mean_absolute_tau(runs.together[chosen], measure, "test_accuracy")
                row = one(
                    rows,
                    dataset="cifar100",
                    architecture=architecture,
                    target="test_accuracy",
                    measure=measure,
                )
                assert row["ours"] == pytest.approx(expected.mean_abs_kendall_tau)
                assert row["configurations"] == expected.configurations
        assert (
            rows.loc[rows["dataset"] == "cifar10", ["ours", "null_mean", "order_tau"]]
            .isna()
            .all(axis=None)
        )

    def test_width_alone_gives_a_null_as_high_as_ours(self) -> None:
        taus = correlations_of(self._runs(lambda width, seed, noise: width + 0.3 * noise))
        assert taus.null.shape == (PERMUTATIONS, 4, 2)
        assert taus.ours.mean() > 0.7
        assert taus.null.mean() == pytest.approx(taus.ours.mean(), abs=0.1)
        assert taus.within_null[0, 0] == pytest.approx(
            5 / 9, abs=0.02
        )  # of three: 1, 1/3, 1/3, 1/3, 1/3, 1

    def test_a_relation_within_width_is_above_its_null(self) -> None:
        taus = correlations_of(self._runs(lambda width, seed, noise: 0.3 * seed + noise * 0.001))
        np.testing.assert_allclose(taus.within, 1)
        assert taus.within_null.mean() < 0.6
        assert taus.null.mean() < taus.ours.mean() - 0.3

    def test_across_configurations_is_over_seed_means(self) -> None:
        runs = self._runs(lambda width, seed, noise: noise)
        expected = []
        for _, of_width in runs.groupby("width_percent"):
            means = of_width.groupby("configuration")[["mean_egf_l2", "test_loss"]].mean()
            expected.append(
                abs(scipy.stats.kendalltau(means["mean_egf_l2"], means["test_loss"]).statistic)
            )
        assert correlations_of(runs).across[3, 0] == pytest.approx(np.mean(expected))

    def test_one_seed_has_no_null(self) -> None:
        runs = self._runs(lambda width, seed, noise: noise)
        taus = correlations_of(runs[runs["seed"] == 1])
        assert np.isfinite(taus.ours).all()
        assert np.isnan(taus.null).all() and np.isnan(taus.within).all()

    def test_order_of_the_measures(self) -> None:
        runs = self._runs(lambda width, seed, noise: noise)
        runs["stands_for"], runs["architecture"] = "cifar100", "sparse"
        # a measure that is more of the target has the higher tau; the published order is l1 <
        # egf_l1 < l2 < egf_l2 here
        noise = np.random.default_rng(5).normal(size=len(runs))
        for measure, share in zip(MEASURES, (0.2, 0.8, 0.5, 1.0), strict=True):
            runs[f"mean_{measure}"] = share * runs["test_loss"] + (1 - share) * noise
        rows = correlation_rows(load_correlations(), Runs(runs, {}), ARTIFACT)
        block = rows[
            (rows["dataset"] == "cifar100")
            & (rows["architecture"] == "sparse")
            & (rows["target"] == "test_loss")
        ]
        assert block["same_order"].eq(True).all() and block["same_best"].eq(True).all()
        assert block["order_tau"].tolist() == [1.0] * 4
        runs[[f"mean_{measure}" for measure in MEASURES]] = runs[
            [f"mean_{measure}" for measure in MEASURES[::-1]]
        ].to_numpy()
        rows = correlation_rows(load_correlations(), Runs(runs, {}), ARTIFACT)
        block = rows[
            (rows["dataset"] == "cifar100")
            & (rows["architecture"] == "sparse")
            & (rows["target"] == "test_loss")
        ]
        assert block["same_order"].eq(False).all() and block["same_best"].eq(False).all()

    @staticmethod
    def _runs(value: object) -> pd.DataFrame:
        """20 configurations of 15 runs; the measures and the targets are `value` of width, seed and
        noise.
        """
        generator = np.random.default_rng(1)
        assert callable(value)
        rows = [
            {"configuration": f"c{c:02}", "width_percent": width, "seed": seed}
            | {
                f"mean_{measure}": value(width / 20, seed, generator.normal())
                for measure in MEASURES
            }
            | {
                target: value(width / 20, seed, generator.normal())
                for target in ("test_loss", "test_accuracy")
            }
            for c in range(20)
            for width in (10, 30, 50, 70, 90)
            for seed in (1, 2, 3)
        ]
        return pd.DataFrame(rows)
