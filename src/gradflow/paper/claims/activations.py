"""The claims about activation functions of MLPs, CIFAR-100, at each optimizer's own
regularization.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradflow.paper.claims.decision import Decision
from gradflow.paper.claims.design import Place, mlp
from gradflow.paper.claims.evidence import ACCURACY, ADAPTIVE, EGF, HIGH, LOW, Evidence, effect_of
from gradflow.paper.claims.parts import Direction, Part, identity, missing, signed_rank_part
from gradflow.study.job import PAPER_ACTIVATIONS

STEP = 0.01
FLAT = 1e-6  # a derivative this far below zero is negative


def swish_best_adaptive(evidence: Evidence) -> Decision:
    """Both rates: Swish is best, with a lower EGF than ReLU, under adaptive optimizers; PReLU among
    the best under SGD.

    Best: its accuracy beats that of each other activation, none of them chosen by the data. Among
    the best: PReLU's accuracy beats the median of the five others, unit by unit. Each is a paired
    one-sided Wilcoxon test, and all must hold.
    """
    parts = []
    for rate in (LOW, HIGH):
        for optimizer in ADAPTIVE:
            places = _by_activation(evidence, optimizer, rate)
            name = f"{optimizer} at {rate:g}"
            parts += _extreme(evidence, name, places, "swish", ACCURACY, "rises")
            words = f"{name} ReLU to Swish EGF"
            parts.append(effect_of(evidence, words, places["relu"], places["swish"], EGF, "falls"))
        places = _by_activation(evidence, "sgd", rate)
        parts.append(_above_median(evidence, f"sgd at {rate:g}", places, "prelu"))
    return Decision(tuple(parts))


def srelu_worst_adam(evidence: Evidence) -> Decision:
    """Adam, low rate: SReLU's EGF is above each other activation's, and its accuracy below each of
    them.
    """
    places = _by_activation(evidence, "adam", LOW)
    return Decision(
        (
            *_extreme(evidence, "adam", places, "srelu", EGF, "rises"),
            *_extreme(evidence, "adam", places, "srelu", ACCURACY, "falls"),
        )
    )


def only_swish_negative_gradient(functions: Mapping[str, Any] | None = None) -> Decision:
    """Only Swish has a derivative below zero on a grid of [-5, 5] with steps of 0.01; computed,
    from no runs.

    Mathematics, and no finding: true by construction, or contradicted by a function that is none of
    the paper's.

    Args:
        functions: of one tensor, by name; those that are trained with unless given.
    """
    try:
        import torch  # only here, since it takes seconds
    except ImportError:
        return Decision((missing("the derivatives: torch cannot be imported"),))
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
        text = f"lowest derivative {lowest:.3f}"
        if (lowest < -FLAT) == (name == "swish"):
            parts.append(identity(name, text))
        else:
            parts.append(
                Part(name, np.ones(1), np.zeros(1), np.array([lowest]), n=len(x), text=text)
            )
    return Decision(tuple(parts))


def _by_activation(evidence: Evidence, optimizer: str, rate: float) -> dict[str, Place]:
    """The configurations of the six activations, at the regularization that the one with Swish
    has.
    """
    regularization = evidence.own(optimizer, rate, "swish").regularization
    return {name: mlp(optimizer, rate, regularization, name) for name in PAPER_ACTIVATIONS}


def _extreme(
    evidence: Evidence,
    name: str,
    places: dict[str, Place],
    activation: str,
    column: str,
    direction: Direction,
) -> list[Part]:
    """Whether an activation lies beyond each other one: a part for each, so that none is picked by
    the data.
    """
    quantity = "accuracy" if column == ACCURACY else "EGF"
    return [
        effect_of(
            evidence,
                f"{name} {other} to "
                f"{activation} {quantity}", places[other], places[activation], column, direction
        )
        for other in places
        if other != activation
    ]  # fmt: skip


def _above_median(evidence: Evidence, name: str, places: dict[str, Place], activation: str) -> Part:
    values = {
        other: evidence.values(place, ACCURACY, places.values())[:, :2].mean(axis=1)
        for other, place in places.items()
    }
    lacking = [
        other
        for other, found in values.items()
        if not evidence.complete(int((~np.isnan(found[0])).sum()), places[other])
    ]
    if lacking:
        return missing(f"{name} {activation}", lacking=lacking)
    others = np.median([found for other, found in values.items() if other != activation], axis=0)
    gaps = values[activation] - others
    words = f"{name} {activation} above the median of the others"
    return signed_rank_part(words, gaps[:, ~np.isnan(gaps[0])], "points")
