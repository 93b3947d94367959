"""The parts of a claim, each one comparison.

The same rules decide a study and thousands of simulated ones (`operating`): every number of a part
is an array over studies, shape [B], of which a real study is the only one. A part holds, or is
opposite, only by a significant test of its own in that direction. `decision` adds them up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from gradflow.analysis.levels import LEVEL, MIN_PAIRS, MIN_SEEDS, significant
from gradflow.analysis.signed_ranks import tails_of_rows

Direction = Literal["rises", "falls"]
Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

ONE_SEED = (
    f"With fewer than {MIN_SEEDS} seeds an effect cannot be told from luck: the runs of a seed "
    "differ in density, and those pruned by magnitude share one pretrained network, so that none "
    "repeats another."
)
BEYOND = 99.0  # stands for an infinite difference
NAMED = 4  # parts or missing configurations that an explanation names


@dataclass(frozen=True)
class Part:
    """One comparison that a claim consists of, in each of B studies.

    `holds` and `opposite` are p-values, of the claim and of its contrary. `counts`: for a part that
    is decided by a count, whether it holds. `explained`: where something else explains what is
    seen, so that neither is said.
    """

    name: str
    holds: Floats
    opposite: Floats
    effect: Floats
    unit: str = ""
    n: int = 0  # pairs, seeds, cells or configurations
    pairs: int = 0  # of the test behind a cell
    direction: str = ""  # rises or falls, where the part says so
    text: str = ""  # its numbers in the first study
    state: Literal["tested", "missing", "identity"] = "tested"
    counts: Flags | None = None
    explained: Flags | None = None
    by: str = ""  # what explains it, or what its few runs cannot separate
    # what it compares where that is all there is, so that no more seeds would decide it
    whole: str = ""
    parts: tuple[Part, ...] = field(default=(), repr=False)

    @property
    def named(self) -> str:
        """The part in an explanation."""
        return f"{self.name} ({self.text})" if self.text else self.name

    @property
    def held(self) -> Flags:
        """Whether it holds at the level of one test, by study: what the paper calls a cell."""
        return self.held_at(LEVEL)

    def held_at(self, level: float) -> Flags:
        """Whether it holds at a level, by study. A count keeps the level of what it counts."""
        seen = np.asarray(significant(self.holds, level)) if self.counts is None else self.counts
        return seen & ~self.is_explained

    @property
    def is_explained(self) -> Flags:
        """Whether something else explains it, by study."""
        return np.zeros(len(self.holds), bool) if self.explained is None else self.explained


def signed_rank_part(
    name: str, differences: ArrayLike, unit: str, direction: Direction = "rises"
) -> Part:
    """A part that holds if the differences lie on the claimed side of zero by a one-sided Wilcoxon
    test.

    It is opposite if they lie on the other side by the same test, and open otherwise.

    Args:
        name: of the part.
        differences: shape [n], or [B, n] of B studies; infinite ones take the outermost rank.
        unit: of the differences; `EGF ratio` and the like say that they are decimal logarithms.
        direction: the claimed side of zero; `rises`: above.
    """
    values = finite(differences)
    n = values.shape[1]
    if n < MIN_PAIRS:
        return missing(name, n)
    greater, less = tails_of_rows(values)
    holds, opposite = (greater, less) if direction == "rises" else (less, greater)
    effect = np.median(values, axis=1)
    text = f"{amount(effect[0], unit)}, p {holds[0]:.3f}, n {n}"
    return Part(name, holds, opposite, effect, unit, n, direction=direction, text=text)


def seeds_part(
    name: str,
    values: ArrayLike,
    unit: str,
    direction: Direction = "rises",
    broken: ArrayLike = False,
) -> Part:
    """A part of one value a seed, by a one-sided t test: three seeds have no significant ranks.

    Where runs diverged, ranks decide all the same. A mean with chance accuracy or infinite gradient
    flow in it is far from normal, and three such means that happen to be alike look certain.

    Args:
        name: of the part.
        values: shape [B, seeds].
        unit: as in `signed_rank_part`.
        direction: likewise.
        broken: bool [B], whether a run behind the values diverged.
    """
    sample = finite(values)
    n = sample.shape[1]
    if n < MIN_SEEDS:
        seeds = f"{n} seed" if n == 1 else f"{n} seeds"
        return replace(_without(name, f"{seeds} of {MIN_SEEDS}", n), by=ONE_SEED)
    effect = sample.mean(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        score = effect * np.sqrt(n) / sample.std(axis=1, ddof=1)
    greater, less = (
        np.nan_to_num(tail(score, n - 1), nan=1.0) for tail in (scipy.stats.t.sf, scipy.stats.t.cdf)
    )
    by_rank = np.broadcast_to(broken, len(sample))
    if by_rank.any():
        tails = tails_of_rows(sample)
        greater, less = (
            np.where(by_rank, *two) for two in zip(tails, (greater, less), strict=True)
        )
    holds, opposite = (greater, less) if direction == "rises" else (less, greater)
    text = f"{amount(effect[0], unit)}, p {holds[0]:.3f}, {n} seeds"
    text += ", by rank since runs diverged" if by_rank[0] else ""
    return Part(name, holds, opposite, effect, unit, n, direction=direction, text=text)


def bounded(name: str, values: ArrayLike, low: float, high: float, unit: str) -> Part:
    """A part that holds if the centre lies in [low, high]: two one-sided signed-rank tests, of each
    bound.

    It is opposite if the centre lies significantly beyond one of them (both asked, so twice p).

    Args:
        name: of the part.
        values: shape [n] or [B, n].
        low: the lower bound; -inf for none.
        high: likewise.
        unit: as in `signed_rank_part`.
    """
    sample = finite(values)
    n = sample.shape[1]
    if n < MIN_PAIRS:
        return missing(name, n)
    inside, outside = [], []
    for bound, sign in ((low, 1), (high, -1)):
        if math.isfinite(bound):
            within, beyond = tails_of_rows(sign * (sample - bound))
            inside.append(within)
            outside.append(beyond)
    holds = np.max(inside, axis=0)
    opposite = np.minimum(len(outside) * np.min(outside, axis=0), 1)
    effect = np.median(sample, axis=1)
    text = f"{amount(effect[0], unit)}, p {holds[0]:.3f}, n {n}"
    return Part(name, holds, opposite, effect, unit, n, text=text)


def counted(name: str, parts: Sequence[Part], what: str = "hold") -> Part:
    """Several parts as one that holds if more than half of them do.

    It is opposite if more than half are: `partial_conjunction`, valid whatever their dependence.
    """
    lacking = [part for part in parts if part.state == "missing"]
    if lacking or not parts:
        return Part(name, *_undefined(), n=_total(parts), text=name_parts(lacking), state="missing")
    held = np.array([part.held for part in parts])
    most = len(parts) // 2 + 1
    opposite = partial_conjunction(np.array([part.opposite for part in parts]), most)
    text = f"{held[:, 0].sum()} of {len(parts)} {what}"
    return Part(
        name, np.full(len(opposite), math.nan), opposite, held.mean(axis=0), "", _total(parts),
        text=text, counts=np.asarray(held.sum(axis=0) >= most), parts=tuple(parts),
    )  # fmt: skip


def grouped(name: str, parts: Sequence[Part]) -> Part:
    """Several tested parts as one that holds if all of them do, and is opposite if one is after
    Bonferroni's correction.
    """
    lacking = [part for part in parts if part.state == "missing"]
    if lacking or not parts:
        return Part(name, *_undefined(), n=_total(parts), text=name_parts(lacking), state="missing")
    held = np.array([part.held for part in parts])
    opposite = np.minimum(np.array([part.opposite for part in parts]).min(axis=0) * len(parts), 1)
    text = f"{held[:, 0].sum()} of {len(parts)} hold"
    return Part(
        name, np.max([part.holds for part in parts], axis=0), opposite,
        np.median([part.effect for part in parts], axis=0),
        parts[0].unit, _total(parts), text=text, parts=tuple(parts),
    )  # fmt: skip


def partial_conjunction(p_values: Floats, at_least: int) -> Floats:
    """The p-value of `at_least` of the null hypotheses being false (Benjamini and Heller, 2008).

    Bonferroni's form, (k - u + 1) p_(u), which no dependence spoils.

    Args:
        p_values: shape [k, B].
        at_least: u, from 1 to k.
    """
    ordered = np.sort(p_values, axis=0)
    return np.minimum((len(p_values) - at_least + 1) * ordered[at_least - 1], 1)


def finite(values: ArrayLike) -> Floats:
    """Values as [B, n]; a diverged run's gradient flow is infinite and lies beyond all finite
    ones.
    """
    array = np.atleast_2d(np.asarray(values, dtype=float))
    return np.clip(np.nan_to_num(array, nan=0.0), -BEYOND, BEYOND)


def missing(name: str, n: int = 0, planned: int = 0, lacking: Sequence[str] = ()) -> Part:
    """A part that cannot be decided for lack of finished runs.

    Args:
        name: of the part.
        n: pairs, or runs, that are there.
        planned: how many there should be, where that is known.
        lacking: names of the configurations that have none or too few.
    """
    if lacking:
        return _without(name, f"none or too few of {listed(lacking)}", n)
    found = f"only {n}, a test needs {MIN_PAIRS}" if n else "none"
    return _without(name, f"{n} of {planned} pairs" if planned else found, n)


def identity(name: str, text: str, studies: int = 1) -> Part:
    """A part that arithmetic makes true, whatever the runs."""
    nothing = np.full(studies, math.nan)
    return Part(name, nothing, nothing, nothing, text=text, state="identity")


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


def name_parts(parts: Sequence[Part]) -> str:
    """The names of the first few parts, with what each found."""
    return listed([part.named for part in parts])


def _without(name: str, text: str, n: int) -> Part:
    return Part(name, *_undefined(), n=n, text=text, state="missing")


def _undefined() -> tuple[Floats, Floats, Floats]:
    nothing = np.full(1, math.nan)
    return nothing, nothing, nothing


def _total(parts: Sequence[Part]) -> int:
    return sum(part.n for part in parts)
