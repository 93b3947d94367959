"""Ours beside the published numbers: on made-up study tables, against scipy, statsmodels and cases
worked by hand.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from drawing import draw
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests
from study_tables import make_study_table, write_study_table

from gradflow.analysis.runs import Artifact, pair_twins, summarise_runs
from gradflow.analysis.signed_ranks import tails_of_rows
from gradflow.analysis.stats import mean_absolute_tau, signed_rank_test
from gradflow.paper.agreement import (
    agreement_rows,
    effect_rows,
    kappa_of,
    permuted_agreement,
    seeds_to_decide,
)
from gradflow.paper.cells import Runs, pairs_of_cells, read_runs
from gradflow.paper.comparison import mean_rows, p_value_rows
from gradflow.paper.permutation_null import PERMUTATIONS, correlation_rows, correlations_of, tau_b
from gradflow.paper.published import distinct_p_values, load_correlations, load_means, load_p_values
from gradflow.paper.verdict_rules import agreement_verdict
from gradflow.training.run_log import MEASURES

pytestmark = pytest.mark.filterwarnings("error")
CELLS = distinct_p_values(load_p_values())
ARTIFACT = Artifact(
    "comparison", "Ours & theirs", "paper", seeds=(1, 2, 3), percents=(10, 30, 50, 70, 90)
)
EWMA = ("adam", "rmsprop")
TABLE_4 = ("adagrad", "adam", "momentum")
REGULARIZATIONS = ("NR", "BN", "DA_SC_BN")
SCRIPTS = {
    "compare_p_values": 209,
    "compare_correlations": 48,
    "compare_means": 48,
    "agreement_table": 20,
    "effect_table": 209 * 5,
}


def made_runs(*tables: pd.DataFrame) -> Runs:
    by_study = {str(table["study"].iloc[0]): summarise_runs(table) for table in tables}
    return Runs(summarise_runs(pd.concat(tables, ignore_index=True)), by_study)


@pytest.fixture(scope="module")
def tables() -> list[pd.DataFrame]:
    """Parts of four studies; digits stands in for CIFAR-100."""
    cifar100 = {"stands_for": "cifar100", "epochs": 2}
    return [
        make_study_table(TABLE_4, REGULARIZATIONS, dataset="fashion_mnist",
                         study="fashion_mnist_low", epochs=2),
        make_study_table(EWMA, REGULARIZATIONS, study="cifar100_low",
                         diverged=[("adam", "sparse", 2)], **cifar100),
        make_study_table(EWMA, ("BN", "DA_SC_BN"), study="cifar100_high", learning_rate=0.1,
                         **cifar100),
        make_study_table(
            EWMA, ("DA_SC_BN",), ("relu", "swish"), study="cifar100_low_activations", advantage=5,
            **cifar100
        ),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tables: list[pd.DataFrame]) -> Runs:
    return made_runs(*tables)


@pytest.fixture(scope="module")
def rows(runs: Runs) -> pd.DataFrame:
    return p_value_rows(CELLS, runs, ARTIFACT)


def one(rows: pd.DataFrame, **where: object) -> pd.Series:
    chosen = rows
    for column, value in where.items():
        chosen = chosen[chosen[column] == value]
    assert len(chosen) == 1
    return chosen.iloc[0]


class TestPValues:
    def test_every_cell_has_a_row_and_ours_where_there_are_runs(self, rows: pd.DataFrame) -> None:
        assert len(rows) == 209
        # Table 4: 3 x 3; 6a: 2 x 3; 3b: 2 x 2; 6b: 2 x 2
        assert rows.groupby("dataset")["ours"].count().to_dict() == {
            "cifar10": 0,
            "cifar100": 14,
            "fashion_mnist": 9,
        }
        missing = rows[rows["ours"].isna()]
        assert (missing["n"] == 0).all()
        assert missing[["same_decision", "same_side", "our_regularization"]].isna().all(axis=None)
        assert missing["theirs"].notna().all()

    def test_a_cell_has_the_statistics_of_its_pairs(
        self, rows: pd.DataFrame, tables: list[pd.DataFrame]
    ) -> None:
        row = one(rows, tables="4", optimizer="adam", regularization="BN")
        pairs = pair_twins(summarise_runs(tables[0]))
        pairs = pairs[(pairs["optimizer"] == "adam") & (pairs["regularization"] == "BN")]
        test = signed_rank_test(pairs["test_accuracy_sparse"] - pairs["test_accuracy_dense"])
        assert (row["ours"], row["ours_normal"], row["n"]) == (
            test.p_value,
            test.p_value_normal,
            15,
        )
        assert (row["rank_biserial"], row["median_difference"]) == (
            test.rank_biserial,
            test.median_difference,
        )
        assert row["theirs"] == 0.020
        assert row["same_decision"] == ((test.p_value < 0.05) == (0.020 < 0.05))
        assert row["same_side"] == (test.p_value < 0.5)

    def test_an_open_regularization_is_found_in_its_study(self, rows: pd.DataFrame) -> None:
        for activation in ("relu", "swish"):
            row = one(rows, tables="6b", optimizer="adam", activation=activation)
            assert (row["regularization"], row["our_regularization"]) == ("best", "DA_SC_BN")
            assert row["n"] == 15
        assert one(rows, tables="3b 3c", optimizer="adam")["our_regularization"] == "DA_SC_BN"

    def test_several_regularizations_for_an_open_one_are_refused(self) -> None:
        table = make_study_table(
            ("adam",),
            ("BN", "DA_SC_BN"),
            study="cifar100_low_activations",
            stands_for="cifar100",
            epochs=1,
        )
        with pytest.raises(
            ValueError, match="adam, relu has several regularizations, BN, DA_SC_BN"
        ):
            pairs_of_cells(CELLS, made_runs(table))

    def test_diverged_runs_are_counted(self, rows: pd.DataFrame) -> None:
        row = one(rows, tables="3a 6a", optimizer="adam", regularization="NR")
        assert (row["diverged_dense"], row["diverged_sparse"], row["collapsed_sparse"]) == (0, 5, 5)

    def test_holm_is_over_the_table_that_prints_most(self, rows: pd.DataFrame) -> None:
        in_6a = rows[rows["tables"].str.contains("6a")]
        assert len(in_6a) == 50
        assert (in_6a["table"] == "6a").all()
        np.testing.assert_allclose(
            in_6a["holm_theirs"], multipletests(in_6a["theirs"], method="holm")[1]
        )
        ours = in_6a["ours"].dropna()
        np.testing.assert_allclose(
            in_6a["holm_ours"].dropna(), multipletests(ours, method="holm")[1]
        )
        # the ReLU cells of 3c belong to its family, though they count in 3b
        in_3c = rows[rows["tables"].str.contains("3c")]
        family = pd.Series(multipletests(in_3c["theirs"], method="holm")[1], index=in_3c.index)
        own = in_3c[in_3c["table"] == "3c"]
        assert len(own) == 25
        np.testing.assert_allclose(own["holm_theirs"], family[own.index])


class TestMeans:
    def test_a_mean_beside_ours(self, runs: Runs, tables: list[pd.DataFrame]) -> None:
        rows = mean_rows(load_means(), runs, ARTIFACT)
        assert len(rows) == 48
        row = one(rows, optimizer="adam", regularization="NR", architecture="sparse")
        last = tables[1][(tables[1]["epoch"] == 1) & (tables[1]["optimizer"] == "adam")]
        accuracy = last.loc[
            (last["regularization"] == "NR") & (last["architecture"] == "sparse"), "test_accuracy"
        ]
        assert row["mean_ours"] == pytest.approx(accuracy.mean())
        assert row["std_ours"] == pytest.approx(accuracy.std())
        assert row["difference"] == pytest.approx((accuracy.mean() - 22.713) / 3.209)
        assert (row["runs"], row["planned"], row["dead"]) == (15, 15, 5)
        missing = rows[rows["optimizer"] == "sgd"]
        assert missing["mean_ours"].isna().all()
        assert (missing["runs"] == 0).all()


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


@pytest.mark.parametrize(
    "given",
    ["one study", *(pytest.param(given, marks=pytest.mark.slow) for given in ("all", "no runs"))],
)
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts(
    script: str,
    given: str,
    tables: list[pd.DataFrame],
    tmp_path: Path,
) -> None:
    chosen = (
        tables if given == "all" else [tables[0] if given == "one study" else tables[0].iloc[:0]]
    )
    paths = [
        write_study_table(tmp_path / f"{place}.parquet", table)
        for place, table in enumerate(chosen)
    ]
    where = {"optimizer": ["adagrad", "adam", "momentum", "rmsprop"]}
    artifact = {
        "name": "x",
        "title": "Ours & theirs",
        "variant": "paper",
        "kind": script,
        "where": where,
    }
    artifact |= {"seeds": [1, 2, 3], "percents": [10, 30, 50, 70, 90]}
    outputs = draw(script, artifact, paths, tmp_path / "x")
    assert len(pd.read_csv(outputs["csv"])) == SCRIPTS[script]
    page = outputs["html"].read_text()
    assert "Ours &amp; theirs" in page
    assert ("No finished runs" in page) == (given == "no runs")
    latex = outputs["tex"].read_text()
    assert latex.count("\\begin{longtable}") == latex.count("\\end{longtable}") == 1
    assert r"Ours \& theirs" in latex
    assert not set("–−≤κ") & set(latex)


def test_a_shared_run_is_in_each_of_its_studies(tables: list[pd.DataFrame], tmp_path: Path) -> None:
    paths = [
        write_study_table(tmp_path / f"{place}.parquet", table)
        for place, table in enumerate(tables)
    ]
    runs = read_runs(paths, ARTIFACT)
    shared = runs.together[
        (runs.together["optimizer"] == "adam") & (runs.together["regularization"] == "DA_SC_BN")
    ]
    low_relu = shared[shared["learning_rate"].eq(0.001) & shared["activation"].eq("relu")]
    assert len(low_relu[low_relu["stands_for"] == "cifar100"]) == 30
    assert len(runs.by_study["cifar100_low_activations"]) == 2 * 2 * 30
