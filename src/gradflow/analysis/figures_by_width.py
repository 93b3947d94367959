"""Accuracy and gradient flow by dense width, dense against sparse: small multiples (Figures 2, 3, 8
to 13, 15 to 23).

Panels are placed in inches: matplotlib's constrained layout takes most of a minute for the 150 of
Figure 19.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from gradflow.analysis.differences import (
    DIFFERENCE,
    LOOK,
    NOTE,
    draw_difference,
    hides,
    scale_differences,
)
from gradflow.analysis.figures import (
    ACCURACY,
    DENSE_SPARSE,
    PARTS,
    draw_line,
    foot_note,
    note,
    nothing_finished,
    page_width,
    scale_y,
    style,
    wrapped_title,
)
from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact, regularizations_used
from gradflow.study import labels

Item = TypeVar("Item")

# rows that still share one y axis, to be set against each other (Figures 2, 23); more have one each
_SHARING = 2

# Inches.
_PAGE = 8.4  # height, with room for a caption
_LEFT, _RIGHT = 0.85, 0.12
_DEPTH = 0.25  # what the number of hidden layers takes on the left
_GAP, _GROUP_GAP = 0.09, 0.22  # between panels, and between those of two depths
_BELOW = 0.28  # name of the x axis, below its tick labels
_LINE, _NOTE_LINE = 0.14, 0.125
_WIDEST, _HIGHEST = 1.5, 1.0  # of panels, unless title and note need a wider figure
_LEAST = 0.36  # height of a panel, below which a figure has no room for differences
_NARROW = 0.85  # a panel below: smaller letters and markers, and no width in the middle
_LOW = 0.6  # likewise, and a tick less
_LETTER = 0.054  # width of a tick label's

# With one or two hidden layers there is nothing to skip: what SC would train is trained as another
# regularization.
_SAME_WITHOUT_SKIPS = {"SC": "NR", "SC_BN": "BN"}
_SHALLOW = 2


@dataclass(frozen=True)
class _Row:
    """A row of panels: an optimizer's, of one depth where the figure has several."""

    optimizer: str
    hidden_layers: int | None = None

    def runs(self, runs: pd.DataFrame, column: str, name: str) -> pd.DataFrame:
        """The runs of one of its panels."""
        own = runs[runs["optimizer"] == self.optimizer]
        if self.hidden_layers is not None:
            own = own[own["hidden_layers"] == self.hidden_layers]
            if self.is_stood_in(own, column, name):
                name = _SAME_WITHOUT_SKIPS[name]
        return own[own[column] == name]

    def is_stood_in(self, own: pd.DataFrame, column: str, name: str) -> bool:
        """Whether the panel shows runs of another, equal regularization."""
        shallow = self.hidden_layers is not None and self.hidden_layers <= _SHALLOW
        return (
            shallow
            and column == "regularization"
            and name in _SAME_WITHOUT_SKIPS
            and not (own[column] == name).any()
        )


def plot_by_width(request: Request) -> Figure:
    """A grid of optimizers and regularizations or activations, and a part for each measure."""
    return figure_by_width(request.runs(), request.artifact)


def figure_by_width(runs: pd.DataFrame, artifact: Artifact) -> Figure:
    """Dense against sparse by dense width (Figure 15): optimizers as rows, regularizations or
    activations as columns.

    Args:
        runs: one row per run, already those of the artifact.
        artifact: `panels` says what the columns are; `rows` whether the numbers of hidden layers
            make rows too (Figure 19); each of `measures` makes a part of the figure, (a), (b), ...

    Returns:
        Lines of the mean over seeds with a band from the lowest to the highest; gradient flow on a
        logarithmic axis. Values that are not finite are left out, and a note counts the diverged
        runs. Axes are in the order of parts, rows and columns. Where the axis that dense and
        sparse share hides their difference, a part with it comes last.

    Raises:
        ValueError: a line would mix several configurations.
    """
    runs = runs[runs["dense_width"].notna()]
    if runs.empty:
        return nothing_finished(artifact)
    columns = artifact.in_order(artifact.panels, runs)
    rows = _rows(runs, artifact)
    with style():
        widths = sorted(runs["dense_width"].unique())
        cells = [[row.runs(runs, artifact.panels, name) for name in columns] for row in rows]
        text = note(runs, artifact, *_notes(runs, artifact, columns, rows))
        sheet = _Sheet(artifact, artifact.measures, columns, rows, widths, text)
        if ACCURACY in artifact.measures and hides(_sharing(cells)):
            # last, so that the other parts have the paper's letters
            parts = [*artifact.measures, DIFFERENCE]
            larger = _Sheet(artifact, parts, columns, rows, widths, f"{text} {NOTE}")
            sheet = larger if larger.height >= _LEAST else sheet
        for number, measure in enumerate(sheet.measures):
            panels = sheet.add_part(number, measure)
            for of_row, of_cells in zip(panels, cells, strict=True):
                for panel, cell in zip(of_row, of_cells, strict=True):
                    if measure == DIFFERENCE:
                        draw_difference(panel, cell, LOOK | sheet.line)
                        continue
                    for architecture, look in DENSE_SPARSE.items():
                        own = cell[cell["architecture"] == architecture]
                        draw_line(panel, own, "dense_width", measure, look | sheet.line)
            sheet.scale(panels, measure)
            sheet.label_widths(panels)
    return sheet.figure


class _Sheet:
    """A figure with its title, legend and note, and room for its parts."""

    def __init__(
        self,
        artifact: Artifact,
        measures: Sequence[str],
        columns: list[str],
        rows: list[_Row],
        widths: list[float],
        text: str,
    ):
        self.artifact, self.measures = artifact, measures
        self.columns, self.rows, self.widths = columns, rows, widths
        self.left = _LEFT + (_DEPTH if rows[0].hidden_layers is not None else 0.0)
        wanted = self.left + _RIGHT + len(columns) * (_WIDEST + _GAP)
        figure_width = page_width(artifact.layout, len(columns), max(4.8, wanted))
        self.width = (figure_width - self.left - _RIGHT) / len(columns) - _GAP
        self.narrow = self.width < _NARROW
        self.line = {"markersize": 2.2, "linewidth": 1.0} if self.narrow else {}
        shown = {widths[0], widths[-1], *([] if self.narrow else [widths[len(widths) // 2]])}
        self.ticks = {
            width: f"{width:g}" for width in sorted(shown)
        }  # all five would run into each other
        letters = [len(name) for name in self.ticks.values()]
        self.upright = (sum(letters) + len(letters) - 1) * _LETTER > 0.9 * self.width
        self.below = _BELOW + (max(letters) * _LETTER + 0.08 if self.upright else _LINE)
        self.titles = [self._column_title(name) for name in columns]
        title = wrapped_title(artifact, figure_width)
        text = foot_note(artifact, text, figure_width)
        several = len(measures) > 1
        heading = 0.22 if several else 0.0
        self.above = heading + _LINE * max(name.count("\n") + 1 for name in self.titles) + 0.05
        top = 0.12 + 0.16 * (title.count("\n") + 1) if title else 0.04
        bottom = 0.35 + _NOTE_LINE * (text.count("\n") + 1) if text else 0.3
        self.offsets = _offsets(rows)
        fixed = top + bottom + len(measures) * (self.above + self.offsets[-1] + self.below)
        self.height = min(_HIGHEST, (_PAGE - fixed) / len(measures) / len(rows))
        self.low = self.height < _LOW
        self.part = self.above + self.offsets[-1] + len(rows) * self.height + self.below
        self.top, self.heading = top, heading
        total = top + bottom + len(measures) * self.part
        self.figure = Figure(figsize=(figure_width, total))
        self.figure.set_layout_engine("none")
        self._text(figure_width / 2, 0.08, title, fontsize=9, ha="center", va="top")
        lines = [
            Line2D([], [], label=labels.ARCHITECTURE_LABELS[name], **look)
            for name, look in DENSE_SPARSE.items()
        ]
        if DIFFERENCE in measures:
            lines.append(Line2D([], [], label="Sparse − dense", **LOOK))
        self.figure.legend(
            handles=lines,
            loc="center",
            bbox_to_anchor=(0.5, (bottom - 0.12) / total),
            ncols=len(lines),
            handlelength=3,
        )
        self._text(figure_width / 2, total - bottom + 0.27, text, fontsize=7, ha="center", va="top")

    def add_part(self, number: int, measure: str) -> list[list[Axes]]:
        """Empty, titled panels for a measure, by row and column."""
        top = self.top + number * self.part
        name, unit = PARTS[measure]
        if self.heading:
            middle = self.figure.get_figwidth() / 2
            heading = f"({'abcdef'[number]}) {name}"
            self._text(
                middle, top + 0.02, heading, fontsize=8.5, fontweight="bold", ha="center", va="top"
            )
        first = top + self.above
        panels: list[list[Axes]] = []
        for row, offset in zip(self.rows, self._tops(), strict=True):
            of_row: list[Axes] = []
            for column in range(len(self.columns)):
                shared = of_row[:1] or (
                    panels[0][:1] if panels and len(self.rows) <= _SHARING else []
                )
                panel = self._add_axes(column, first + offset, next(iter(shared), None))
                panel.tick_params(length=2, pad=2, labelbottom=False, labelleft=not of_row)
                panel.tick_params(axis="y", labelsize=6 if self.low else 7)
                of_row.append(panel)
            of_row[0].set_ylabel(
                labels.label("optimizer", row.optimizer), fontsize=6.5 if self.low else 8
            )
            of_row[0].yaxis.set_label_coords(-0.4 / self.width, 0.5)
            panels.append(of_row)
        for panel, title in zip(panels[0], self.titles, strict=True):
            panel.set_title(title, pad=3, fontsize=7 if self.narrow else 8)
        last = first + self._tops()[-1] + self.height
        self._text(
            0.12, (first + last) / 2, unit, rotation=90, ha="center", va="center", fontsize=8
        )
        self._label_depths(first)
        middle = self.left + len(self.columns) * (self.width + _GAP) / 2
        self._text(
            middle, last + self.below - 0.23, "dense width", ha="center", va="top", fontsize=8
        )
        return panels

    def scale(self, panels: list[list[Axes]], measure: str) -> None:
        """A few ticks on the y axes, once all is drawn; none on one without any line."""
        for alike in _sharing(panels):
            if measure == DIFFERENCE:
                scale_differences(alike[0], ticks=3 if self.low else 5)
            elif any(panel.lines for panel in alike):
                scale_y(alike[0], measure, ticks=3 if self.low else 4)
            else:
                alike[0].yaxis.set_major_locator(NullLocator())

    def label_widths(self, panels: list[list[Axes]]) -> None:
        """The same x axis for all panels, labelled below the last row."""
        margin = 0.08 * (self.widths[-1] - self.widths[0]) or 1.0
        for of_row in panels:
            for panel in of_row:
                panel.set_xlim(self.widths[0] - margin, self.widths[-1] + margin)
                panel.set_xticks(list(self.ticks))
        for panel in panels[-1]:
            panel.tick_params(labelbottom=True)
            panel.set_xticks(list(self.ticks), labels=list(self.ticks.values()))
            panel.tick_params(axis="x", labelsize=6, labelrotation=90 if self.upright else 0)
            if (
                len(self.ticks) > 1 and not self.upright
            ):  # inwards, lest they touch those of the next panel
                panel.get_xticklabels()[0].set_horizontalalignment("left")
                panel.get_xticklabels()[-1].set_horizontalalignment("right")

    def _add_axes(self, column: int, top: float, shared: Axes | None) -> Axes:
        figure_width, figure_height = self.figure.get_size_inches()
        left = self.left + column * (self.width + _GAP)
        box = (
            left / figure_width,
            1 - (top + self.height) / figure_height,
            self.width / figure_width,
            self.height / figure_height,
        )
        return self.figure.add_axes(box, sharey=shared)

    def _tops(self) -> list[float]:
        """The upper edge of each row below that of the first."""
        return [index * self.height + offset for index, offset in enumerate(self.offsets)]

    def _label_depths(self, first: float) -> None:
        """The number of hidden layers beside the rows that have it."""
        tops = self._tops()
        for depth in dict.fromkeys(row.hidden_layers for row in self.rows):
            if depth is None:
                return
            own = [
                top for row, top in zip(self.rows, tops, strict=True) if row.hidden_layers == depth
            ]
            middle = first + (own[0] + own[-1] + self.height) / 2
            text = f"{depth} hidden layer{'s' if depth > 1 else ''}"
            self._text(
                0.12 + _DEPTH, middle, text, rotation=90, ha="center", va="center", fontsize=8
            )

    def _column_title(self, name: str) -> str:
        title = labels.label(self.artifact.panels, name)
        return title if not self.narrow else textwrap.fill(title, 6, break_long_words=False)

    def _text(self, x: float, y: float, text: str, **look: Any) -> None:
        """Text at inches from the left and from the top."""
        figure_width, figure_height = self.figure.get_size_inches()
        self.figure.text(x / figure_width, 1 - y / figure_height, text, **look)


def _sharing(rows: list[list[Item]]) -> list[list[Item]]:
    """What shares a y axis: the panels of a row, or where there are few rows, all."""
    return [list(itertools.chain(*rows))] if len(rows) <= _SHARING else rows


def _rows(runs: pd.DataFrame, artifact: Artifact) -> list[_Row]:
    optimizers = artifact.in_order("optimizer", runs)
    if artifact.rows != "hidden_layers_and_optimizer":
        return [_Row(optimizer) for optimizer in optimizers]
    depths = sorted(
        int(depth) for depth in artifact.listed("hidden_layers") or runs["hidden_layers"].unique()
    )
    return [_Row(optimizer, depth) for depth in depths for optimizer in optimizers]


def _offsets(rows: list[_Row]) -> list[float]:
    """The gaps above each row, added up."""
    offsets = [0.0]
    for above, row in itertools.pairwise(rows):
        offsets.append(
            offsets[-1] + (_GAP if above.hidden_layers == row.hidden_layers else _GROUP_GAP)
        )
    return offsets


def _notes(
    runs: pd.DataFrame, artifact: Artifact, columns: list[str], rows: list[_Row]
) -> list[str]:
    """What must be said of the columns."""
    notes = [regularizations_used(runs) if artifact.panels == "activation" else ""]
    stood_in = [
        name
        for name in columns
        if any(
            row.is_stood_in(runs[runs["hidden_layers"] == row.hidden_layers], artifact.panels, name)
            for row in rows
        )
    ]
    if stood_in:
        pairs = " and ".join(
            f"{labels.label('regularization', name)} shows "
            f"{labels.label('regularization', _SAME_WITHOUT_SKIPS[name])}"
            for name in stood_in
        )
        notes.append(
            f"With one or two hidden layers there is nothing to skip: there {pairs}, which is the "
            "same."
        )
    if artifact.panels == "regularization":
        notes.append(labels.abbreviations(columns))
    else:
        notes.append(labels.abbreviations(runs["regularization"]))
    return notes
