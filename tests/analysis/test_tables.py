"""Tables: right cells, colours and columns, in CSV, HTML and LaTeX, also with diverged and missing
runs.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawing import draw
from html_cells import Cells
from study_tables import make_study_table, write_study_table
from table_artifacts import COLUMNS, PERCENTS, SEEDS, TABLE1, TABLE4

from gradflow.analysis.correlation_table import correlation_cells, correlation_page
from gradflow.analysis.means_table import mean_cells, mean_page
from gradflow.analysis.runs import RUN_KEY, Artifact, select, summarise_runs
from gradflow.analysis.stats import mean_absolute_tau, signed_rank_test
from gradflow.analysis.tables import (
    colour,
    significance_cells,
    significance_page,
    write_csv,
    write_html,
    write_latex,
)
from gradflow.analysis.width_margin import taus_within_widths
from gradflow.paper.published import load_p_values, with_published
from gradflow.study import labels
from gradflow.study.job import PAPER_ACTIVATIONS, PAPER_OPTIMIZERS
from gradflow.training.run_log import MEASURES

pytestmark = pytest.mark.filterwarnings("error")
SCRIPTS = Path(__file__).parents[2] / "scripts"


def luminance(code: str) -> float:
    """Relative luminance (WCAG) of #rrggbb."""
    channels = np.array([int(code[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.fixture
def rows() -> pd.DataFrame:
    """Adam's sparse runs of one seed diverged; momentum's BN lacks its runs of width 90 %; DA_SC_BN
    is not there.
    """
    rows = make_study_table(
        ("momentum", "adagrad", "adam"), ("NR", "L2", "BN"), diverged=[("adam", "sparse", 2)]
    )
    missing = (
        (rows["optimizer"] == "momentum")
        & (rows["regularization"] == "BN")
        & (rows["width_percent"] == 90)
    )
    return rows[~missing]


def test_every_name_has_a_label() -> None:
    assert set(labels.OPTIMIZER_LABELS) == set(PAPER_OPTIMIZERS)
    assert set(labels.ACTIVATION_LABELS) == set(PAPER_ACTIVATIONS)


def test_the_colour_scale_is_readable_and_ordered_in_grey() -> None:
    levels = [
        luminance(colour(p)) for p in np.linspace(0, 1, 51)
    ]  # finer, rounding to 8 bits shows
    assert (np.diff(levels) <= 0).all() and levels[0] > levels[25] > levels[50]
    assert (min(levels) + 0.05) / 0.05 > 6  # contrast with black text
    assert [colour(p) for p in (0, 0.5, 1)] == ["#bdf0b0", "#eec04a", "#e56a5c"]


def test_significance_cells_are_the_tests_of_their_pairs(rows: pd.DataFrame) -> None:
    runs = summarise_runs(select(rows, TABLE4))
    cells = significance_cells(runs, TABLE4)
    assert list(dict.fromkeys(cells["optimizer"])) == ["adagrad", "adam", "momentum"]
    assert list(cells["regularization"]) == COLUMNS * 3
    by_hand = runs[(runs["optimizer"] == "adagrad") & (runs["regularization"] == "L2")]
    accuracy = by_hand.pivot(
        index=["width_percent", "seed"], columns="architecture", values="test_accuracy"
    )
    expected = signed_rank_test(accuracy["sparse"] - accuracy["dense"])
    cell = cells[(cells["optimizer"] == "adagrad") & (cells["regularization"] == "L2")].iloc[0]
    assert cell["p_value"] == expected.p_value and cell["interval_high"] == expected.interval_high
    adam = cells[(cells["optimizer"] == "adam") & (cells["regularization"] == "NR")].iloc[0]
    assert (
        adam["n"],
        adam["diverged_sparse"],
        adam["diverged_dense"],
        adam["collapsed_sparse"],
    ) == (15, 5, 0, 5)
    missing = cells[
        (cells["optimizer"] == "momentum") & (cells["regularization"] == "DA_SC_BN")
    ].iloc[0]
    assert missing["n"] == 0 and np.isnan(missing["p_value"])


def test_csv_has_every_statistic(rows: pd.DataFrame, tmp_path: Path) -> None:
    cells = significance_cells(summarise_runs(rows), TABLE4)
    write_csv(tmp_path / "table4.csv", cells)
    table = pd.read_csv(tmp_path / "table4.csv", keep_default_na=False, na_values=[""])
    assert [*table.columns] == [
        "artifact", "variant", "stands_for", "dataset", "hidden_layers", "learning_rate",
        "optimizer", "regularization",
        "activation", "planned", "n", "zeros", "ties", "p_value", "p_value_normal", "rank_biserial",
        "median_difference", "interval_low", "interval_high", "diverged_dense", "diverged_sparse",
        "collapsed_dense",
        "collapsed_sparse",
    ]  # fmt: skip
    assert len(table) == 12
    assert table["p_value"].equals(cells["p_value"])


def test_significance_page(rows: pd.DataFrame, tmp_path: Path) -> None:
    runs = summarise_runs(select(rows, TABLE4))
    cells = significance_cells(runs, TABLE4)
    write_html(tmp_path / "table4.html", significance_page(cells, runs, TABLE4))
    document = (tmp_path / "table4.html").read_text(encoding="utf-8")
    assert document.startswith("<!DOCTYPE html>") and '<meta charset="utf-8">' in document
    assert "<title>Table 4 &lt;made up&gt;</title>" in document
    assert "http" not in document
    page = Cells(document)
    assert page.rows[0][1:] == ["NR", "L2", "BN", "DA SC BN"]
    assert [row[0] for row in page.rows[1:]] == ["Adagrad", "Adam", "Mom (0.9)"]
    p_values = cells["p_value"].to_numpy().reshape(3, 4)
    assert page.rows[1][1:4] == [f"{p:.3f}" for p in p_values[0, :3]]
    assert page.rows[2][1] == f"{p_values[1, 0]:.3f}†‡"
    assert page.rows[3][3] == f"{p_values[2, 2]:.3f} (n=12)"
    assert page.rows[3][4] == "– (n=0)"
    for row, column in np.ndindex(3, 3):
        css = page.styles[row, column]
        assert f"background-color: {colour(p_values[row, column])};" in css
        assert ("bold" in css) == (p_values[row, column] < 0.05)
    assert (0, 3) not in page.styles
    assert f"Digits: {len(runs)} runs of 5 epochs." in document
    assert "at chance accuracy: 0 dense, 15 sparse." in document


def test_significance_latex(rows: pd.DataFrame, tmp_path: Path) -> None:
    runs = summarise_runs(select(rows, TABLE4))
    cells = significance_cells(runs, TABLE4)
    write_latex(tmp_path / "table4.tex", significance_page(cells, runs, TABLE4))
    document = (tmp_path / "table4.tex").read_text(encoding="utf-8")
    assert document.isascii()
    p_value = cells["p_value"].iloc[0]
    assert f"{{\\cellcolor[HTML]{{{colour(p_value)[1:].upper()}}}}} {p_value:.3f} &" in document
    assert "Adagrad & " in document and r"\toprule" in document and "-- (n=0)" in document
    assert document.count("{") == document.count("}")


def test_table_of_means(rows: pd.DataFrame, tmp_path: Path) -> None:
    artifact = dataclasses.replace(
        TABLE4, name="means", where={**TABLE4.where, "stands_for": ["digits"]}
    )
    runs = summarise_runs(select(rows, artifact))
    cells = mean_cells(runs, artifact)
    assert len(cells) == 3 * 4 * 2 and set(cells["stands_for"]) == {"digits"}
    cell = cells.set_index(["optimizer", "regularization", "architecture"]).loc[
        ("momentum", "BN", "dense")
    ]
    own = runs[
        (runs["optimizer"] == "momentum")
        & (runs["regularization"] == "BN")
        & (runs["architecture"] == "dense")
    ]
    assert cell["mean"] == own["test_accuracy"].mean() and cell["n"] == 12
    assert cell["std"] == np.std(own["test_accuracy"], ddof=1)
    page = mean_page(cells, runs, artifact)
    write_html(tmp_path / "means.html", page)
    write_latex(tmp_path / "means.tex", page)
    parsed = Cells((tmp_path / "means.html").read_text(encoding="utf-8"))
    assert parsed.rows[0][1:] == ["NR", "L2", "BN", "DA SC BN"] and parsed.rows[1][1:3] == [
        "Dense",
        "Sparse",
    ]
    assert parsed.rows[4][5] == f"{cell['mean']:.2f} ± {cell['std']:.2f} (n=12)"
    assert parsed.rows[4][7] == "– (n=0)"
    assert (
        r" $\pm$ " in (tmp_path / "means.tex").read_text()
        and (tmp_path / "means.tex").read_text().isascii()
    )


def test_a_cell_of_two_configurations_is_refused(rows: pd.DataFrame) -> None:
    runs = summarise_runs(rows)
    other = runs.assign(
        configuration=runs["configuration"].str.replace("lr0.001", "lr0.1"), learning_rate=0.1
    )
    with pytest.raises(
        ValueError, match=r"table4: adagrad, NR would mix .*lr0\.1-NR.*narrow `where`"
    ):
        significance_cells(pd.concat([runs, other]), TABLE4)


def test_correlation_table(rows: pd.DataFrame, tmp_path: Path) -> None:
    rows["egf_l2"] *= np.random.default_rng(0).lognormal(
        0, 0.5, len(rows)
    )  # else all four rank the runs alike
    rows = pd.concat([make_study_table(("adam", "sgd"), dataset="fashion_mnist"), rows])
    runs = summarise_runs(rows)
    cells = correlation_cells(runs, TABLE1)
    assert len(cells) == 2 * 4 * 4
    chosen = runs[(runs["dataset"] == "digits") & (runs["architecture"] == "sparse")]
    expected = mean_absolute_tau(chosen, "egf_l2", "test_loss")
    cell = cells.set_index(["dataset", "measure", "architecture", "target"]).loc[
        ("digits", "egf_l2", "sparse", "test_loss")
    ]
    assert cell["mean_abs_kendall_tau"] == expected.mean_abs_kendall_tau
    assert (cell["configurations"], cell["incomplete"]) == (9, 1)

    page = correlation_page(cells, runs, TABLE1)
    write_html(tmp_path / "table1.html", page)
    write_latex(tmp_path / "table1.tex", page)
    parsed = Cells((tmp_path / "table1.html").read_text(encoding="utf-8"))
    assert parsed.rows[0][1:] == ["Sparse", "Dense"]
    assert parsed.scopes == [*["colgroup"] * 2, *["col"] * 4, *(["rowgroup", *["row"] * 5] * 2)]
    assert parsed.rows[2][:2] == ["Digits", "‖g‖1"] and parsed.rows[7][0] == "Fashion-MNIST"
    within = taus_within_widths(chosen)[MEASURES.index("egf_l2"), 0]
    assert parsed.rows[5][:2] == ["EGF2", f"{expected.mean_abs_kendall_tau:.3f}{within:.3f}"]
    for column in range(4):  # bold: the best of each block
        block = [float(parsed.rows[2 + row][-4 + column][:5]) for row in range(4)]
        bold = [(row, column) in parsed.styles for row in range(4)]
        assert next(value for value, is_bold in zip(block, bold, strict=True) if is_bold) == max(
            block
        )
    assert "Digits: 9 configurations, 1 of them with fewer than the planned 15 runs" in "".join(
        page.notes
    )
    assert r"$\mathrm{EGF}_2$" in (tmp_path / "table1.tex").read_text()


def test_table_1_says_what_width_alone_gives(rows: pd.DataFrame) -> None:
    """EGF_2 orders the widths, as all four do, and in one of two studies the seeds of a width
    too.
    """
    noise = np.random.default_rng(1)
    rows = rows[~rows["diverged"]].assign(stands_for="cifar100")
    for measure in MEASURES:
        rows[measure] = rows["width_percent"] * noise.lognormal(0, 0.4, len(rows))
    told = {}
    for name, exponent in (("width alone", 0.0), ("accuracy", 3.0)):
        made = rows.assign(egf_l2=rows["width_percent"] * rows["test_accuracy"] ** exponent)
        last = made.groupby(RUN_KEY, dropna=False)["egf_l2"].transform("last")
        runs = summarise_runs(made.assign(egf_l2=last))
        cells = correlation_cells(runs, TABLE1)
        cell = cells[(cells["architecture"] == "sparse") & (cells["measure"] == "egf_l2")].iloc[1]
        assert (
            cell["target"] == "test_accuracy" and cell["margin_null_low"] < cell["margin_null_high"]
        )
        told[name] = cell["margin"], cell["margin_null_high"], cell["within_width"]
        page = correlation_page(cells, runs, TABLE1)
        words = "beyond what width alone gives"
        assert f"for test accuracy {'' if exponent else 'not '}{words}" in page.notes[-1]
        assert f"{cell['margin']:+.3f}" in page.texts["html"].iloc[4, 1]
    assert told["width alone"][0] <= told["width alone"][1]
    assert told["accuracy"][0] > told["accuracy"][1] and told["accuracy"][2] > 0.9


@pytest.mark.parametrize(
    "where", [{}, {"optimizer": ["adam"], "regularization": ["NR"], "stands_for": "digits"}]
)
def test_no_runs_at_all(where: dict[str, object], tmp_path: Path) -> None:
    artifact = Artifact("table", "T", "paper", where=where, seeds=SEEDS, percents=PERCENTS)
    runs = summarise_runs(make_study_table().iloc[:0])
    for make_cells, make_page in (
        (significance_cells, significance_page),
        (correlation_cells, correlation_page),
        (mean_cells, mean_page),
    ):
        page = make_page(make_cells(runs, artifact), runs, artifact)
        write_html(tmp_path / "table.html", page)
        write_latex(tmp_path / "table.tex", page)
        document = (tmp_path / "table.html").read_text(encoding="utf-8")
        assert "No finished runs." in document
        assert "–" in Cells(document).rows[-1][-1] if where else "<table" not in document


@pytest.mark.parametrize("kind", ["significance_table", "correlation_table", "means_table"])
def test_the_program_draws_the_same_bytes_each_time(
    kind: str, rows: pd.DataFrame, tmp_path: Path
) -> None:
    study = write_study_table(tmp_path / "study.parquet", rows)
    artifact = {"name": "t", "title": "T", "variant": "paper", "where": {}}
    artifact |= {"columns": "regularization", "seeds": SEEDS, "percents": PERCENTS}
    contents = []
    for _ in range(2):
        files = draw(kind, artifact, [study], tmp_path / "t").values()
        contents.append([file.read_bytes() for file in files])
    assert contents[0] == contents[1]


def test_published_p_values_stand_in_small_print(rows: pd.DataFrame, tmp_path: Path) -> None:
    rows = rows.assign(stands_for="fashion_mnist")
    artifact = dataclasses.replace(
        TABLE4, where={"regularization": ["NR", "BN", "L2_BN"], "stands_for": ["fashion_mnist"]}
    )
    runs = summarise_runs(select(rows, artifact))
    printed = load_p_values()
    cells = with_published(significance_cells(runs, artifact), printed, artifact)
    found = cells.set_index(["optimizer", "regularization"])["published"]
    # Table 4 of the paper; it has no L2_BN
    assert (
        found["adagrad", "BN"] == 0.001
        and found["adam", "NR"] == 0.170
        and np.isnan(found["adam", "L2_BN"])
    )
    page = significance_page(cells, runs, artifact)
    write_html(tmp_path / "t.html", page)
    document = (tmp_path / "t.html").read_text(encoding="utf-8")
    assert '<small style="font-weight: bold">0.001</small>' in document
    assert '<small style="font-weight: normal">0.170</small>' in document
    assert (
        "Small print: the published p-value, of Fashion-MNIST; ours are of Digits, which stands in."
        in document
    )
    write_latex(tmp_path / "t.tex", page)
    latex = (tmp_path / "t.tex").read_text(encoding="utf-8")
    assert r"\\{\tiny \bfseries 0.001}}" in latex and latex.count("{") == latex.count("}")
    # what is not about the paper's data set, or no table of the paper, has none
    other = with_published(
        significance_cells(runs.assign(stands_for="digits"), artifact), printed, artifact
    )
    assert other["published"].dropna().empty or other.loc[other["n"] > 0, "published"].isna().all()
    unknown = dataclasses.replace(artifact, name="mine")
    assert "published" not in with_published(cells.drop(columns="published"), printed, unknown)
