"""Accuracy and gradient flow by density of a Wide ResNet (Figures 4, 5 and 24)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from gradflow.analysis.figures import (
    COLOURS,
    LINE_STYLES,
    PARTS,
    add_foot,
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
from gradflow.analysis.runs import Artifact
from gradflow.study import labels

_LETTER = 0.062  # width of a tick label's, in inches
_MARKERS = ("o", "^", "s", "D", "v", "P", "X")


def plot_by_density(request: Request) -> Figure:
    """A panel an optimizer, a line a configuration, and a part for each measure."""
    return figure_by_density(request.runs(), request.artifact)


def figure_by_density(runs: pd.DataFrame, artifact: Artifact) -> Figure:
    """Accuracy or gradient flow by density (Figures 4, 5, 24): a panel an optimizer, a line a
    configuration.

    Args:
        runs: one row per run, already those of the artifact.
        artifact: its `architectures` are dense, which gives the point at 100 %, and sparse or
            magnitude, which gives those below; each of `measures` makes a part of the figure.

    Returns:
        Lines as `draw_line` makes them. Swish with AdamW stands in Adam's panel, as in the paper.

    Raises:
        ValueError: a line would mix several configurations, or sparse and magnitude.
    """
    if len(set(artifact.architectures) - {"dense"}) != 1:
        raise ValueError(f"artifact {artifact.name}: architectures must be dense and one other")
    density = runs["density_percent"].where(runs["architecture"] != "dense", 100)
    runs = runs.assign(density=density)
    runs = runs[runs["architecture"].isin(artifact.architectures) & runs["density"].notna()]
    runs = runs[(runs["architecture"] == "dense") | (runs["density"] < 100)]
    if runs.empty:
        return nothing_finished(artifact)
    runs = runs.assign(
        line=runs.apply(_line_label, axis=1), panel=runs["optimizer"].replace("adamw", "adam")
    )
    optimizers = labels.in_order(
        "optimizer",
        ("adam" if name == "adamw" else name for name in artifact.in_order("optimizer", runs)),
    )
    regularizations = [
        labels.label("regularization", name)
        for name in labels.in_order("regularization", runs["regularization"])
    ]
    ranks = {name: rank for rank, name in enumerate(regularizations)}
    lines = sorted(set(runs["line"]), key=lambda name: (ranks.get(name, len(ranks)), name))
    looks: dict[str, dict[str, Any]] = {
        name: {
            "color": COLOURS[index % len(COLOURS)],
            "marker": _MARKERS[index % len(_MARKERS)],
            "linestyle": LINE_STYLES[(index + index // len(COLOURS)) % len(LINE_STYLES)],
        }
        for index, name in enumerate(lines)
    }
    densities = sorted(int(value) for value in runs["density"].unique())
    with style():
        width = page_width(artifact.layout, len(optimizers), 3.0 + 1.5 * len(optimizers))
        figure, parts = _parts(artifact, width, 1.8)
        for part, measure in zip(parts, artifact.measures, strict=True):
            axes = part.subplots(1, len(optimizers), sharex=True, sharey=True, squeeze=False)[0]
            for optimizer, panel in zip(optimizers, axes, strict=True):
                of_panel = runs[runs["panel"] == optimizer]
                for name in lines:
                    draw_line(
                        panel, of_panel[of_panel["line"] == name], "density", measure, looks[name]
                    )
                panel.set_xscale("log")
                panel.set_xticks(densities, labels=_with_room(densities, width / len(optimizers)))
                panel.xaxis.set_minor_locator(NullLocator())
                panel.set_title(labels.label("optimizer", optimizer))
            scale_y(axes[0], measure)
            axes[0].set_ylabel(PARTS[measure][1])
            part.supxlabel("density (%); 100 is dense", fontsize=8)
        handles = [Line2D([], [], label=name, **looks[name]) for name in lines]
        more = _swish_note(runs), labels.abbreviations(runs["regularization"])
        add_foot(figure, handles, foot_note(artifact, note(runs, artifact, *more), width))
    return figure


def _parts(artifact: Artifact, width: float, panels: float) -> tuple[Figure, list[SubFigure]]:
    """A figure, `width` inches wide, with a titled part for each measure, which has `panels` inches
    for its panels.
    """
    title = wrapped_title(artifact, width)
    height = len(artifact.measures) * (panels + 0.6) + (0.25 if title else 0.0)
    figure = Figure(figsize=(width, height))
    if title:
        figure.suptitle(title)
    parts: list[SubFigure] = list(figure.subfigures(len(artifact.measures), 1, squeeze=False)[:, 0])
    for letter, part, measure in zip("abcdef", parts, artifact.measures, strict=False):
        name = PARTS[measure][0]
        if len(parts) > 1 or title:
            part.suptitle(
                f"({letter}) {name}" if len(parts) > 1 else name, fontsize=8.5, fontweight="bold"
            )
    return figure, parts


def _with_room(densities: list[int], inches: float) -> list[str]:
    """The labels of ticks on a logarithmic axis in a panel of so many inches, empty where one would
    touch the next.

    The lowest and the highest have theirs.
    """
    places = np.log10(densities) / max(np.ptp(np.log10(densities)), 1e-9) * (inches - 0.5)
    wide = [_LETTER * len(str(value)) + 0.03 for value in densities]
    shown = {0, len(densities) - 1}
    last = len(densities) - 1
    for one in range(len(densities) - 2, 0, -1):
        room = (places[last] - places[one], places[one] - places[0])
        needed = (wide[one] + wide[last]) / 2, (wide[one] + wide[0]) / 2
        if room[0] > needed[0] and room[1] > needed[1]:
            shown.add(one)
            last = one
    return [str(value) if place in shown else "" for place, value in enumerate(densities)]


def _line_label(run: pd.Series[Any]) -> str:
    """The paper's name of a Wide ResNet's configuration: its regularization, or Swish, or Swish
    (AdamW).
    """
    if run["activation"] == "relu":
        name = labels.label("regularization", run["regularization"])
    else:
        name = labels.label("activation", run["activation"])
    return f"{name} (AdamW)" if run["optimizer"] == "adamw" else name


def _swish_note(runs: pd.DataFrame) -> str:
    """With which regularization a line named by its activation alone was trained."""
    named = runs[runs["activation"] != "relu"]
    if named.empty:
        return ""
    activations = [
        labels.label("activation", name)
        for name in labels.in_order("activation", named["activation"])
    ]
    regularizations = labels.in_order("regularization", named["regularization"])
    return (
        f"{', '.join(activations)}: with "
        f"{', '.join(labels.label('regularization', one) for one in regularizations)}."
    )
