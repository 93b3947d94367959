"""The paper's tables from run tables: as CSV with every statistic, and as HTML and LaTeX in the
paper's arrangement.

Table 4 and its like (p-values of sparse against dense) by `significance_cells`, a tidy frame, a row
a cell, which is the CSV, and which `significance_page` arranges. Table 1 is in `correlation_table`,
Table 2 in `grid_table`, the means in `means_table`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pandas.io.formats.style import Styler

from gradflow.analysis.html_table import html_table
from gradflow.analysis.levels import LEVEL, significant
from gradflow.analysis.mixtures import mixtures
from gradflow.analysis.request import Request
from gradflow.analysis.runs import (
    Artifact,
    extent,
    only_about,
    pair_twins,
    refuse_mixture,
    regularizations_used,
)
from gradflow.analysis.stats import SignedRankTest, signed_rank_test
from gradflow.files import replacing
from gradflow.pages import write_page
from gradflow.study import labels

# p = 0, 0.5, 1. Green, yellow and red as in the paper, each darker than the one before, so that the
# order is kept in grey and for colour-blind readers, and light enough for black text (contrast
# above 6).
SCALE = ((0.0, (189, 240, 176)), (0.5, (238, 192, 74)), (1.0, (229, 106, 92)))

Target = Literal["html", "latex"]
DASH = {"html": "–", "latex": "--"}
_DIVERGED = {"html": "†", "latex": r"\textsuperscript{\dag}"}
_COLLAPSED = {"html": "‡", "latex": r"\textsuperscript{\ddag}"}
# Smaller, in black all the same: grey letters on yellow and red are hard to read.
_SMALL = {
    "html": '{text}<br><small style="font-weight: {weight}">{small}</small>',
    "latex": r"\shortstack[r]{{{text}\\{{\tiny {weight}{small}}}}}",
}
_WEIGHTS = {"html": ("normal", "bold"), "latex": (r"\mdseries ", r"\bfseries ")}
_CELL_KEYS = [
    "stands_for",
    "dataset",
    "hidden_layers",
    "learning_rate",
    "optimizer",
    "regularization",
    "activation",
]


@dataclass(frozen=True)
class Page:
    """A table ready to be written: what it shows in each cell, how, and what is said below it."""

    title: str
    texts: dict[Target, pd.DataFrame]
    styles: pd.DataFrame  # CSS of each cell
    notes: tuple[str, ...]
    scale: bool  # whether the cells are coloured by p-value
    latex_columns: str | None = None  # where some must wrap
    long: bool = False  # in LaTeX over several pages


def significance_cells(runs: pd.DataFrame, artifact: Artifact) -> pd.DataFrame:
    """Wilcoxon tests of sparse against dense, one per optimizer and regularization or activation
    (Table 4).

    Args:
        runs: one row per run, already those of the artifact.
        artifact: its `columns` says what the table's columns are; `where` may list columns or
            optimizers, which then keep a cell (n = 0) without runs.

    Returns:
        One row per cell, in the table's order: what it compares, the statistics of
        `SignedRankTest`, the planned number of pairs, and how many dense and sparse runs diverged
        or collapsed.

    Raises:
        ValueError: a cell would mix several configurations.
    """
    column = artifact.columns
    pairs = pair_twins(runs)
    columns = artifact.in_order(column, runs)
    cells = []
    for optimizer in artifact.in_order("optimizer", runs):
        for name in columns:
            cell = pairs[(pairs["optimizer"] == optimizer) & (pairs[column] == name)]
            refuse_mixture(cell, f"artifact {artifact.name}: {optimizer}, {name}")
            test = signed_rank_test(cell["test_accuracy_sparse"] - cell["test_accuracy_dense"])
            identity: dict[str, Any] = (
                {key: cell[key].iloc[0] for key in _CELL_KEYS}
                if len(cell)
                else only_about(artifact)
            )
            flags = {
                f"{flag}_{architecture}": int(cell[f"{flag}_{architecture}"].sum())
                for flag in ("diverged", "collapsed")
                for architecture in ("dense", "sparse")
            }
            cells.append(
                {"artifact": artifact.name, "variant": artifact.variant, **identity,
                 "optimizer": optimizer,
                 column: name, "planned": artifact.planned, **dataclasses.asdict(test), **flags}
            )  # fmt: skip
    statistics = [field.name for field in dataclasses.fields(SignedRankTest)]
    flag_columns = ["diverged_dense", "diverged_sparse", "collapsed_dense", "collapsed_sparse"]
    return pd.DataFrame(
        cells, columns=["artifact", "variant", *_CELL_KEYS, "planned", *statistics, *flag_columns]
    )


def significance_page(cells: pd.DataFrame, runs: pd.DataFrame, artifact: Artifact) -> Page:
    """Arrange the cells of `significance_cells`: optimizers as rows, p-values coloured, bold at or
    below 0.05.
    """
    column = artifact.columns
    rows = [labels.label("optimizer", name) for name in dict.fromkeys(cells["optimizer"])]
    columns = [labels.label(column, name) for name in dict.fromkeys(cells[column])]
    styles = pd.DataFrame("", index=rows, columns=columns)
    texts: dict[Target, pd.DataFrame] = {"html": styles.copy(), "latex": styles.copy()}
    for cell in cells.to_dict("records"):
        place = labels.label("optimizer", cell["optimizer"]), labels.label(column, cell[column])
        styles.loc[place] = p_value_style(cell["p_value"])
        for target, text in texts.items():
            shown = p_value_text(cell, target)
            if not math.isnan(theirs := cell.get("published", math.nan)):
                bold = bool(significant(theirs))
                shown = in_small_print(shown, f"{theirs:.3f}", target, bold)
            text.loc[place] = shown

    notes = [
        extent(runs, artifact)
        + f" {artifact.planned} pairs a cell are planned; n is shown where it differs.",
        _published_note(cells),
        "p-value of the one-sided Wilcoxon signed-rank test of test accuracy, sparse (S) against "
        f"dense (D), exact; bold: at or below {LEVEL:g}; –: undefined (fewer than 3 pairs).",
    ]
    notes += flag_notes(cells)
    if column == "regularization":
        notes.append(labels.abbreviations(cells[column]))
    else:
        notes += [regularizations_used(runs), labels.abbreviations(runs["regularization"])]
    return Page(artifact.title, texts, styles, tuple(note for note in notes if note), scale=True)


def in_small_print(text: str, small: str, target: Target, bold: bool = False) -> str:
    """A cell's text with a second line in small print."""
    return _SMALL[target].format(text=text, small=small, weight=_WEIGHTS[target][bold])


def flag_notes(cells: pd.DataFrame) -> list[str]:
    """What the marks of `p_value_text` say, with the counts over all cells; nothing where there are
    none.
    """
    notes = []
    for mark, flag, meaning in (
        ("†", "diverged", "diverged, kept at chance accuracy"),
        ("‡", "collapsed", "never left chance"),
    ):
        dense, sparse = int(cells[f"{flag}_dense"].sum()), int(cells[f"{flag}_sparse"].sum())
        if dense + sparse:
            notes.append(f"{mark} Some runs {meaning}: {dense} dense, {sparse} sparse.")
    return notes


def _published_note(cells: pd.DataFrame) -> str:
    """Whose numbers the small ones are, and on which data sets theirs and ours rest."""
    if "published" not in cells or cells["published"].isna().all():
        return ""
    there = cells[cells["published"].notna()]
    names = [
        labels.label("dataset", name)
        for name in labels.in_order("dataset", there["stands_for"].dropna())
    ]
    used = set(there["dataset"].dropna()) - set(there["stands_for"].dropna())
    stood_in = [labels.label("dataset", name) for name in labels.in_order("dataset", used)]
    text = "Small print: the published p-value" + (f", of {' and '.join(names)}" if names else "")
    return text + (f"; ours are of {' and '.join(stood_in)}, which stands in." if stood_in else ".")


def with_mixtures(request: Request, cells: pd.DataFrame, page: Page) -> tuple[pd.DataFrame, Page]:
    """Name what of a table's runs was not made alike: of each row in a column `mixture`, of all in
    a note.
    """
    of_all, of_rows = mixtures(request, cells)
    notes = (*page.notes, f"Not all runs were made alike. {of_all}.") if of_all else page.notes
    return cells.assign(mixture=of_rows), dataclasses.replace(page, notes=notes)


def write_csv(path: Path, cells: pd.DataFrame) -> None:
    """Write the tidy frame, whole or not at all; what is undefined is empty."""
    with replacing(path) as aside:
        cells.to_csv(aside, index=False, lineterminator="\n")


def write_html(path: Path, page: Page) -> None:
    """Write a self-contained page: the table, its legend and its notes."""
    text = page.texts["html"]
    table = html_table(text, page.styles) if text.size else ""
    swatches = [(p, colour(p)) for p in (0, 0.25, 0.5, 0.75, 1)]
    write_page(path, "gradflow.analysis", "table.html", page=page, table=table, swatches=swatches)


def write_latex(path: Path, page: Page) -> None:
    r"""Write a table environment for a document with booktabs, multirow and
    `\usepackage[table]{xcolor}`.
    """
    caption = latex_text(". ".join([page.title.rstrip("."), " ".join(page.notes)]))
    if page.scale:
        caption += r" Colour scale: p = 0 green, 0.5 yellow, 1 red."
    if page.texts["latex"].size:
        kind: dict[str, Any] = {"clines": "skip-last;data"}
        if page.long:
            kind = {"environment": "longtable", "caption": caption}
        tabular = _latex_styler(page).to_latex(
            convert_css=True, column_format=page.latex_columns, hrules=True, multicol_align="c",
            multirow_align="t",
            **kind,
        )  # fmt: skip
        # pandas ends the last block with a line too, right above \\bottomrule
        tabular = re.sub(r"\\cline\{[\d-]+\}\n\\bottomrule", r"\\bottomrule", tabular)
        # on a long table's next pages
        tabular = tabular.replace(f"\\caption[]{{{caption}}}", r"\caption[]{(continued)}")
    else:
        tabular = "No finished runs.\n"
    needs = "\\usepackage{booktabs}, \\usepackage{multirow} and \\usepackage[table]{xcolor}"
    if page.long and page.texts["latex"].size:
        document = f"% needs \\usepackage{{longtable}}, {needs}\n{{\\scriptsize\n{tabular}}}\n"
    else:
        caption = f"\\caption{{{caption}}}"
        document = (
            f"% needs {needs}\n\\begin{{table}}\n\\centering\n{caption}\n{tabular}\\end{{table}}\n"
        )
    with replacing(path) as aside:
        aside.write_text(document, encoding="utf-8")


def colour(p_value: float) -> str:
    """The colour of a p-value, 0 to 1, as #rrggbb: linear between the colours of SCALE."""
    for (start, low), (end, high) in itertools.pairwise(SCALE):
        if p_value <= end:
            share = (p_value - start) / (end - start)
            return "#" + "".join(
                f"{round(a + (b - a) * share):02x}" for a, b in zip(low, high, strict=True)
            )
    raise ValueError(f"a p-value above 1: {p_value}")


def p_value_style(p_value: float) -> str:
    """The CSS of a cell that shows a p-value."""
    if math.isnan(p_value):
        return ""
    bold = " font-weight: bold;" if significant(p_value) else ""
    return f"background-color: {colour(p_value)};{bold}"


def p_value_text(cell: dict[Any, Any], target: Target) -> str:
    """A p-value with the marks of its cell's runs, and n where pairs are missing."""
    text = DASH[target] if math.isnan(cell["p_value"]) else f"{cell['p_value']:.3f}"
    if cell["diverged_dense"] + cell["diverged_sparse"]:
        text += _DIVERGED[target]
    if cell["collapsed_dense"] + cell["collapsed_sparse"]:
        text += _COLLAPSED[target]
    return text if cell["n"] == cell["planned"] else f"{text} (n={cell['n']})"


def _latex_styler(page: Page) -> Styler:
    text = page.texts["latex"]
    styles = pd.DataFrame(page.styles.to_numpy(), index=text.index, columns=text.columns)
    return Styler(text).apply(lambda _: styles, axis=None)


_LATEX = str.maketrans(
    {
        **{special: "\\" + special for special in "%_&#{}$"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "–": "--",
        "†": r"\dag{}",
        "‡": r"\ddag{}",
    }
)


def latex_text(text: str) -> str:
    """Escape a cell's text for LaTeX."""
    return text.translate(_LATEX)
