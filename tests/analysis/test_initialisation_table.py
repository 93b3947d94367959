"""Does the initialisation decide which twin is better: known answers on made-up runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import scipy.stats
from drawing import draw
from html_cells import Cells
from study_tables import make_study_table, write_study_table

ROOT = Path(__file__).parents[2]
PLACES = [("adam", 0.001, "NR"), ("adam", 0.001, "BN"), ("momentum", 0.001, "NR"),
          ("momentum", 0.001, "BN"),
          ("momentum", 0.01, "BN")]  # fmt: skip
ARTIFACT: dict[str, Any] = {
    "name": "initialisations", "title": "Initialisations", "variant": "paper", "seeds": [1, 2, 3],
    "percents": [10, 30, 50, 70, 90], "where": {"stands_for": ["digits"]},
    "planned_runs": {"digits": 300},
    "initialisation": "shared_dense_fan_in", "train_images": 400,
    "variants": {"active_fan_in": {"initialisation": "active_fan_in"}, "paper": {}},
    "configurations": [
        {"optimizer": optimizer, "learning_rate": rate, "regularization": regularization,
         "activation": "relu",
         "dataset": "digits", "stands_for": "digits", "model": "mlp", "depth": 4, "widen_factor": 0}
        for optimizer, rate, regularization in PLACES
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Sparse is better with `paper`, dense with active_fan_in, but for momentum at 0.01, which has
    four pairs there.
    """
    names = ("adam", "momentum"), ("NR", "BN")
    fast = make_study_table(["momentum"], ["BN"], learning_rate=0.01, advantage=20)
    few = make_study_table(
        ["momentum"],
        ["BN"],
        learning_rate=0.01,
        advantage=20,
        seeds=(2,),
        percents=(10, 30, 50, 70),
    )
    active = [make_study_table(*names, advantage=-20), few]
    return pd.concat(
        [
            make_study_table(*names, advantage=20),
            fast,
            *(one.assign(variant="active_fan_in") for one in active),
        ]
    )


@pytest.fixture(scope="module")
def made(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of the real script."""
    folder = tmp_path_factory.mktemp("made")
    study = write_study_table(folder / "s", rows)
    return draw("initialisation_table", ARTIFACT, [study], folder / "i")


def test_every_statistic_is_that_of_the_cells_pairs(
    made: dict[str, Path], rows: pd.DataFrame
) -> None:
    table = pd.read_csv(made["csv"])
    grouped = [PLACES[0], PLACES[2], PLACES[1], PLACES[3], PLACES[4]]  # NR's together, and BN's
    expected = [(*place, variant) for place in grouped for variant in ("paper", "active_fan_in")]
    keys = ["optimizer", "learning_rate", "regularization", "variant"]
    assert list(table[keys].itertuples(index=False, name=None)) == expected
    last = rows[rows["epoch"] == rows["epoch"].max()]
    for cell in table.to_dict("records"):
        own = last[(last[keys] == pd.Series({key: cell[key] for key in keys})).all(axis=1)]
        wide = own.pivot(
            index=["seed", "width_percent"], columns="architecture", values="test_accuracy"
        )
        differences = (wide["sparse"] - wide["dense"]).round(9)
        assert cell["n"] == len(wide) and cell["planned"] == 15
        assert cell["median_difference"] == pytest.approx(differences.median())
        assert cell["mean_difference"] == pytest.approx(differences.mean())
        assert (cell["mean_dense"], cell["mean_sparse"]) == pytest.approx(
            (wide["dense"].mean(), wide["sparse"].mean())
        )
        if cell["ties"] == cell["zeros"] == 0:
            assert cell["p_value"] == pytest.approx(
                scipy.stats.wilcoxon(differences, alternative="greater").pvalue
            )
    assert table["initialisation"].tolist() == ["shared_dense_fan_in", "active_fan_in"] * 5
    of_paper, of_active = (table[table["variant"] == name] for name in ("paper", "active_fan_in"))
    assert of_paper["changes"].isna().all() and set(of_paper["conclusion"]) == {"sparse better"}
    assert of_active["conclusion"].tolist() == ["dense better"] * 4 + [
        "undecided"
    ]  # four pairs decide nothing
    assert of_active["changes"].all()
    # sparse minus dense falls in all pairs; of the last configuration only four are there
    assert of_paper["fall_p_value"].isna().all()
    assert of_active["fall_n"].tolist() == [15] * 4 + [4]
    falls = of_active["fall_p_value"].to_numpy()[:4]
    assert falls == pytest.approx([2**-15] * 4)
    assert of_active["fall_p_holm"].to_numpy()[:4] == pytest.approx(falls * 4)
    assert (of_active["fall_median"].to_numpy()[:4] < -25).all()  # 40 points, up to the ceiling
    assert of_active[["fall_median", "fall_p_holm"]].iloc[4].isna().all()


def test_the_page_shows_both_side_by_side(made: dict[str, Path]) -> None:
    html = made["html"].read_text(encoding="utf-8")
    page = Cells(html)
    assert page.rows[0][-2:] == ["shared_dense_fan_in", "active_fan_in"]
    assert [row[-11:][0] for row in page.rows[1:2]] == ["accuracy"]
    assert len(page.rows) == 7 and "(n=4)" in page.rows[-1][-6]
    assert "Digits: 278 of 300 planned runs of 5 epochs on 400 of the training images." in html
    assert (
        "4 tests; at or below 0.05 in 4" in html
        and "changes the conclusion" in html
        and "in 5 of 5 comparisons: NR Adam 0.001; NR Mom (0.9) 0.001;" in html
    )
    latex = made["tex"].read_text(encoding="utf-8")
    assert r"shared\_dense\_fan\_in" in latex and latex.count("{") == latex.count("}")
