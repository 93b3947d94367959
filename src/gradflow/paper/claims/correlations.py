"""The claims about Table 1, correlations between gradient flow and performance, of ours or of the
published table.

A published table of correlations has a row per value: stands_for, measure, architecture, target and
mean_abs_kendall_tau.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradflow.analysis.levels import MARGINS
from gradflow.analysis.width_margin import Margin, favourite, margin_of
from gradflow.analysis.width_null import scaled_signs
from gradflow.paper.claims.decision import Decision
from gradflow.paper.claims.design import mlp
from gradflow.paper.claims.evidence import (
    ACCURACY,
    ARCHITECTURES,
    EWMA,
    HIGH,
    LOSS,
    LOW,
    NON_EWMA,
    WITH_BN,
    WITHOUT_BN,
    Evidence,
)
from gradflow.paper.claims.parts import Floats, Part, bounded, identity, missing
from gradflow.paper.published import load_correlations
from gradflow.training.run_log import MEASURES

TARGETS = {LOSS: "loss", ACCURACY: "accuracy"}
ALIKE = MARGINS["dense-measures-alike"].value
WIDTH = "dense width, which drives gradient flow and performance alike"
IDENTITY = "EGF_1 is the norm divided by the number of layers where nothing is masked"

# The configurations behind Table 1, by data set: (rate, optimizers, regularizations).
TABLE_1: dict[str, list[tuple[float, tuple[str, ...], tuple[str, ...]]]] = {
    "fashion_mnist": [
        (LOW, ("adagrad", "adam", "momentum"),
         ("NR", "L2", "DA", "SC", "BN", "DA_SC_BN", "DA_L2_SC_BN")),
    ],
    "cifar10": [
        (LOW, (*NON_EWMA, *EWMA), (*WITHOUT_BN, "BN")),
        (HIGH, (*NON_EWMA, *EWMA), ("BN", "DA_BN", "L2_BN", "SC_BN")),
    ],
    "cifar100": [(LOW, (*NON_EWMA, *EWMA), (*WITHOUT_BN, *WITH_BN)),
                 (HIGH, (*NON_EWMA, *EWMA), WITH_BN)],
}  # fmt: skip


def published_correlations(folder: Path) -> pd.DataFrame:
    """Table 1 as a table for the checks."""
    return pd.DataFrame([vars(cell) for cell in load_correlations(folder)]).rename(
        columns={"dataset": "stands_for"}
    )


def egf_is_highest(correlations: pd.DataFrame) -> Decision:
    """`egf-correlates-best` as numbers: EGF_2 (EGF_1 on Fashion-MNIST) is the highest of each
    sparse column.

    A count, and no test: the printed numbers say nothing of what width alone would give.
    """
    parts = []
    for stands_for in TABLE_1:
        for target, word in TARGETS.items():
            name = f"{stands_for} {word}"
            taus = _column(correlations, stands_for, "sparse", target)
            if len(taus) < len(MEASURES) or taus.isna().any():
                parts.append(missing(name))
                continue
            own = favourite(stands_for)
            margin = float(taus[own] - taus.drop(own).max())
            parts.append(
                _number(name, margin > 0, margin, f"{taus[own]:.3f}, margin {margin:+.3f}")
            )
    return Decision(tuple(parts))


def dense_columns_alike(correlations: pd.DataFrame) -> Decision:
    """`dense-measures-alike` as numbers: the two dense columns of p = 2 differ by at most 0.02; p =
    1 is an identity.
    """
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
                    identity(name, f"{size:.3f}")
                    if p == 1 and size <= ALIKE
                    else _number(name, size <= ALIKE, size, f"{size:.3f}")
                )
    sizes = [float(part.text) for part in parts if part.state != "missing"]
    largest = max(sizes, default=float("nan"))
    return Decision(tuple(parts), f"The largest difference is {largest:.3f}. {IDENTITY}.")


def egf_correlates_best(evidence: Evidence) -> Decision:
    """EGF has the highest mean |tau| of the four measures in sparse networks, by more than width
    alone gives it.

    A part a data set and target, of Table 1's configurations: see `highest`. All must hold.
    """
    parts = []
    for stands_for in TABLE_1:
        signs = _signs(evidence, stands_for, "sparse")
        for place, word in enumerate(TARGETS.values()):
            name = f"{stands_for} {word}"
            if signs is None:
                parts.append(missing(name))
                continue
            parts.append(highest(name, favourite(stands_for), place, *signs))
    return Decision(tuple(parts))


def highest(
    name: str, own: str, target: int, measures: Floats, targets: Floats, units: NDArray[np.int_]
) -> Part:
    """Whether a measure correlates more than each other one, and by more than dense width alone
    gives.

    More than each: a one-sided signed-rank test over configurations of the difference in |tau|, all
    of which must be significant. More than width alone: the margin to the best other one lies
    beyond its null of permuting seeds within widths. Opposite: another measure is better by both
    tests. What the first test says and the second does not is explained by width.

    Args:
        name: of the part.
        own: the measure.
        target: place of the target in `targets`.
        measures: signs, shape [B, configurations, 4, couples].
        targets: likewise, [B, configurations, targets, couples].
        units: width and seed, shape [n, 2].
    """
    found = margin_of(own, target, measures, targets, units)
    low, high = found.null_range
    text = f"margin {found.margin[0]:+.3f}, by width alone {low:+.3f} to {high:+.3f}, "
    return margin_part(name, found, f"{text}{found.configurations} configurations")


def margin_part(name: str, found: Margin, text: str = "") -> Part:
    """A margin as a part of a claim, or of Table 1."""
    opposite = np.where(found.explained, 1.0, np.maximum(found.worse, found.below_width))
    return Part(
        name, np.maximum(found.better, found.above_width), opposite, found.margin, "tau",
        found.configurations,
        text=text, explained=found.explained, by=WIDTH,
    )  # fmt: skip


def dense_measures_alike(evidence: Evidence) -> Decision:
    """The mean |tau| of EGF_2 and norm_2 in dense networks differ by at most 0.02; of p = 1 by
    arithmetic.

    A part a data set and target: equivalence over configurations, two one-sided signed-rank tests
    (`bounded`). All must hold.
    """
    parts = []
    for stands_for in TABLE_1:
        signs = _signs(evidence, stands_for, "dense")
        for place, word in enumerate(TARGETS.values()):
            name = f"{stands_for} {word} p="
            if signs is None:
                parts += [missing(f"{name}{p}") for p in (1, 2)]
                continue
            measures, targets, _ = signs
            taus = np.nan_to_num(
                np.abs(measures @ np.swapaxes(targets[:, :, [place]], -1, -2))[..., 0]
            )
            gaps = [
                taus[..., MEASURES.index(f"egf_l{p}")]
                - taus[..., MEASURES.index(f"grad_norm_l{p}")]
                for p in (1, 2)
            ]
            # rounding aside: two orders of summing the same gradient
            parts.append(identity(f"{name}1", f"{np.abs(gaps[0][0].mean()):.3f}", len(gaps[0])))
            parts.append(bounded(f"{name}2", gaps[1], -ALIKE, ALIKE, "tau"))
    return Decision(tuple(parts), f"{IDENTITY}.")


def _number(name: str, holds: bool, effect: float, text: str) -> Part:
    """A part that is read off printed numbers."""
    p_value = np.array([0.0 if holds else 1.0])
    return Part(name, p_value, 1 - p_value, np.array([effect]), "tau", 1, text=text)


def _column(
    correlations: pd.DataFrame, stands_for: str, architecture: str, target: str
) -> pd.Series[float]:
    cells = correlations[
        (correlations["stands_for"] == stands_for)
        & (correlations["architecture"] == architecture)
        & (correlations["target"] == target)
    ]
    return cells.set_index("measure")["mean_abs_kendall_tau"]


def _signs(
    evidence: Evidence, stands_for: str, architecture: str
) -> tuple[Floats, Floats, NDArray[np.int_]] | None:
    """Signs of the four measures and both targets of Table 1's configurations, and the units.

    None if a configuration lacks runs. The units are those that every configuration has.
    """
    places = [
        mlp(optimizer, rate, regularization, "relu", stands_for)
        for rate, optimizers, regularizations in TABLE_1[stands_for]
        for optimizer in optimizers
        for regularization in regularizations
    ]
    chosen = ARCHITECTURES.index(architecture)
    columns = [*(f"mean_{measure}" for measure in MEASURES), *TARGETS]
    values = np.stack(
        [
            np.stack(
                [evidence.values(place, column, places)[:, chosen] for column in columns], axis=1
            )
            for place in places
        ],
        axis=1,
    )  # [B, configurations, columns, units]
    there = ~np.isnan(values[0]).any(axis=(0, 1))
    if not evidence.complete(int(there.sum()), *places):
        return None
    signs = scaled_signs(values[..., there])
    return signs[:, :, : len(MEASURES)], signs[:, :, len(MEASURES) :], evidence.units("mlp")[there]
