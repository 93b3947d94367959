"""Which conclusions change with a choice: known answers on made-up runs, with missing and untouched
ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawing import draw
from study_tables import make_study_table, write_study_table

from gradflow.analysis.runs import Artifact, summarise_runs
from gradflow.analysis.sensitivity import (
    COLUMNS,
    MISSING,
    NO_EFFECT,
    conclude,
    sensitivity_cells,
    sensitivity_page,
)

ROOT = Path(__file__).parents[2]
NAMES = ("adam", "momentum"), ("NR", "BN")
ARTIFACT: dict[str, Any] = {
    "name": "sensitivity", "title": "Choices", "variant": "paper", "seeds": [1, 2, 3],
    "percents": [10, 30, 50, 70, 90],
    "where": {"optimizer": list(NAMES[0]), "regularization": list(NAMES[1])},
    "variants": {
        "paper": {},
        "own_shape": {"initialisation": "own_shape"},
        "skip_overlapping": {"skip_overlap": True},
        "linear_gain": {"init_gain": "linear"},
        "batch_100": {"batch_size": 100},
    },
}  # fmt: skip
TABLE = Artifact.from_json(json.dumps(ARTIFACT))


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Sparse is better; not so with own_shape. skip_overlapping changes nothing, linear_gain has
    one seed of momentum, batch_100 no run."""
    paper = make_study_table(*NAMES, advantage=20)
    few = make_study_table(NAMES[0][1:], NAMES[1], seeds=(1,), percents=(10, 30), advantage=20)
    return pd.concat(
        [
            paper,
            make_study_table(*NAMES, advantage=-20).assign(variant="own_shape"),
            paper.assign(variant="skip_overlapping"),
            few.assign(variant="linear_gain"),
        ]
    )


@pytest.fixture(scope="module")
def cells(rows: pd.DataFrame) -> pd.DataFrame:
    return sensitivity_cells(summarise_runs(rows), TABLE, ARTIFACT["variants"])


def of(cells: pd.DataFrame, alternative: str) -> pd.DataFrame:
    return cells[cells["alternative"] == alternative]


def test_a_variant_that_turns_the_sign_changes_every_conclusion(cells: pd.DataFrame) -> None:
    own = of(cells, "own_shape")
    assert list(cells.columns) == COLUMNS
    assert list(own["conclusion"]) == ["adam NR", "adam BN", "momentum NR", "momentum BN"]
    assert set(own["choice"]) == {"initialisation"} and set(own["where_applied"]) == {"training"}
    assert set(own["reference_conclusion"]) == {"sparse better"}
    assert set(own["conclusion_reached"]) == {"dense better"}
    assert own["changes"].all() and (own["n"] == 15).all()
    assert own["reference_value"].iloc[0] == pytest.approx(2.0**-15) and own["value"].iloc[0] == 1
    assert (own["median_difference"] < 0).all() and (own["reference_median_difference"] > 0).all()


def test_identical_runs_are_no_agreement(cells: pd.DataFrame) -> None:
    same = of(cells, "skip_overlapping")
    assert set(same["conclusion_reached"]) == {NO_EFFECT} and not same["changes"].any()


def test_runs_that_all_died_do_not_show_that_a_choice_had_no_effect() -> None:
    dead = [("adam", side, seed) for side in ("dense", "sparse") for seed in (1, 2, 3)]
    paper = make_study_table(("adam",), ("NR",), diverged=dead)
    both = summarise_runs(pd.concat([paper, paper.assign(variant="own_shape")]))
    assert set(of(sensitivity_cells(both, TABLE), "own_shape")["conclusion_reached"]) == {
        "undecided",
        MISSING,
    }


def test_what_has_not_run_is_missing(cells: pd.DataFrame) -> None:
    for alternative, pairs in (("batch_100", [0, 0, 0, 0]), ("linear_gain", [0, 0, 2, 2])):
        missing = of(cells, alternative)
        assert set(missing["conclusion_reached"]) == {MISSING} and missing["changes"].isna().all()
        assert list(missing["n"]) == pairs
        assert set(missing["reference_conclusion"]) == {"sparse better"}
    nothing = sensitivity_cells(
        summarise_runs(make_study_table().iloc[:0]), TABLE, ARTIFACT["variants"]
    )
    assert set(nothing["conclusion_reached"]) == {MISSING}


def test_a_variant_is_compared_over_the_pairs_that_both_have(rows: pd.DataFrame) -> None:
    of_one_seed = rows[(rows["variant"] != "own_shape") | (rows["seed"] == 1)]
    own = of(sensitivity_cells(summarise_runs(of_one_seed), TABLE), "own_shape")
    assert (own["n"] == 5).all() and own["reference_value"].iloc[0] == pytest.approx(2.0**-5)


def test_dropping_diverged_runs_changes_what_they_decided() -> None:
    rows = make_study_table(
        *NAMES, advantage=20, diverged=[("momentum", "sparse", 1), ("momentum", "sparse", 2)]
    )
    cells = sensitivity_cells(summarise_runs(rows), TABLE)
    dropped = of(cells, "dropped").set_index("conclusion")
    assert dropped.loc["momentum NR", "reference_conclusion"] != "sparse better"
    assert dropped.loc["momentum NR", "conclusion_reached"] == "sparse better"
    assert dropped.loc["momentum NR", "changes"] and dropped.loc["momentum NR", "n"] == 5
    assert (
        not dropped.loc["adam NR", "changes"]
        and dropped.loc["adam NR", "conclusion_reached"] == NO_EFFECT
    )
    assert set(of(cells, "normal approximation")["where_applied"]) == {"analysis"}


def test_the_order_of_measures_changes_with_the_probe() -> None:
    paper = make_study_table(*NAMES)
    generator = np.random.default_rng(0)
    paper["egf_l2"] = generator.random(
        len(paper)
    )  # unrelated to the outcome at the probe, related over minibatches
    paper["minibatch_egf_l2"] = -paper["test_accuracy"] + 100
    paper = paper[paper["epoch"] == 4]
    cells = sensitivity_cells(summarise_runs(paper), TABLE)
    minibatch = of(cells, "minibatch mean").set_index("conclusion")
    row = minibatch.loc["sparse, test accuracy: egf_l2"]
    assert (row["reference_conclusion"], row["conclusion_reached"]) == (
        "place 4 of 4",
        "place 1 of 4",
    )
    assert row["changes"] and row["value"] == pytest.approx(1) and row["n"] == 4
    spearman = of(cells, "Spearman").set_index("conclusion")
    assert len(spearman) == 16 and not spearman["changes"].isna().any()
    # of one probe epoch there is one average
    assert not of(cells, "geometric mean")["changes"].any()


def test_conclusions() -> None:
    assert conclude(pd.Series([1.0] * 5)).conclusion == "sparse better"
    assert conclude(pd.Series([-1.0] * 5)).conclusion == "dense better"
    assert (
        conclude(pd.Series([-1.0] * 3)).conclusion == "undecided"
    )  # p = 1, and yet 1 in 8 by chance
    assert conclude(pd.Series([0.0] * 15)).conclusion == "undecided"
    assert conclude(pd.Series([1.0] * 2)).conclusion == MISSING


def test_several_data_sets_are_refused(rows: pd.DataFrame) -> None:
    mixed = pd.concat([rows, rows.assign(dataset="cifar10")])
    with pytest.raises(ValueError, match="several data sets"):
        sensitivity_cells(summarise_runs(mixed), TABLE)


def test_page_counts_what_changes(cells: pd.DataFrame, rows: pd.DataFrame) -> None:
    text = sensitivity_page(cells, summarise_runs(rows), TABLE).texts["html"]
    own = text.loc[("initialisation", "own_shape")]
    assert (own["Conclusions"], own["Changed"], own["No effect"], own["Missing"]) == (
        "4",
        "4",
        "0",
        "0",
    )
    assert "adam NR: sparse better, then dense better" in own["Which change"]
    assert text.loc[("skip_overlap", "skip_overlapping"), "No effect"] == "4"
    assert text.loc[("batch_size", "batch_100"), "Missing"] == "4"


@pytest.mark.parametrize("finished", [True, False])
def test_the_program_draws_it(rows: pd.DataFrame, tmp_path: Path, finished: bool) -> None:
    study = write_study_table(tmp_path / "study.parquet", rows if finished else rows.iloc[:0])
    draw("sensitivity_table", ARTIFACT, [study], tmp_path / "table")
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table.columns) == COLUMNS and set(ARTIFACT["variants"]) - {"paper"} <= set(
        table["alternative"]
    )
    assert "own_shape" in (tmp_path / "table.html").read_text(encoding="utf-8")
    assert r"own\_shape" in (tmp_path / "table.tex").read_text(encoding="utf-8")
