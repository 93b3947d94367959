"""Gradient flow over training: EGF_2 by probe epoch, of the whole network and of each layer, dense
against sparse.

The picture to open first when a run looks odd. A column is a dense width (of a Wide ResNet a
density), a row a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from gradflow.analysis.figures import (
    DENSE_SPARSE,
    TEXT_WIDTH,
    fill_title,
    how_averaged,
    page_width,
    scale_y_logarithmically,
    style,
    wrapped_note,
)
from gradflow.analysis.runs import about
from gradflow.study import labels

MEASURE = "egf_l2"
LOOKS = {**DENSE_SPARSE, "magnitude": {"color": "#009E73", "marker": "s", "linestyle": "-."}}
_COLUMNS = [
    "stands_for", "variant", "dataset", "configuration", "model", "hidden_layers", "depth",
    "widen_factor", "activation",
    "optimizer", "learning_rate", "regularization", "architecture", "width_percent",
    "density_percent",
    "dense_width", "seed", "epochs", "epoch", "diverged", MEASURE, f"layer_{MEASURE}",
]  # fmt: skip
# Inches.
_LEFT, _RIGHT, _GAP = 0.95, 0.1, 0.08
_MANY = 8  # layers; from there on panels are lower
_HIGH, _LOW = 0.85, 0.5


def read_configuration(path: Path, variant: str, dataset: str, configuration: str) -> pd.DataFrame:
    """The rows of one configuration in a study table, with the layers' flow as lists.

    Raises:
        ValueError: the file is no study table.
    """
    wanted = [
        ("variant", "=", variant),
        ("dataset", "=", dataset),
        ("configuration", "=", configuration),
    ]
    try:
        return pq.read_table(path, columns=_COLUMNS, filters=wanted, partitioning=None).to_pandas()
    except (OSError, ValueError) as error:  # Arrow's errors are ValueErrors
        raise ValueError(f"{path}: not a study table ({str(error).splitlines()[0]})") from None


def figure_of_flow(rows: pd.DataFrame, name: str, layout: str = "report") -> Figure:
    """Draw the flow of one configuration.

    Args:
        rows: a row per run and probe epoch, as `read_configuration` gives them.
        name: of the configuration, for a figure without any run.
        layout: of `config.Layout`; camera-ready ones have no title and no note.

    Returns:
        Lines of the mean over seeds with a band from the lowest to the highest, on a logarithmic
        axis that each row shares. Values that are not finite, or zero, are left out; a note counts
        the diverged runs. At densities below 100 % the dense Wide ResNet's line is repeated, to
        compare with.
    """
    if rows.empty:
        figure = Figure(figsize=(TEXT_WIDTH, 1.5))
        figure.suptitle(f"Gradient flow over training: {name}", fontsize=9)
        figure.text(0.5, 0.4, "no finished runs", ha="center", va="center")
        return figure
    values = _long(rows)
    places = sorted(values["place"].dropna().unique())
    layers = sorted(values["layer"].unique())
    wide = rows["model"].iloc[0] == "wide_resnet"
    architectures = [name for name in LOOKS if (values["architecture"] == name).any()]
    high = _HIGH if len(layers) <= _MANY else _LOW
    figure_width = page_width(layout, len(places) + 1)
    is_report = layout == "report"
    text = wrapped_note(_note(rows), figure_width) if is_report else ""
    title = fill_title(_title(rows), figure_width) if is_report else ""
    top = 0.3 + 0.15 * (title.count("\n") + 1) if title else 0.25
    bottom = 0.85 + 0.125 * (text.count("\n") + 1) if text else 0.72
    height = top + bottom + len(layers) * (high + _GAP)
    width = (figure_width - _LEFT - _RIGHT) / len(places) - _GAP
    with style():
        figure = Figure(figsize=(figure_width, height))
        figure.set_layout_engine("none")
        figure.text(0.5, 1 - 0.08 / height, title, ha="center", va="top", fontsize=9)
        for row, layer in enumerate(layers):
            shared: Axes | None = None
            for column, place in enumerate(places):
                low = height - top - (row + 1) * (high + _GAP) + _GAP
                box = (
                    (_LEFT + column * (width + _GAP)) / figure_width,
                    low / height,
                    width / figure_width,
                    high / height,
                )
                panel = figure.add_axes(box, sharey=shared)
                shared = shared or panel
                of_panel = values[
                    (values["layer"] == layer)
                    & ((values["place"] == place) | values["place"].isna())
                ]
                for name in architectures:
                    _draw(panel, of_panel[of_panel["architecture"] == name], name)
                panel.tick_params(
                    length=2, pad=2, labelleft=column == 0, labelbottom=row == len(layers) - 1
                )
                panel.xaxis.set_major_locator(MaxNLocator(3, integer=True))
                if row == 0:
                    unit = "density {:g} %" if wide else "dense width {:g}"
                    panel.set_title(unit.format(place), pad=3, fontsize=7)
            assert shared is not None
            if any(panel.lines for panel in figure.axes[-len(places) :]):
                scale_y_logarithmically(shared, ticks=3)
            shared.set_ylabel(_layer_name(layer, layers, wide), fontsize=7)
            shared.yaxis.set_label_coords(-0.42 / width, 0.5)
        figure.text(
            0.08 / figure_width,
            0.5,
            labels.MEASURE_LABELS[MEASURE],
            rotation=90,
            va="center",
            fontsize=8,
        )
        figure.text(0.5, (bottom - 0.2) / height, "epoch", ha="center", va="top", fontsize=8)
        handles = [
            Line2D([], [], label=labels.ARCHITECTURE_LABELS[name], **LOOKS[name])
            for name in architectures
        ]
        figure.legend(
            handles=handles,
            loc="center",
            bbox_to_anchor=(0.5, (bottom - 0.5) / height),
            ncols=3,
            handlelength=3,
        )
        figure.text(0.5, (bottom - 0.68) / height, text, ha="center", va="top", fontsize=7)
    return figure


def _long(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per run, probe epoch and layer; layer 0 is the mean of all, which EGF is. Dense Wide
    ResNets: no place.
    """
    place = rows["dense_width"].where(rows["model"] != "wide_resnet", rows["density_percent"])
    place = place.where((rows["model"] != "wide_resnet") | (rows["architecture"] != "dense"))
    if place.isna().all():  # a Wide ResNet without a pruned network
        place = rows["density_percent"]
    common = rows[["architecture", "seed", "epoch"]].assign(place=place.astype(float))
    whole = common.assign(layer=0, value=rows[MEASURE])
    by_layer = common.assign(
        value=rows[f"layer_{MEASURE}"], layer=rows[f"layer_{MEASURE}"].map(_numbers)
    )
    by_layer = by_layer.explode(["value", "layer"])
    long = pd.concat([whole, by_layer], ignore_index=True).astype({"layer": int, "value": float})
    return long.drop_duplicates(["architecture", "seed", "epoch", "place", "layer"])


def _numbers(values: Sequence[float]) -> list[int]:
    return list(range(1, len(values) + 1))


def _draw(panel: Axes, values: pd.DataFrame, architecture: str) -> None:
    """Mean over seeds by epoch, and the range as a band."""
    there = values[np.isfinite(values["value"]) & (values["value"] > 0)]
    by_epoch = there.groupby("epoch")["value"].agg(["mean", "min", "max"])
    if by_epoch.empty:
        return
    look = LOOKS[architecture]
    epochs = by_epoch.index.to_numpy(dtype=float) + 1  # counted from one, as people do
    panel.plot(
        epochs,
        by_epoch["mean"].to_numpy(),
        **look,
        markevery=max(1, len(epochs) // 4),
        linewidth=1.0,
    )
    panel.fill_between(
        epochs,
        by_epoch["min"].to_numpy(),
        by_epoch["max"].to_numpy(),
        color=look["color"],
        alpha=0.2,
        lw=0,
    )


def _layer_name(layer: int, layers: Sequence[int], wide: bool) -> str:
    if layer == 0:
        return "all layers"
    return "output" if layer == max(layers) and not wide else f"layer {layer}"


def _title(rows: pd.DataFrame) -> str:
    """The configuration in words."""
    one = rows.iloc[0]
    if one["model"] == "wide_resnet":
        network = f"Wide ResNet {one['depth']:g}-{one['widen_factor']:g}"
    else:
        layers = int(one["hidden_layers"])
        network = f"{layers} hidden layer{'s' if layers > 1 else ''}"
    parts = [
        about(rows, one["stands_for"]), network, labels.label("activation", one["activation"]),
        f"{labels.label('optimizer', one['optimizer'])} {one['learning_rate']:g}",
        labels.label("regularization", one["regularization"]),
    ]  # fmt: skip
    if one["variant"] != "paper":
        parts.append(labels.variant_label(one["variant"]))
    return f"Gradient flow over training: {', '.join(parts)}"


def _note(rows: pd.DataFrame) -> str:
    runs = rows.drop_duplicates(["architecture", "width_percent", "density_percent", "seed"])
    diverged = int(
        rows.groupby(["architecture", "width_percent", "density_percent", "seed"], dropna=False)[
            "diverged"
        ]
        .any()
        .sum()
    )
    sentences = [
        f"{about(rows, rows['stands_for'].iloc[0])}: {len(runs)} runs of {rows['epochs'].iloc[0]} "
        "epochs.",
        how_averaged(rows),
        "EGF at the end of each probe epoch; all layers: their mean.",
        f"{diverged} runs diverged; what is not finite is left out." if diverged else "",
    ]
    return " ".join(filter(None, sentences))
