"""The claims about Wide ResNets: random masks (Section 4.2) and magnitude pruning (Section 4.3).

As in `claim_regularization` each part is a paired one-sided Wilcoxon test, over runs of equal
architecture, density and seed. All of a claim's parts must hold.
"""

from __future__ import annotations

import pandas as pd

from gradflow.analysis.stats import MINIMUM
from gradflow.paper.claims.evidence import (
    ACCURACY,
    EGF,
    LOWEST,
    Evidence,
    change,
    effect_of,
    unit_of,
)
from gradflow.paper.claims.parts import NEEDED, Finding, conclude, missing, signed_rank_part

REGULARIZATIONS = ("BN", "DA_BN", "L2_BN", "DA_L2_SC_BN")
OPTIMIZERS = ("adagrad", "adam", "momentum")


def wrn_l2_hurts_adaptive(evidence: Evidence) -> Finding:
    """Adagrad and Adam, BN to L2_BN, random masks and dense: accuracy falls and EGF rises."""
    parts = []
    for optimizer in ("adagrad", "adam"):
        base, changed = (evidence.wide_resnet(optimizer, name) for name in ("BN", "L2_BN"))
        parts.append(
            effect_of(
                evidence, f"{optimizer} BN to L2_BN accuracy", base, changed, ACCURACY, "falls"
            )
        )
        parts.append(
            effect_of(evidence, f"{optimizer} BN to L2_BN EGF", base, changed, EGF, "rises")
        )
    return conclude(parts)


def wrn_swish_adamw(evidence: Evidence) -> Finding:
    """DA_L2_SC_BN: EGF falls from ReLU to Swish under Adagrad and Adam; Swish with AdamW beats Adam with either."""
    name = "DA_L2_SC_BN"
    parts = []
    for optimizer in ("adagrad", "adam"):
        relu, swish = (
            evidence.wide_resnet(optimizer, name, activation) for activation in ("relu", "swish")
        )
        parts.append(
            effect_of(evidence, f"{optimizer} ReLU to Swish EGF", relu, swish, EGF, "falls")
        )
    adamw = evidence.wide_resnet("adamw", name, "swish")
    for activation in ("relu", "swish"):
        adam = evidence.wide_resnet("adam", name, activation)
        parts.append(
            effect_of(
                evidence,
                f"adam {activation} to adamw swish accuracy",
                adam,
                adamw,
                ACCURACY,
                "rises",
            )
        )
    return conclude(parts)


def magnitude_like_random(evidence: Evidence) -> Finding:
    """Adam, BN to L2_BN and DA_BN to DA_L2_SC_BN: EGF rises and accuracy falls, with either pruning."""
    parts = []
    for architecture in ("magnitude", "sparse"):
        for before, after in (("BN", "L2_BN"), ("DA_BN", "DA_L2_SC_BN")):
            base, changed = (
                evidence.wide_resnet("adam", name, architectures=[architecture])
                for name in (before, after)
            )
            name = f"{architecture} {before} to {after}"
            parts.append(effect_of(evidence, f"{name} EGF", base, changed, EGF, "rises"))
            parts.append(effect_of(evidence, f"{name} accuracy", base, changed, ACCURACY, "falls"))
    return conclude(parts)


def magnitude_vanishing(evidence: Evidence) -> Finding:
    """The lowest EGF of the second half of training is lower with magnitude pruning than with random masks.

    One test over all pairs of equal configuration, density and seed, of three optimizers and four
    regularizations. In the second half both are sparse.
    """
    frames, lacking = [], []
    for optimizer in OPTIMIZERS:
        for regularization in REGULARIZATIONS:
            sparse, magnitude = (
                evidence.wide_resnet(optimizer, regularization, architectures=[architecture])
                for architecture in ("sparse", "magnitude")
            )
            key = ["dataset", "configuration", "density_percent", "seed"]
            pairs = sparse[[*key, LOWEST]].merge(
                magnitude[[*key, LOWEST]], on=key, suffixes=("_sparse", "_magnitude")
            )
            frames.append(pairs)
            if len(pairs) < MINIMUM or len(pairs) < NEEDED * max(len(sparse), len(magnitude)):
                lacking.append(f"{optimizer} {regularization}")
    if lacking:
        return conclude([missing("random to magnitude", lacking=lacking)])
    pairs = pd.concat(frames)
    ratios = change(
        pairs[f"{LOWEST}_sparse"].to_numpy(), pairs[f"{LOWEST}_magnitude"].to_numpy(), LOWEST
    )
    return conclude(
        [
            signed_rank_part(
                "random to magnitude, lowest EGF falls", ratios, unit_of(LOWEST), "falls"
            )
        ]
    )
