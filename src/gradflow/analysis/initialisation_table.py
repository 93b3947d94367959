"""Does the initialisation decide which twin is better? Each configuration under each
initialisation, side by side.

The tests are those of Table 4 (Section 2.1); the variants of a study give the initialisations.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from gradflow.analysis.levels import LEVEL, MIN_PAIRS, significant
from gradflow.analysis.request import Request
from gradflow.analysis.rounding_noise import rounding_noise
from gradflow.analysis.runs import Artifact, extent, pair_twins
from gradflow.analysis.sensitivity import MISSING, conclude
from gradflow.analysis.signed_ranks import tails_of_rows
from gradflow.analysis.stats import MINIMUM, signed_rank_test
from gradflow.analysis.tables import (
    Page,
    Target,
    latex_text,
    p_value_style,
    p_value_text,
)
from gradflow.study import labels

COLUMNS = [
    "artifact", "variant", "initialisation", "stands_for", "dataset", "optimizer", "learning_rate",
    "regularization",
    "planned", "n", "zeros", "ties", "p_value", "p_value_normal", "rank_biserial",
    "median_difference",
    "interval_low", "interval_high", "mean_difference", "mean_dense", "mean_sparse", "conclusion",
    "changes",
    "fall_n", "fall_median", "fall_p_value", "fall_p_holm",
    "diverged_dense", "diverged_sparse", "collapsed_dense", "collapsed_sparse",
]  # fmt: skip
_SHOWN = ("p", "median", "mean", "accuracy")
_FALL = ("change", "p of a fall")
_ROW = ["regularization", "optimizer", "learning_rate"]
_TARGETS: tuple[Target, ...] = ("html", "latex")
_FLAGS = ("diverged", "collapsed")


def initialisation_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """Test under every initialisation."""
    runs = request.runs_of_all_variants()
    cells = initialisation_cells(runs, request.artifact, request.definition["variants"])
    page = initialisation_page(cells, runs, request.artifact)
    if (noise := rounding_noise(runs)) is not None:
        page = dataclasses.replace(page, notes=(*page.notes, noise.sentence))
    return cells, page


def initialisation_cells(
    runs: pd.DataFrame, artifact: Artifact, variants: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """A Wilcoxon test of sparse against dense for each configuration and initialisation.

    Args:
        runs: one row per run (`gradflow.analysis.runs.summarise_runs`), of every variant.
        artifact: its `configurations` are the rows, with or without runs.
        variants: the planned ones, each with the settings in which it differs from `paper`.

    Returns:
        COLUMNS, a row per configuration and variant, the artifact's own variant first. Differences
        are sparse minus dense in percentage points of final test accuracy over the pairs;
        `mean_dense` and `mean_sparse` are the accuracies of the pairs' twins; `conclusion` is that
        of `gradflow.analysis.sensitivity.conclude`; `changes` says whether it is another than in
        the artifact's variant, and is missing there and where either is. `fall_*`: whether sparse
        minus dense falls from the artifact's variant, over the pairs that both have (`_fall`), and
        the p-value after Holm's correction over the table.
    """
    pairs = pair_twins(runs)
    reference = artifact.variant
    rows: list[dict[str, Any]] = []
    # NR's rows together, and BN's
    regularizations = list(
        dict.fromkeys(configuration["regularization"] for configuration in artifact.configurations)
    )
    for configuration in sorted(
        artifact.configurations, key=lambda one: regularizations.index(one["regularization"])
    ):
        before = MISSING
        for variant in (reference, *(name for name in variants if name != reference)):
            same = pairs["variant"] == variant
            for column in (
                "stands_for",
                "dataset",
                "optimizer",
                "learning_rate",
                "regularization",
                "activation",
            ):
                same &= pairs[column] == configuration[column]
            cell = pairs[same & (pairs["hidden_layers"] == configuration["depth"])]
            dense, sparse = cell["test_accuracy_dense"], cell["test_accuracy_sparse"]
            conclusion = conclude(sparse - dense).conclusion
            known = MISSING not in (before, conclusion)
            rows.append(
                {
                    **{key: configuration[key] for key in COLUMNS if key in configuration},
                    "artifact": artifact.name,
                    "variant": variant,
                    "initialisation": variants[variant].get(
                        "initialisation", artifact.initialisation
                    ),
                    "planned": artifact.planned,
                    **dataclasses.asdict(signed_rank_test(sparse - dense)),
                    "mean_difference": (sparse - dense).mean(),
                    "mean_dense": dense.mean(),
                    "mean_sparse": sparse.mean(),
                    "conclusion": conclusion,
                    "changes": conclusion != before if known else None,
                    **{
                        f"{flag}_{architecture}": int(cell[f"{flag}_{architecture}"].sum())
                        for flag in _FLAGS
                        for architecture in ("dense", "sparse")
                    },
                }
            )
            before = conclusion if variant == reference else before
            advantage = cell.set_index(["width_percent", "seed"])
            advantage = advantage["test_accuracy_sparse"] - advantage["test_accuracy_dense"]
            if variant == reference:
                of_reference = advantage
            else:
                rows[-1] |= _fall(of_reference, advantage)
    cells = pd.DataFrame(rows, columns=COLUMNS).astype({"changes": "boolean", "fall_n": "Int64"})
    there = cells["fall_p_value"].notna()
    if there.any():
        tested = cells.loc[there, "fall_p_value"].to_numpy(dtype=float)
        cells.loc[there, "fall_p_holm"] = multipletests(tested, method="holm")[1]
    return cells.astype(dict.fromkeys(("fall_median", "fall_p_value", "fall_p_holm"), float))


def _fall(before: pd.Series[float], after: pd.Series[float]) -> dict[str, Any]:
    """Whether sparse minus dense falls from one initialisation to another, over the units that both
    have.

    A paired one-sided Wilcoxon test: that one conclusion is significant and the other not says
    nothing of it.
    """
    changes = (after - before).dropna().to_numpy(dtype=float)
    if len(changes) < MIN_PAIRS:
        return {"fall_n": len(changes)}
    _, less = tails_of_rows(changes[None])
    return {
        "fall_n": len(changes),
        "fall_median": float(np.median(changes)),
        "fall_p_value": float(less[0]),
    }


def initialisation_page(cells: pd.DataFrame, runs: pd.DataFrame, artifact: Artifact) -> Page:
    """Arrange `initialisation_cells`: a row a configuration, a group of columns an
    initialisation.
    """
    names = list(dict.fromkeys(cells["initialisation"]))
    columns = pd.MultiIndex.from_tuples(
        [
            ("dense", "accuracy"),
            *((name, what) for i, name in enumerate(names) for what in _shown(i)),
        ]
    )
    groups = [group.to_dict("records") for _, group in cells.groupby(_ROW, sort=False)]
    places = [_place(group[0]) for group in groups]
    index = pd.MultiIndex.from_tuples(places, names=[None, None, None]) if places else pd.Index([])
    texts: dict[Target, pd.DataFrame] = {
        target: pd.DataFrame(
            [_texts(group, target) for group in groups], index=index, columns=columns
        )
        for target in _TARGETS
    }
    texts["latex"].columns = pd.MultiIndex.from_tuples(
        [(latex_text(name), what) for name, what in columns]
    )
    styles = [
        [
            "",
            *(
                style
                for i, cell in enumerate(group)
                for style in (p_value_style(cell["p_value"]), *("" for _ in _shown(i)[1:]))
            ),
        ]
        for group in groups
    ]
    changed = [
        " ".join(_place(cell)) for cell in cells[cells["changes"].fillna(False)].to_dict("records")
    ]
    notes = [
        extent(runs, artifact)
        + f" {artifact.planned} pairs a test are planned; n is shown where it differs.",
        "p: one-sided Wilcoxon signed-rank test of final test accuracy, sparse (S) against dense "
        f"(D), exact; bold: at or below {LEVEL:g}; –: undefined (fewer than {MINIMUM} pairs). "
        "Median and mean: of sparse minus dense, percentage points. Accuracy: mean over widths "
        "and seeds, percent, of the sparse twins, and of the dense ones under the first "
        "initialisation.",
        "The initialisation changes the conclusion (sparse better, dense better or undecided, "
        f"each way at the 5 % level) in {len(changed)} of {int(cells['changes'].notna().sum())} "
        "comparisons" + (f": {'; '.join(changed)}." if changed else "."),
        "Change: median over pairs of the change of sparse minus dense from the first "
        "initialisation, percentage points. p of a fall: paired one-sided Wilcoxon test that it "
        "falls, after Holm's correction over the table's "
        f"{int(cells['fall_p_value'].notna().sum())} tests; at or below {LEVEL:g} in "
        f"{int(np.sum(significant(cells['fall_p_holm'].to_numpy())))}. That a conclusion changes "
        "is no such test.",
        labels.abbreviations(cells["regularization"]),
    ]
    flags = {
        flag: int(cells[[f"{flag}_dense", f"{flag}_sparse"]].to_numpy().sum()) for flag in _FLAGS
    }
    for mark, flag, meaning in (
        ("†", "diverged", "diverged, kept at chance accuracy"),
        ("‡", "collapsed", "never left chance"),
    ):
        if flags[flag]:
            notes.append(f"{mark} Some runs {meaning}: {flags[flag]}.")
    looks = pd.DataFrame(styles, index=index, columns=columns)
    return Page(artifact.title, texts, looks, tuple(note for note in notes if note), scale=True)


def _texts(group: list[dict[Any, Any]], target: Target) -> list[str]:
    """A row: the dense accuracy, and _SHOWN for each initialisation."""
    texts = [_number(group[0]["mean_dense"], target, ".1f")]
    for place, cell in enumerate(group):
        texts.append(p_value_text(cell, target))
        texts += [
            _number(cell[f"{kind}_difference"], target, "+.2f") for kind in ("median", "mean")
        ]
        texts.append(_number(cell["mean_sparse"], target, ".1f"))
        if place:
            texts.append(_number(cell["fall_median"], target, "+.2f"))
            texts.append(_number(cell["fall_p_holm"], target, ".3f"))
    return texts


def _shown(place: int) -> tuple[str, ...]:
    """The columns of an initialisation: the first has nothing to fall from."""
    return (*_SHOWN, *(_FALL if place else ()))


def _place(cell: Mapping[Any, Any]) -> tuple[str, str, str]:
    return (
        labels.label("regularization", cell["regularization"]),
        labels.label("optimizer", cell["optimizer"]),
        f"{cell['learning_rate']:g}",
    )


def _number(value: float, target: Target, form: str) -> str:
    if math.isnan(value):
        return "–" if target == "html" else "--"
    return f"{value:{form}}"
