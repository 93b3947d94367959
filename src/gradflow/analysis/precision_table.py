"""Does the arithmetic decide anything? Each configuration in each precision, run by run against
IEEE float32.

Training is chaotic: two runs that differ in rounding alone part after some hundred steps. So a
difference between precisions is set beside the one between seeds, and beside that of a precision
which is better than float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from gradflow.analysis.levels import LEVEL
from gradflow.analysis.request import Request
from gradflow.analysis.runs import RUN_KEY, Artifact, extent, pair_twins
from gradflow.analysis.sensitivity import MISSING, conclude
from gradflow.analysis.stats import MINIMUM, signed_rank_test
from gradflow.analysis.tables import Page, Target, p_value_style, p_value_text
from gradflow.study import labels

COLUMNS = [
    "artifact", "variant", "precision", "stands_for", "dataset", "optimizer", "learning_rate",
    "regularization",
    "runs", "accuracy_shift", "accuracy_difference", "seed_accuracy_difference", "egf_ratio",
    "egf_difference",
    "seed_egf_difference", "planned", "n", "zeros", "ties", "p_value", "p_value_normal",
    "rank_biserial",
    "median_difference", "interval_low", "interval_high", "conclusion", "changes", "diverged_dense",
    "diverged_sparse",
    "collapsed_dense", "collapsed_sparse",
]  # fmt: skip
PRECISIONS = ("float64", "float32", "tf32", "bf16")  # from the finest
EGF = "mean_egf_l2"
_SAME = ("stands_for", "dataset", "optimizer", "learning_rate", "regularization", "activation")
_SHOWN = ("Runs", "Accuracy", "|Δ|", "of seeds", "EGF", "|Δ| EGF", "of seeds (EGF)", "p")
_TARGETS: tuple[Target, ...] = ("html", "latex")


def precision_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """Compare in every precision."""
    runs = request.runs_of_all_variants()
    cells = precision_cells(runs, request.artifact, request.definition["variants"])
    return cells, precision_page(cells, runs, request.artifact)


def precision_cells(
    runs: pd.DataFrame, artifact: Artifact, variants: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Compare the runs of each variant with the same runs of the artifact's own variant.

    Args:
        runs: one row per run (`gradflow.analysis.runs.summarise_runs`), of every variant.
        artifact: its `configurations` are the rows, with or without runs.
        variants: the planned ones, each with the settings in which it differs from `paper`.

    Returns:
        COLUMNS, a row per configuration and variant, the artifact's own first. Over the runs that
        both have: `accuracy_shift` is the mean of final test accuracy minus the reference's,
        `accuracy_difference` the mean of its absolute value (percentage points); `egf_ratio` is the
        geometric mean of the ratios of average EGF_2, `egf_difference` the mean |log ratio|.
        `seed_*` is the same mean between two seeds of the reference. The test is sparse against
        dense, as in Table 4; `changes` says whether its conclusion is another than the reference's.
    """
    pairs = pair_twins(runs)
    precisions = {
        name: settings.get("precision", artifact.precision) for name, settings in variants.items()
    }
    names = sorted(
        variants, key=lambda name: (name != artifact.variant, PRECISIONS.index(precisions[name]))
    )
    rows: list[dict[str, Any]] = []
    for configuration in artifact.configurations:
        own, own_pairs = (_of(frame, configuration) for frame in (runs, pairs))
        reference = own[own["variant"] == artifact.variant]
        before = MISSING
        for variant in names:
            cell = own_pairs[own_pairs["variant"] == variant]
            difference = cell["test_accuracy_sparse"] - cell["test_accuracy_dense"]
            conclusion = conclude(difference).conclusion
            known = variant != artifact.variant and MISSING not in (before, conclusion)
            rows.append(
                {
                    **{key: configuration[key] for key in COLUMNS if key in configuration},
                    "artifact": artifact.name,
                    "variant": variant,
                    "precision": precisions[variant],
                    **_between(reference, own[own["variant"] == variant]),
                    "seed_accuracy_difference": _between_seeds(
                        reference, "test_accuracy", logarithm=False
                    ),
                    "seed_egf_difference": _between_seeds(reference, EGF, logarithm=True),
                    "planned": artifact.planned,
                    **signed_rank_test(difference).__dict__,
                    "conclusion": conclusion,
                    "changes": conclusion != before if known else None,
                    **{
                        f"{flag}_{architecture}": int(cell[f"{flag}_{architecture}"].sum())
                        for flag in ("diverged", "collapsed")
                        for architecture in ("dense", "sparse")
                    },
                }
            )
            before = conclusion if variant == artifact.variant else before
    return pd.DataFrame(rows, columns=COLUMNS).astype({"changes": "boolean"})


def _of(frame: pd.DataFrame, configuration: Mapping[str, Any]) -> pd.DataFrame:
    same = frame["hidden_layers"] == configuration["depth"]
    for column in _SAME:
        same &= frame[column] == configuration[column]
    return frame[same]


def _between(reference: pd.DataFrame, others: pd.DataFrame) -> dict[str, float]:
    """How far runs are from the same runs of the reference."""
    key = [column for column in RUN_KEY if column != "variant"]
    both = reference.merge(others, on=key, suffixes=("_before", "_after"), validate="one_to_one")
    accuracy = both["test_accuracy_after"] - both["test_accuracy_before"]
    ratio = _finite(np.log(both[f"{EGF}_after"]) - np.log(both[f"{EGF}_before"]))
    return {
        "runs": len(both),
        "accuracy_shift": accuracy.mean(),
        "accuracy_difference": accuracy.abs().mean(),
        "egf_ratio": math.exp(ratio.mean()) if len(ratio) else math.nan,
        "egf_difference": ratio.abs().mean(),
    }


def _between_seeds(runs: pd.DataFrame, column: str, logarithm: bool) -> float:
    """Mean absolute difference between two seeds of one network."""
    values = np.log(runs[column]) if logarithm else runs[column]
    table = runs.assign(value=values).pivot_table(
        "value", ["architecture", "width_percent"], "seed"
    )
    found = [
        _finite((table[a] - table[b]).abs())
        for i, a in enumerate(table.columns)
        for b in list(table.columns)[i + 1 :]
    ]
    return float(pd.concat(found).mean()) if found else math.nan


def _finite(values: pd.Series) -> pd.Series:
    return values[np.isfinite(values)]


def precision_page(cells: pd.DataFrame, runs: pd.DataFrame, artifact: Artifact) -> Page:
    """Arrange `precision_cells`: a row a configuration and precision."""
    records = cells.to_dict("records")
    index = pd.MultiIndex.from_tuples(
        [
            (
                labels.label("regularization", cell["regularization"]),
                labels.label("optimizer", cell["optimizer"]),
                cell["precision"],
            )
            for cell in records
        ],
        names=[None, None, None],
    )
    texts: dict[Target, pd.DataFrame] = {
        target: pd.DataFrame(
            [_texts(cell, target, artifact) for cell in records], index=index, columns=list(_SHOWN)
        )
        for target in _TARGETS
    }
    texts["latex"].columns = pd.Index(
        [name.replace("Δ", r"$\Delta$").replace("|", "$|$") for name in _SHOWN]
    )
    looks = pd.DataFrame(
        [[""] * (len(_SHOWN) - 1) + [p_value_style(cell["p_value"])] for cell in records],
        index=index,
        columns=list(_SHOWN),
    )
    changed = [
        f"{cell['precision']} {labels.label('optimizer', cell['optimizer'])} "
        f"{cell['regularization']}"
        for cell in cells[cells["changes"].fillna(False)].to_dict("records")
    ]
    notes = [
        extent(runs, artifact),
        "Accuracy: mean change of final test accuracy against the first precision, percentage "
        "points, and |Δ| the mean size of the change a run; EGF: geometric mean of the ratios of "
        "average EGF_2, and the mean |log ratio|. Of seeds: the mean size between two seeds of "
        "the same network, the yardstick.",
        "p: one-sided Wilcoxon signed-rank test of final test accuracy, sparse against dense, "
        f"exact; bold: at or below {LEVEL:g}; –: undefined (fewer than {MINIMUM} pairs).",
        "The precision changes the conclusion (sparse better, dense better or undecided, each way "
        f"at the 5 % level) in {len(changed)} of {int(cells['changes'].notna().sum())} comparisons"
        + (f": {'; '.join(changed)}." if changed else "."),
        labels.abbreviations(cells["regularization"]),
    ]
    return Page(artifact.title, texts, looks, tuple(note for note in notes if note), scale=True)


def _texts(cell: dict[Any, Any], target: Target, artifact: Artifact) -> list[str]:
    first = cell["variant"] == artifact.variant

    def number(column: str, form: str) -> str:
        if math.isnan(cell[column]):
            return "–" if target == "html" else "--"
        return f"{cell[column]:{form}}"

    against = [
        number("accuracy_shift", "+.2f"),
        number("accuracy_difference", ".2f"),
        number("seed_accuracy_difference", ".2f"),
        number("egf_ratio", ".3f"),
        number("egf_difference", ".3f"),
        number("seed_egf_difference", ".3f"),
    ]
    return [
        str(cell["runs"]),
        *([""] * len(against) if first else against),
        p_value_text(cell, target),
    ]
