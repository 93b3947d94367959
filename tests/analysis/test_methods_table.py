"""The table and figure of methods: runs of known differences, through the real script."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from drawing import draw
from study_tables import make_study_table, write_study_table

from gradflow.analysis.figure_of_methods import figure_of_methods
from gradflow.analysis.methods_table import (
    COLUMNS,
    method_cells,
    method_of,
    method_page,
    with_first_flow,
)
from gradflow.analysis.runs import Artifact, read_rows

CONFIGURATIONS = [
    {
        "stands_for": "digits", "dataset": "digits", "optimizer": "adam", "learning_rate": 0.001,
        "regularization": regularization, "activation": "relu", "depth": 4,
    }
    for regularization in ("NR", "BN")
]  # fmt: skip
ARTIFACT = {
    "name": "mask_methods", "title": "Methods of choosing masks", "variant": "paper",
    "variants": {"paper": {}, "snip": {"initial_mask": "snip"}, "egf": {"initial_mask": "egf"},
                 "set": {"mask_update": "set"}},
    "where": {"stands_for": ["digits"]}, "seeds": [1, 2, 3], "percents": [10, 30, 50, 70, 90],
    "configurations": CONFIGURATIONS, "planned_runs": {"digits": 240},
}  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """SNIP's sparse twins are two points worse than random masks', EGF's one point better."""
    random = make_study_table(["adam"], ["NR", "BN"], advantage=20)
    sparse = random["architecture"] == "sparse"
    shifted = [random]
    for variant, points in (("snip", -2.0), ("egf", 1.0)):
        one = random.assign(variant=variant)
        one.loc[sparse, "test_accuracy"] += points
        shifted.append(one)
    return pd.concat(shifted)


@pytest.fixture(scope="module")
def study(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study_table(tmp_path_factory.mktemp("made") / "s", rows)


def test_a_row_a_configuration_and_method(study: Path, tmp_path: Path, rows: pd.DataFrame) -> None:
    table = pd.read_csv(draw("methods_table", ARTIFACT, [study], tmp_path / "m")["csv"])
    assert list(table.columns) == COLUMNS
    assert table["method"].tolist() == ["random", "snip", "egf", "set"] * 2
    by_method = table.set_index(["regularization", "method"])
    for regularization in ("NR", "BN"):
        cells = by_method.loc[regularization]
        assert cells["against_random"][:3].tolist() == pytest.approx([0, -2, 1])
        assert cells["egf_against"][:3].tolist() == pytest.approx([1, 3, 0])
        assert cells["n"].tolist() == [15, 15, 15, 0]
        assert cells.loc["snip", "egf_against_p"] == pytest.approx(2**-15)
    first = rows[(rows["architecture"] == "sparse") & (rows["variant"] == "paper")]
    first = first[(first["epoch"] == first["epoch"].min()) & (first["regularization"] == "NR")]
    assert by_method.loc[("NR", "random"), "first_egf_l2"] == pytest.approx(first["egf_l2"].mean())


def test_a_figure(study: Path, tmp_path: Path) -> None:
    files = draw("plot_methods", ARTIFACT, [study], tmp_path / "f")
    assert files["png"].stat().st_size > 10_000


def test_its_legend_covers_nothing_and_counts_all_runs(study: Path) -> None:
    runs = with_first_flow(read_rows([study]))
    artifact = Artifact.from_json(json.dumps(ARTIFACT))
    figure = figure_of_methods(runs, artifact, ARTIFACT["variants"])
    figure.savefig(io.BytesIO())
    (legend,) = figure.legends
    assert any(
        "180 of 240 planned runs" in text.get_text().replace("\n", " ") for text in figure.texts
    )
    (part,) = figure.subfigs
    assert legend.get_window_extent().y1 < part._supxlabel.get_window_extent().y0


def test_the_marks_are_explained(study: Path, rows: pd.DataFrame) -> None:
    dead = rows.assign(collapsed=rows["architecture"] == "sparse", stands_for="digits")
    artifact = Artifact.from_json(json.dumps(ARTIFACT))
    runs = with_first_flow(dead)
    page = method_page(method_cells(runs, artifact, ARTIFACT["variants"]), runs, artifact)
    assert any("‡" in note and "90 sparse" in note for note in page.notes)


def test_a_method_is_what_its_variant_changes() -> None:
    assert method_of({}) == "random"
    assert method_of({"initial_mask": "snip"}) == "snip"
    assert method_of({"mask_update": "rigl"}) == "rigl"
