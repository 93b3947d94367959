"""The initialisation that fits the published numbers wins; with missing runs there is no score."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawing import draw
from study_tables import make_study_table, write_study_table

from gradflow.analysis.runs import Artifact, summarise_runs
from gradflow.paper.calibration import (
    COLUMNS,
    calibration_cells,
    calibration_page,
    standardised_differences,
)
from gradflow.paper.published import load_means

PUBLISHED = load_means()
VARIANTS = ("paper", "shared_max_fan_in", "own_shape", "active_fan_in")
NAMES = {"paper": "shared_dense_fan_in"} | {name: name for name in VARIANTS[1:]}
ARTIFACT: dict[str, Any] = {
    "name": "calibration", "title": "Fit", "variant": "paper", "seeds": [1, 2, 3],
    "percents": [10, 30, 50, 70, 90],
    "where": {"stands_for": ["cifar100"], "optimizer": ["sgd", "momentum"],
              "regularization": ["NR"]},
    "variants": {name: {"initialisation": NAMES[name]} for name in VARIANTS},
}  # fmt: skip
TABLE = Artifact.from_json(json.dumps(ARTIFACT))


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """own_shape has just the published means and spreads; each other variant is further off than
    the one before.
    """
    table = make_study_table(("sgd", "momentum"), ("NR",), dataset="cifar100", epochs=1)
    variants = []
    for shift, name in enumerate(("own_shape", "active_fan_in", "paper", "shared_max_fan_in")):
        one = table.assign(variant=name, initialisation=NAMES[name])
        for mean in PUBLISHED:
            chosen = (one["optimizer"] == mean.optimizer) & (
                one["architecture"] == mean.architecture
            )
            if chosen.any() and mean.regularization == "NR":
                values = np.linspace(-1, 1, 15)
                one.loc[chosen, "test_accuracy"] = (
                    mean.mean + mean.std * values / values.std(ddof=1) + 3 * shift
                )
        variants.append(one)
    return pd.concat(variants)


@pytest.fixture(scope="module")
def cells(rows: pd.DataFrame) -> pd.DataFrame:
    return calibration_cells(summarise_runs(rows), TABLE, PUBLISHED, ARTIFACT["variants"])


def test_the_variant_that_fits_wins(cells: pd.DataFrame) -> None:
    assert list(cells.columns) == COLUMNS and len(cells) == 4 * 2 * 2
    ranks = cells.drop_duplicates("variant").set_index("variant")["rank"]
    assert ranks.to_dict() == {
        "paper": 3,
        "shared_max_fan_in": 4,
        "own_shape": 1,
        "active_fan_in": 2,
    }
    best = cells[cells["variant"] == "own_shape"]
    assert best["variant_score"].to_numpy() == pytest.approx(0, abs=1e-9)
    first = cells.iloc[0]
    assert (first["optimizer"], first["architecture"], first["initialisation"]) == (
        "sgd",
        "dense",
        NAMES["paper"],
    )
    assert (first["n"], first["planned"], first["published_mean"]) == (15, 15, 20.809)
    # a share f at 1 % and the others at one accuracy: f / (1 - f) = (8.53 / 10.776)^2
    sparse = cells.iloc[1]
    share = 8.53**2 / (8.53**2 + 10.776**2)
    assert (
        sparse["published_dead"] == pytest.approx(15 * share) and 5 < sparse["published_dead"] < 6
    )


def test_scores_by_hand() -> None:
    of_mean, of_spread = standardised_differences(22.0, 4.0, 15, 20.0, 2.0)
    assert of_mean == pytest.approx(4 / (4 * 2 / 15))
    assert of_spread == pytest.approx(math.log(2) ** 2 * 14)
    assert standardised_differences(20.0, 2.0, 15, 20.0, 2.0) == (0, 0)
    assert math.isfinite(sum(standardised_differences(1.0, 0.0, 15, 1.0, 0.0)))
    # too small a spread is as wrong as too large a one
    assert standardised_differences(20, 1, 15, 20, 2)[1] == pytest.approx(
        standardised_differences(20, 4, 15, 20, 2)[1]
    )


def test_dead_runs_are_counted(rows: pd.DataFrame) -> None:
    dead = rows.copy()
    chosen = (
        (dead["variant"] == "paper")
        & (dead["architecture"] == "sparse")
        & (dead["width_percent"] == 10)
    )
    dead.loc[chosen, "collapsed"] = True
    counts = calibration_cells(summarise_runs(dead), TABLE, PUBLISHED).set_index(
        ["variant", "architecture"]
    )["dead"]
    assert set(counts["paper", "sparse"]) == {3} and set(counts["paper", "dense"]) == {0}


def test_with_missing_runs_there_is_no_score(rows: pd.DataFrame) -> None:
    gone = (rows["variant"] == "own_shape") & (rows["optimizer"] == "sgd") & (rows["seed"] == 2)
    runs = summarise_runs(rows[~gone & (rows["variant"] != "active_fan_in")])
    cells = calibration_cells(runs, TABLE, PUBLISHED, ARTIFACT["variants"])
    scores = cells.drop_duplicates("variant").set_index("variant")
    assert scores["variant_score"].isna().to_dict() == dict(
        zip(VARIANTS, (False, False, True, True), strict=True)
    )
    assert scores.loc["paper", "rank"] == 1 and scores["rank"].isna().sum() == 2
    page = calibration_page(cells, runs, TABLE).texts["html"]
    assert page.loc["own_shape", "Score"] == "no score: runs are missing"
    assert "(n=10)" in page.loc["own_shape", "SGD NR dense"]
    assert page.loc["active_fan_in", "SGD NR dense"] == "missing (n=0)"


def test_page_says_when_another_data_set_stands_in(rows: pd.DataFrame, cells: pd.DataFrame) -> None:
    page = calibration_page(cells, summarise_runs(rows), TABLE)
    assert page.texts["html"].loc["Published", "Mom (0.9) NR sparse"] == "17.5 ± 8.9, dead ≤ 3.4"
    assert "font-weight" in page.styles.loc["own_shape", "Rank"]
    assert not any("say nothing" in note for note in page.notes)
    digits = summarise_runs(rows.assign(dataset="digits"))
    of_digits = calibration_cells(digits, TABLE, PUBLISHED)
    assert any("say nothing" in note for note in calibration_page(of_digits, digits, TABLE).notes)


def test_mixed_configurations_are_refused(rows: pd.DataFrame) -> None:
    mixed = pd.concat([rows, rows.assign(configuration="another")])
    with pytest.raises(ValueError, match="would mix"):
        calibration_cells(summarise_runs(mixed), TABLE, PUBLISHED)


@pytest.mark.parametrize("finished", [True, False])
def test_the_program_draws_it(rows: pd.DataFrame, tmp_path: Path, finished: bool) -> None:
    study = write_study_table(tmp_path / "study.parquet", rows if finished else rows.iloc[:0])
    draw("calibration_table", ARTIFACT, [study], tmp_path / "table")
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table.columns) == COLUMNS and len(table) == 16
    assert table["rank"].notna().all() == finished
    assert "own_shape" in (tmp_path / "table.html").read_text(encoding="utf-8")
    assert r"$\pm$" in (tmp_path / "table.tex").read_text(encoding="utf-8")
