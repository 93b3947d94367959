"""Every table and figure of the paper from full-shape study tables: rows, columns and panels are
the published ones.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from browser import needs_browser, visit
from drawing import draw
from html_cells import Cells
from matplotlib.figure import Figure
from study_tables import make_table_of_plan, write_study_table

from gradflow.analysis import figures
from gradflow.paper import operating
from gradflow.paper.published import PUBLISHED
from gradflow.study import labels
from gradflow.study.config_checks import load_config
from gradflow.study.grid import Grid
from gradflow.study.kinds import KINDS
from gradflow.training.run_log import MEASURES

ROOT = Path(__file__).parents[2]
SCALE = "smoke"

RAW = yaml.safe_load((ROOT / "config.yaml").read_text())
RAW["scales"][SCALE]["studies"]["cifar100_depths"] = {
    "epochs": 2
}  # as many configurations as in the paper
CONFIG = load_config(RAW)
GRID = Grid(CONFIG)
KIND_OF = {name: KINDS[artifact.kind] for name, artifact in CONFIG.artifacts.items()}
TABLES = [name for name, kind in KIND_OF.items() if kind.shape == "table"]
FIGURES = [name for name, kind in KIND_OF.items() if kind.shape == "figure"]
OF_THE_PAPER = {name for name in TABLES if KIND_OF[name].part == "paper"}
P_VALUE_TABLES = [
    name for name, artifact in CONFIG.artifacts.items() if artifact.kind == "significance_table"
]

# Rows and columns as printed; a figure's panels a part, and its parts.
OPTIMIZERS = ["Adagrad", "Adam", "RMSProp", "SGD", "Mom (0.9)"]
PAGES = {
    "table3a": (OPTIMIZERS, ["NR", "DA", "L2", "SC", "BN", "DA BN", "L2 BN", "SC BN"]),
    "table3b": (OPTIMIZERS, ["BN", "DA BN", "L2 BN", "SC BN", "DA SC BN", "DA L2 SC BN"]),
    "table3c": (OPTIMIZERS, ["ReLU", "Swish", "PReLU", "SReLU", "Sigmoid", "ELU"]),
    "table4": (
        ["Adagrad", "Adam", "Mom (0.9)"],
        ["NR", "L2", "DA", "SC", "BN", "DA SC BN", "DA L2 SC BN"],
    ),
    "table5a": (OPTIMIZERS, ["NR", "DA", "L2", "SC", "BN"]),
    "table5b": (OPTIMIZERS, ["BN", "DA BN", "L2 BN", "SC BN"]),
    "table5c": (["Adam", "Mom (0.9)"], ["ReLU", "SReLU", "Swish", "PReLU"]),
    "table6a": (
        OPTIMIZERS,
        ["NR", "DA", "L2", "SC", "BN", "DA BN", "L2 BN", "SC BN", "DA SC BN", "DA L2 SC BN"],
    ),
    "table6b": (OPTIMIZERS, ["ReLU", "Swish", "SReLU", "PReLU", "ELU", "Sigmoid"]),
}
PANELS = {
    "figure2a": (2, 10, 2), "figure2b": (2, 10, 1), "figure2c": (2, 6, 1), "figure2d": (2, 6, 1),
    "figure3": (2, 6, 2), "figure4": (1, 3, 1), "figure5": (1, 3, 2), "figure8": (5, 10, 1),
    "figure9": (5, 10, 1),
    "figure10": (5, 10, 1), "figure11": (5, 6, 1), "figure12": (5, 6, 1), "figure13": (5, 6, 1),
    "figure14": (1, 2, 1),
    "figure15": (3, 7, 3), "figure16": (5, 5, 2), "figure17": (5, 4, 2), "figure18": (2, 4, 2),
    "figure19a": (15, 10, 1), "figure19b": (15, 10, 1), "figure20": (5, 6, 2),
    "figure21": (5, 6, 2),
    "figure22": (5, 6, 2), "figure23": (2, 2, 2), "figure24": (1, 3, 1),
    "mask_methods_by_width": (2, 4, 1), "differences_over_training": (2, 1, 1),
}  # fmt: skip
WITH_DIFFERENCES = {"figure2a", "figure15"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """Makes an artifact with its real script; gives its paths by ending, and its figure if it is
    one.
    """
    folder = tmp_path_factory.mktemp("artifacts")

    @cache
    def study_table(study: str) -> Path:
        return write_study_table(
            folder / f"{study}.parquet", make_table_of_plan(GRID.plan(SCALE, study))
        )

    @cache
    def make(name: str) -> tuple[dict[str, Path], Figure | None]:
        kind = KIND_OF[name]
        studies = [] if kind.runs == "none" else GRID.studies(SCALE, name)
        tables = [study_table(study) for study in studies]
        drawn: list[Figure] = []
        save = figures.save_figure
        with pytest.MonkeyPatch.context() as patch:
            # tests/paper/test_operating.py knows the rates; here it is the page
            for rows, few in (("operating_rows", {"studies": 20}), ("table_rows", {})):
                fewer = partial(getattr(operating, rows), stages=(20,), **few)
                patch.setattr(operating, rows, fewer)
            patch.setattr(
                figures,
                "save_figure",
                lambda figure, *paths: (drawn.append(figure), save(figure, *paths)),
            )
            outputs = draw(kind.name, GRID.artifact_json(SCALE, name), tables, folder / name)
        return outputs, next(iter(drawn), None)

    return make


def published(name: str) -> pd.DataFrame:
    return pd.read_csv(PUBLISHED / f"{name}.csv", keep_default_na=False, dtype={"table": str})


def counted(frame: pd.DataFrame, columns: list[str]) -> Counter[tuple[Any, ...]]:
    """How often each combination of values is there."""
    return Counter(frame[columns].itertuples(index=False, name=None))


def check_p_values(name: str, table: pd.DataFrame, page: Cells) -> None:
    theirs = published("pvalues")
    theirs = theirs[theirs["table"] == name.removeprefix("table")].rename(
        columns={"dataset": "stands_for"}
    )
    columns = [
        "stands_for",
        "hidden_layers",
        "learning_rate",
        "optimizer",
        "regularization",
        "activation",
    ]
    if set(theirs["regularization"]) == {"best"}:
        columns.remove("regularization")
    ours, printed = counted(table, columns), counted(theirs, columns)
    assert len(theirs) > 0 and ours == printed and set(ours.values()) == {1}
    rows, headings = PAGES[name]
    assert page.rows[0][1:] == headings
    assert [row[0] for row in page.rows[1:]] == rows
    assert {len(row) for row in page.rows} == {len(headings) + 1}


def check_correlations(table: pd.DataFrame, page: Cells) -> None:
    columns = ["stands_for", "measure", "architecture", "target"]
    theirs = published("correlations").rename(columns={"dataset": "stands_for"})
    assert counted(table, columns) == counted(theirs, columns)
    assert page.rows[0][1:] == ["Sparse", "Dense"]
    assert page.rows[1][1:] == ["Test loss", "Test accuracy"] * 2
    blocks = [row[0] for row in page.rows[2::5]]
    assert [block.split(" (")[0] for block in blocks] == ["Fashion-MNIST", "CIFAR-10", "CIFAR-100"]
    assert [row[-5] for row in page.rows[2:]] == [
        "‖g‖1",
        "‖g‖2",
        "EGF1",
        "EGF2",
        "Margin of EGF",
    ] * 3
    assert len(MEASURES) == 4


def check_means(table: pd.DataFrame, page: Cells) -> None:
    columns = [
        "stands_for",
        "learning_rate",
        "optimizer",
        "regularization",
        "architecture",
        "metric",
    ]
    ours = counted(table, columns)
    theirs = counted(published("cifar100_means").rename(columns={"dataset": "stands_for"}), columns)
    assert len(theirs) == 48 and all(ours[cell] == count == 1 for cell, count in theirs.items())
    assert set(ours.values()) == {1} and len(ours) == 50  # the paper has no Adagrad, NR
    assert page.rows[0][1:] == ["NR", "DA", "L2", "BN", "SC"]
    assert page.rows[1][1:] == ["Dense", "Sparse"] * 5
    assert [row[0] for row in page.rows[2:]] == OPTIMIZERS


def check_configurations(table: pd.DataFrame, page: Cells) -> None:
    values = {
        name: [str(value) for value in own["value"]] for name, own in table.groupby("property")
    }
    assert set(values["optimizer"]) == {"adagrad", "adam", "rmsprop", "sgd", "momentum", "adamw"}
    assert values["regularization"] == ["NR", "DA", "L2", "SC", "BN"]
    assert values["depth"] == ["1", "2", "4"]
    assert len(values["activation"]) == 6 and values["learning_rate"] == ["0.001", "0.1"]
    assert values["stands_for"] == ["fashion_mnist", "cifar10", "cifar100"]
    assert page.rows[0] == ["Configuration", "Variants"] and len(page.rows) == 8


def check_table(name: str, paths: dict[str, Path]) -> None:
    """A table of the paper has the rows and columns of the published one, in each of its files."""
    table = pd.read_csv(paths["csv"], keep_default_na=False, na_values=[""])
    page = Cells(paths["html"].read_text(encoding="utf-8"))
    match CONFIG.artifacts[name].kind:
        case "significance_table":
            check_p_values(name, table, page)
        case "correlation_table":
            check_correlations(table, page)
        case "means_table":
            check_means(table, page)
        case "grid_table":
            check_configurations(table, page)
    check_latex(paths["tex"])


def check_latex(path: Path) -> None:
    latex = path.read_text(encoding="utf-8")
    assert latex.count("{") == latex.count("}")
    assert any(
        f"\\begin{{{kind}}}" in latex and f"\\end{{{kind}}}" in latex
        for kind in ("table", "longtable")
    )


def check_figure(paths: dict[str, Path]) -> None:
    pdf, png = paths["pdf"].read_bytes(), paths["png"].read_bytes()
    assert pdf.startswith(b"%PDF-") and pdf.rstrip().endswith(b"%%EOF") and len(pdf) > 5_000
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and png[-8:-4] == b"IEND"
    width, height = (int.from_bytes(png[place : place + 4], "big") for place in (16, 20))
    assert 600 <= width <= 1400 and 200 <= height <= 1900  # a page at 200 dpi


def test_the_paper_is_complete() -> None:
    assert {"table1", "table2", "means", *PAGES} == OF_THE_PAPER
    assert set(FIGURES) == set(PANELS)
    assert set(GRID.artifacts(SCALE)) == set(CONFIG.artifacts)


@pytest.mark.parametrize("name", ["table1", "table2", "means", *PAGES])
def test_tables_have_the_published_rows_and_columns(name: str, made) -> None:
    paths, _ = made(name)
    check_table(name, paths)
    html = paths["html"].read_text(encoding="utf-8")
    assert "Digits stands in" in html and "CSV" not in html
    if name != "table2":
        assert "runs of 2 epochs." in html and "(n=" not in html and "No finished" not in html


SMALL = ("figure2d", "figure4", "figure5", "figure14", "figure24")  # drawn in a moment


@pytest.mark.parametrize(
    "name",
    [name if name in SMALL else pytest.param(name, marks=pytest.mark.slow) for name in FIGURES],
)
def test_figures_have_their_panels(name: str, made) -> None:
    paths, figure = made(name)
    check_figure(paths)
    rows, columns, parts = PANELS[name]
    panels = [panel for part in figure.subfigs or [figure] for panel in part.axes]
    assert len(panels) == rows * columns * parts
    assert all(panel.lines for panel in panels)
    artifact = json.loads(GRID.artifact_json(SCALE, name))
    if artifact["kind"] == "plot_by_width":
        # dense and sparse, and where their accuracies lie close their difference in a part below
        differences = rows * columns if name in WITH_DIFFERENCES else 0
        lines = [len(panel.lines) for panel in panels]
        assert lines == [2] * (len(panels) - differences) + [4] * differences
        column = artifact["panels"]
        assert [panel.get_title().replace("\n", " ") for panel in panels[:columns]] == [
            labels.label(column, value) for value in artifact["where"][column]
        ]
    if rows == 15:
        assert [panel.get_ylabel() for panel in panels[::columns]] == OPTIMIZERS * 3


@needs_browser
@pytest.mark.slow
def test_pages_fit_a_window_of_1280_pixels(made, tmp_path: Path) -> None:
    """No table is cut off on the right in what the report's menu leaves of the window."""
    texts = {name: made(name)[0]["html"].read_text(encoding="utf-8") for name in TABLES}
    texts["too wide"] = "<p style='width: 1000px'>so that the measurement can fail</p>"
    empty = tmp_path / "empty.html"
    empty.write_text("<html><head></head><body></body></html>")
    measured = visit(empty, MEASURE % json.dumps(texts).replace("</", "<\\/"), tmp_path)
    assert measured.problems == []
    assert {name for name, (wide, room) in measured.told.items() if wide > room} == {"too wide"}


MEASURE = """
const told = {};
for (const [name, text] of Object.entries(%s)) {
  const frame = document.createElement('iframe');
  frame.width = 980; frame.height = 1000; frame.srcdoc = text;
  await new Promise(done => { frame.onload = done; document.body.append(frame); });
  const page = frame.contentDocument.documentElement;
  told[name] = [page.scrollWidth, page.clientWidth];
  frame.remove();
}
return told;
"""


@pytest.mark.slow
@pytest.mark.workflow
@pytest.mark.skipif(
    "GRADFLOW_SMOKE" not in os.environ, reason="GRADFLOW_SMOKE names no finished results folder"
)
@pytest.mark.parametrize("name", GRID.artifacts(SCALE))
def test_a_finished_smoke_holds_every_artifact(name: str) -> None:
    check_finished(name, Path(os.environ["GRADFLOW_SMOKE"]))


def check_finished(name: str, results: Path) -> None:
    """All files of an artifact are in a results folder (`results`, or `results/smoke`), parse and
    are complete.
    """
    scale = results if results.name == SCALE else results / SCALE
    kind = KIND_OF[name]
    paths = {ending: scale / kind.folder / f"{name}.{ending}" for ending in kind.endings}
    if "pdf" in paths:
        check_figure(paths)
    elif name in OF_THE_PAPER:
        check_table(name, paths)
    else:
        assert len(pd.read_csv(paths["csv"])) > 0
        assert len(Cells(paths["html"].read_text(encoding="utf-8")).rows) > 1
        check_latex(paths["tex"])


def test_check_finished_finds_a_missing_file(made, tmp_path: Path) -> None:
    paths, _ = made("table4")
    folder = tmp_path / SCALE / "tables"
    folder.mkdir(parents=True)
    for ending in ("csv", "html"):
        (folder / f"table4.{ending}").write_bytes(paths[ending].read_bytes())
    with pytest.raises(FileNotFoundError, match=r"table4\.tex"):
        check_finished("table4", tmp_path)
    (folder / "table4.tex").write_bytes(paths["tex"].read_bytes())
    check_finished("table4", tmp_path)
