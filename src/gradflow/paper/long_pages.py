"""Pages with a line a cell, and how numbers stand in them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from gradflow.analysis.tables import Page
from gradflow.study import labels


def long_page(
    title: str,
    index: pd.Index,
    lines: Sequence[dict[str, str]],
    styles: Sequence[dict[str, str]],
    notes: tuple[str, ...],
    scale: bool = True,
) -> Page:
    """A page with a line a cell; `styles` names CSS for some columns of each line."""
    plain = pd.DataFrame(list(lines), index=index)
    css = pd.DataFrame(
        [{column: style.get(column, "") for column in lines[0]} for style in styles], index=index
    )
    latex = plain.map(_latex_cell)
    latex.columns = pd.Index([_latex_cell(name) for name in plain.columns])
    latex.index = index.map(lambda names: tuple(_latex_cell(name) for name in names))
    return Page(title, {"html": plain, "latex": latex}, css, notes, scale=scale, long=True)


def there_first(rows: pd.DataFrame, ours: str) -> pd.DataFrame:
    """Cells in the order of the tables that print them, those without a number of ours last.

    Args:
        rows: with `tables`.
        ours: the column that is empty where no run has been made.
    """
    missing = rows[ours].isna()
    order = rows.assign(missing=missing).sort_values(["missing", "tables"], kind="stable").index
    return rows.loc[order]


def cell_index(rows: pd.DataFrame) -> pd.Index:
    """The row headings of cells: tables, data set, learning rate, regularization or activation,
    optimizer.
    """
    return pd.MultiIndex.from_tuples(
        [
            (
                row["tables"].replace(" ", ", "),
                f"{labels.label('dataset', row['dataset'])}, {row['learning_rate']:g}",
                labels.label("activation", row["activation"])
                if "3c" in row["tables"] or row["regularization"] == "best"
                else labels.label("regularization", row["regularization"]),
                labels.label("optimizer", row["optimizer"]),
            )
            for row in rows.to_dict("records")
        ]
    )


def number(value: float, decimals: int, signed: bool = False) -> str:
    """A number as tables show it; – where it is undefined."""
    if not math.isfinite(value):
        return "–"
    return f"{value:{'+' if signed else ''}.{decimals}f}".replace("-", "−")


def with_interval(value: float, low: float, high: float) -> str:
    """A value with its interval, for example `+1.2 [−0.3, +2.0]`."""
    text = number(value, 1, signed=True)
    return (
        text
        if math.isnan(low)
        else f"{text} [{number(low, 1, signed=True)}, {number(high, 1, signed=True)}]"
    )


def yes_no(value: bool | None) -> str:
    """`yes`, `no`, or – where there is nothing to compare."""
    return "–" if value is None else "yes" if value else "no"


def _latex_cell(text: str) -> str:
    for plain, escaped in (
        ("–", "--"),
        ("−", "$-$"),
        (">", "$>$"),
        ("≤", r"$\le$"),
        ("|", r"$|$"),
        ("κ", r"$\kappa$"),
    ):
        text = text.replace(plain, escaped)
    return text
