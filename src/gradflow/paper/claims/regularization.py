"""The claims about BatchNorm, L2, data augmentation and skip connections: accuracy and gradient
flow of MLPs.

Each part is a paired, one-sided Wilcoxon test over the units (width and seed) of two configurations
(`effect_of`), the mean of the twins unless said. All on CIFAR-100 with four hidden layers.
"""

from __future__ import annotations

import numpy as np
import scipy.stats

from gradflow.analysis.levels import MARGINS
from gradflow.paper.claims.decision import Decision
from gradflow.paper.claims.design import mlp
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
    UNITS,
    Evidence,
    effect_of,
)
from gradflow.paper.claims.parts import Direction, Floats, Part, amount, bounded, counted, missing

NEARLY_DENSE = 70  # percent of the maximum width: 2153 of 3076


def ewma_bn_twins_alike(evidence: Evidence) -> Decision:
    """EWMA with BN, both rates: the median of sparse minus dense is within 2 points, and of the EGF
    ratio within 2.

    A part an optimizer, rate and quantity: `bounded`, equivalence by two one-sided tests. All must
    hold.
    """
    margins = {
        ACCURACY: MARGINS["close accuracy"].value,
        EGF: float(np.log10(MARGINS["close EGF"].value)),
    }
    parts = []
    for optimizer in EWMA:
        for rate in (LOW, HIGH):
            for column, margin in margins.items():
                place = mlp(optimizer, rate, "BN")
                gaps = evidence.twins(place, column)
                name = f"{optimizer} at {rate:g} {_quantity(column)}"
                parts.append(
                    bounded(name, gaps, -margin, margin, UNITS[column])
                    if evidence.complete(gaps.shape[1], place)
                    else missing(name, gaps.shape[1], evidence.pairs(place))
                )
    return Decision(tuple(parts))


def bn_over_skip(evidence: Evidence) -> Decision:
    """Accuracy, every optimizer and both rates: SC to BN rises; SC to BN with SC gains no more than
    1 point on BN.

    The second holds if the gain from BN to SC_BN is significantly below 1 point, and is opposite if
    it is above. Of each kind more than half must hold, and both kinds must.
    """
    better, no_gain = [], []
    for optimizer in ALL_OPTIMIZERS:
        for rate in (LOW, HIGH):
            skip, norm, both = (mlp(optimizer, rate, name) for name in ("SC", "BN", "SC_BN"))
            name = f"{optimizer} at {rate:g}"
            better.append(effect_of(evidence, f"{name} accuracy", skip, norm, ACCURACY, "rises"))
            gains = evidence.contrast(norm, both, ACCURACY)
            no_gain.append(
                bounded(name, gains, -np.inf, MARGINS["no better"].value, "points")
                if evidence.complete(gains.shape[1], norm, both)
                else missing(f"{name} SC_BN", gains.shape[1], evidence.design.count([norm, both]))
            )
    return Decision((counted("SC to BN", better), counted("BN to SC_BN gains nothing", no_gain)))


def bn_lowers_egf(evidence: Evidence) -> Decision:
    """EGF, and its standard deviation over the probe epochs, fall from NR, L2, DA and SC to the
    same with BN.

    A part an optimizer, rate, pair of configurations and quantity: 80 in all, and all must hold.
    """
    return Decision(
        tuple(
            _effect(evidence, optimizer, rate, base, changed, column, "falls")
            for rate in (LOW, HIGH)
            for optimizer in ALL_OPTIMIZERS
            for base, changed in (("NR", "BN"), ("L2", "L2_BN"), ("DA", "DA_BN"), ("SC", "SC_BN"))
            for column in (EGF, SPREAD)
        )
    )


def l2_hurts_sparse_adaptive(evidence: Evidence) -> Decision:
    """Adaptive optimizers, low rate, NR to L2: sparse accuracy falls below width 2153, more than
    above; dense rises.

    "More than above" is a one-sided Mann-Whitney test of the sparse changes. All must hold for each
    optimizer.
    """
    parts: list[Part] = []
    for optimizer in ADAPTIVE:
        before, after = (mlp(optimizer, LOW, name) for name in ("NR", "L2"))
        percents = np.unique(evidence.units("mlp")[:, 0])
        narrow = [int(percent) for percent in percents if percent < NEARLY_DENSE]
        wide = [int(percent) for percent in percents if percent >= NEARLY_DENSE]
        below, above = (
            evidence.contrast(before, after, ACCURACY, ("sparse",), chosen)
            for chosen in (narrow, wide)
        )
        parts += [
            effect_of(
                evidence,
                    f"{optimizer} "
                    "sparse below 2153", before, after, ACCURACY, "falls", ("sparse",), narrow
            ),
            _falls_more(f"{optimizer} sparse: mainly there", below, above),
            effect_of(evidence, f"{optimizer} dense", before, after, ACCURACY, "rises", ("dense",)),
        ]  # fmt: skip
    return Decision(tuple(parts))


def l2_bn_hurts_ewma(evidence: Evidence) -> Decision:
    """High rate, BN to L2_BN and DA_SC_BN to DA_L2_SC_BN: EWMA accuracy falls, dense and sparse;
    EGF rises for all.
    """
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
    return Decision(tuple(parts))


def adamw_lowers_egf(evidence: Evidence) -> Decision:
    """High rate, L2_BN and DA_L2_SC_BN, from Adam to AdamW: EGF falls and accuracy rises; all four
    must hold.
    """
    parts = []
    for name in ("L2_BN", "DA_L2_SC_BN"):
        adam, adamw = (mlp(optimizer, HIGH, name) for optimizer in ("adam", "adamw"))
        parts.append(effect_of(evidence, f"adamw {name} EGF", adam, adamw, EGF, "falls"))
        parts.append(effect_of(evidence, f"adamw {name} accuracy", adam, adamw, ACCURACY, "rises"))
    return Decision(tuple(parts))


def da_without_bn_poor_ewma(evidence: Evidence) -> Decision:
    """EWMA, low rate: accuracy rises from DA to DA_BN, for sparse and for dense networks; all four
    must hold.
    """
    return Decision(
        tuple(
            _effect(evidence, optimizer, LOW, "DA", "DA_BN", ACCURACY, "rises", architecture)
            for optimizer in EWMA
            for architecture in TWINS
        )
    )


def da_bn_helps_low_lr(evidence: Evidence) -> Decision:
    """Low rate, BN to DA_BN: accuracy rises for every optimizer."""
    return Decision(
        tuple(
            _effect(evidence, optimizer, LOW, "BN", "DA_BN", ACCURACY, "rises")
            for optimizer in ALL_OPTIMIZERS
        )
    )


def da_bn_high_lr(evidence: Evidence) -> Decision:
    """High rate, BN to DA_BN: EGF rises for all, accuracy falls for EWMA and rises for the others;
    all must hold.
    """
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
    return Decision(tuple(parts))


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
    words = (optimizer, architecture, f"{base} to {changed} at {rate:g}", _quantity(column))
    architectures = (architecture,) if architecture else TWINS
    before, after = (mlp(optimizer, rate, name) for name in (base, changed))
    return effect_of(
        evidence, " ".join(filter(None, words)), before, after, column, direction, architectures
    )


def _quantity(column: str) -> str:
    return {ACCURACY: "accuracy", EGF: "EGF", SPREAD: "spread of EGF"}[column]


def _falls_more(name: str, here: Floats, there: Floats) -> Part:
    """Holds if the changes `here` are lower than those `there` by a one-sided Mann-Whitney test,
    opposite if higher.
    """
    n = here.shape[1] + there.shape[1]
    # with fewer than 3 on either side no order of the two is significant
    if min(here.shape[1], there.shape[1]) < 3:
        return missing(name, n)
    below, above = (
        np.asarray(scipy.stats.mannwhitneyu(here, there, alternative=side, axis=1).pvalue)
        for side in ("less", "greater")
    )
    effect = np.median(here, axis=1) - np.median(there, axis=1)
    text = f"{amount(effect[0], 'points')}, p {below[0]:.3f}, n {n}"
    return Part(name, below, above, effect, "points", n, direction="falls", text=text)
