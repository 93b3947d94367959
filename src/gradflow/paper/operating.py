"""Operating characteristics: how often each claim's rule errs, and what it can see, at a scale's design.

Every check is run on simulated studies of the scale's own configurations, widths and seeds
(`claims.simulation`), where the truth is known (`claims.worlds`). Where a claim is just not true,
"reproduced" and "contradicted" are both wrong. Where it is true, by an effect of a size, what share
of studies is "reproduced" is the power.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from gradflow.analysis.levels import LEVEL, levels_sentence
from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact
from gradflow.analysis.tables import Page
from gradflow.paper.claims.evidence import Place
from gradflow.paper.claims.parts import VERDICTS
from gradflow.paper.claims.simulation import Design, SimulatedEvidence
from gradflow.paper.claims.verdicts import CHECKS
from gradflow.paper.claims.worlds import WORLDS, World
from gradflow.paper.long_pages import long_page
from gradflow.paper.operating_tables import table_rows
from gradflow.paper.published import distinct_p_values, load_p_values

STUDIES = 400
PERMUTED = 40  # of the claims whose tests are permutations of each study
HEAVY = ("egf-correlates-best", "dense-measures-alike", "ewma-high-egf-is-bad")
SIZES = (0.5, 1.0, 2.0)
SMALL = 0.1  # an effect that a study cannot see
COLUMNS = [
    "id", "state", "studies", "null", "false_reproduced", "false_contradicted",
    *(f"{verdict}_{size:g}" for size in SIZES for verdict in ("reproduced", "contradicted")),
]  # fmt: skip
CONSTRUCTED = ("only-swish-negative-gradient",)  # of no runs


@dataclass(frozen=True)
class Rates:
    """Shares of simulated studies by verdict."""

    reproduced: float
    contradicted: float
    not_run: bool
    studies: int


def design_of(configurations: Iterable[Mapping[str, Any]]) -> Design:
    """The design of a scale's configurations.

    Args:
        configurations: each with its model, depth, stands_for, optimizer, learning_rate,
            regularization, activation, `seeds` and `percents` (dense widths, or densities).
    """
    places: set[Any] = set()
    units: dict[Any, Any] = {}
    for one in configurations:
        if one["model"] == "mlp" and one["depth"] != 4:
            continue
        columns = ("model", "stands_for", "optimizer", "learning_rate", "regularization", "activation")  # fmt: skip
        places.add(Place(*(one[column] for column in columns)))
        found = units.setdefault(one["model"], set())
        found |= {(percent, seed) for percent in one["percents"] for seed in one["seeds"]}
    arrays = {model: np.array(sorted(found), dtype=int) for model, found in units.items()}
    return Design(arrays, frozenset(places))


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
    evidence = SimulatedEvidence(design, world, size, studies, seed)
    verdicts = CHECKS[claim](evidence).verdicts
    return Rates(
        float((verdicts == VERDICTS.index("reproduced")).mean()),
        float((verdicts == VERDICTS.index("contradicted")).mean()),
        bool((verdicts == VERDICTS.index("not run")).all()),
        studies,
    )


def operating_rows(
    design: Design, studies: int = STUDIES, permuted: int = PERMUTED
) -> pd.DataFrame:
    """The operating characteristics of every claim.

    Args:
        design: of the scale.
        studies: simulated for each world of a claim.
        permuted: likewise, of the claims in HEAVY.

    Returns:
        A row per claim: `studies`; `false_reproduced` and `false_contradicted`, the largest over
        the worlds where it is just not true (`null` names them), `false_contradicted` also where
        it is true by a little; `reproduced_SIZE` where it is true, and `contradicted_SIZE` where
        its contrary is. A claim that the scale has no runs for, or that needs none, has no rates.
    """
    rows = []
    for claim in CHECKS:
        row: dict[str, Any] = {"id": claim, "state": "simulated"}
        if claim in CONSTRUCTED:
            rows.append({**row, "state": "true by construction"})
            continue
        count = permuted if claim in HEAVY else studies
        worlds = WORLDS[claim]
        nulls = {
            name: rates(design, claim, world, 1.0, count) for name, world in worlds.nulls.items()
        }
        if all(one.not_run for one in nulls.values()):
            rows.append({**row, "state": "not run"})
            continue
        wrong = [one.contradicted for one in nulls.values()]
        if worlds.grows:
            wrong.append(rates(design, claim, worlds.true, SMALL, count).contradicted)
        row |= {
            "studies": count,
            "null": "; ".join(nulls),
            "false_reproduced": max(one.reproduced for one in nulls.values()),
            "false_contradicted": max(wrong),
        }
        for size in SIZES:
            true = rates(design, claim, worlds.true, size, count)
            row[f"reproduced_{size:g}"] = true.reproduced
            assert worlds.contrary is not None
            row[f"contradicted_{size:g}"] = rates(
                design, claim, worlds.contrary, size, count
            ).contradicted
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def operating_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """Simulate the scale's design; a minute or so, without any runs."""
    design = design_of(request.artifact.configurations)
    rows = pd.concat(
        [operating_rows(design), table_rows(design, distinct_p_values(load_p_values()))],
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
                "false reproduced": _rate(row["false_reproduced"]),
                "false contradicted": _rate(row["false_contradicted"]),
                **{f"reproduced, {size:g}": _rate(row[f"reproduced_{size:g}"]) for size in SIZES},
                **{f"contradicted, {size:g}": _rate(row[f"contradicted_{size:g}"]) for size in SIZES},
            }
        )  # fmt: skip
    worst = rows[["false_reproduced", "false_contradicted"]].max()
    units = design.units
    seeds = {model: len(np.unique(units[model][:, 1])) for model in units}
    sizes = "; ".join(
        f"{'MLPs' if model == 'mlp' else 'Wide ResNets'}: {len(np.unique(units[model][:, 0]))} "
        f"{'widths' if model == 'mlp' else 'densities'} and {seeds[model]} seed{'s' * (seeds[model] > 1)}"
        for model in sorted(units)
    )
    notes = (
        f"Simulated studies of this scale's own design. {sizes}. {STUDIES} studies a world, {PERMUTED} where the test "
        "is a permutation.",
        "False: where the claim is just not true, how many studies are called reproduced, or contradicted. Largest: "
        f"{_rate(worst['false_reproduced'])} and {_rate(worst['false_contradicted'])}; with {STUDIES} studies, "
        f"{scipy.stats.binom.ppf(0.999, STUDIES, LEVEL) / STUDIES:.0%} would still be chance.",
        "Reproduced, contradicted: how many are where the claim, or its contrary, is true by an effect of 0.5, 1 or 2 "
        "standard deviations of sparse minus dense over the pairs of one configuration. The rest are inconclusive.",
        "A run leans as the others of its width and seed do: sparse minus dense correlates by 0.29 between "
        "configurations, and a change of regularization by 0.38 between twins (in the kept results 0.12 and 0.30).",
        levels_sentence(),
    )
    index = pd.MultiIndex.from_tuples(
        [("claim" if name in CHECKS else "table", name) for name in rows["id"]]
    )
    return long_page(artifact.title, index, lines, [{}] * len(lines), notes, scale=False)


def _rate(share: float) -> str:
    return "–" if pd.isna(share) else f"{share:.3f}"


def beyond_level(share: float, studies: int) -> bool:
    """Whether a rate is above the level by more than the simulation's own chance (one in a thousand)."""
    return share * studies > scipy.stats.binom.ppf(0.999, studies, LEVEL)
