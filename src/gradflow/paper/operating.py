"""Operating characteristics: how often each claim's rule errs, and what it can see, at a scale's
design.

Every check is run on simulated studies of the scale's own configurations, widths and seeds
(`claims.simulation`), where the truth is known (`claims.worlds`). Where a claim is just not true,
"reproduced" and "contradicted" are both wrong. Where it is true, by an effect of a size, what share
of studies is "reproduced" is the power. Each world in which nothing is to be seen is tried a second
time with diverged runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from gradflow.analysis.levels import LEVEL, levels_sentence
from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact
from gradflow.analysis.tables import Page
from gradflow.paper.claims.decision import VERDICTS
from gradflow.paper.claims.design import Design, design_of
from gradflow.paper.claims.looks import look_at
from gradflow.paper.claims.simulation import SimulatedEvidence
from gradflow.paper.claims.verdicts import CHECKS
from gradflow.paper.claims.worlds import WORLDS, World
from gradflow.paper.long_pages import long_page
from gradflow.paper.operating_tables import table_rows
from gradflow.paper.published import distinct_p_values, load_p_values
from gradflow.paper.simulated_rates import NONE, STAGES, Rates, false_rates, known_well

STUDIES = 400  # of which a power is a share
BATCH = 400  # studies simulated at once
# Claims whose tests take long: the most studies, and those at once, for the memory that they take.
HEAVY = {
    "egf-correlates-best": (200, 40),
    "dense-measures-alike": (1600, 100),
    "ewma-high-egf-is-bad": (6400, 400),
}
SIZES = (0.5, 1.0, 2.0)
SMALL = 0.1  # an effect that a study cannot see
COLUMNS = [
    "id", "state", "studies", "null", "false_reproduced", "false_reproduced_bound",
    "false_contradicted",
    "false_contradicted_bound",
    *(f"{verdict}_{size:g}" for size in SIZES for verdict in ("reproduced", "contradicted")),
]  # fmt: skip
CONSTRUCTED = ("only-swish-negative-gradient",)  # of no runs


def rates(
    design: Design, claim: str, world: World, size: float, studies: int, seed: int = 0
) -> Rates:
    """How often each verdict is reached in a world.

    Args:
        design: of the scale.
        claim: by its id.
        world: what is true.
        size: of its effects, in standard deviations of sparse minus dense.
        studies: how many are simulated.
        seed: of the random numbers.
    """
    found = NONE
    at_once = HEAVY.get(claim, (0, BATCH))[1]
    while found.studies < studies:
        count = min(at_once, studies - found.studies)
        evidence = SimulatedEvidence(design, world, size, count, (seed, found.studies))
        verdicts = look_at(CHECKS[claim], evidence).verdicts
        found += Rates(
            count,
            int((verdicts == VERDICTS.index("reproduced")).sum()),
            int((verdicts == VERDICTS.index("contradicted")).sum()),
            bool((verdicts == VERDICTS.index("not run")).all()),
        )
    return found


def operating_rows(
    design: Design, studies: int = STUDIES, stages: Sequence[int] = STAGES
) -> pd.DataFrame:
    """The operating characteristics of every claim.

    Args:
        design: of the scale.
        studies: simulated for each power.
        stages: for each false rate, see `known_well`; of claims in HEAVY not as far.

    Returns:
        A row per claim: `false_reproduced` and `false_contradicted`, the largest over the worlds
        where it is just not true (`null` names them), with and without diverged runs,
        `false_contradicted` also where it is true by a little; the upper bounds of both, `*_bound`;
        `studies`, the most in one of these worlds; `reproduced_SIZE` where it is true, and
        `contradicted_SIZE` where its contrary is. A claim that the scale has no runs for, or that
        needs none, has no rates.
    """
    rows = []
    for claim in CHECKS:
        row: dict[str, Any] = {"id": claim, "state": "simulated"}
        if claim in CONSTRUCTED:
            rows.append({**row, "state": "true by construction"})
            continue
        worlds = WORLDS[claim]
        assert worlds.contrary is not None
        most = HEAVY.get(claim, (stages[-1], BATCH))[0]
        own = sorted({min(stage, most) for stage in stages})
        nulls = [
            known_well(partial(_rates_of, design, claim, world, 1.0), own)
            for _, world in worlds.all_nulls
        ]
        if all(one.not_run for one in nulls):
            rows.append({**row, "state": "not run"})
            continue
        slight = []
        if worlds.grows:
            simulate = partial(_rates_of, design, claim, worlds.true, SMALL)
            slight = [known_well(simulate, own, contradicted_alone=True)]
        row |= {"null": "; ".join(worlds.nulls)} | false_rates(nulls, slight)
        for size in SIZES:
            true, contrary = (
                rates(design, claim, world, size, min(studies, most))
                for world in (worlds.true, worlds.contrary)
            )
            row[f"reproduced_{size:g}"] = true.reproduced / true.studies
            row[f"contradicted_{size:g}"] = contrary.contradicted / contrary.studies
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _rates_of(
    design: Design, claim: str, world: World, size: float, studies: int, seed: int
) -> Rates:
    return rates(design, claim, world, size, studies, seed)


def operating_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """Simulate the scale's design; some minutes, without any runs."""
    design = design_of(request.artifact.configurations)
    rows = pd.concat(
        [
            operating_rows(design),
            table_rows(design.first_look or design, distinct_p_values(load_p_values())),
        ],
        ignore_index=True,
    )
    return rows, operating_page(rows, design, request.artifact)


def operating_page(rows: pd.DataFrame, design: Design, artifact: Artifact) -> Page:
    """Arrange the rows of `operating_rows` and `table_rows`: a line a claim or table."""
    lines = []
    for row in rows.to_dict("records"):
        simulated = row["state"] == "simulated"
        lines.append(
            {
                "just not true": row["null"] if simulated else row["state"],
                **{
                    f"false {word}": _rate(row[f"false_{word}"], row[f"false_{word}_bound"])
                    for word in ("reproduced", "contradicted")
                },
                **{f"reproduced, {size:g}": _rate(row[f"reproduced_{size:g}"]) for size in SIZES},
                **{
                    "contradicted, "
                    f"{size:g}": _rate(row[f"contradicted_{size:g}"]) for size in SIZES},
            }
        )  # fmt: skip
    first = design.first_look or design
    sizes = _sizes_of(first)
    if design.looks > 1:
        sizes += f". With the second look's seeds, for some configurations: {_sizes_of(design)}"
    columns = ["false_reproduced", "false_contradicted"]
    worst = rows[columns].max()
    bounds = rows[[f"{column}_bound" for column in columns]].max(axis=1)
    above = rows.loc[bounds > LEVEL, "id"]
    notes = (
        f"Simulated studies of this scale's own design. {sizes}.",
        "False: where the claim is just not true, the share of studies that is called reproduced, "
        f"or contradicted; the largest are {_rate(worst.iloc[0])} and {_rate(worst.iloc[1])}. In "
        f"brackets its upper bound: the simulation goes on until that is at most {LEVEL:g}, or "
        f"until {STAGES[-1]:,} studies. "
        + (f"Not known to be at most {LEVEL:g}: {', '.join(above)}." if len(above) else ""),
        "Each of these worlds is tried a second time with diverged runs: all runs of one "
        "optimizer in ten at a learning rate, and every second run of two more.",
        "Reproduced, contradicted: how many are where the claim, or its contrary, is true by an "
        "effect of 0.5, 1 or 2 standard deviations of sparse minus dense over the pairs of one "
        f"configuration. The rest are inconclusive. {STUDIES} studies each.",
        "A run leans as the others of its width and seed do: sparse minus dense correlates by "
        "0.29 between configurations, and a change of regularization by 0.38 between twins (in "
        "the kept results 0.12 and 0.30).",
        levels_sentence(design.looks),
    )
    index = pd.MultiIndex.from_tuples(
        [("claim" if name in CHECKS else "table", name) for name in rows["id"]]
    )
    return long_page(artifact.title, index, lines, [{}] * len(lines), notes, scale=False)


def _sizes_of(design: Design) -> str:
    sizes = []
    for model in design.models:
        percents, seeds = (len(np.unique(column)) for column in design.units(model).T)
        sizes.append(
            f"{'MLPs' if model == 'mlp' else 'Wide ResNets'}: {percents} "
            f"{'widths' if model == 'mlp' else 'densities'} and {seeds} seed{'s' * (seeds > 1)}"
        )
    return "; ".join(sizes)


def _rate(share: float, bound: float = math.nan) -> str:
    if pd.isna(share):
        return "–"
    return f"{share:.3f}" + ("" if pd.isna(bound) else f" ({bound:.3f})")
