"""How the difference between twins moves with the length of training, a line a maximum width."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from gradflow.analysis.bridge_table import CELL, bridge_cells, live_shares
from gradflow.analysis.differences import scale_differences
from gradflow.analysis.figures import (
    COLOURS,
    LINE_STYLES,
    add_foot,
    foot_note,
    nothing_finished,
    page_width,
    style,
    wrapped_title,
)
from gradflow.analysis.levels import LEVEL
from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact, extent, read_rows, summarise_runs
from gradflow.study import labels

_MARKERS = ("o", "^", "s", "D", "v")
_NOTE = (
    "Median over pairs of twins after so many epochs. Filled: one of the twins is better, p at or "
    f"below {LEVEL:g} (one-sided Wilcoxon signed-rank test); empty: neither shows."
)


def plot_width_and_length(request: Request) -> Figure:
    """A row a data set, a panel a configuration."""
    rows = read_rows(request.paths)
    cells = bridge_cells(rows, live_shares(request.paths), request.artifact)
    return figure_of_width_and_length(cells, summarise_runs(rows), request.artifact)


def figure_of_width_and_length(
    cells: pd.DataFrame, runs: pd.DataFrame, artifact: Artifact
) -> Figure:
    """Draw the median difference of each cell of the table.

    Args:
        cells: of `bridge_cells`.
        runs: one row per run, for the note.
        artifact: what is drawn.
    """
    if cells.empty:
        return nothing_finished(artifact)
    datasets = list(dict.fromkeys(cells["stands_for"]))
    columns = list(cells[CELL[2:5]].drop_duplicates().itertuples(index=False, name=None))
    widths = sorted(cells["max_width"].unique())
    looks: dict[Any, dict[str, Any]] = {
        width: {
            "color": COLOURS[index % len(COLOURS)],
            "marker": _MARKERS[index % len(_MARKERS)],
            "linestyle": LINE_STYLES[index % len(LINE_STYLES)],
        }
        for index, width in enumerate(widths)
    }
    with style():
        width = page_width(artifact.layout, len(columns))
        figure = Figure(figsize=(width, 0.6 + 1.5 * len(datasets)))
        if title := wrapped_title(artifact, width):
            figure.suptitle(title)
        part: SubFigure = figure.subfigures(1, 1, squeeze=False)[0, 0]  # its label above the legend
        grid = part.subplots(len(datasets), len(columns), sharex="row", sharey=True, squeeze=False)
        for row, dataset in zip(grid, datasets, strict=True):
            row[0].set_ylabel(f"{labels.label('dataset', str(dataset))}\ndifference (points)")
            for panel, (optimizer, rate, regularization) in zip(row, columns, strict=True):
                own = cells[
                    (cells["stands_for"] == dataset)
                    & (cells["optimizer"] == optimizer)
                    & (cells["learning_rate"] == rate)
                    & (cells["regularization"] == regularization)
                ]
                panel.axhline(0, color="0.5", linewidth=0.6, zorder=0)
                for max_width, line in own.groupby("max_width"):
                    _draw(panel, line, looks[max_width])
                if dataset == datasets[0]:
                    panel.set_title(
                        f"{labels.label('regularization', str(regularization))}, "
                        f"{labels.label('optimizer', str(optimizer))}"
                    )
        part.supxlabel("epochs of training", fontsize=8)
        scale_differences(grid[0, 0])
        handles = [
            Line2D([], [], label=f"maximum width {int(each):,}", **looks[each]) for each in widths
        ]
        add_foot(figure, handles, foot_note(artifact, f"{extent(runs, artifact)} {_NOTE}", width))
    return figure


def _draw(panel: Axes, line: pd.DataFrame, look: dict[str, Any]) -> None:
    """A line through all lengths of training, and at each a marker that tells whether it shows."""
    epochs, medians = (line[name].to_numpy(float) for name in ("epoch", "median_difference"))
    panel.plot(epochs, medians, color=look["color"], linestyle=look["linestyle"])
    shows = ((line["p_value"] <= LEVEL) | (line["p_value"] >= 1 - LEVEL)).to_numpy()
    for chosen, face in ((shows, look["color"]), (~shows, "white")):
        panel.plot(
            epochs[chosen], medians[chosen], linestyle="none", marker=look["marker"],
            color=look["color"], markerfacecolor=face,
        )  # fmt: skip
