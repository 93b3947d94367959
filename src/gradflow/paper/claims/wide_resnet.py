"""The claims about Wide ResNets: random masks (Section 4.2) and magnitude pruning (Section 4.3).

A value is a seed's: the mean over its densities, which share the pretrained network where they are
pruned by magnitude, and are no repetitions of one another. A t test over seeds decides, since three
seeds have no significant ranks; where a run diverged ranks decide all the same. With one seed a
claim is not run. All of a claim's parts must hold.

EGF of a magnitude-pruned network is that of its probes after pruning (`runs.summarise_runs`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradflow.analysis.levels import NEEDED
from gradflow.paper.claims.decision import Decision
from gradflow.paper.claims.design import Place
from gradflow.paper.claims.evidence import (
    ACCURACY,
    ARCHITECTURES,
    EGF,
    LOWEST,
    TWINS,
    UNITS,
    Evidence,
    change,
)
from gradflow.paper.claims.parts import Direction, Floats, Part, missing, seeds_part

REGULARIZATIONS = ("BN", "DA_BN", "L2_BN", "DA_L2_SC_BN")
OPTIMIZERS = ("adagrad", "adam", "momentum")


def wrn_l2_hurts_adaptive(evidence: Evidence) -> Decision:
    """Adagrad and Adam, BN to L2_BN, random masks and dense: accuracy falls and EGF rises."""
    parts = []
    for optimizer in ("adagrad", "adam"):
        base, changed = (evidence.wide_resnet(optimizer, name) for name in ("BN", "L2_BN"))
        name = f"{optimizer} BN to L2_BN"
        parts.append(_effect(evidence, f"{name} accuracy", base, changed, ACCURACY, "falls"))
        parts.append(_effect(evidence, f"{name} EGF", base, changed, EGF, "rises"))
    return Decision(tuple(parts))


def wrn_swish_adamw(evidence: Evidence) -> Decision:
    """DA_L2_SC_BN: EGF falls from ReLU to Swish under Adagrad and Adam; Swish with AdamW beats Adam
    with either.
    """
    name = "DA_L2_SC_BN"
    parts = []
    for optimizer in ("adagrad", "adam"):
        relu, swish = (
            evidence.wide_resnet(optimizer, name, activation) for activation in ("relu", "swish")
        )
        parts.append(_effect(evidence, f"{optimizer} ReLU to Swish EGF", relu, swish, EGF, "falls"))
    adamw = evidence.wide_resnet("adamw", name, "swish")
    for activation in ("relu", "swish"):
        adam = evidence.wide_resnet("adam", name, activation)
        words = f"adam {activation} to adamw swish accuracy"
        parts.append(_effect(evidence, words, adam, adamw, ACCURACY, "rises"))
    return Decision(tuple(parts))


def magnitude_like_random(evidence: Evidence) -> Decision:
    """Adam, BN to L2_BN and DA_BN to DA_L2_SC_BN: EGF rises and accuracy falls, with either
    pruning.
    """
    parts = []
    for architecture in ("magnitude", "sparse"):
        for before, after in (("BN", "L2_BN"), ("DA_BN", "DA_L2_SC_BN")):
            base, changed = (evidence.wide_resnet("adam", name) for name in (before, after))
            name = f"{architecture} {before} to {after}"
            only = (architecture,)
            parts.append(_effect(evidence, f"{name} EGF", base, changed, EGF, "rises", only))
            parts.append(
                _effect(evidence, f"{name} accuracy", base, changed, ACCURACY, "falls", only)
            )
    return Decision(tuple(parts))


def magnitude_vanishing(evidence: Evidence) -> Decision:
    """The lowest EGF of the second half of training is lower with magnitude pruning than with
    random masks.

    One test of the mean over configurations and densities of each seed, of three optimizers and
    four regularizations. In the second half both are sparse.
    """
    places = [
        evidence.wide_resnet(optimizer, regularization)
        for optimizer in OPTIMIZERS
        for regularization in REGULARIZATIONS
    ]
    ratios, lacking = [], []
    broken: NDArray[np.bool_] = np.zeros(evidence.studies, bool)
    for place in places:
        runs, units = _shared(evidence, [place], LOWEST, places)
        sparse, magnitude = (
            runs[0][:, ARCHITECTURES.index(name)] for name in ("sparse", "magnitude")
        )
        of_seeds = _by_seed(units, change(sparse, magnitude, LOWEST)[:, None])
        broken = broken | np.isinf([sparse, magnitude]).any(axis=(0, 2))
        pairs, planned = _counts(sparse, magnitude)
        if of_seeds.shape[1] and pairs >= NEEDED * planned:
            ratios.append(of_seeds)
        else:
            lacking.append(f"{place.optimizer} {place.regularization}")
    if lacking:
        return Decision((missing("random to magnitude", lacking=lacking),))
    name = "random to magnitude, lowest EGF falls"
    ratio = np.mean(ratios, axis=0)
    return Decision((seeds_part(name, ratio, UNITS[LOWEST], "falls", broken),))


def _effect(
    evidence: Evidence,
    name: str,
    base: Place,
    changed: Place,
    column: str,
    direction: Direction,
    architectures: Sequence[str] = TWINS,
) -> Part:
    chosen = [ARCHITECTURES.index(architecture) for architecture in architectures]
    places = [base, changed]
    runs, units = _shared(evidence, places, column, places)
    before, after = (one[:, chosen] for one in runs)
    words = f"{name} {direction}"
    pairs, planned = _counts(before, after)
    if pairs < NEEDED * planned:
        return missing(words, pairs, planned)
    of_seeds = _by_seed(units, change(before, after, column))
    if not of_seeds.shape[1]:
        return missing(words)
    # a diverged run has an infinite gradient flow, and no other mark
    flow, _ = _shared(evidence, places, EGF, places)
    broken = np.isinf([one[:, chosen] for one in flow]).any(axis=(0, 2, 3))
    return seeds_part(words, of_seeds, UNITS[column], direction, broken)


def _counts(one: Floats, other: Floats) -> tuple[int, int]:
    """Pairs of runs, and the runs of the configuration that has more."""
    first, second = ~np.isnan(one[0]), ~np.isnan(other[0])
    return int((first & second).sum()), int(max(first.sum(), second.sum()))


def _shared(
    evidence: Evidence, places: Sequence[Place], column: str, all_places: Sequence[Place]
) -> tuple[list[Floats], NDArray[np.int_]]:
    """A column of some configurations' runs, at the units that are planned of all of some."""
    units = evidence.units("wide_resnet")
    kept = evidence.design.shared(all_places, units)
    values = [evidence.values(place, column, all_places)[..., kept] for place in places]
    return values, units[kept]


def _by_seed(units: NDArray[np.int_], gaps: Floats) -> Floats:
    """The mean over densities and architectures of each seed that has all that any seed has: [B,
    seeds].

    Args:
        units: density and seed, shape [units, 2].
        gaps: shape [B, architectures, units], NaN where there is none.
    """
    seeds = units[:, 1]
    there = ~np.isnan(gaps[0])
    counts = {seed: int(there[:, seeds == seed].sum()) for seed in np.unique(seeds)}
    whole = [seed for seed, count in counts.items() if count and count == max(counts.values())]
    if not whole:
        return np.empty((len(gaps), 0))
    near = np.clip(gaps, -1e3, 1e3)
    return np.stack([np.nanmean(near[:, :, seeds == seed], axis=(1, 2)) for seed in whole], axis=1)
