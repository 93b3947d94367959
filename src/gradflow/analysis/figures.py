"""What the paper's figures share: their style, how a line and a note are made, their files.

Free of scipy, torch and pyplot, whose imports take longer than most figures.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from gradflow.analysis.differences import DIFFERENCE
from gradflow.analysis.runs import Artifact, extent, refuse_mixture
from gradflow.files import replacing
from gradflow.study import labels

STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 8,
    "figure.titlesize": 9,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "0.88",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,  # TrueType: text in the PDF stays text
    "savefig.dpi": 200,
}
# inches: that of the paper's text, so that letters are printed in the size they have here
TEXT_WIDTH = 5.5
# likewise of camera-ready figures: a column of a page with two, and the whole of it
COLUMN_WIDTHS = {"single_column": 3.25, "double_column": 6.75}
_NARROWEST = 0.5  # a panel that can be read; figures with narrower ones in one column take both
_NOTE_LINE, _LEGEND_LINE = 0.125, 0.17

# Okabe and Ito's colours, told apart by readers with any colour vision; marker and line style say
# the same in grey.
DENSE_SPARSE: dict[str, dict[str, Any]] = {
    "dense": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "sparse": {"color": "#D55E00", "marker": "^", "linestyle": "--"},
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)))

ACCURACY = "test_accuracy"
# How the part of a figure about a measure is named, and its y axis labelled.
PARTS = {
    ACCURACY: ("Test accuracy", "accuracy (%)"),
    DIFFERENCE: ("Test accuracy, sparse minus dense", "difference (points)"),
    "test_loss": ("Test loss", "loss (nats)"),
} | {
    measure: (f"Gradient flow, {name} averaged over training", name)
    for measure, name in labels.MEASURE_LABELS.items()
}


@contextmanager
def style() -> Iterator[None]:
    """The style of all figures: everything is drawn and saved within it.

    It begins with matplotlib's own defaults, so that a person's matplotlibrc changes no figure.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def save_figure(figure: Figure, pdf: Path, png: Path) -> None:
    """Write a figure as PDF and as PNG with 200 dpi, each whole or not at all, the same bytes for
    the same figure.
    """
    with style():
        if figure.get_layout_engine() is not None:
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once, not again for each file
        for path, metadata in ((pdf, {"CreationDate": None}), (png, {"Software": None})):
            with replacing(path) as aside:
                figure.savefig(aside, format=path.suffix[1:], metadata=metadata)


def draw_line(panel: Axes, runs: pd.DataFrame, x: str, measure: str, look: dict[str, Any]) -> None:
    """Mean over seeds at each x, and the range as a band; what is not finite is left out.

    Raises:
        ValueError: the line would mix several configurations.
    """
    refuse_mixture(runs, "a line")
    column = measure if measure in runs.columns else f"mean_{measure}"
    values = runs[column].where(np.isfinite(runs[column]))
    if _is_logarithmic(measure):
        values = values.where(values > 0)
    by_x = values.groupby(runs[x]).agg(["mean", "min", "max"]).dropna()
    if by_x.empty:
        return
    places = by_x.index.to_numpy(dtype=float)
    panel.plot(places, by_x["mean"].to_numpy(), **look)
    panel.fill_between(
        places, by_x["min"].to_numpy(), by_x["max"].to_numpy(), color=look["color"], alpha=0.2, lw=0
    )


def _is_logarithmic(measure: str) -> bool:
    return measure in labels.MEASURE_LABELS


def scale_y(panel: Axes, measure: str, ticks: int = 4) -> None:
    """At most so many ticks on the y axis (and those that share it), with gradient flow on a
    logarithmic one.
    """
    if not _is_logarithmic(measure):
        panel.yaxis.set_major_locator(MaxNLocator(ticks - 1, steps=[1, 2, 5, 10]))
    else:
        scale_y_logarithmically(panel, ticks)


def scale_y_logarithmically(panel: Axes, ticks: int = 4) -> None:
    """A logarithmic y axis with at most so many ticks, at round numbers; after all is drawn."""
    panel.set_yscale("log")
    panel.yaxis.set_minor_locator(NullLocator())
    places = _log_ticks(*panel.get_ylim(), ticks)
    panel.yaxis.set_major_locator(FixedLocator(places))
    if all(0.001 <= place < 10_000 for place in places):
        panel.yaxis.set_major_formatter("{x:g}")


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round numbers within a logarithmic axis: powers of ten, or some between them
    where it is short.
    """
    exponents = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    places = np.empty(0)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        places = np.outer(10.0**exponents, factors).ravel()
        places = places[(places >= low) & (places <= high)]
        if len(places) > 1:
            return [float(place) for place in places[:: -(-len(places) // most)]]
    evenly = MaxNLocator(most - 1, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(place) for place in evenly if low <= place <= high]


def note(runs: pd.DataFrame, artifact: Artifact, *more: str) -> str:
    """What stands below a figure: what it is made of, how to read it, how many runs diverged, and
    `more`.
    """
    diverged = int(runs["diverged"].sum())
    sentences = [
        extent(runs, artifact),
        how_averaged(runs),
        f"{diverged} runs diverged: accuracy at chance, gradient flow left out."
        if diverged
        else "",
        *more,
    ]
    return " ".join(filter(None, sentences))


def how_averaged(runs: pd.DataFrame) -> str:
    """What a line and its band show, with the least and the greatest number of seeds at a point."""
    point = [
        "stands_for",
        "variant",
        "dataset",
        "configuration",
        "architecture",
        "width_percent",
        "density_percent",
    ]
    seeds = runs.groupby(point, dropna=False)["seed"].nunique()
    fewest, most = int(seeds.min()), int(seeds.max())
    if most == 1:
        return "One seed."
    counted = f"{most} seeds" if fewest == most else f"{fewest} to {most} seeds"
    return f"Line: mean of {counted}; band: lowest to highest."


def page_width(layout: str, panels: int, wanted: float = TEXT_WIDTH) -> float:
    """The width of a figure in inches.

    Args:
        layout: of `config.Layout`.
        panels: side by side.
        wanted: of a figure that is not camera-ready; never above TEXT_WIDTH.
    """
    if layout not in COLUMN_WIDTHS:
        return min(TEXT_WIDTH, wanted)
    width = COLUMN_WIDTHS[layout]
    return width if width / (panels + 1) >= _NARROWEST else COLUMN_WIDTHS["double_column"]


def add_foot(
    figure: Figure, handles: list[Line2D], text: str, columns: int | None = None, length: float = 3
) -> None:
    """The legend at the bottom, and a note below it; the figure grows by their height.

    Args:
        figure: with a constrained layout, complete but for these.
        handles: of the legend.
        text: the note, in lines; empty where there is none.
        columns: of the legend; None: as many as fit.
        length: of a line in the legend.
    """
    width, height = figure.get_size_inches()
    columns = columns or min(len(handles), int(width / 1.3))
    lines = text.count("\n") + 1 if text else 0
    note_height = _NOTE_LINE * lines + 0.1
    foot = _LEGEND_LINE * -(-len(handles) // columns) + 0.08 + note_height
    figure.set_figheight(height + foot)
    height += foot
    figure.set_layout_engine("constrained", rect=(0, foot / height, 1, 1 - foot / height))
    figure.legend(
        handles=handles, loc=
            "upper "
            "center", bbox_to_anchor=(0.5, foot / height), ncols=columns, handlelength=length,
    )  # fmt: skip
    if text:
        figure.text(0.5, (note_height - 0.05) / height, text, ha="center", va="top", fontsize=7)


def wrapped_title(artifact: Artifact, width: float) -> str:
    """The title of a figure of so many inches, in lines; none if camera-ready."""
    return "" if artifact.is_camera_ready else fill_title(labels.typeset(artifact.title), width)


def fill_title(title: str, width: float) -> str:
    """A title in as few lines of so many inches as it takes, of like length."""
    most = int(14 * width)  # about 14 characters an inch
    lines = len(textwrap.wrap(title, most))
    least = next(
        letters for letters in range(1, most + 1) if len(textwrap.wrap(title, letters)) <= lines
    )
    return textwrap.fill(title, least)


def foot_note(artifact: Artifact, text: str, width: float) -> str:
    """The note of a figure of so many inches, in lines; none if camera-ready, since its caption
    says it.
    """
    return "" if artifact.is_camera_ready else wrapped_note(text, width)


def wrapped_note(text: str, width: float) -> str:
    """A note in lines of so many inches."""
    return textwrap.fill(text, int(18 * width))  # about 18 characters an inch


def nothing_finished(artifact: Artifact) -> Figure:
    """What a figure is before any of its runs has finished."""
    with style():
        figure = Figure(figsize=(TEXT_WIDTH, 2.0))
        figure.suptitle(wrapped_title(artifact, TEXT_WIDTH))
        figure.text(0.5, 0.45, "no finished runs", ha="center", va="center")
    return figure
