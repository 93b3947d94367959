"""The paper's two statistics against scipy, against brute force and against cases worked out by
hand.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from study_tables import make_study_table, write_study_table

from gradflow.analysis.runs import Artifact, pair_twins, read_rows, select, summarise_runs
from gradflow.analysis.stats import (
    bootstrap_interval,
    configuration_taus,
    mean_absolute_tau,
    signed_rank_test,
)

pytestmark = pytest.mark.filterwarnings("error")


def brute_force_p_value(differences: list[float]) -> float:
    """P(W+ >= observed) over every choice of signs, the zeros left out."""
    nonzero = [d for d in differences if d != 0]
    ranks = scipy.stats.rankdata(np.abs(nonzero))
    observed = sum(rank for rank, d in zip(ranks, nonzero, strict=True) if d > 0)
    sums = [
        sum(rank for rank, positive in zip(ranks, signs, strict=True) if positive)
        for signs in itertools.product((False, True), repeat=len(nonzero))
    ]
    return sum(total >= observed for total in sums) / len(sums)


class TestSignedRank:
    def test_all_positive_has_the_smallest_p_value(self) -> None:
        test = signed_rank_test(np.arange(1, 16))
        assert test.p_value == 2**-15
        assert (test.n, test.zeros, test.ties) == (15, 0, 0)
        assert test.rank_biserial == 1
        assert test.median_difference == 8
        assert test.interval_low < 8 < test.interval_high

    def test_all_negative(self) -> None:
        test = signed_rank_test(-np.arange(1, 16))
        assert test.p_value == 1
        assert test.rank_biserial == -1

    def test_without_ties_it_is_scipys_exact_one(self) -> None:
        differences = np.random.default_rng(1).normal(0.3, 1, 15)
        test = signed_rank_test(differences)
        exact = scipy.stats.wilcoxon(differences, alternative="greater", method="exact")
        normal = scipy.stats.wilcoxon(
            differences, alternative="greater", method="asymptotic", correction=False
        )
        assert test.p_value == pytest.approx(exact.pvalue, rel=1e-12)
        assert test.p_value_normal == pytest.approx(normal.pvalue, rel=1e-12)

    @pytest.mark.parametrize(
        ("differences", "zeros", "ties"),
        [
            ([1, 1, 1, -1, 2, 2, -3, 4], 0, 6),
            ([0, 0, 1, -2, 3, 4, 5], 2, 0),
            ([0, 0.5, 0.5, -0.5, 1, 1, -2, 3, 3, 0], 2, 7),
            ([0, 0, 0, 1], 3, 0),
            ([-1, -1, -1, -1], 0, 4),
        ],
    )
    def test_with_ties_and_zeros_it_is_the_enumeration(
        self, differences: list[float], zeros: int, ties: int
    ) -> None:
        test = signed_rank_test(differences)
        assert (test.zeros, test.ties) == (zeros, ties)
        assert test.p_value == pytest.approx(brute_force_p_value(differences), rel=1e-12)

    def test_with_ties_it_is_scipys_permutation_test(self) -> None:
        differences = np.array([1, 1, 2, -2, 3, 3, -1, 4, 5, 5.0])
        method = scipy.stats.PermutationMethod(n_resamples=2**10)
        expected = scipy.stats.wilcoxon(differences, alternative="greater", method=method).pvalue
        assert signed_rank_test(differences).p_value == pytest.approx(expected, rel=1e-12)

    def test_rounding_of_percentages_does_not_break_ties(self) -> None:
        # two and minus two of 360 images, from different levels: unequal in the last bits
        first, second = 100 * 203 / 360 - 100 * 201 / 360, 100 * 341 / 360 - 100 * 343 / 360
        assert first != -second
        assert signed_rank_test([first, second, 5.0]).ties == 2

    def test_matched_pairs_rank_biserial_by_hand(self) -> None:
        # ranks 1, 2, 3 and 4; the rank 2 is negative: (8 - 2) / 10
        assert signed_rank_test([1, -2, 3, 4]).rank_biserial == pytest.approx(0.6)

    def test_no_difference_at_all(self) -> None:
        test = signed_rank_test(np.zeros(15))
        assert (test.p_value, test.p_value_normal, test.rank_biserial, test.zeros) == (1, 1, 0, 15)
        assert (test.interval_low, test.interval_high) == (0, 0)

    @pytest.mark.parametrize("differences", [[], [1.0], [1.0, 2.0]])
    def test_fewer_than_three_pairs_are_undefined(self, differences: list[float]) -> None:
        test = signed_rank_test(differences)
        assert test.n == len(differences)
        assert math.isnan(test.p_value) and math.isnan(test.interval_low)

    def test_many_pairs(self) -> None:
        test = signed_rank_test(np.random.default_rng(0).normal(0.05, 1, 2000))
        assert test.p_value == test.p_value_normal
        test = signed_rank_test(np.random.default_rng(0).normal(0.05, 1, 400))
        assert test.p_value == pytest.approx(test.p_value_normal, abs=0.002)

    def test_not_finite_is_refused(self) -> None:
        with pytest.raises(ValueError, match="not finite"):
            signed_rank_test([1, 2, math.inf])


class TestKendall:
    @pytest.fixture
    def runs(self) -> pd.DataFrame:
        runs = summarise_runs(make_study_table(("adam", "sgd"), ("NR", "BN")))
        return runs[runs["architecture"] == "sparse"]

    def test_each_configuration_against_scipy(self, runs: pd.DataFrame) -> None:
        taus = configuration_taus(runs, "egf_l2", "test_accuracy")
        assert len(taus) == 4
        for name, group in runs.groupby("configuration"):
            expected = scipy.stats.kendalltau(
                group["mean_egf_l2"], group["test_accuracy"]
            ).statistic
            assert taus[name] == pytest.approx(expected)

    def test_mean_of_absolute_values_by_hand(self) -> None:
        # tau is 1 for the first, -1/3 for the second (one concordant pair of three), undefined for
        # the others
        runs = pd.DataFrame(
            {
                "configuration": [*"aaabbbcccdd"],
                "mean_egf_l1": [1, 2, 3, 1, 2, 3, 1, 1, 1, 1, 2],
                "test_loss": [4, 5, 6, 6, 4, 5, 1, 2, 3, 1, 2],
            }
        )
        correlation = mean_absolute_tau(runs, "egf_l1", "test_loss")
        assert correlation.mean_abs_kendall_tau == pytest.approx((1 + 1 / 3) / 2)
        assert (correlation.configurations, correlation.undefined, correlation.runs) == (2, 2, 11)
        assert math.isnan(correlation.interval_low)

    def test_the_interval_holds_the_mean_and_is_the_same_again(self, runs: pd.DataFrame) -> None:
        first, second = (mean_absolute_tau(runs, "grad_norm_l1", "test_loss") for _ in range(2))
        assert first == second
        assert first.interval_low < first.mean_abs_kendall_tau < first.interval_high

    def test_diverged_runs_take_the_highest_rank(self) -> None:
        runs = pd.DataFrame(
            {"configuration": "a", "mean_egf_l2": [1, math.inf, 2], "test_loss": [1, math.inf, 2]}
        )
        assert configuration_taus(runs, "egf_l2", "test_loss")["a"] == pytest.approx(1)

    def test_no_runs(self, runs: pd.DataFrame) -> None:
        correlation = mean_absolute_tau(runs.iloc[:0], "egf_l2", "test_loss")
        assert math.isnan(correlation.mean_abs_kendall_tau)
        assert (correlation.configurations, correlation.undefined) == (0, 0)


def test_bootstrap_interval_against_the_normal_one() -> None:
    values = np.random.default_rng(3).normal(5, 1, 400)
    low, high = bootstrap_interval(values, np.mean)
    assert low == pytest.approx(values.mean() - 1.96 * 0.05, abs=0.02)
    assert high == pytest.approx(values.mean() + 1.96 * 0.05, abs=0.02)


class TestRuns:
    def test_averages_over_probe_epochs_by_hand(self) -> None:
        rows = make_study_table(
            ("adam",), ("NR",), percents=(10,), seeds=(1,), architectures=("dense",), epochs=3
        )
        rows["egf_l1"] = [1.0, 10.0, 100.0]
        rows["minibatch_egf_l1"] = [0.0, 2.0, 4.0]
        rows["test_loss"] = [3.0, 2.0, 1.0]
        (run,) = summarise_runs(rows.iloc[[2, 0, 1]]).to_dict("records")
        assert run["mean_egf_l1"] == pytest.approx(37)
        assert run["geometric_mean_egf_l1"] == pytest.approx(10)
        assert (run["mean_minibatch_egf_l1"], run["geometric_mean_minibatch_egf_l1"]) == (2, 0)
        assert (run["test_loss"], run["epoch"], run["dense_width"]) == (1.0, 2, 26)

    def test_each_run_keeps_its_own_numbers(self) -> None:
        rows = make_study_table(("sgd", "adam"), ("NR",)).sample(frac=1, random_state=0)
        for run in summarise_runs(rows).to_dict("records"):
            own = rows[
                (rows["configuration"] == run["configuration"])
                & (rows["architecture"] == run["architecture"])
                & (rows["width_percent"] == run["width_percent"])
                & (rows["seed"] == run["seed"])
            ]
            assert run["mean_egf_l2"] == pytest.approx(own["egf_l2"].mean())
            assert run["test_accuracy"] == own.loc[own["epoch"].idxmax(), "test_accuracy"]

    def test_a_diverged_run_keeps_its_pair(self) -> None:
        rows = make_study_table(("adam",), ("NR",), diverged=[("adam", "sparse", 2)])
        runs = summarise_runs(rows)
        lost = runs[runs["diverged"]]
        assert len(lost) == 5
        assert np.isinf(
            lost[["test_loss", "train_loss", "mean_egf_l2", "geometric_mean_egf_l2"]]
        ).all(axis=None)
        pairs = pair_twins(runs)
        assert len(pairs) == 15
        assert (pairs.loc[pairs["diverged_sparse"], "test_accuracy_sparse"] == 10).all()
        assert not pairs["diverged_dense"].any()

    def test_only_whole_pairs_are_paired_and_with_their_twin(self) -> None:
        rows = make_study_table(("adam", "sgd"), ("NR",))
        missing = (
            (rows["seed"] == 1) & (rows["architecture"] == "dense") & (rows["optimizer"] == "adam")
        )
        runs = summarise_runs(rows[~missing])
        pairs = pair_twins(runs)
        assert len(pairs) == 25
        assert not ((pairs["seed"] == 1) & (pairs["optimizer"] == "adam")).any()
        sparse = runs[runs["architecture"] == "sparse"].set_index(
            ["configuration", "seed", "width_percent"]
        )
        for pair in pairs.to_dict("records"):
            twin = sparse.loc[(pair["configuration"], pair["seed"], pair["width_percent"])]
            assert twin["test_accuracy"] == pair["test_accuracy_sparse"]

    def test_wide_resnets_have_no_twins(self) -> None:
        runs = summarise_runs(
            make_study_table(("adam",), ("BN",), model="wide_resnet", percents=(10, 50))
        )
        assert len(runs) == 9
        assert pair_twins(runs).empty

    def test_runs_that_two_studies_share_count_once(self, tmp_path) -> None:
        rows = make_study_table(("adam",), ("NR", "BN"))
        first = write_study_table(tmp_path / "first.parquet", rows)
        second = write_study_table(
            tmp_path / "second.parquet", rows[rows["regularization"] == "NR"]
        )
        assert len(summarise_runs(read_rows([first, second]))) == 60

    def test_a_damaged_study_table_is_named(self, tmp_path) -> None:
        path = tmp_path / "study.parquet"
        path.write_bytes(b"PAR1 no more")
        with pytest.raises(ValueError, match=r"study\.parquet: not a study table"):
            read_rows([path])

    def test_select(self) -> None:
        rows = make_study_table(("adam", "sgd"), ("NR", "BN"))
        artifact = Artifact(
            "t", "T", "paper", where={"optimizer": "sgd", "regularization": ["BN", "L2"]}
        )
        chosen = select(rows, artifact)
        assert set(chosen["configuration"]) == {"mlp4-relu-sgd-lr0.001-BN"}
        assert select(rows, Artifact("t", "T", "another")).empty
        with pytest.raises(ValueError, match=r"where\.optimiser"):
            select(rows, Artifact("t", "T", "paper", where={"optimiser": "sgd"}))
