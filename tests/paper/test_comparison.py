"""Our p-values and means beside the published ones, and every program that compares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawing import draw
from made_runs import ARTIFACT, CELLS, made_runs, one
from statsmodels.stats.multitest import multipletests
from study_tables import make_study_table, write_study_table

from gradflow.analysis.runs import pair_twins, summarise_runs
from gradflow.analysis.stats import signed_rank_test
from gradflow.paper.cells import Runs, pairs_of_cells, read_runs
from gradflow.paper.comparison import mean_rows
from gradflow.paper.published import load_means

pytestmark = pytest.mark.filterwarnings("error")
SCRIPTS = {
    "compare_p_values": 209,
    "compare_correlations": 48,
    "compare_means": 48,
    "agreement_table": 20,
    "effect_table": 209 * 5,
}


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
