"""Every level and margin that turns a number into a word, in one place; the pages print them.

A p-value is significant at or below the level. That is what a test of level 0.05 rejects when its
p-values are discrete, as exact ones are, and what the paper's own count of 0.050 asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
POWER = 0.8  # of the number of pairs, or seeds, that would decide
# with fewer pairs no signs of the differences are significant: 2^-4 is above the level
MIN_PAIRS = 5
MIN_SEEDS = 3  # of a t test over seeds, where one seed gives one value
# Share of the planned pairs that a test needs: those that finish first are no random sample.
NEEDED = 0.8
EVEN = 0.5  # on which side of it a p-value lies says whom the data favour, decided or not


@dataclass(frozen=True)
class Margin:
    """How much is too little to count; `value` in the unit that `about` names."""

    value: float
    about: str


MARGINS = {
    "dense-measures-alike": Margin(0.02, "difference of two mean absolute taus"),
    "close accuracy": Margin(2.0, "points of accuracy between twins that are close"),
    "close EGF": Margin(2.0, "factor of EGF between twins that are close"),
    "no better": Margin(1.0, "points of accuracy that count as no gain"),
    "no relation": Margin(0.2, "a tau nearer to zero is no relation"),
    "means near": Margin(
        0.95, "share of the published means within one standard deviation that reproduces them"
    ),
    "means far": Margin(0.5, "share of them below which they are contradicted"),
}


@overload
def significant(p_value: float, level: float = ...) -> bool: ...
@overload
def significant(p_value: NDArray[np.floating[Any]], level: float = ...) -> NDArray[np.bool_]: ...
def significant(p_value: Any, level: float = LEVEL) -> Any:
    """Whether a p-value, or each of an array, is at or below a level; NaN is not."""
    return p_value <= level


def levels_sentence(looks: int = 1) -> str:
    """The level and the margins, for the foot of a page; `looks` at its claims are planned."""
    margins = "; ".join(f"{margin.value:g}: {margin.about}" for margin in MARGINS.values())
    where = (
        "everywhere"
        if looks == 1
        else f"and of a claim at or below {LEVEL / looks:g}, for this scale plans {looks} looks at "
        "them, the later with more seeds"
    )
    return (
        f"Significant: p at or below {LEVEL:g}, {where}. A test needs {MIN_PAIRS} pairs and "
        f"{NEEDED:.0%} of the planned ones, a test over seeds {MIN_SEEDS} seeds. Margins: "
        f"{margins}."
    )
