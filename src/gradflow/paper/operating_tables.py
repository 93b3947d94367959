"""Operating characteristics of the scorecard's tables: p-values against the published ones, means,
Table 1.

A table's verdict compares decisions in a grid of cells. It is wrong where ours have nothing to do
with the published ones: where nothing is there at all, and where our rows and columns have effects
of their own; the first also with diverged runs. It should be "reproduced" where each cell has the
effect that its published p-value speaks of.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from gradflow.analysis.levels import MARGINS, significant
from gradflow.analysis.signed_ranks import tails_of_rows
from gradflow.paper.agreement import kappa_of, permuted_agreement
from gradflow.paper.claims.design import Design, Place
from gradflow.paper.claims.evidence import ACCURACY
from gradflow.paper.claims.parts import Floats
from gradflow.paper.claims.simulation import SimulatedEvidence
from gradflow.paper.claims.worlds import World
from gradflow.paper.published import BEST, PAIRS, PublishedPValue
from gradflow.paper.simulated_rates import Rates, false_rates, known_well, upper_bound
from gradflow.paper.verdict_rules import agreement_verdict, means_verdict

STAGES = (400, 1600, 6400)  # fewer than of the claims: each takes longer
RESAMPLES = 60  # of each study's pairs, for the ceiling
MEANS = 48  # published
NOTHING, DIVERGED, OWN = "no effect", "diverged runs", "rows and columns with effects of their own"
NULLS = (NOTHING, DIVERGED, OWN)
TRUE = "as published"


def table_rows(
    design: Design, published: Sequence[PublishedPValue], stages: Sequence[int] = STAGES
) -> pd.DataFrame:
    """The operating characteristics of each table of p-values that the design has, and of the
    means.

    Args:
        design: of the scale.
        published: the distinct cells.
        stages: see `simulated_rates.known_well`.

    Returns:
        Rows as of `operating.operating_rows`; of a table that is true, the effects are the ones
        its published p-values speak of, which `reproduced_1` holds.
    """
    rows = []
    for name in sorted({table for cell in published for table in cell.tables}):
        cells = [cell for cell in published if name in cell.tables]
        row: dict[str, Any] = {"id": f"Table {name}"}
        if any(_place(SimulatedEvidence(design, World(), 1.0, 1), cell) is None for cell in cells):
            rows.append({**row, "state": "not run"})
            continue
        simulate = partial(_rates, design, cells)
        nulls = [known_well(partial(simulate, world), stages) for world in NULLS]
        true = known_well(partial(simulate, TRUE), stages, contradicted_alone=True)
        rows.append(
            {
                **row,
                "state": "simulated",
                "null": "; ".join(NULLS),
                **false_rates(nulls, [true]),
                "reproduced_1": true.reproduced / true.studies,
            }
        )
    return pd.DataFrame([*rows, _means_row(design, stages[-1])])


def _place(evidence: SimulatedEvidence, cell: PublishedPValue) -> Place | None:
    """The configuration behind a cell, if the design has it."""
    rate = cell.learning_rate
    place = Place("mlp", cell.dataset, cell.optimizer, rate, cell.regularization, cell.activation)
    if cell.regularization == BEST:
        place = evidence.own(cell.optimizer, rate, cell.activation, cell.dataset)
    return place if place in evidence.places() else None


def _rates(
    design: Design, cells: Sequence[PublishedPValue], world: str, count: int, seed: int
) -> Rates:
    """Verdicts of a table in a world: one of NULLS, or TRUE."""
    nothing = World().with_divergence() if world == DIVERGED else World()
    evidence = SimulatedEvidence(design, nothing, 1.0, count, (1, seed))
    found = [_place(evidence, cell) for cell in cells]
    pairs = np.array([evidence.twins(place, ACCURACY) for place in found if place])
    theirs = np.array([bool(significant(cell.p_value)) for cell in cells])
    places = [("", cell.optimizer, f"{cell.regularization} {cell.activation}") for cell in cells]
    if world == OWN:
        generator = np.random.default_rng((2, seed))
        effects = {
            name: generator.choice((-1.0, 1.0), count)
            for axis in (1, 2)
            for name in dict.fromkeys((axis, place[axis]) for place in places)
        }
        own = np.array([effects[1, place[1]] + effects[2, place[2]] for place in places])
        pairs = pairs + own[..., None]
    elif world == TRUE:
        # the standard score of a signed-rank test of n pairs grows with sqrt(n) times the effect
        printed = np.clip([cell.p_value for cell in cells], 0.0005, 0.9995)
        pairs = pairs + (scipy.stats.norm.isf(printed) / np.sqrt(PAIRS))[:, None, None]
    verdicts = _verdicts(pairs, theirs, places)
    return Rates(count, verdicts.count("reproduced"), verdicts.count("contradicted"), False)


def _verdicts(
    pairs: Floats, theirs: np.ndarray[Any, Any], places: Sequence[tuple[str, str, str]]
) -> list[str]:
    """The verdict in each study, of differences [cells, B, pairs]."""
    cells, studies, n = pairs.shape
    ours = np.array([significant(tails_of_rows(cell)[0]) for cell in pairs])
    more, less = permuted_agreement(ours, theirs, places)
    ceilings = np.full(studies, np.nan)
    asked = np.flatnonzero(significant(more))  # elsewhere the ceiling decides nothing
    generator = np.random.default_rng(3)
    again = np.empty((RESAMPLES, cells, len(asked)), dtype=bool)
    for resample in again:
        drawn = pairs[:, asked][..., generator.integers(n, size=n)].reshape(-1, n)
        resample[:] = significant(_roughly(drawn)).reshape(cells, len(asked))
    for place, study in enumerate(asked):
        own = [kappa_of(ours[:, study], one[:, place])[2] for one in again]
        there = [value for value in own if not np.isnan(value)]
        if there:
            ceilings[study] = np.quantile(there, 0.025)
    return [
        agreement_verdict(kappa_of(mine, theirs)[2], *rest)
        for mine, *rest in zip(ours.T, ceilings, more, less, strict=True)
    ]


def _roughly(differences: Floats) -> Floats:
    """The p-values of resampled pairs, many of them tied, by the normal approximation: [rows]."""
    ranks = scipy.stats.rankdata(np.abs(differences), axis=1)
    signs = np.sign(differences)
    size = np.sqrt(((ranks * signs) ** 2).sum(axis=1))
    score = (ranks * signs).sum(axis=1) / np.where(size > 0, size, 1)
    return np.asarray(scipy.stats.norm.sf(score))


def _means_row(design: Design, studies: int) -> dict[str, Any]:
    """Of the means: wrong where each is just one published standard deviation off, or is the
    published one.
    """
    generator = np.random.default_rng(4)
    n = len(design.units("mlp"))
    if not n:
        return {"id": "means", "state": "not run"}
    error = np.sqrt(
        1 / n + 1 / PAIRS
    )  # of a difference of two means, in standard deviations of a run

    def shares(off: float) -> list[str]:
        far = off + error * generator.standard_normal((studies, MEANS))
        return [means_verdict(int((np.abs(one) <= 1).sum()), MEANS) for one in far]

    just, same, twice = shares(1.0), shares(0.0), shares(2.0)
    return {
        "id": "means",
        "state": "simulated",
        "studies": studies,
        "null": "one standard deviation off; contradicted: the same (below "
        f"{MARGINS['means far'].value:g})",
        **_wrong("false_reproduced", just.count("reproduced"), studies),
        **_wrong("false_contradicted", same.count("contradicted"), studies),
        "reproduced_1": same.count("reproduced") / studies,
        "contradicted_2": twice.count("contradicted") / studies,
    }


def _wrong(name: str, count: int, studies: int) -> dict[str, float]:
    return {name: count / studies, f"{name}_bound": upper_bound(count, studies)}
