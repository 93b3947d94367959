"""Methods that choose masks, side by side: accuracy against the dense twin, and where gradient flow
starts and ends.

A method is a variant that differs from `paper` in its initial masks or in how they move. Methods
are compared run by run at equal capacity: same configuration, seed and dense width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from gradflow.analysis.request import Request
from gradflow.analysis.runs import RUN_KEY, Artifact, extent, pair_twins, read_rows, summarise_runs
from gradflow.analysis.stats import configuration_taus, signed_rank_test
from gradflow.analysis.tables import Page, flag_notes, p_value_style, p_value_text
from gradflow.study import labels

COLUMNS = [
    "artifact", "variant", "method", "stands_for", "dataset", "optimizer", "learning_rate",
    "regularization",
    "planned", "accuracy_dense", "accuracy_sparse", "n", "zeros", "ties", "p_value",
    "p_value_normal",
    "rank_biserial", "median_difference", "interval_low", "interval_high", "against_random",
    "egf_against",
    "egf_against_p", "first_egf_l2", "mean_egf_l2", "tau_of_first_egf", "diverged_dense",
    "diverged_sparse", "collapsed_dense", "collapsed_sparse",
]  # fmt: skip
FIRST = "first_egf_l2"  # at the first probe epoch
_SAME = ("stands_for", "dataset", "optimizer", "learning_rate", "regularization", "activation")
_PAIR = ["seed", "width_percent"]
_SHOWN = ("Accuracy", "sparse - dense", "p", "- random", "EGF - it", "EGF₂ first", "EGF₂", "τ")


def methods_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """Compare every method of a study."""
    runs = with_first_flow(read_rows(request.paths))
    cells = method_cells(runs, request.artifact, request.definition["variants"])
    return cells, method_page(cells, runs, request.artifact)


def with_first_flow(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per run (`summarise_runs`), with EGF_2 at the first probe epoch."""
    runs = summarise_runs(rows)
    first = rows.sort_values("epoch", kind="stable").drop_duplicates(RUN_KEY)
    return runs.merge(
        first[[*RUN_KEY, "egf_l2"]].rename(columns={"egf_l2": FIRST}), on=RUN_KEY, how="left"
    )


def method_of(settings: Mapping[str, Any]) -> str:
    """The method of a variant, by the settings in which it differs from `paper`."""
    moving = settings.get("mask_update", "fixed")
    return str(settings.get("initial_mask", "random")) if moving == "fixed" else str(moving)


def method_cells(
    runs: pd.DataFrame, artifact: Artifact, variants: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Compare each method with the dense twins, with random masks and with EGF as a criterion.

    Args:
        runs: one row per run, of every variant, with FIRST.
        artifact: its `configurations` are the groups of rows, with or without runs.
        variants: the planned ones, each with the settings in which it differs from `paper`.

    Returns:
        COLUMNS, a row per configuration and method. Accuracies in percent, final, over the pairs;
        differences in percentage points: the signed-rank test is of sparse minus dense,
        `against_random` the mean of the method's minus random masks' on the same seed and width,
        `egf_against` that of EGF as a criterion minus the method's, with its p (H1: EGF is better).
        `tau_of_first_egf` is Kendall's correlation between EGF_2 at the first probe and final test
        accuracy over the method's sparse runs.
    """
    pairs = pair_twins(runs)
    methods = {method_of(settings): name for name, settings in variants.items()}
    rows: list[dict[str, Any]] = []
    for configuration in artifact.configurations:
        about = {key: configuration[key] for key in _SAME}
        of_cell = _matching(pairs, about)
        sparse = _matching(runs, about)
        sparse = sparse[sparse["architecture"] == "sparse"]
        accuracy = {
            method: sparse[sparse["variant"] == variant].set_index(_PAIR)["test_accuracy"]
            for method, variant in methods.items()
        }
        for method, variant in methods.items():
            cell = of_cell[of_cell["variant"] == variant]
            own = sparse[sparse["variant"] == variant]
            taus = configuration_taus(own.assign(mean_first=own[FIRST]), "first", "test_accuracy")
            against = np.empty(0)
            if "egf" in accuracy:
                against = (accuracy["egf"] - accuracy[method]).dropna().to_numpy(float)
            test = signed_rank_test(against)
            rows.append(
                {
                    **{key: about[key] for key in _SAME if key in COLUMNS},
                    "artifact": artifact.name,
                    "variant": variant,
                    "method": method,
                    "planned": artifact.planned,
                    "accuracy_dense": cell["test_accuracy_dense"].mean(),
                    "accuracy_sparse": cell["test_accuracy_sparse"].mean(),
                    **dataclasses.asdict(
                        signed_rank_test(cell["test_accuracy_sparse"] - cell["test_accuracy_dense"])
                    ),
                    "against_random": (accuracy[method] - accuracy["random"]).mean()
                    if "random" in accuracy
                    else np.nan,
                    "egf_against": float(np.mean(against)) if len(against) else np.nan,
                    "egf_against_p": test.p_value,
                    FIRST: own[FIRST].mean(),
                    "mean_egf_l2": own["mean_egf_l2"].mean(),
                    "tau_of_first_egf": taus.iloc[0] if len(taus) else np.nan,
                    **{
                        f"{flag}_{architecture}": int(cell[f"{flag}_{architecture}"].sum())
                        for flag in ("diverged", "collapsed")
                        for architecture in ("dense", "sparse")
                    },
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def _matching(frame: pd.DataFrame, about: Mapping[str, Any]) -> pd.DataFrame:
    same = pd.Series(True, index=frame.index)
    for column, value in about.items():
        same &= frame[column] == value
    return frame[same]


def method_page(cells: pd.DataFrame, runs: pd.DataFrame, artifact: Artifact) -> Page:
    """Arrange `method_cells`: a row a method, grouped by regularization and optimizer."""
    records = cells.to_dict("records")
    index = pd.MultiIndex.from_tuples(
        [
            (
                labels.label("regularization", cell["regularization"]),
                f"{labels.label('optimizer', cell['optimizer'])}, {cell['learning_rate']:g}",
                labels.method_label(cell["method"]),
            )
            for cell in records
        ],
        names=[None, None, None],
    )
    texts: dict[Any, pd.DataFrame] = {}
    for target in ("html", "latex"):
        texts[target] = pd.DataFrame(
            [
                (
                    _number(cell["accuracy_sparse"], ".1f"),
                    _number(cell["median_difference"], "+.2f"),
                    p_value_text(cell, target),
                    _number(cell["against_random"], "+.2f"),
                    _number(cell["egf_against"], "+.2f"),
                    _number(cell[FIRST], ".3g"),
                    _number(cell["mean_egf_l2"], ".3g"),
                    _number(cell["tau_of_first_egf"], "+.2f"),
                )
                for cell in records
            ],
            index=index,
            columns=list(_SHOWN),
        )
    styles = pd.DataFrame("", index=index, columns=list(_SHOWN))
    for place, cell in enumerate(records):
        styles.iloc[place, _SHOWN.index("p")] = p_value_style(cell["p_value"])
    notes = [
        extent(runs, artifact),
        "Accuracy: final test accuracy of the sparse twins in percent; sparse - dense: median "
        "over the pairs of width and seed, with its Wilcoxon signed-rank p; - random: mean over "
        "the same runs with random masks; EGF - it: EGF as a criterion minus the method, "
        "likewise; EGF₂ first: at the first probe epoch, and beside it the mean over the probe "
        "epochs; τ: Kendall's correlation of EGF₂ first with final accuracy "
        "over widths and seeds.",
        "Random, magnitude and EGF keep the dense twin's count in each layer; ERK, SNIP, GraSP "
        "and SynFlow its total.",
        *flag_notes(cells),
    ]
    return Page(artifact.title, texts, styles, tuple(notes), False)


def _number(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "–"
