"""The claims about BatchNorm, L2, data augmentation and skip connections: accuracy and gradient flow of MLPs.

Each part is a paired, one-sided Wilcoxon test over the runs of equal architecture, width and seed
of two configurations (`effect_of`), dense and sparse together unless said. All on CIFAR-100 with
four hidden layers.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.stats

from gradflow.analysis.runs import pair_twins
from gradflow.paper.claims.evidence import (
    ACCURACY,
    ADAPTIVE,
    ALL_OPTIMIZERS,
    EGF,
    EWMA,
    HIGH,
    LOW,
    NON_EWMA,
    SPREAD,
    TWINS,
    WITH_BN,
    WITHOUT_BN,
    Evidence,
    change,
    differences,
    effect_of,
    unit_of,
)
from gradflow.paper.claims.parts import (
    SIGNIFICANT,
    Direction,
    Finding,
    Outcome,
    Part,
    bounded,
    conclude,
    group,
    missing,
)

CLOSE_POINTS = 2.0  # ewma-bn-twins-alike: percentage points of accuracy
CLOSE_FACTOR = 2.0  # likewise: of EGF
NO_BETTER_POINTS = 1.0  # bn-over-skip
RELATED = 0.2  # ewma-high-egf-is-bad: a tau nearer to zero is no relation
NEARLY_DENSE = 70  # percent of the maximum width: 2153 of 3076


def ewma_bn_twins_alike(evidence: Evidence) -> Finding:
    """EWMA with BN, both rates: the median of sparse minus dense is within 2 points, and of the EGF ratio within 2.

    A part an optimizer, rate and quantity: holds if the 95 % bootstrap interval of the median lies
    within the margin, opposite if it is clear of it. All must hold.
    """
    parts = []
    for optimizer in EWMA:
        for rate in (LOW, HIGH):
            pairs = pair_twins(evidence.mlp(optimizer, rate, "BN"))
            for column, margin in ((ACCURACY, CLOSE_POINTS), (EGF, np.log10(CLOSE_FACTOR))):
                name = f"{optimizer} at {rate:g} {_quantity(column)}"
                if not evidence.complete(pairs):
                    parts.append(missing(name, len(pairs), evidence.planned))
                    continue
                gaps = change(
                    pairs[f"{column}_dense"].to_numpy(),
                    pairs[f"{column}_sparse"].to_numpy(),
                    column,
                )
                parts.append(bounded(name, gaps, -margin, margin, unit_of(column)))
    return conclude(parts)


def bn_over_skip(evidence: Evidence) -> Finding:
    """Accuracy, every optimizer and both rates: SC to BN rises; SC to BN with SC gains no more than 1 point on BN.

    The second holds if the 95 % bootstrap interval of the median gain from BN to SC_BN ends below 1
    point, and is opposite if it begins above. Of each kind more than half must hold, and both kinds
    must.
    """
    better, no_gain = [], []
    for optimizer in ALL_OPTIMIZERS:
        for rate in (LOW, HIGH):
            skip, norm, both = (
                evidence.mlp(optimizer, rate, name) for name in ("SC", "BN", "SC_BN")
            )
            name = f"{optimizer} at {rate:g}"
            better.append(effect_of(evidence, f"{name} accuracy", skip, norm, ACCURACY, "rises"))
            gains = differences(norm, both, ACCURACY)["difference"]
            if evidence.complete(gains.to_frame(), architectures=2):
                no_gain.append(bounded(name, gains, -np.inf, NO_BETTER_POINTS, "points"))
            else:
                no_gain.append(missing(f"{name} SC_BN", len(gains), 2 * evidence.planned))
    return conclude(
        [group("SC to BN", better, "most"), group("BN to SC_BN gains nothing", no_gain, "most")]
    )


def bn_lowers_egf(evidence: Evidence) -> Finding:
    """EGF, and its standard deviation over the probe epochs, fall from NR, L2, DA and SC to the same with BN.

    A part an optimizer, rate, pair of configurations and quantity: 80 in all, and all must hold.
    """
    return conclude(
        [
            _effect(evidence, optimizer, rate, base, changed, column, "falls")
            for rate in (LOW, HIGH)
            for optimizer in ALL_OPTIMIZERS
            for base, changed in (("NR", "BN"), ("L2", "L2_BN"), ("DA", "DA_BN"), ("SC", "SC_BN"))
            for column in (EGF, SPREAD)
        ]
    )


def l2_hurts_sparse_adaptive(evidence: Evidence) -> Finding:
    """Adaptive optimizers, low rate, NR to L2: sparse accuracy falls below width 2153, more than above; dense rises.

    "More than above" is a one-sided Mann-Whitney test of the sparse changes. All must hold for each
    optimizer.
    """
    parts: list[Part] = []
    for optimizer in ADAPTIVE:
        sparse = [
            evidence.mlp(optimizer, LOW, name, architectures=["sparse"]) for name in ("NR", "L2")
        ]
        narrow = [runs[runs["width_percent"] < NEARLY_DENSE] for runs in sparse]
        wide = [runs[runs["width_percent"] >= NEARLY_DENSE] for runs in sparse]
        dense = [
            evidence.mlp(optimizer, LOW, name, architectures=["dense"]) for name in ("NR", "L2")
        ]
        below_and_above = [differences(before, after, ACCURACY) for before, after in (narrow, wide)]
        parts += [
            effect_of(
                evidence,
                f"{optimizer} sparse below 2153",
                narrow[0],
                narrow[1],
                ACCURACY,
                "falls",
                3 / 5,
            ),
            _falls_more(f"{optimizer} sparse: mainly there", *below_and_above),
            effect_of(evidence, f"{optimizer} dense", dense[0], dense[1], ACCURACY, "rises"),
        ]
    return conclude(parts)


def l2_bn_hurts_ewma(evidence: Evidence) -> Finding:
    """High rate, BN to L2_BN and DA_SC_BN to DA_L2_SC_BN: EWMA accuracy falls, dense and sparse; EGF rises for all."""
    parts = []
    for base, changed in (("BN", "L2_BN"), ("DA_SC_BN", "DA_L2_SC_BN")):
        for optimizer in EWMA:
            for architecture in TWINS:
                parts.append(
                    _effect(
                        evidence, optimizer, HIGH, base, changed, ACCURACY, "falls", architecture
                    )
                )
        for optimizer in ALL_OPTIMIZERS:
            parts.append(_effect(evidence, optimizer, HIGH, base, changed, EGF, "rises"))
    return conclude(parts)


def adamw_lowers_egf(evidence: Evidence) -> Finding:
    """High rate, L2_BN and DA_L2_SC_BN, from Adam to AdamW: EGF falls and accuracy rises; all four must hold."""
    parts = []
    for name in ("L2_BN", "DA_L2_SC_BN"):
        adam, adamw = (evidence.mlp(optimizer, HIGH, name) for optimizer in ("adam", "adamw"))
        parts.append(effect_of(evidence, f"adamw {name} EGF", adam, adamw, EGF, "falls"))
        parts.append(effect_of(evidence, f"adamw {name} accuracy", adam, adamw, ACCURACY, "rises"))
    return conclude(parts)


def da_without_bn_poor_ewma(evidence: Evidence) -> Finding:
    """EWMA, low rate: accuracy rises from DA to DA_BN, for sparse and for dense networks; all four must hold."""
    return conclude(
        [
            _effect(evidence, optimizer, LOW, "DA", "DA_BN", ACCURACY, "rises", architecture)
            for optimizer in EWMA
            for architecture in TWINS
        ]
    )


def da_bn_helps_low_lr(evidence: Evidence) -> Finding:
    """Low rate, BN to DA_BN: accuracy rises for every optimizer."""
    return conclude(
        [
            _effect(evidence, optimizer, LOW, "BN", "DA_BN", ACCURACY, "rises")
            for optimizer in ALL_OPTIMIZERS
        ]
    )


def da_bn_high_lr(evidence: Evidence) -> Finding:
    """High rate, BN to DA_BN: EGF rises for all, accuracy falls for EWMA and rises for the others; all must hold."""
    parts = [
        _effect(evidence, optimizer, HIGH, "BN", "DA_BN", EGF, "rises")
        for optimizer in ALL_OPTIMIZERS
    ]
    parts += [
        _effect(evidence, optimizer, HIGH, "BN", "DA_BN", ACCURACY, "falls") for optimizer in EWMA
    ]
    parts += [
        _effect(evidence, optimizer, HIGH, "BN", "DA_BN", ACCURACY, "rises")
        for optimizer in NON_EWMA
    ]
    return conclude(parts)


def ewma_high_egf_is_bad(evidence: Evidence) -> Finding:
    """Kendall's tau across the regularizations of EGF against accuracy, for each architecture, width, seed and rate.

    A part an optimizer, of both rates' taus together. EWMA: holds if the 95 % bootstrap interval of
    their median is below -0.2, opposite if above. Others: the other way round, since a tau nearer
    to zero, or positive, is no such relation. All must hold.
    """
    parts = []
    for optimizer in (*EWMA, *NON_EWMA):
        taus: list[float] = []
        lacking = []
        for rate, names in ((LOW, (*WITHOUT_BN, *WITH_BN)), (HIGH, WITH_BN)):
            frames = {name: evidence.mlp(optimizer, rate, name) for name in names}
            lacking += [
                f"{name} at {rate:g}"
                for name, runs in frames.items()
                if not evidence.complete(runs, 2)
            ]
            taus += _taus_across(pd.concat(frames.values()), len(names))
        low, high = (-1.0, -RELATED) if optimizer in EWMA else (-RELATED, 1.0)
        if lacking:
            parts.append(missing(optimizer, lacking=lacking))
        else:
            parts.append(bounded(optimizer, taus, low, high, "tau"))
    return conclude(parts)


def _effect(
    evidence: Evidence,
    optimizer: str,
    rate: float,
    base: str,
    changed: str,
    column: str,
    direction: Direction,
    architecture: str | None = None,
) -> Part:
    architectures = (architecture,) if architecture else TWINS
    before, after = (
        evidence.mlp(optimizer, rate, name, architectures=architectures) for name in (base, changed)
    )
    words = " ".join(
        filter(
            None, (optimizer, architecture, f"{base} to {changed} at {rate:g}", _quantity(column))
        )
    )
    return effect_of(evidence, words, before, after, column, direction)


def _quantity(column: str) -> str:
    return {ACCURACY: "accuracy", EGF: "EGF", SPREAD: "spread of EGF"}[column]


def _falls_more(name: str, here: pd.DataFrame, there: pd.DataFrame) -> Part:
    """Holds if the changes `here` are lower than those `there` by a one-sided Mann-Whitney test, opposite if higher."""
    n = len(here) + len(there)
    # with fewer than 3 on either side no order of the two is significant
    if min(len(here), len(there)) < 3:
        return missing(name, n)
    below, above = (
        float(
            scipy.stats.mannwhitneyu(
                here["difference"], there["difference"], alternative=side
            ).pvalue
        )
        for side in ("less", "greater")
    )
    outcome: Outcome = (
        "holds" if below <= SIGNIFICANT else "opposite" if above <= SIGNIFICANT else "open"
    )
    effect = float(here["difference"].median() - there["difference"].median())
    text = f"{effect:+.2f} points, p {below:.3f}, n {n}"
    return Part(name, outcome, text, effect, "points", n, below, above, "falls")


def _taus_across(runs: pd.DataFrame, configurations: int) -> list[float]:
    """Tau of EGF against accuracy across configurations, for every architecture, width and seed that has them all."""
    taus = []
    for _, unit in runs.groupby(["dataset", "architecture", "width_percent", "seed"]):
        if len(unit) == configurations and unit[EGF].nunique() > 1 and unit[ACCURACY].nunique() > 1:
            taus.append(
                float(
                    scipy.stats.kendalltau(unit[EGF], unit[ACCURACY], method="asymptotic").statistic
                )
            )
    return taus
