"""Accuracy and the start of gradient flow by density, a line a method that chooses masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from gradflow.analysis.figures import (
    COLOURS,
    LINE_STYLES,
    add_foot,
    foot_note,
    nothing_finished,
    page_width,
    scale_y_logarithmically,
    style,
    wrapped_title,
)
from gradflow.analysis.methods_table import FIRST, method_of, with_first_flow
from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact, extent, read_rows
from gradflow.study import labels

_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "*", "h")
_PARTS = (("test_accuracy", "accuracy (%)"), (FIRST, "EGF₂, first probe"))


def plot_methods(request: Request) -> Figure:
    """A row a measure, a panel a regularization and optimizer."""
    runs = with_first_flow(read_rows(request.paths))
    return figure_of_methods(runs, request.artifact, request.definition["variants"])


def figure_of_methods(
    runs: pd.DataFrame, artifact: Artifact, variants: Mapping[str, Mapping[str, Any]]
) -> Figure:
    """Means over seeds by dense width, of the sparse twins under each method and of the dense
    twins.
    """
    known = {name: method_of(settings) for name, settings in variants.items()}
    runs = runs[runs["variant"].isin(list(known)) & runs["width_percent"].notna()]
    if runs.empty:
        return nothing_finished(artifact)
    made_of = extent(runs, artifact)
    dense = (runs["architecture"] == "dense") & (runs["variant"] == artifact.variant)
    sparse = runs["architecture"] == "sparse"
    runs = runs.assign(line=runs["variant"].map(known).where(sparse, "dense"))[dense | sparse]
    panels = list(runs.groupby(["regularization", "optimizer", "learning_rate"], sort=False))
    names = ["dense", *dict.fromkeys(known.values())]
    looks: dict[str, dict[str, Any]] = {
        name: {
            "color": COLOURS[index % len(COLOURS)],
            "marker": _MARKERS[index % len(_MARKERS)],
            "linestyle": LINE_STYLES[(index + index // len(COLOURS)) % len(LINE_STYLES)],
        }
        for index, name in enumerate(names)
    }
    with style():
        width = page_width(artifact.layout, len(panels))
        figure = Figure(figsize=(width, 4.2))
        if title := wrapped_title(artifact, width):
            figure.suptitle(title)
        part: SubFigure = figure.subfigures(1, 1, squeeze=False)[
            0, 0
        ]  # whose label of the axis stands above the legend
        grid = part.subplots(len(_PARTS), len(panels), sharex=True, sharey="row", squeeze=False)
        for row, (column, name) in zip(grid, _PARTS, strict=True):
            row[0].set_ylabel(name)
            for axes, ((regularization, optimizer, rate), of_panel) in zip(
                row, panels, strict=True
            ):
                for line, own in of_panel.groupby("line", sort=False):
                    means = own.groupby("width_percent")[column].mean()
                    axes.plot(means.index.to_numpy(float), means.to_numpy(), **looks[str(line)])
                axes.set_xticks(sorted(of_panel["width_percent"].unique()))
                if column != FIRST:
                    regular = labels.label("regularization", str(regularization))
                    axes.set_title(
                        f"{regular}, {labels.label('optimizer', str(optimizer))} {rate:g}"
                    )
        scale_y_logarithmically(grid[-1, 0])
        part.supxlabel("dense width (% of the maximum)", fontsize=8)
        handles = [Line2D([], [], label=labels.method_label(name), **looks[name]) for name in names]
        add_foot(figure, handles, foot_note(artifact, made_of + " Means over seeds.", width))
    return figure
