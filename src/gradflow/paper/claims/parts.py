"""How a claim is decided: parts, each one comparison, and the verdict that they add up to.

Three rules hold for every claim. A part without (nearly) all its runs is `missing`, and a claim
with a missing part is inconclusive. A part holds, or is opposite, only if its test is significant
or its interval is clear of the threshold. And a claim about several optimizers or data sets says in
advance how many of its parts must hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from gradflow.analysis.stats import bootstrap_interval, signed_rank_test

Verdict = Literal["reproduced", "contradicted", "inconclusive"]
Outcome = Literal["holds", "opposite", "open", "missing"]
Rule = Literal["all", "most"]
Direction = Literal["rises", "falls"]

SIGNIFICANT = 0.05  # inclusive: the paper prints three decimals, and counts 0.050
MIN_PAIRS = 5  # with fewer, no signs of the differences are significant
NEEDED = (
    0.8  # share of the planned runs or pairs: those that finish first are no random sample of them
)
BEYOND = 99.0  # stands for an infinite difference
NAMED = 4  # parts or missing configurations that an explanation names


@dataclass(frozen=True)
class Part:
    """One comparison that a claim consists of."""

    name: str
    outcome: Outcome
    text: str = ""  # its numbers
    effect: float = math.nan  # positive: as the unit says
    unit: str = ""
    n: int = 0  # pairs, runs, cells or configurations
    p_value: float = math.nan  # of the claimed direction, where the part is a test
    p_opposite: float = math.nan
    direction: str = ""  # rises or falls, where the part says so

    @property
    def named(self) -> str:
        """The part in an explanation."""
        return f"{self.name} ({self.text})" if self.text else self.name


@dataclass(frozen=True)
class Finding:
    """What became of a claim."""

    verdict: Verdict
    statistic: str
    effect: str
    n: int
    explanation: str


def signed_rank_part(
    name: str, differences: ArrayLike, unit: str, direction: Direction = "rises"
) -> Part:
    """A part that holds if the differences lie on the claimed side of zero by a one-sided Wilcoxon test.

    It is opposite if they lie on the other side by the same test, and open otherwise.

    Args:
        name: of the part.
        differences: infinite ones take the outermost rank.
        unit: of the differences; `EGF ratio` and the like say that they are decimal logarithms.
        direction: the claimed side of zero; `rises`: above.
    """
    # a diverged run's gradient flow is infinite: any value beyond all finite ones gives it the
    # outermost rank
    values = np.clip(np.nan_to_num(np.asarray(differences, dtype=float), nan=0.0), -BEYOND, BEYOND)
    if len(values) < MIN_PAIRS:
        return missing(name, len(values))
    claimed = values if direction == "rises" else -values
    test, other = signed_rank_test(claimed), signed_rank_test(-claimed)
    outcome: Outcome = "open"
    if test.p_value <= SIGNIFICANT:
        outcome = "holds"
    elif other.p_value <= SIGNIFICANT:
        outcome = "opposite"
    effect = float(np.median(values))
    text = f"{amount(effect, unit)}, p {test.p_value:.3f}, n {test.n}"
    return Part(name, outcome, text, effect, unit, test.n, test.p_value, other.p_value, direction)


def bounded(name: str, values: ArrayLike, low: float, high: float, unit: str) -> Part:
    """A part that holds if the 95 % bootstrap interval of the median lies in [low, high], opposite if clear of it."""
    sample = np.clip(np.nan_to_num(np.asarray(values, dtype=float), nan=0.0), -BEYOND, BEYOND)
    if len(sample) < MIN_PAIRS:
        return missing(name, len(sample))
    median = float(np.median(sample))
    return within(
        name, median, bootstrap_interval(sample, np.median), (low, high), unit, len(sample)
    )


def within(
    name: str,
    estimate: float,
    interval: tuple[float, float],
    bounds: tuple[float, float],
    unit: str,
    n: int,
) -> Part:
    """A part that holds if `interval` lies in `bounds`, is opposite if the two are apart, and is open if they cross."""
    if math.isnan(interval[0]):
        return missing(name, n)
    outcome: Outcome = "open"
    if bounds[0] <= interval[0] and interval[1] <= bounds[1]:
        outcome = "holds"
    elif interval[1] < bounds[0] or interval[0] > bounds[1]:
        outcome = "opposite"
    ends = " to ".join(amount(end, unit) for end in interval)
    return Part(
        name, outcome, f"{amount(estimate, unit)}, interval {ends}, n {n}", estimate, unit, n
    )


def missing(name: str, n: int = 0, planned: int = 0, lacking: Sequence[str] = ()) -> Part:
    """A part that cannot be decided for lack of finished runs.

    Args:
        name: of the part.
        n: pairs, or runs, that are there.
        planned: how many there should be, where that is known.
        lacking: names of the configurations that have none or too few.
    """
    if lacking:
        return Part(name, "missing", f"none or too few of {listed(lacking)}", n=n)
    found = f"only {n}, a test needs {MIN_PAIRS}" if n else "none"
    return Part(name, "missing", f"{n} of {planned} pairs" if planned else found, n=n)


def group(name: str, parts: Sequence[Part], rule: Rule) -> Part:
    """Several parts as one part of a larger claim, by the same rule as `conclude`."""
    lacking = [part for part in parts if part.outcome == "missing"]
    if lacking or not parts:
        return Part(name, "missing", _list(lacking), n=_total(parts))
    holds, opposite = (
        sum(part.outcome == which for part in parts) for which in ("holds", "opposite")
    )
    effects = [part.effect for part in parts if not math.isnan(part.effect)]
    effect = float(np.median(effects)) if effects else math.nan
    text = f"{holds} of {len(parts)} hold, {opposite} opposite"
    return Part(name, _combined(parts, rule), text, effect, parts[0].unit, _total(parts))


def conclude(parts: Sequence[Part], rule: Rule = "all", remark: str = "") -> Finding:
    """The verdict that parts add up to.

    `all`: reproduced if every part holds; contradicted if one is opposite that stays so when its
    p-value is multiplied by the number of parts, or if more are opposite than chance gives
    (`beyond_chance`). `most`: reproduced if more than half hold, contradicted if more than half are
    opposite. Anything else, and any missing part: inconclusive.

    Args:
        parts: all the comparisons of the claim, missing ones included.
        rule: how many must hold.
        remark: a sentence to add to the explanation.
    """
    counts = {
        which: [part for part in parts if part.outcome == which]
        for which in ("holds", "opposite", "open", "missing")
    }
    statistic = f"{len(counts['holds'])} of {len(parts)} hold, {len(counts['opposite'])} opposite"
    if counts["missing"] or not parts:
        lacking = _list(counts["missing"]) if parts else "nothing to compare"
        explanation = (
            f"Too few finished runs for {len(counts['missing'])} of {len(parts)} parts: {lacking}."
        )
        verdict: Verdict = "inconclusive"
        statistic += f", {len(counts['missing'])} missing"
    else:
        outcome = _combined(parts, rule)
        verdict = {"holds": "reproduced", "opposite": "contradicted"}.get(outcome, "inconclusive")  # type: ignore[assignment]
        explanation = "; ".join(
            f"{words}: {_list(counts[which])}"
            for which, words in (
                ("opposite", "opposite"),
                ("open", "undecided"),
                ("holds", "holds"),
            )
            if counts[which]
        )
        explanation = explanation[0].upper() + explanation[1:] + "."
    return Finding(
        verdict, statistic, _effects(parts), _total(parts), f"{explanation} {remark}".strip()
    )


def amount(value: float, unit: str) -> str:
    """A number with its unit: `+1.25 points`, `EGF x 0.31` for a logarithm of a ratio."""
    if unit.endswith(" ratio"):
        factor = math.inf if value >= BEYOND else 0.0 if value <= -BEYOND else 10**value
        return f"{unit.removesuffix(' ratio')} x {factor:.3g}"
    if unit == "points":
        return f"{value:+.2f} points"
    return f"{value:.3f} {unit}".strip()


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    first = ", ".join(names[:NAMED])
    return f"{first} and {len(names) - NAMED} more" if len(names) > NAMED else first


def beyond_chance(significant: int, comparisons: int) -> bool:
    """Whether so many comparisons are significant at 0.05 with a probability of at most 0.05 if nothing is there."""
    return float(scipy.stats.binom.sf(significant - 1, comparisons, SIGNIFICANT)) <= SIGNIFICANT


def _effects(parts: Sequence[Part]) -> str:
    """The median effect over the parts, by unit and by the direction that the claim gives them."""
    effects: dict[tuple[str, str], list[float]] = {}
    for part in parts:
        if part.unit and not math.isnan(part.effect):
            effects.setdefault((part.unit, part.direction), []).append(part.effect)
    units = [unit for unit, _ in effects]
    return "; ".join(
        amount(float(np.median(values)), unit)
        + (f" where it {direction}" if units.count(unit) > 1 else "")
        for (unit, direction), values in effects.items()
    )


def _combined(parts: Sequence[Part], rule: Rule) -> Outcome:
    holds = sum(part.outcome == "holds" for part in parts)
    opposite = [part for part in parts if part.outcome == "opposite"]
    if rule == "most":
        return (
            "holds"
            if 2 * holds > len(parts)
            else "opposite"
            if 2 * len(opposite) > len(parts)
            else "open"
        )
    if holds == len(parts):
        return "holds"
    # of many parts one is significantly opposite by chance; intervals, which have no p-value, have
    # a margin instead
    sure = any(
        math.isnan(part.p_opposite) or part.p_opposite * len(parts) <= SIGNIFICANT
        for part in opposite
    )
    return "opposite" if sure or beyond_chance(len(opposite), len(parts)) else "open"


def _list(parts: Sequence[Part]) -> str:
    return listed([part.named for part in parts])


def _total(parts: Sequence[Part]) -> int:
    return sum(part.n for part in parts)
