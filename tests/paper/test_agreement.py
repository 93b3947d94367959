"""How far our decisions agree with the published ones, and how large effects are."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from made_runs import ARTIFACT, CELLS, made_runs, one
from statsmodels.stats.inter_rater import cohens_kappa
from study_tables import make_study_table

from gradflow.analysis.runs import pair_twins, summarise_runs
from gradflow.analysis.signed_ranks import tails_of_rows
from gradflow.analysis.stats import signed_rank_test
from gradflow.paper.agreement import (
    agreement_rows,
    effect_rows,
    kappa_of,
    permuted_agreement,
    seeds_to_decide,
)
from gradflow.paper.cells import Runs
from gradflow.paper.verdict_rules import agreement_verdict

pytestmark = pytest.mark.filterwarnings("error")


class TestAgreement:
    def test_kappa_by_hand(self) -> None:
        # yes-yes 20, yes-no 5, no-yes 10, no-no 15: observed 0.7, chance 0.5 * 0.6 + 0.5 * 0.4 =
        # 0.5
        ours = [True] * 25 + [False] * 25
        theirs = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
        assert kappa_of(ours, theirs) == pytest.approx((0.7, 0.5, 0.4))
        assert kappa_of(ours, theirs)[2] == pytest.approx(cohens_kappa([[20, 5], [10, 15]]).kappa)
        assert math.isnan(kappa_of([True, True], [True, True])[2])
        assert all(map(math.isnan, kappa_of([], [])))

    @pytest.mark.parametrize(
        ("kappa", "ceiling", "more", "less", "verdict"),
        [
            (0.8, 0.6, 0.001, 1, "reproduced"),
            (0.5, 0.6, 0.001, 1, "inconclusive"),  # our own resamples agree better
            (0.3, 0.0, 0.2, 0.8, "inconclusive"),  # another order would do as well
            (-0.1, 0.6, 0.7, 0.3, "inconclusive"),  # and here too
            (-0.6, 0.6, 1, 0.02, "contradicted"),
            (math.nan, 0.0, 1, 1, "inconclusive"),
        ],
    )
    def test_the_scorecard_s_verdict(
        self, kappa: float, ceiling: float, more: float, less: float, verdict: str
    ) -> None:
        assert agreement_verdict(kappa, ceiling, more, less) == verdict

    def test_cells_of_a_column_are_no_independent_decisions(self) -> None:
        """Two columns that agree in all of ten rows are two decisions, not twenty."""
        places = [("t", f"row {i}", f"column {j}") for i in range(10) for j in range(2)]
        ours = np.array([j == 0 for _ in range(10) for j in range(2)])
        more, less = permuted_agreement(ours, ours, places)
        assert more == pytest.approx(0.5, abs=0.05) and less == 1
        counts = [[10, 0], [0, 10]]
        assert scipy.stats.fisher_exact(counts, alternative="greater").pvalue < 1e-4
        single = [("t", f"row {i}", "column") for i in range(20)]
        half = np.arange(20) < 10
        assert permuted_agreement(half, half, single)[0] < 0.01
        assert permuted_agreement(half, ~half, single)[1] < 0.01

    @pytest.mark.parametrize(("n", "decimals"), [(3, 1), (15, 0), (15, 3), (30, 1)])
    def test_p_values_of_rows_are_those_of_single_tests(self, n: int, decimals: int) -> None:
        differences = np.random.default_rng(n).normal(0.3, 1, size=(20, n)).round(decimals)
        differences[0] = 0
        expected = [signed_rank_test(row).p_value for row in differences]
        greater, less = tails_of_rows(differences)
        np.testing.assert_allclose(greater, expected, atol=1e-12)
        opposite = [signed_rank_test(-row).p_value for row in differences]
        np.testing.assert_allclose(less, opposite, atol=1e-12)

    def test_without_ties_they_are_scipy_s(self) -> None:
        differences = np.random.default_rng(3).normal(0.2, 1, size=(50, 15))
        for found, side in zip(tails_of_rows(differences), ("greater", "less"), strict=True):
            theirs = scipy.stats.wilcoxon(differences, alternative=side, method="exact", axis=1)
            np.testing.assert_allclose(found, theirs.pvalue, atol=1e-12)

    def test_many_pairs_take_the_normal_approximation(self) -> None:
        differences = np.random.default_rng(0).normal(0.1, 1, size=(5, 45)).round(1)
        differences[0] = 0
        expected = [signed_rank_test(row).p_value_normal for row in differences]
        np.testing.assert_allclose(tails_of_rows(differences)[0], expected, atol=1e-12)

    def test_counts_are_those_of_the_p_values(self, runs: Runs, rows: pd.DataFrame) -> None:
        table = agreement_rows(CELLS, runs)
        assert list(table["table"].unique()) == [
            "3a",
            "3b",
            "3c",
            "4",
            "5a",
            "5b",
            "5c",
            "6a",
            "6b",
            "all",
        ]
        whole = one(table, table="all", criterion="p <= 0.05")
        there = rows[rows["ours"].notna()]
        assert (whole["cells"], whole["cells_ours"]) == (209, 23)
        assert whole["agreeing"] == there["same_decision"].sum()
        assert one(table, table="all", criterion="p < 0.5")["agreeing"] == there["same_side"].sum()
        counts = pd.crosstab(there["ours"] < 0.05, there["theirs"] < 0.05)
        assert whole["kappa"] == pytest.approx(cohens_kappa(counts.to_numpy()).kappa)
        assert one(table, table="3c", criterion="p <= 0.05")["cells_ours"] == 2
        assert 0.5 < whole["ceiling_agreement"] <= 1
        assert (
            whole["ceiling_agreement_low"]
            <= whole["ceiling_agreement"]
            <= whole["ceiling_agreement_high"]
        )
        empty = one(table, table="5a", criterion="p <= 0.05")
        assert (
            empty["cells_ours"] == 0
            and math.isnan(empty["agreement"])
            and math.isnan(empty["ceiling_kappa"])
        )

    def test_a_clear_advantage_has_a_ceiling_of_one(self) -> None:
        table = make_study_table(
            dataset="fashion_mnist", study="fashion_mnist_low", advantage=30, epochs=1
        )
        result = agreement_rows(CELLS, made_runs(table))
        assert one(result, table="4", criterion="p <= 0.05")["ceiling_agreement"] == 1


class TestEffects:
    def test_seeds_to_decide(self) -> None:
        # all of one sign: (1.645 + 0.842)^2 / (3 / 4) = 8.2 pairs, two seeds of five widths
        assert seeds_to_decide(np.arange(1.0, 16), widths=5) == 2
        assert seeds_to_decide(-np.arange(1.0, 16), widths=5) == 2
        assert seeds_to_decide(np.zeros(15), widths=5) == math.inf
        assert math.isnan(seeds_to_decide(np.array([1.0, 2.0]), widths=5))

    def test_seeds_to_decide_have_the_power_promised(self) -> None:
        generator = np.random.default_rng(0)
        shift = 0.3
        seeds = seeds_to_decide(generator.normal(shift, 1, size=2000), widths=5)
        pairs = int(seeds) * 5
        p_values, _ = tails_of_rows(generator.normal(shift, 1, size=(1000, pairs)))
        assert (
            0.78 < (p_values < 0.05).mean() < 0.9
        )  # the formula takes the variance under no effect: a little too many

    def test_a_row_per_cell_and_width(
        self, runs: Runs, tables: list[pd.DataFrame], rows: pd.DataFrame
    ) -> None:
        effects = effect_rows(CELLS, runs, ARTIFACT)
        assert len(effects) == 209 * 5
        row = one(effects, tables="4", optimizer="adam", regularization="BN", width_percent=30)
        pairs = pair_twins(summarise_runs(tables[0]))
        chosen = (
            pairs["optimizer"].eq("adam")
            & pairs["regularization"].eq("BN")
            & pairs["width_percent"].eq(30)
        )
        differences = (
            pairs.loc[chosen, "test_accuracy_sparse"] - pairs.loc[chosen, "test_accuracy_dense"]
        )
        assert row["median_difference"] == pytest.approx(differences.median())
        assert (row["interval_low"], row["interval_high"]) == pytest.approx(
            (differences.min(), differences.max())
        )
        assert (row["n"], row["planned"]) == (3, 3)
        whole = one(rows, tables="4", optimizer="adam", regularization="BN")
        assert row["p_value"] == pytest.approx(whole["ours"])
        decided = effects[effects["decided"].eq(True)]
        assert (decided["seeds_to_decide"] == "").all()
        undecided = effects[effects["decided"].eq(False)]
        assert len(undecided) and (undecided["seeds_to_decide"] != "").all()
        assert effects.loc[effects["p_value"].isna(), "decided"].isna().all()
