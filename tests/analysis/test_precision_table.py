"""What the arithmetic changes: runs of known differences between precisions, through the real
script.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from drawing import draw
from study_tables import make_study_table, write_study_table

from gradflow.analysis.precision_table import COLUMNS

ROOT = Path(__file__).parents[2]
CONFIGURATIONS = [
    {
        "stands_for": "digits", "dataset": "digits", "optimizer": optimizer, "learning_rate": 0.001,
        "regularization": regularization, "activation": "relu", "depth": 4,
    }
    for regularization in ("NR", "BN")
    for optimizer in ("adam", "momentum")
]  # fmt: skip
ARTIFACT = {
    "name": "precisions", "title":
        "What the "
        "arithmetic changes", "variant": "paper", "precision": "float32",
    "variants": {"paper": {}, "tf32": {"precision": "tf32"}, "bf16": {"precision": "bf16"}},
    "where": {"stands_for": ["digits"]}, "seeds": [1, 2, 3], "percents": [10, 30, 50, 70, 90],
    "configurations": CONFIGURATIONS, "planned_runs": {"digits": 360},
}  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """TF32 equals float32; in bfloat16 dense twins win, and every EGF is a tenth larger."""
    exact = make_study_table(["adam", "momentum"], ["NR", "BN"], advantage=20)
    mixed = make_study_table(["adam", "momentum"], ["NR", "BN"], advantage=-20).assign(
        variant="bf16"
    )
    mixed["egf_l2"] = exact["egf_l2"] * 1.1
    return pd.concat([exact, exact.assign(variant="tf32"), mixed])


@pytest.fixture(scope="module")
def made(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of the real script."""
    folder = tmp_path_factory.mktemp("made")
    study = write_study_table(folder / "s", rows)
    return draw("precision_table", ARTIFACT, [study], folder / "p")


def test_a_row_per_configuration_and_precision(made: dict[str, Path]) -> None:
    table = pd.read_csv(made["csv"])
    assert list(table.columns) == COLUMNS
    assert table["precision"].tolist() == ["float32", "tf32", "bf16"] * 4
    assert table[["regularization", "optimizer"]].iloc[::3].to_numpy().tolist() == [
        [one["regularization"], one["optimizer"]] for one in CONFIGURATIONS
    ]
    assert set(table["runs"]) == {30} and set(table["n"]) == {15}


def test_differences_are_those_of_the_same_runs(made: dict[str, Path], rows: pd.DataFrame) -> None:
    table = pd.read_csv(made["csv"])
    same = table[table["precision"] != "bf16"]
    assert (same[["accuracy_shift", "accuracy_difference", "egf_difference"]] == 0).all(axis=None)
    assert (same["egf_ratio"] == 1).all() and same["changes"].fillna(False).eq(False).all()
    mixed = table[table["precision"] == "bf16"]
    assert mixed["egf_ratio"].to_numpy() == pytest.approx(1.1)
    assert mixed["egf_difference"].to_numpy() == pytest.approx(np.log(1.1))
    assert mixed["changes"].eq(True).all()
    last = rows[rows["epoch"] == rows["epoch"].max()]
    key = ["optimizer", "regularization", "architecture", "width_percent", "seed"]
    wide = last.pivot(index=key, columns="variant", values="test_accuracy")
    for cell in mixed.to_dict("records"):
        own = wide.loc[(cell["optimizer"], cell["regularization"])]
        assert cell["accuracy_shift"] == pytest.approx((own["bf16"] - own["paper"]).mean())
        assert cell["accuracy_difference"] == pytest.approx(
            (own["bf16"] - own["paper"]).abs().mean()
        )
        by_seed = own["paper"].unstack("seed")
        between = [(by_seed[a] - by_seed[b]).abs() for a, b in ((1, 2), (1, 3), (2, 3))]
        assert cell["seed_accuracy_difference"] == pytest.approx(pd.concat(between).mean())


def test_decisions_are_tables_4s(made: dict[str, Path], rows: pd.DataFrame) -> None:
    last = rows[rows["epoch"] == rows["epoch"].max()]
    for cell in pd.read_csv(made["csv"]).to_dict("records"):
        keys = ["variant", "optimizer", "regularization"]
        own = last[(last[keys] == pd.Series({key: cell[key] for key in keys})).all(axis=1)]
        wide = own.pivot(
            index=["seed", "width_percent"], columns="architecture", values="test_accuracy"
        )
        if cell["ties"] == cell["zeros"] == 0:
            expected = scipy.stats.wilcoxon(
                (wide["sparse"] - wide["dense"]).round(9), alternative="greater"
            ).pvalue
            assert cell["p_value"] == pytest.approx(expected)


def test_what_a_reader_sees(made: dict[str, Path]) -> None:
    page = made["html"].read_text()
    assert "in 4 of 8 comparisons" in page and "bf16 Adam NR" in page
    assert "bf16" in made["tex"].read_text()
