"""The claims about activation functions of MLPs, CIFAR-100, at each optimizer's own regularization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from gradflow.paper.claims.evidence import ACCURACY, ADAPTIVE, EGF, HIGH, LOW, Evidence, effect_of
from gradflow.paper.claims.parts import (
    Direction,
    Finding,
    Outcome,
    Part,
    conclude,
    missing,
    signed_rank_part,
)
from gradflow.study.job import PAPER_ACTIVATIONS

STEP = 0.01
FLAT = 1e-6  # a derivative this far below zero is negative


def swish_best_adaptive(evidence: Evidence) -> Finding:
    """Both rates: Swish is best, with a lower EGF than ReLU, under adaptive optimizers; PReLU among the best under SGD.

    Best: its accuracy beats that of the best other activation (by the mean). Among the best:
    PReLU's accuracy beats the median of the five others, run by run. Each is a paired one-sided
    Wilcoxon test, and all must hold.
    """
    parts = []
    for rate in (LOW, HIGH):
        for optimizer in ADAPTIVE:
            runs = _by_activation(evidence, optimizer, rate)
            parts.append(
                _extreme(evidence, f"{optimizer} at {rate:g}", runs, "swish", ACCURACY, "rises")
            )
            name = f"{optimizer} at {rate:g} ReLU to Swish EGF"
            parts.append(effect_of(evidence, name, runs["relu"], runs["swish"], EGF, "falls"))
        parts.append(
            _above_median(
                evidence, f"sgd at {rate:g}", _by_activation(evidence, "sgd", rate), "prelu"
            )
        )
    return conclude(parts)


def srelu_worst_adam(evidence: Evidence) -> Finding:
    """Adam, low rate: SReLU's EGF is above the highest other, and its accuracy below the lowest other (by the mean)."""
    runs = _by_activation(evidence, "adam", LOW)
    return conclude(
        [
            _extreme(evidence, "adam", runs, "srelu", EGF, "rises"),
            _extreme(evidence, "adam", runs, "srelu", ACCURACY, "falls"),
        ]
    )


def only_swish_negative_gradient(functions: Mapping[str, Any] | None = None) -> Finding:
    """Only Swish has a derivative below zero on a grid of [-5, 5] with steps of 0.01; computed, from no runs.

    Args:
        functions: of one tensor, by name; those that are trained with unless given.
    """
    try:
        import torch  # only here, since it takes seconds
    except ImportError:
        return conclude([missing("the derivatives: torch cannot be imported")])
    if functions is None:
        from gradflow.networks.activations import ACTIVATION_FUNCTIONS

        functions = ACTIVATION_FUNCTIONS
    parts = []
    for name in PAPER_ACTIVATIONS:
        if name not in functions:
            parts.append(missing(name))
            continue
        # half a step off the grid's ends and zero, where some functions have a kink
        x = torch.arange(-5 + STEP / 2, 5, STEP, dtype=torch.float64, requires_grad=True)
        functions[name](x).sum().backward()
        lowest = float(x.grad.min()) if x.grad is not None else 0.0
        outcome: Outcome = "holds" if (lowest < -FLAT) == (name == "swish") else "opposite"
        parts.append(
            Part(name, outcome, f"lowest {lowest:.3f}", lowest, "lowest derivative", len(x))
        )
    return conclude(parts)


def _by_activation(evidence: Evidence, optimizer: str, rate: float) -> dict[str, pd.DataFrame]:
    """The runs of the six activations, at the regularization that those with Swish have."""
    runs = evidence.runs
    swish = runs[
        (runs["model"] == "mlp")
        & (runs["stands_for"] == "cifar100")
        & (runs["activation"] == "swish")
        & (runs["optimizer"] == optimizer)
        & (runs["learning_rate"] == rate)
    ]
    regularization = str(swish["regularization"].iloc[0]) if len(swish) else ""
    return {name: evidence.mlp(optimizer, rate, regularization, name) for name in PAPER_ACTIVATIONS}


def _extreme(
    evidence: Evidence,
    name: str,
    runs: dict[str, pd.DataFrame],
    activation: str,
    column: str,
    direction: Direction,
) -> Part:
    """Whether an activation's runs lie beyond those of the other activation that comes nearest, or surpasses it."""
    quantity = "accuracy" if column == ACCURACY else "EGF"
    lacking = [other for other, found in runs.items() if not evidence.complete(found, 2)]
    if lacking:
        return missing(f"{name} {activation} {quantity}", lacking=lacking)
    # the median, since a single diverged run makes a mean of EGF infinite
    centres = {
        other: found[column].mean() if column == ACCURACY else found[column].median()
        for other, found in runs.items()
        if other != activation
    }
    choose = max if direction == "rises" else min
    rival = choose(centres, key=lambda other: centres[other])
    return effect_of(
        evidence,
        f"{name} {rival} to {activation} {quantity}",
        runs[rival],
        runs[activation],
        column,
        direction,
    )


def _above_median(
    evidence: Evidence, name: str, runs: dict[str, pd.DataFrame], activation: str
) -> Part:
    lacking = [other for other, found in runs.items() if not evidence.complete(found, 2)]
    if lacking:
        return missing(f"{name} {activation}", lacking=lacking)
    others = pd.concat([found for other, found in runs.items() if other != activation])
    key = ["dataset", "architecture", "width_percent", "seed"]
    medians = others.groupby(key)[ACCURACY].median().rename("median").reset_index()
    both = runs[activation].merge(medians, on=key)
    return signed_rank_part(
        f"{name} {activation} above the median of the others",
        both[ACCURACY] - both["median"],
        "points",
    )
