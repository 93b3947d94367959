"""Operating characteristics of the scorecard's tables: p-values against the published ones, means, Table 1.

A table's verdict compares decisions in a grid of cells. It is wrong where ours have nothing to do
with the published ones: where nothing is there at all, and where our rows and columns have effects
of their own. It should be "reproduced" where each cell has the effect that its published p-value
speaks of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from gradflow.analysis.levels import MARGINS, significant
from gradflow.analysis.signed_ranks import tails_of_rows
from gradflow.paper.agreement import kappa_of, permuted_agreement
from gradflow.paper.claims.evidence import ACCURACY, Place
from gradflow.paper.claims.parts import Floats
from gradflow.paper.claims.simulation import Design, SimulatedEvidence
from gradflow.paper.claims.worlds import World
from gradflow.paper.published import BEST, PAIRS, PublishedPValue
from gradflow.paper.verdict_rules import agreement_verdict, means_verdict

STUDIES = 100
RESAMPLES = 60  # of each study's pairs, for the ceiling
MEANS = 48  # published


def table_rows(
    design: Design, published: Sequence[PublishedPValue], studies: int = STUDIES
) -> pd.DataFrame:
    """The operating characteristics of each table of p-values that the design has, and of the means.

    Args:
        design: of the scale.
        published: the distinct cells.
        studies: simulated for each world of a table.

    Returns:
        Rows as of `operating.operating_rows`; of a table that is true, the effects are the ones
        its published p-values speak of, which `reproduced_1` holds.
    """
    rows = []
    evidence = SimulatedEvidence(design, World(), 1.0, studies, seed=1)
    for name in sorted({table for cell in published for table in cell.tables}):
        cells = [cell for cell in published if name in cell.tables]
        row: dict[str, Any] = {"id": f"Table {name}"}
        pairs = [_pairs(evidence, cell) for cell in cells]
        if any(one is None for one in pairs):
            rows.append({**row, "state": "not run"})
            continue
        rows.append({**row, **_rates(cells, np.array(pairs))})
    return pd.DataFrame([*rows, _means_row(design, studies)])


def _pairs(evidence: SimulatedEvidence, cell: PublishedPValue) -> Floats | None:
    """Sparse minus dense of a cell in every study, without any effect: [B, pairs]."""
    rate = cell.learning_rate
    place = Place("mlp", cell.dataset, cell.optimizer, rate, cell.regularization, cell.activation)
    if cell.regularization == BEST:
        place = evidence.own(cell.optimizer, rate, cell.activation, cell.dataset)
    return evidence.twins(place, ACCURACY) if place in evidence.places() else None


def _rates(cells: Sequence[PublishedPValue], pairs: Floats) -> dict[str, Any]:
    theirs = np.array([bool(significant(cell.p_value)) for cell in cells])
    places = [("", cell.optimizer, f"{cell.regularization} {cell.activation}") for cell in cells]
    generator = np.random.default_rng(2)
    count = pairs.shape[1]
    rows = {name: generator.choice((-1.0, 1.0), count) for name in dict.fromkeys(place[1] for place in places)}  # fmt: skip
    columns = {name: generator.choice((-1.0, 1.0), count) for name in dict.fromkeys(place[2] for place in places)}  # fmt: skip
    # the standard score of a signed-rank test of n pairs grows with sqrt(n) times the effect
    printed = np.clip([cell.p_value for cell in cells], 0.0005, 0.9995)
    effects = scipy.stats.norm.isf(printed) / np.sqrt(PAIRS)
    own = np.array([rows[place[1]] + columns[place[2]] for place in places])
    verdicts = {
        "nothing": _verdicts(pairs, theirs, places),
        "rows and columns of its own": _verdicts(pairs + own[..., None], theirs, places),
        "as published": _verdicts(pairs + effects[:, None, None], theirs, places),
    }
    nulls = [verdicts["nothing"], verdicts["rows and columns of its own"]]
    return {
        "state": "simulated",
        "studies": count,
        "null": "no effect; rows and columns with effects of their own",
        "false_reproduced": max(one.count("reproduced") for one in nulls) / count,
        "false_contradicted": max(
            *(one.count("contradicted") for one in nulls), verdicts["as published"].count("contradicted")
        )
        / count,
        "reproduced_1": verdicts["as published"].count("reproduced") / count,
    }  # fmt: skip


def _verdicts(
    pairs: Floats, theirs: np.ndarray[Any, Any], places: Sequence[tuple[str, str, str]]
) -> list[str]:
    """The verdict in each study, of differences [cells, B, pairs]."""
    cells, studies, n = pairs.shape
    ours = np.array([significant(tails_of_rows(cell)[0]) for cell in pairs])
    generator = np.random.default_rng(3)
    again = np.empty((RESAMPLES, cells, studies), dtype=bool)
    for resample in again:
        chosen = generator.integers(n, size=n)
        resample[:] = significant(_roughly(pairs[..., chosen].reshape(-1, n))).reshape(
            cells, studies
        )
    found: list[str] = []
    for study in range(studies):
        _, _, kappa = kappa_of(ours[:, study], theirs)
        own = [kappa_of(ours[:, study], one[:, study])[2] for one in again]
        there = [value for value in own if not np.isnan(value)]
        ceiling = float(np.quantile(there, 0.025)) if there else float("nan")
        more, less = permuted_agreement(ours[:, study], theirs, places)
        found.append(agreement_verdict(kappa, ceiling, more, less))
    return found


def _roughly(differences: Floats) -> Floats:
    """The p-values of resampled pairs, many of them tied, by the normal approximation: [rows]."""
    ranks = scipy.stats.rankdata(np.abs(differences), axis=1)
    score = (ranks * np.sign(differences)).sum(axis=1) / np.sqrt((ranks**2).sum(axis=1))
    return np.asarray(scipy.stats.norm.sf(score))


def _means_row(design: Design, studies: int) -> dict[str, Any]:
    """Of the means: wrong where each is just one published standard deviation off, or is the published one."""
    generator = np.random.default_rng(4)
    n = design.planned
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
        "null": f"one standard deviation off; contradicted: the same (below {MARGINS['means far'].value:g})",
        "false_reproduced": just.count("reproduced") / studies,
        "false_contradicted": same.count("contradicted") / studies,
        "reproduced_1": same.count("reproduced") / studies,
        "contradicted_2": twice.count("contradicted") / studies,
    }
