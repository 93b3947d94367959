"""The table that a scale says most with, beside the published one: p-values, and where the
decisions differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gradflow.analysis.levels import significant
from gradflow.analysis.tables import p_value_style, p_value_text
from gradflow.study import labels

UP, DOWN = "↑", "↓"  # our p-value lies above the level where the published one does not; below it


@dataclass(frozen=True)
class Cell:
    """A p-value as it is shown."""

    text: str
    style: str = ""
    arrow: str = ""
    pairs: str = ""  # where some are missing

    @property
    def meaning(self) -> str:
        """Of the arrow."""
        return (
            "above 0.05, the published one is not"
            if self.arrow == UP
            else "at or below 0.05, the published one is not"
        )


@dataclass(frozen=True)
class MainTable:
    """A table of p-values, ours and the published ones in the same order."""

    name: str
    columns: list[str]
    ours: list[tuple[str, list[Cell]]]  # by optimizer
    theirs: list[tuple[str, list[Cell]]]

    @property
    def marks(self) -> str:
        """What the marks beside our numbers mean."""
        shown = "".join(cell.text for _, cells in self.ours for cell in cells)
        meanings = (("†", "some runs diverged"), ("‡", "some never left chance"))
        return "; ".join(f"{mark} {meaning}" for mark, meaning in meanings if mark in shown)

    @property
    def differing(self) -> int:
        """Cells with another decision than the published one."""
        return sum(bool(cell.arrow) for _, cells in self.ours for cell in cells)

    @property
    def compared(self) -> int:
        """Cells that both have."""
        return sum(
            bool(own.style and other.style)  # one that is undefined has no colour
            for (_, ours), (_, theirs) in zip(self.ours, self.theirs, strict=True)
            for own, other in zip(ours, theirs, strict=True)
        )


def choose(tables: Mapping[str, pd.DataFrame]) -> str:
    """The table with the most cells that have a p-value of ours and a published one; the first of
    equals.

    Args:
        tables: cells of `significance_table` by name, in the paper's order. Without any such cell
            the answer is empty.
    """
    best, most = "", 0
    for name, cells in tables.items():
        count = int((cells["p_value"].notna() & cells["published"].notna()).sum())
        if count > most:
            best, most = name, count
    return best


def main_table(name: str, cells: pd.DataFrame, column: str) -> MainTable:
    """Set a table beside the published one.

    Args:
        name: of the table.
        cells: of `significance_table`, as its CSV has them.
        column: what its columns are: `regularization` or `activation`.
    """
    columns = list(dict.fromkeys(cells[column]))
    ours, theirs = [], []
    for optimizer in dict.fromkeys(cells["optimizer"]):
        own = cells[cells["optimizer"] == optimizer].set_index(column)
        row = [own.loc[one].to_dict() for one in columns]
        title = labels.label("optimizer", optimizer)
        ours.append((title, [_ours(cell) for cell in row]))
        theirs.append((title, [_theirs(cell["published"]) for cell in row]))
    return MainTable(name, [labels.label(column, one) for one in columns], ours, theirs)


def _ours(cell: dict[Any, Any]) -> Cell:
    p_value, published = cell["p_value"], cell["published"]
    arrow = ""
    if not (math.isnan(p_value) or math.isnan(published)):
        here, there = bool(significant(p_value)), bool(significant(published))
        arrow = "" if here == there else UP if there else DOWN
    text = p_value_text(
        cell | {"planned": cell["n"]}, "html"
    )  # without n, which has a line of its own
    pairs = "" if cell["n"] == cell["planned"] else f"n = {cell['n']}"
    return Cell(text, p_value_style(p_value), arrow, pairs)


def _theirs(published: float) -> Cell:
    return Cell("–" if math.isnan(published) else f"{published:.3f}", p_value_style(published))
