"""How differences move with maximum width and length: runs of known differences, through the real
program.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from drawing import draw
from study_tables import make_study_table, write_study_table

from gradflow.analysis.bridge_table import bridge_cells, live_shares
from gradflow.analysis.figure_of_width_and_length import figure_of_width_and_length
from gradflow.analysis.runs import Artifact, read_rows, summarise_runs

PERCENTS = [10, 30, 50, 70, 90]
ARTIFACT = {
    "name": "width_and_length", "title": "Width and length", "variant": "width_392",
    "where": {"stands_for": ["digits"]}, "seeds": [1, 2, 3], "percents": PERCENTS,
    "planned_runs": {"digits": 240},
}  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Sparse twins win at maximum width 196 from the start, at 392 from the second probe epoch
    on.
    """
    narrow = make_study_table(["adam", "momentum"], ["NR", "BN"], advantage=20)
    wide = make_study_table(["adam", "momentum"], ["NR", "BN"], advantage=-20)
    late = wide["epoch"] > 0
    wide.loc[late, "test_accuracy"] = narrow.loc[late, "test_accuracy"]
    live = wide["architecture"] == "sparse"
    wide["live_weights"] = [
        [80] * 5 if sparse and percent == 10 else [100] * 5
        for sparse, percent in zip(live, wide["width_percent"], strict=True)
    ]
    return pd.concat(
        [
            narrow.assign(variant="width_196", max_width=196),
            wide.assign(variant="width_392", max_width=392),
        ]
    )


@pytest.fixture(scope="module")
def made(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("made")
    return draw("bridge_table", ARTIFACT, [write_study_table(folder / "s", rows)], folder / "p")


def test_a_row_per_configuration_width_and_probe(made: dict[str, Path], rows: pd.DataFrame) -> None:
    table = pd.read_csv(made["csv"], keep_default_na=False)
    epochs = rows["epoch"].nunique()
    assert len(table) == 4 * 2 * epochs and set(table["n"].astype(int)) == {15}
    first = ["NR"] * 4 * epochs + ["BN"] * 4 * epochs
    assert table["regularization"].tolist() == first
    assert table["max_width"].astype(int).tolist() == ([196] * epochs + [392] * epochs) * 4
    assert table["epoch"].astype(int).tolist() == list(range(1, epochs + 1)) * 8


def test_the_numbers_are_scipys(made: dict[str, Path], rows: pd.DataFrame) -> None:
    table = pd.read_csv(made["csv"], keep_default_na=False)
    for cell in table.to_dict("records"):
        own = rows[
            (rows["optimizer"] == cell["optimizer"])
            & (rows["regularization"] == cell["regularization"])
            & (rows["max_width"] == int(cell["max_width"]))
            & (rows["epoch"] == int(cell["epoch"]) - 1)
        ]
        pairs = own.pivot(
            index=["width_percent", "seed"], columns="architecture", values="test_accuracy"
        )
        difference = (pairs["sparse"] - pairs["dense"]).round(9)
        for column, chosen in (
            ("p_value", difference),
            ("p_value_without_smallest", difference.drop(10, level="width_percent")),
        ):
            theirs = scipy.stats.wilcoxon(chosen, alternative="greater", method="exact").pvalue
            if chosen.abs().is_unique and (chosen != 0).all():
                assert float(cell[column]) == pytest.approx(theirs)
        means = difference.groupby(level="width_percent").mean()
        ours = [float(cell[f"difference_{percent}"]) for percent in PERCENTS]
        np.testing.assert_allclose(ours, means, atol=1e-9)
        wins = cell["max_width"] == 196 or int(cell["epoch"]) > 1
        assert (float(cell["p_value"]) < 0.05) == wins
        share = 0.8 if int(cell["max_width"]) == 392 else 1.0
        assert float(cell["live_share"]) == pytest.approx(share)


def test_the_page_shows_lengths_and_widths(made: dict[str, Path]) -> None:
    page = made["html"].read_text()
    for text in ("p at 1<", "p without 10 %", "live %", "Mom (0.9) BN", "392", ">80<"):
        assert text in page
    assert r"p without 10 \%" in made["tex"].read_text()


def test_without_runs_there_is_an_empty_table(rows: pd.DataFrame, tmp_path: Path) -> None:
    files = draw(
        "bridge_table", ARTIFACT, [write_study_table(tmp_path / "s", rows[:0])], tmp_path / "p"
    )
    assert len(pd.read_csv(files["csv"])) == 0
    assert "No finished runs; 240 are planned." in files["html"].read_text()


def test_the_figure_has_a_line_a_width_and_tells_what_shows(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    artifact = {**ARTIFACT, "name": "differences_over_training"}
    study = write_study_table(tmp_path / "s", rows)
    assert draw("plot_width_and_length", artifact, [study], tmp_path / "f")["png"].exists()
    request = Artifact.from_json(json.dumps(artifact))
    read = read_rows([study])
    cells = bridge_cells(read, live_shares([study]), request)
    figure = figure_of_width_and_length(cells, summarise_runs(read), request)
    assert len(figure.axes) == 4
    figure.savefig(io.BytesIO())
    (legend,), (part,) = figure.legends, figure.subfigs
    assert legend.get_window_extent().y1 < part._supxlabel.get_window_extent().y0
    for panel in figure.axes:
        zero, *lines = panel.lines
        widths = [lines[index : index + 3] for index in (0, 3)]  # the line, what shows, what not
        for (line, shown, silent), max_width in zip(widths, (196, 392), strict=True):
            regularization, optimizer = panel.get_title().split(", ")
            own = cells[
                (cells["max_width"] == max_width)
                & (cells["regularization"] == regularization)
                & (cells["optimizer"] == {"Adam": "adam", "Mom (0.9)": "momentum"}[optimizer])
            ]
            assert list(line.get_ydata()) == list(own["median_difference"])
            p_values = own["p_value"]
            certain = (p_values <= 0.05) | (p_values >= 0.95)
            assert list(shown.get_xdata()) == list(own["epoch"][certain])
            assert list(silent.get_xdata()) == list(own["epoch"][~certain])
        assert list(zero.get_ydata()) == [0, 0]


def test_without_runs_the_figure_says_so(tmp_path: Path, rows: pd.DataFrame) -> None:
    study = write_study_table(tmp_path / "s", rows[:0])
    request = Artifact.from_json(json.dumps(ARTIFACT))
    read = read_rows([study])
    cells = bridge_cells(read, live_shares([study]), request)
    figure = figure_of_width_and_length(cells, summarise_runs(read), request)
    assert "no finished runs" in [text.get_text() for text in figure.texts]
