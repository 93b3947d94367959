"""Sparse minus dense accuracy of each pair of twins, and whether an axis that both share hides it.

Free of scipy, as the figures are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from gradflow.analysis.runs import pair_twins

DIFFERENCE = "difference"  # as a measure of a figure
LOOK: dict[str, Any] = {"color": "0.15", "marker": "D", "markersize": 2.8, "linewidth": 1.0}
HIDDEN = 0.05  # a difference below this share of the axis is about a marker's height
NOTE = "Difference: median over pairs of twins; bar: lowest to highest; axis linear within 1 point."
_LINEAR = 1.0  # points, on either side of zero; beyond them the axis is logarithmic
_TICKS = (0, 10, -10, 1, -1, 100, -100)  # those that matter most first


def draw_difference(panel: Axes, runs: pd.DataFrame, look: dict[str, Any]) -> None:
    """The median over pairs at each dense width, a bar from the lowest to the highest, and a line
    at zero.

    Args:
        panel: to draw in.
        runs: one row per run of one configuration. Diverged runs count at chance.
        look: of the line.
    """
    pairs = pair_twins(runs)
    difference = pairs["test_accuracy_sparse"] - pairs["test_accuracy_dense"]
    by_width = difference.groupby(pairs["dense_width"]).agg(["median", "min", "max"]).dropna()
    panel.axhline(0, color="0.5", linewidth=0.6, zorder=0)
    if by_width.empty:
        return
    middle = by_width["median"].to_numpy(dtype=float)
    bars = [middle - by_width["min"].to_numpy(float), by_width["max"].to_numpy(float) - middle]
    panel.errorbar(
        by_width.index.to_numpy(dtype=float), middle, yerr=bars, elinewidth=0.8, capsize=1.5, **look
    )


def scale_differences(panel: Axes, ticks: int = 5) -> None:
    """A y axis that shows differences of half a point and of fifty, with at most so many ticks;
    after all is drawn.
    """
    low, high = panel.get_ylim()
    panel.set_yscale("symlog", linthresh=_LINEAR, linscale=0.8)
    room = 1.5  # the margins of the linear axis are none on this one
    panel.set_ylim(min(room * low, -_LINEAR), max(room * high, _LINEAR))
    panel.yaxis.set_minor_locator(NullLocator())
    low, high = panel.get_ylim()
    places = [place for place in _TICKS if low <= place <= high][:ticks]
    panel.yaxis.set_major_locator(FixedLocator(sorted(places)))
    panel.yaxis.set_major_formatter("{x:g}")


def hides(axes: Iterable[list[pd.DataFrame]]) -> bool:
    """Whether at most widths the twins' points lie too close to tell apart.

    Args:
        axes: the panels that share an axis, each the runs of a panel.
    """
    seen = hidden = 0
    for panels in axes:
        lines = [
            runs.groupby(["dense_width", "architecture"])["test_accuracy"].mean().unstack()
            for runs in panels
        ]
        shown = np.concatenate([line.to_numpy(dtype=float).ravel() for line in lines])
        shown = shown[np.isfinite(shown)]
        for line in lines:
            if {"dense", "sparse"} <= set(line.columns):
                gaps = (line["sparse"] - line["dense"]).abs().dropna()
                seen += len(gaps)
                hidden += int((gaps < HIDDEN * np.ptp(shown)).sum())
    return seen > 0 and 2 * hidden >= seen
