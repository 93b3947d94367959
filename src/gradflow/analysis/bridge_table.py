"""How the differences between twins move with the maximum width, and with the length of training.

At a constant learning rate a probe epoch of a run is the end of a shorter run, so that one length
of training tells of all shorter ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from gradflow.analysis.levels import LEVEL
from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact, extent, read_rows, summarise_runs
from gradflow.analysis.stats import MINIMUM, signed_rank_test
from gradflow.analysis.tables import Page, Target, p_value_style
from gradflow.study import labels

CELL = ["stands_for", "dataset", "optimizer", "learning_rate", "regularization", "activation"]
PAIR = [*CELL, "max_width", "width_percent", "seed", "epoch", "step"]
LENGTHS = 5  # that are shown; the CSV has every probe epoch
COLUMNS = [
    "artifact", *CELL, "max_width", "epoch", "steps", "planned", "n", "p_value",
    "p_value_without_smallest",
    "median_difference", "live_share",
]  # fmt: skip
_DASH: dict[Target, str] = {"html": "–", "latex": "--"}


def bridge_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """Compare twins at each maximum width and probe epoch."""
    rows = read_rows(request.paths)
    cells = bridge_cells(rows, live_shares(request.paths), request.artifact)
    return cells, bridge_page(cells, summarise_runs(rows), request.artifact)


def live_shares(paths: Iterable[Path]) -> pd.DataFrame:
    """The share of the sparse twins' active weights that lie on a path from an input to an output,
    at their start.

    Returns:
        A frame of `stands_for`, `max_width`, `width_percent` and `live_share`, the mean over runs.
    """
    names = ["stands_for", "architecture", "max_width", "width_percent", "epoch"]
    names += ["active_weights", "live_weights"]
    rows = pd.concat([pq.read_table(path, columns=names).to_pandas() for path in paths])
    rows = rows[(rows["architecture"] == "sparse") & (rows["epoch"] == rows["epoch"].min())]
    live, active = (rows[f"{name}_weights"].map(np.sum) for name in ("live", "active"))
    shares = rows.assign(live_share=(live / active).astype(float))
    key = ["stands_for", "max_width", "width_percent"]
    return shares.groupby(key, as_index=False)["live_share"].mean()


def bridge_cells(rows: pd.DataFrame, live: pd.DataFrame, artifact: Artifact) -> pd.DataFrame:
    """Test sparse against dense at every maximum width and probe epoch of every configuration.

    Args:
        rows: study tables, a row per run and probe epoch, of MLPs.
        live: of `live_shares`.
        artifact: its `percents` are the planned dense widths.

    Returns:
        COLUMNS and `difference_PERCENT` for each dense width, the mean of sparse minus dense test
        accuracy over the seeds, in percentage points. `epoch` counts from 1: how many were
        trained. `p_value` is that of the one-sided Wilcoxon test (Equation 4) over all pairs,
        `p_value_without_smallest` without those of the smallest dense width; `live_share` is that
        of the sparse twins of the smallest.
    """
    smallest = min(artifact.percents)
    differences = [f"difference_{percent}" for percent in artifact.percents]
    wide = rows.drop_duplicates([*PAIR, "architecture"]).pivot(
        index=PAIR, columns="architecture", values="test_accuracy"
    )
    made: list[dict[str, Any]] = []
    if {"dense", "sparse"} <= set(wide.columns):
        pairs = (wide["sparse"] - wide["dense"]).dropna().rename("difference").reset_index()
        groups = pairs.groupby([*CELL, "max_width", "epoch", "step"], sort=False)
        for key, pair in groups:
            cell = dict(zip([*CELL, "max_width", "epoch", "steps"], key, strict=True))
            others = pair[pair["width_percent"] != smallest]
            test = signed_rank_test(pair["difference"])
            by_width = pair.groupby("width_percent")["difference"].mean()
            share = live[
                (live["stands_for"] == cell["stands_for"])
                & (live["max_width"] == cell["max_width"])
                & (live["width_percent"] == smallest)
            ]["live_share"]
            made.append(
                {
                    **cell,
                    "artifact": artifact.name,
                    "epoch": int(str(cell["epoch"])) + 1,
                    "planned": artifact.planned,
                    "n": test.n,
                    "p_value": test.p_value,
                    "p_value_without_smallest": signed_rank_test(others["difference"]).p_value,
                    "median_difference": test.median_difference,
                    "live_share": share.iloc[0] if len(share) else math.nan,
                    **{
                        name: by_width.get(percent, math.nan)
                        for name, percent in zip(differences, artifact.percents, strict=True)
                    },
                }
            )
    cells = pd.DataFrame(made, columns=[*COLUMNS, *differences])
    order = [
        cells[column].map(lambda name, column=column: labels.place(column, name))
        for column in ("regularization", "optimizer")
    ]
    return (
        cells.assign(_regularization=order[0], _optimizer=order[1])
        .sort_values(
            ["stands_for", "_regularization", "_optimizer", "max_width", "epoch"], kind="stable"
        )
        .drop(columns=["_regularization", "_optimizer"])
        .reset_index(drop=True)
    )


def bridge_page(cells: pd.DataFrame, runs: pd.DataFrame, artifact: Artifact) -> Page:
    """Arrange `bridge_cells`: a row a configuration and maximum width, a column a length of
    training.
    """
    lengths = _spread(sorted(cells["epoch"].unique()))
    shown = [f"p at {length}" for length in lengths]
    shown += [f"p without {min(artifact.percents)} %", "live %"]
    shown += [f"{percent} %" for percent in artifact.percents]
    index: list[tuple[str, str, str]] = []
    texts: dict[Target, list[list[str]]] = {"html": [], "latex": []}
    looks = []
    for key, cell in cells.groupby(["stands_for", *CELL[2:5], "max_width"], sort=False):
        stands_for, optimizer, _, regularization, max_width = map(str, key)
        index.append(
            (
                labels.label("dataset", stands_for),
                f"{labels.label('optimizer', optimizer)} "
                f"{labels.label('regularization', regularization)}",
                f"{int(float(max_width)):,}",
            )
        )
        by_length = cell.set_index("epoch")
        last = cell.iloc[-1]
        values = [by_length["p_value"].get(length, math.nan) for length in lengths]
        values.append(last["p_value_without_smallest"])
        others = [
            100 * last["live_share"],
            *(last[f"difference_{percent}"] for percent in artifact.percents),
        ]
        for target in texts:
            texts[target].append(
                [_number(value, ".3f", target) for value in values]
                + [_number(others[0], ".0f", target)]
                + [_number(value, "+.1f", target) for value in others[1:]]
            )
        looks.append([*map(p_value_style, values), *[""] * len(others)])
    levels = pd.MultiIndex.from_tuples(index, names=[None, None, None]) if index else None
    frames: dict[Target, pd.DataFrame] = {
        "html": pd.DataFrame(texts["html"], index=levels, columns=shown),
        "latex": pd.DataFrame(
            texts["latex"], index=levels, columns=[name.replace("%", r"\%") for name in shown]
        ),
    }
    notes = [
        extent(runs, artifact),
        "Rows: configuration and maximum width. p: one-sided Wilcoxon signed-rank test of test "
        "accuracy, sparse against dense, exact, after so many epochs; bold: at or below "
        f"{LEVEL:g}; –: undefined (fewer than {MINIMUM} pairs). Without {min(artifact.percents)} "
        "%: at the end, without the pairs of the smallest dense width.",
        "Live: share of the sparse twins' active weights that lie on a path from an input to an "
        "output, at the smallest dense width. Last columns: mean of sparse minus dense accuracy "
        "at the end, percentage points, by dense width.",
        labels.abbreviations(cells["regularization"]),
    ]
    looked = pd.DataFrame(looks, index=levels, columns=shown)
    return Page(artifact.title, frames, looked, tuple(note for note in notes if note), scale=True)


def _spread(epochs: Sequence[int]) -> list[int]:
    """Some of the probe epochs, evenly spread, the last among them."""
    count = min(LENGTHS, len(epochs))
    return [epochs[(index + 1) * len(epochs) // count - 1] for index in range(count)]


def _number(value: float, form: str, target: Target) -> str:
    return _DASH[target] if math.isnan(value) else f"{value:{form}}"
