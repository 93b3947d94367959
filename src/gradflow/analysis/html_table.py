"""A frame of HTML texts as a table: its headings spanned, each with its scope."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from gradflow.pages import fill


@dataclass(frozen=True)
class Heading:
    """A heading, and over how many columns or rows it stands."""

    text: Markup
    span: int

    @property
    def scope(self) -> str:
        """Of the attribute, less its row or column."""
        return "group" if self.span > 1 else ""


def html_table(texts: pd.DataFrame, styles: pd.DataFrame) -> Markup:
    """Make a table of a frame.

    Args:
        texts: HTML of each cell, its rows' and columns' names too, of one level or several.
        styles: CSS of each cell, in the same order.
    """
    headings = _headings(texts.index)
    rows = [
        (headings[number], list(zip(map(Markup, cells), looks, strict=True)))
        for number, (cells, looks) in enumerate(
            zip(texts.to_numpy().tolist(), styles.to_numpy().tolist(), strict=True)
        )
    ]
    head = [
        [heading for heading in level if heading is not None]
        for level in zip(*_headings(texts.columns), strict=True)
    ]
    return fill(
        "gradflow.analysis", "cells.html", head=head, rows=rows, depth=texts.index.nlevels,
        corner=str(texts.columns.names[-1] or ""),
    )  # fmt: skip


def _headings(index: pd.Index) -> list[list[Heading | None]]:
    """The headings of each label by level; none where the one before stands over it too."""
    labels = [label if isinstance(label, tuple) else (label,) for label in index]
    levels = [list(_level(labels, level)) for level in range(index.nlevels)]
    return [list(of_label) for of_label in zip(*levels, strict=True)]


def _level(labels: list[tuple[object, ...]], level: int) -> Iterator[Heading | None]:
    """Labels that are alike up to a level share their heading; each has its own on the last one."""
    last = level == len(labels[0]) - 1 if labels else True
    groups = itertools.groupby(
        enumerate(labels), lambda item: (item[1][: level + 1], last and item[0])
    )
    for _, members in groups:
        alike = list(members)
        yield Heading(Markup(str(alike[0][1][level])), len(alike))
        yield from itertools.repeat(None, len(alike) - 1)
