"""The verdict on a claim, from its parts.

- A claim is reproduced if all its parts hold: if one is false, that happens with at most the
  level's probability. It is contradicted if a part is opposite after Holm's correction over all.
- A part without (nearly) all its runs is missing, and the claim is then not run.
- It is not decidable if what does not hold is explained by something else, or rests on all there
  is to compare.
- What arithmetic makes true decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import scipy.stats
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests

from gradflow.analysis.levels import LEVEL, POWER, significant
from gradflow.paper.claims.parts import Part, amount, name_parts

Verdict = Literal[
    "reproduced", "contradicted", "inconclusive", "true by construction", "not decidable", "not run"
]
VERDICTS: tuple[Verdict, ...] = (
    "reproduced", "contradicted", "inconclusive", "true by construction", "not decidable",
    "not run",
)  # fmt: skip
MOST = 1000  # pairs of a test: beyond, no number is told


@dataclass(frozen=True)
class Finding:
    """What became of a claim in a study."""

    verdict: Verdict
    statistic: str
    effect: str
    n: int
    explanation: str


@dataclass(frozen=True)
class Decision:
    """The parts of a claim, all of which must hold, and the verdict that they add up to."""

    parts: tuple[Part, ...]
    remark: str = ""  # a sentence to add to the explanation
    level: float = LEVEL  # of this look at the claim (`looks`)

    @property
    def verdicts(self) -> NDArray[np.int_]:
        """The verdict in each study, as a place in VERDICTS."""
        tested = [part for part in self.parts if part.state == "tested"]
        studies = max((len(part.holds) for part in self.parts), default=1)
        if not self.parts or any(part.state == "missing" for part in self.parts):
            return np.full(studies, VERDICTS.index("not run"))
        if not tested:
            return np.full(studies, VERDICTS.index("true by construction"))
        held = np.array([part.held_at(self.level) for part in tested])
        explained = np.array([part.is_explained for part in tested])
        # Holm rejects something exactly where the smallest p-value times their number is
        # significant
        opposite = np.array([part.opposite for part in tested]).min(axis=0) * len(tested)
        verdicts = np.full(studies, VERDICTS.index("inconclusive"))
        # all holds but what is explained away, or rests on all there is
        for_good = explained | ~held & np.array([[bool(part.whole)] for part in tested])
        verdicts[(held | for_good).all(axis=0) & for_good.any(axis=0)] = VERDICTS.index(
            "not decidable"
        )
        verdicts[np.asarray(significant(opposite, self.level))] = VERDICTS.index("contradicted")
        verdicts[held.all(axis=0)] = VERDICTS.index("reproduced")
        return verdicts

    def finding(self) -> Finding:
        """What became of the claim in the first study."""
        verdict = VERDICTS[self.verdicts[0]]
        lacking = [part for part in self.parts if part.state == "missing"]
        groups = {
            "opposite": [part for part in self.parts if self._opposite(part)],
            "explained away": [part for part in self.parts if part.is_explained[0]],
            "undecided": [part for part in self.parts if self._open(part)],
            "holds": [part for part in self.parts if self._holds(part)],
            "true by construction": [part for part in self.parts if part.state == "identity"],
        }
        statistic = f"{len(groups['holds'])} of {len(self.parts)} hold"
        statistic += f", {len(groups['opposite'])} opposite"
        if lacking or not self.parts:
            named = name_parts(lacking) if lacking else "nothing to compare"
            explanation = f"Not run: {len(lacking)} of {len(self.parts)} parts lack runs: {named}."
            statistic += f", {len(lacking)} missing"
            explanation = " ".join(
                [explanation, *dict.fromkeys(part.by for part in lacking if part.by)]
            )
        else:
            told = [f"{words}: {name_parts(parts)}" for words, parts in groups.items() if parts]
            explanation = "; ".join(told)
            explanation = explanation[0].upper() + explanation[1:] + "."
        reasons = dict.fromkeys(part.by for part in groups["explained away"] if part.by)
        if verdict == "not decidable":
            explanation += f" Explained by {' and '.join(reasons)}." if reasons else ""
            wholes = dict.fromkeys(part.whole for part in groups["undecided"])
            if wholes:
                explanation += f" {needed(groups['undecided'], self.level)}"
                explanation += f" There are no more {' and '.join(wholes)}, and seeds do not help."
        elif verdict == "inconclusive":
            explanation += f" {needed(groups['undecided'], self.level)}"
        total = sum(part.n for part in self.parts)
        text = f"{explanation.strip()} {self.remark}".strip()
        return Finding(verdict, statistic, _effects(self.parts), total, text)

    def _holds(self, part: Part) -> bool:
        return part.state == "tested" and bool(part.held_at(self.level)[0])

    def _opposite(self, part: Part) -> bool:
        if part.state != "tested" or part.is_explained[0]:
            return False
        return id(part) in self._rejected

    @cached_property
    def _rejected(self) -> set[int]:
        """The parts that are opposite in the first study after Holm's correction, by id."""
        tested = [part for part in self.parts if part.state == "tested"]
        values = [float(part.opposite[0]) for part in tested]
        rejected = multipletests(values, alpha=self.level, method="holm")[0] if tested else []
        return {id(part) for part, is_opposite in zip(tested, rejected, strict=True) if is_opposite}

    def _open(self, part: Part) -> bool:
        settled = part.state != "tested" or self._holds(part) or part.is_explained[0]
        return not settled and not self._opposite(part)


def needed(parts: Sequence[Part], level: float = LEVEL) -> str:
    """The n that would decide the undecided parts at a level, if the effects are as large as they
    look.
    """
    leaves = [leaf for part in parts for leaf in (part.parts or (part,))]
    waiting = [leaf for leaf in leaves if leaf.state == "tested" and not leaf.held_at(level)[0]]
    wanted = {
        leaf.name: _times(leaf, level) * (leaf.pairs or leaf.n)
        for leaf in waiting
        if not math.isnan(_times(leaf, level))
    }
    if not wanted:
        return ""
    largest = max(wanted, key=lambda name: wanted[name])
    if wanted[largest] > MOST:
        return f"The n that would decide all of it is beyond {MOST}, for {largest}."
    return (
        f"About n = {math.ceil(wanted[largest])} a test would decide all of it, if the effects are "
        "as large as they look."
    )


def _times(part: Part, level: float) -> float:
    """How many times as large n must be for the power promised, with the standard score growing as
    its root.
    """
    p_value = min(float(part.holds[0]), float(part.opposite[0]))
    if math.isnan(p_value):
        return math.nan
    score = scipy.stats.norm.isf(min(max(p_value, 1e-9), 0.5))
    wanted = scipy.stats.norm.isf(level) + scipy.stats.norm.ppf(POWER)
    return math.inf if score <= 0 else max(1.0, float((wanted / score) ** 2))


def _effects(parts: Sequence[Part]) -> str:
    """The median effect over the parts, by unit and by the direction that the claim gives them."""
    effects: dict[tuple[str, str], list[float]] = {}
    for part in parts:
        if part.unit and not math.isnan(part.effect[0]):
            effects.setdefault((part.unit, part.direction), []).append(float(part.effect[0]))
    units = [unit for unit, _ in effects]
    return "; ".join(
        amount(float(np.median(values)), unit)
        + (f" where it {direction}" if units.count(unit) > 1 else "")
        for (unit, direction), values in effects.items()
    )
