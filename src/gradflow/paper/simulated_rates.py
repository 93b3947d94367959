"""How often a verdict is wrong, counted over simulated studies until it is known well enough.

A rate that is simulated is known to within its own chance. So studies are added until even the
upper bound of a false rate is at most the level, or until there are too many. A rule whose rate is
just the level, as that of a single exact test, ends there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import scipy.stats

from gradflow.analysis.levels import LEVEL

# Studies after which a false rate may be known well enough. Not fewer to begin with: a stage that
# ends it is a lucky one, and the rate that it gives too low.
STAGES = (1600, 6400, 25_600, 102_400)
SURE = 1 - LEVEL / len(STAGES)  # of each bound, so that all of them are right 95 of 100 times


@dataclass(frozen=True)
class Rates:
    """Simulated studies by verdict."""

    studies: int
    reproduced: int
    contradicted: int
    not_run: bool

    def __add__(self, other: Rates) -> Rates:
        """Of both sets of studies."""
        return Rates(
            self.studies + other.studies,
            self.reproduced + other.reproduced,
            self.contradicted + other.contradicted,
            self.not_run and other.not_run,
        )


NONE = Rates(0, 0, 0, True)


def upper_bound(count: int, studies: int) -> float:
    """The largest share that so few of the studies still speak for (Clopper and Pearson), SURE of
    it.
    """
    return float(scipy.stats.beta.ppf(SURE, count + 1, studies - count)) if count < studies else 1.0


def known_well(
    simulate: Callable[[int, int], Rates], stages: Sequence[int], contradicted_alone: bool = False
) -> Rates:
    """As many studies as it takes to know the false rates.

    Args:
        simulate: takes a number of studies and a seed.
        stages: after how many to see whether the bounds are at most the level.
        contradicted_alone: where "reproduced" is not wrong.
    """
    found = NONE
    for number, stage in enumerate(stages):
        found += simulate(stage - found.studies, number)
        counts = [found.contradicted, *([] if contradicted_alone else [found.reproduced])]
        if found.not_run or upper_bound(max(counts), found.studies) <= LEVEL:
            break
    return found


def false_rates(nulls: Sequence[Rates], slight: Sequence[Rates] = ()) -> dict[str, Any]:
    """The largest false rates over worlds, and of their bounds.

    Args:
        nulls: where "reproduced" and "contradicted" are wrong.
        slight: where only "contradicted" is.
    """
    both = [*nulls, *slight]
    return {
        "studies": max(one.studies for one in both),
        "false_reproduced": max(one.reproduced / one.studies for one in nulls),
        "false_reproduced_bound": max(upper_bound(one.reproduced, one.studies) for one in nulls),
        "false_contradicted": max(one.contradicted / one.studies for one in both),
        "false_contradicted_bound": max(upper_bound(one.contradicted, one.studies) for one in both),
    }


def beyond_level(count: int, studies: int) -> bool:
    """Whether a rate is above the level by more than the simulation's own chance (one in a
    thousand).
    """
    return count > scipy.stats.binom.ppf(0.999, studies, LEVEL)
