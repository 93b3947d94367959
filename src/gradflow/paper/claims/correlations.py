"""The claims about Table 1, correlations between gradient flow and performance, of ours or of the published table.

A table of correlations has a row per value: stands_for, measure, architecture, target and
mean_abs_kendall_tau.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from gradflow.analysis.stats import RESAMPLES, configuration_taus
from gradflow.paper.claims.evidence import EWMA, HIGH, LOW, NON_EWMA, WITH_BN, WITHOUT_BN, Evidence
from gradflow.paper.claims.parts import Finding, Outcome, Part, conclude, missing, within
from gradflow.paper.published import load_correlations
from gradflow.training.run_log import MEASURES

TARGETS = {"test_loss": "loss", "test_accuracy": "accuracy"}
ALIKE = 0.02  # dense-measures-alike

# The configurations behind Table 1, by data set: (rate, optimizers, regularizations).
TABLE_1: dict[str, list[tuple[float, tuple[str, ...], tuple[str, ...]]]] = {
    "fashion_mnist": [
        (LOW, ("adagrad", "adam", "momentum"), ("NR", "L2", "DA", "SC", "BN", "DA_SC_BN", "DA_L2_SC_BN")),
    ],
    "cifar10": [
        (LOW, (*NON_EWMA, *EWMA), (*WITHOUT_BN, "BN")),
        (HIGH, (*NON_EWMA, *EWMA), ("BN", "DA_BN", "L2_BN", "SC_BN")),
    ],
    "cifar100": [(LOW, (*NON_EWMA, *EWMA), (*WITHOUT_BN, *WITH_BN)), (HIGH, (*NON_EWMA, *EWMA), WITH_BN)],
}  # fmt: skip


def published_correlations(folder: Path) -> pd.DataFrame:
    """Table 1 as a table for the checks."""
    return pd.DataFrame([vars(cell) for cell in load_correlations(folder)]).rename(
        columns={"dataset": "stands_for"}
    )


def egf_is_highest(correlations: pd.DataFrame) -> Finding:
    """`egf-correlates-best` as numbers: EGF_2 (EGF_1 on Fashion-MNIST) is the highest of each sparse column."""
    parts = []
    for stands_for in TABLE_1:
        for target, word in TARGETS.items():
            name = f"{stands_for} {word}"
            taus = _column(correlations, stands_for, "sparse", target)
            if len(taus) < len(MEASURES) or taus.isna().any():
                parts.append(missing(name))
                continue
            own = _favourite(stands_for)
            margin = float(taus[own] - taus.drop(own).max())
            outcome: Outcome = "holds" if margin > 0 else "opposite"
            parts.append(
                Part(name, outcome, f"{taus[own]:.3f}, margin {margin:+.3f}", margin, "tau", 1)
            )
    return conclude(parts)


def dense_columns_alike(correlations: pd.DataFrame) -> Finding:
    """`dense-measures-alike` as numbers: each pair of dense columns differs by at most 0.02."""
    parts = []
    for stands_for in TABLE_1:
        for target, word in TARGETS.items():
            taus = _column(correlations, stands_for, "dense", target)
            for p in (1, 2):
                name = f"{stands_for} {word} p={p}"
                if not {f"egf_l{p}", f"grad_norm_l{p}"} <= set(taus.dropna().index):
                    parts.append(missing(name))
                    continue
                # the published values have three decimals, and 0.365 - 0.345 is not exactly 0.02
                size = round(abs(float(taus[f"egf_l{p}"] - taus[f"grad_norm_l{p}"])), 9)
                parts.append(
                    Part(
                        name,
                        "holds" if size <= ALIKE else "opposite",
                        f"{size:.3f}",
                        size,
                        "tau",
                        1,
                    )
                )
    largest = max((part.effect for part in parts if part.effect == part.effect), default=np.nan)
    return conclude(parts, remark=f"The largest difference is {largest:.3f}.")


def egf_correlates_best(evidence: Evidence) -> Finding:
    """A paired bootstrap over configurations of the difference in mean |tau| between EGF and the best other measure.

    A part a data set and target, of Table 1's configurations: holds if the 95 % interval of the
    difference is above zero, opposite if it is below. All must hold.
    """
    parts = []
    for stands_for in TABLE_1:
        for target, word in TARGETS.items():
            taus = _absolute_taus(evidence, stands_for, "sparse", target)
            name = f"{stands_for} {word}"
            if taus is None:
                parts.append(missing(name))
                continue
            own = _favourite(stands_for)
            best = str(taus.drop(columns=own).mean().idxmax())
            margins = (taus[own] - taus[best]).to_numpy()
            low, high = _mean_interval(margins)
            outcome: Outcome = "holds" if low > 0 else "opposite" if high < 0 else "open"
            text = (
                f"margin {margins.mean():+.3f}, interval {low:+.3f} to {high:+.3f}, n {len(taus)}"
            )
            parts.append(Part(name, outcome, text, float(margins.mean()), "tau", len(taus)))
    return conclude(parts)


def dense_measures_alike(evidence: Evidence) -> Finding:
    """A paired bootstrap over configurations of the difference in mean |tau| between EGF_p and norm_p, dense.

    A part a data set, target and p: holds if the 95 % interval lies within 0.02 of zero, opposite
    if it is clear of that. All must hold.
    """
    parts = []
    for stands_for in TABLE_1:
        for target, word in TARGETS.items():
            taus = _absolute_taus(evidence, stands_for, "dense", target)
            for p in (1, 2):
                name = f"{stands_for} {word} p={p}"
                if taus is None:
                    parts.append(missing(name))
                    continue
                gaps = (taus[f"egf_l{p}"] - taus[f"grad_norm_l{p}"]).to_numpy()
                parts.append(
                    within(
                        name,
                        float(gaps.mean()),
                        _mean_interval(gaps),
                        (-ALIKE, ALIKE),
                        "tau",
                        len(taus),
                    )
                )
    return conclude(parts)


def _favourite(stands_for: str) -> str:
    return "egf_l1" if stands_for == "fashion_mnist" else "egf_l2"


def _column(
    correlations: pd.DataFrame, stands_for: str, architecture: str, target: str
) -> pd.Series[float]:
    cells = correlations[
        (correlations["stands_for"] == stands_for)
        & (correlations["architecture"] == architecture)
        & (correlations["target"] == target)
    ]
    return cells.set_index("measure")["mean_abs_kendall_tau"]


def _absolute_taus(
    evidence: Evidence, stands_for: str, architecture: str, target: str
) -> pd.DataFrame | None:
    """|tau|, a row a configuration and a column a measure; None if a configuration lacks runs or most are undefined."""
    frames = [
        evidence.mlp(optimizer, rate, regularization, "relu", stands_for, (architecture,))
        for rate, optimizers, regularizations in TABLE_1[stands_for]
        for optimizer in optimizers
        for regularization in regularizations
    ]
    if not all(evidence.complete(frame) for frame in frames):
        return None
    runs = pd.concat(frames)
    taus = pd.DataFrame(
        {measure: configuration_taus(runs, measure, target).abs() for measure in MEASURES}
    ).dropna()
    return taus if 2 * len(taus) > len(frames) else None


def _mean_interval(values: np.ndarray) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    means = values[generator.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
