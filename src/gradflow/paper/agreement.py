"""How far our p-values agree with the published ones, how far they could, and what is behind each
of ours.

Agreement by itself says little: where nearly every cell is decided the same way, chance alone
agrees often. Beside it stand the agreement expected by chance, Cohen's kappa, and a ceiling: how
well a bootstrap of our own pairs agrees with our own decisions. And since neighbouring cells are no
independent decisions, chance is what whole rows and columns in another order agree in.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import NDArray

from gradflow.analysis.levels import EVEN, LEVEL, POWER, significant
from gradflow.analysis.request import Request
from gradflow.analysis.rounding_noise import rounding_noise
from gradflow.analysis.runs import Artifact, extent
from gradflow.analysis.signed_ranks import EXACT_PAIRS, tails_of_rows
from gradflow.analysis.stats import DECIMALS, MINIMUM, bootstrap_interval, signed_rank_test
from gradflow.analysis.tables import Page, p_value_style
from gradflow.paper.cells import CELL, Runs, differences_of, home_tables, pairs_of_cells, read_runs
from gradflow.paper.long_pages import (
    cell_index,
    long_page,
    number,
    there_first,
    with_interval,
    yes_no,
)
from gradflow.paper.published import BEST, PublishedPValue, distinct_p_values, load_p_values

Floats = NDArray[np.floating[Any]]

RESAMPLES = 200  # of the pairs of each cell, for the ceiling
MOST_SEEDS = 100  # more are shown as >100
PERMUTATIONS = 1999  # of rows and columns
DECISION, SIDE = f"p <= {LEVEL:g}", f"p < {EVEN:g}"
CRITERIA: dict[str, Callable[[Floats], NDArray[np.bool_]]] = {
    DECISION: lambda p_values: p_values <= LEVEL,
    SIDE: lambda p_values: p_values < EVEN,
}
WHOLE = "all"


def kappa_of(
    ours: Sequence[bool] | NDArray[np.bool_], theirs: Sequence[bool] | NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Agreement of two sets of decisions, shape [n]: observed, expected by chance, and Cohen's
    kappa.

    Chance: both decide independently, each as often yes as they do. Kappa is undefined (NaN) where
    chance alone agrees always; without decisions all are.
    """
    a, b = np.asarray(ours, dtype=bool), np.asarray(theirs, dtype=bool)
    if len(a) == 0:
        return math.nan, math.nan, math.nan
    observed = float((a == b).mean())
    expected = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
    return observed, expected, (observed - expected) / (1 - expected) if expected < 1 else math.nan


def bn_rule(published: Sequence[PublishedPValue]) -> NDArray[np.bool_]:
    """The simplest rule, S > D wherever there is BatchNorm: what agreement has to beat."""
    return np.array(
        ["BN" in cell.regularization or cell.regularization == BEST for cell in published]
    )


def permuted_agreement(
    ours: NDArray[np.bool_], theirs: NDArray[np.bool_], places: Sequence[tuple[str, str, str]]
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """How probable at least, and at most, this agreement is if our table's rows and columns are in
    any order.

    The cells of a row share an optimizer and those of a column a regularization, so that they are
    no independent decisions: whole rows and whole columns are permuted, of each table by itself.

    Args:
        ours: decisions, shape [n], or [n, B] of B studies.
        theirs: likewise, [n].
        places: table, row and column of each.

    Returns:
        Two p-values (of each study), of PERMUTATIONS random orders and the one at hand; NaN without
        decisions.
    """
    if not len(ours):
        return np.array(math.nan), np.array(math.nan)
    generator = np.random.default_rng(0)
    # the agreement in an order is linear in our decisions
    weights, constant = np.zeros((PERMUTATIONS, len(ours))), np.zeros(PERMUTATIONS)
    for table in dict.fromkeys(place[0] for place in places):
        mine = [number for number, place in enumerate(places) if place[0] == table]
        rows, columns = (list(dict.fromkeys(places[i][axis] for i in mine)) for axis in (1, 2))
        grid = np.full((len(rows), len(columns)), -1)
        for i in mine:
            grid[rows.index(places[i][1]), columns.index(places[i][2])] = i
        row = generator.random((PERMUTATIONS, len(rows))).argsort(axis=1)
        column = generator.random((PERMUTATIONS, len(columns))).argsort(axis=1)
        moved = grid[row[:, :, None], column[:, None, :]]
        there = (moved >= 0) & (grid >= 0)
        # where cells are missing, not every order compares as many
        share = len(mine) / np.maximum(there.sum(axis=(1, 2)), 1)
        order, *place = there.nonzero()
        published = theirs[grid[tuple(place)]]
        np.add.at(weights, (order, moved[there]), np.where(published, 1, -1) * share[order])
        np.add.at(constant, order, ~published * share[order])
    permuted = weights @ ours + (constant[:, None] if ours.ndim > 1 else constant)
    observed = (theirs == ours.T).sum(axis=-1)
    more = (1 + (permuted >= observed - 1e-9).sum(axis=0)) / (1 + PERMUTATIONS)
    less = (1 + (permuted <= observed + 1e-9).sum(axis=0)) / (1 + PERMUTATIONS)
    return np.asarray(more), np.asarray(less)


def agreement_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """Count the agreement table by table."""
    runs = read_runs(request.paths, request.artifact)
    rows = agreement_rows(distinct_p_values(load_p_values()), runs)
    return rows, agreement_page(rows, runs, request.artifact)


def agreement_rows(published: Sequence[PublishedPValue], runs: Runs) -> pd.DataFrame:
    """Agreement of our p-values (exact) with the published ones, by table and over all distinct
    cells.

    Args:
        published: the distinct cells; each counts in every table that prints it, and once in the
            whole.
        runs: of the artifact.

    Returns:
        A row per table and criterion (p <= 0.05, the decision; p < 0.5, the side), the whole last:
        `cells` published, `cells_ours` with ours, `yes_ours` and `yes_theirs` of these, `agreeing`,
        `agreement` and the one `expected` by chance, `kappa`; `p_permuted` and `p_permuted_less`
        (`permuted_agreement`); how many cells the rule "S > D if and only if there is BatchNorm"
        agrees in with theirs (`rule_theirs`) and with ours (`rule_ours`); and, agreeing with
        ourselves under a bootstrap of each cell's pairs, the means (`ceiling_agreement`,
        `ceiling_kappa`) and 95 % ranges over the resamples.
    """
    cells = pairs_of_cells(published, runs)
    theirs = np.array([cell.p_value for cell in published])
    ours = np.array([signed_rank_p_value(pairs) for pairs in cells])
    again = np.full((RESAMPLES, len(cells)), math.nan)
    for column, pairs in enumerate(cells):
        if not math.isnan(ours[column]):
            # keyed by the cell, so that no cell's resamples depend on which others are there
            key = "".join(map(str, (published[column].tables, *pairs[["configuration"]].iloc[0])))
            differences = differences_of(pairs)
            chosen = np.random.default_rng([*key.encode()]).integers(
                len(differences), size=(RESAMPLES, len(differences))
            )
            again[:, column] = tails_of_rows(differences[chosen])[0]
    homes = home_tables(published)
    rule = bn_rule(published)
    places = [
        (home, cell.optimizer, f"{cell.regularization} {cell.activation}")
        for home, cell in zip(homes, published, strict=True)
    ]
    tables = sorted({table for cell in published for table in cell.tables} | set(homes))
    rows = []
    for table in [*tables, WHOLE]:
        printed = np.array([table == WHOLE or table in cell.tables for cell in published])
        there = printed & ~np.isnan(ours)
        for criterion, decide in CRITERIA.items():
            decided, decided_theirs = decide(ours[there]), decide(theirs[there])
            more, less = permuted_agreement(
                decided, decided_theirs,
                [place for place, is_there in zip(places, there, strict=True) if is_there]
            )  # fmt: skip
            observed, expected, kappa = kappa_of(decided, decided_theirs)
            resampled = np.array([kappa_of(decided, decide(row)) for row in again[:, there]])
            rows.append(
                {
                    "table": table,
                    "criterion": criterion,
                    "cells": int(printed.sum()),
                    "cells_ours": int(there.sum()),
                    "yes_ours": int(decided.sum()),
                    "yes_theirs": int(decided_theirs.sum()),
                    "agreeing": int((decided == decided_theirs).sum()),
                    "agreement": observed,
                    "expected": expected,
                    "kappa": kappa,
                    "p_permuted": float(more),
                    "p_permuted_less": float(less),
                    "rule_theirs": int((rule[there] == decided_theirs).sum()),
                    "rule_ours": int((rule[there] == decided).sum()),
                    **_spread("ceiling_agreement", resampled[:, 0]),
                    **_spread("ceiling_kappa", resampled[:, 2]),
                }
            )
    return pd.DataFrame(rows)


def signed_rank_p_value(pairs: pd.DataFrame) -> float:
    """The exact p-value of a cell's pairs, without a bootstrap of its interval."""
    differences = differences_of(pairs)
    if len(differences) < MINIMUM:
        return math.nan
    if len(differences) > EXACT_PAIRS:
        return signed_rank_test(differences).p_value
    return float(tails_of_rows(differences[None])[0][0])


def seeds_to_decide(differences: Floats, widths: int) -> float:
    """The smallest number of seeds at which the test of a cell would have power 0.8 for the effect
    seen.

    Noether's (1987) sample size for the signed-rank test: n = (z_0.95 + z_0.8)^2 / (3 (q - 1/2)^2)
    pairs, with q the chance that two pairs' mean difference is positive, here the share among the
    pairs at hand. The direction seen is the one tested: sparse better, or dense better. With few
    pairs q is rough, and so is the number.

    Args:
        differences: sparse minus dense, shape [n].
        widths: dense widths, that is pairs a seed.

    Returns:
        A whole number, at least 1; infinite where no direction is seen; NaN for fewer than 3 pairs.
    """
    if len(differences) < MINIMUM:
        return math.nan
    first, second = np.triu_indices(len(differences), k=1)
    sums = (differences[first] + differences[second]).round(DECIMALS)
    share = float(((sums > 0) + (sums == 0) / 2).mean())
    if share == 0.5:
        return math.inf
    quantiles = scipy.stats.norm.ppf(1 - LEVEL) + scipy.stats.norm.ppf(POWER)
    return float(math.ceil(quantiles**2 / (3 * (share - 0.5) ** 2) / widths))


def effect_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """Give every cell's effect by width."""
    runs = read_runs(request.paths, request.artifact)
    rows = effect_rows(distinct_p_values(load_p_values()), runs, request.artifact)
    page = effect_page(rows, runs, request.artifact)
    if (noise := rounding_noise(request.runs_of_all_variants())) is not None:
        page = dataclasses.replace(page, notes=(*page.notes, noise.sentence))
    return rows, page


def effect_rows(
    published: Sequence[PublishedPValue], runs: Runs, artifact: Artifact
) -> pd.DataFrame:
    """Sparse minus dense test accuracy of every distinct published cell at each dense width.

    Returns:
        A row per cell and width: the cell; `width_percent` and `dense_width`; `n` seeds with both
        twins, and `planned` ones; `median_difference` over them and its 95 % bootstrap interval
        (with three seeds their range), in percentage points; and of the cell as a whole, the same
        in each of its rows: `p_value` (exact), `decided` (p or 1 - p at or below 0.05) and
        `seeds_to_decide`, empty for a decided one, `>100` beyond MOST_SEEDS.
    """
    rows = []
    for cell, pairs in zip(published, pairs_of_cells(published, runs), strict=True):
        p_value = signed_rank_p_value(pairs)
        missing = math.isnan(p_value)
        decided = bool(significant(p_value) or significant(1 - p_value))
        seeds = (
            math.nan if decided else seeds_to_decide(differences_of(pairs), len(artifact.percents))
        )
        for percent in artifact.percents:
            of_width = pairs[pairs["width_percent"] == percent]
            differences = differences_of(of_width).round(DECIMALS)
            low, high = bootstrap_interval(differences, np.median)
            rows.append(
                {
                    "tables": " ".join(cell.tables),
                    "dataset": cell.dataset,
                    **{key: getattr(cell, key) for key in CELL},
                    "width_percent": percent,
                    "dense_width": int(of_width["dense_width"].iloc[0]) if len(of_width) else None,
                    "n": len(differences),
                    "planned": len(artifact.seeds),
                    "median_difference": float(np.median(differences))
                    if len(differences)
                    else math.nan,
                    "interval_low": low,
                    "interval_high": high,
                    "p_value": p_value,
                    "decided": None if missing else decided,
                    "seeds_to_decide": "" if math.isnan(seeds) else _capped(seeds),
                }
            )
    frame = pd.DataFrame(rows)
    return frame.astype({"dense_width": "Int64"})


def agreement_page(rows: pd.DataFrame, runs: Runs, artifact: Artifact) -> Page:
    """Arrange `agreement_rows`: a line a table and criterion."""
    lines = [
        {
            "cells": str(row["cells"]),
            "with ours": str(row["cells_ours"]),
            "yes, ours": str(row["yes_ours"]),
            "yes, published": str(row["yes_theirs"]),
            "agreeing": str(row["agreeing"]),
            "agreement": number(row["agreement"], 2),
            "by chance": number(row["expected"], 2),
            "Cohen's κ": number(row["kappa"], 2),
            "p, rows and columns permuted": number(row["p_permuted"], 3),
            "BN rule, published": str(row["rule_theirs"]),
            "BN rule, ours": str(row["rule_ours"]),
            "ceiling": _range(row, "ceiling_agreement"),
            "ceiling κ": _range(row, "ceiling_kappa"),
        }
        for row in rows.to_dict("records")
    ]
    index = pd.MultiIndex.from_frame(rows[["table", "criterion"]])
    notes = (
        extent(runs.together, artifact),
        f"Of the distinct published cells with ours: how many have p at or below {LEVEL:g} (the "
        f"decision) and p < {EVEN:g} (the side) in both or in neither. A cell that two tables "
        "print counts in both, and once in all.",
        "By chance: what independent decisions with the same shares of yes would agree in. p: how "
        f"probable as much agreement is over {PERMUTATIONS} orders of whole rows and whole "
        "columns of our tables, since the cells of a row or column are no independent decisions. "
        "BN rule: in how many cells the rule that sparse wins if and only if there is BatchNorm "
        "agrees with the published ones, and with ours. Ceiling: our decisions against those of "
        f"{RESAMPLES} bootstrap resamples of our own pairs, mean and 95 % range; –: undefined.",
    )
    return long_page(
        artifact.title,
        pd.MultiIndex.from_tuples(list(index)),
        lines,
        [{}] * len(lines),
        notes,
        scale=False,
    )


def effect_page(rows: pd.DataFrame, runs: Runs, artifact: Artifact) -> Page:
    """Arrange `effect_rows`: a line a cell, a column a dense width, and the seeds that would decide
    the cell.
    """
    lines, styles, heads = [], [], []
    for _, cell in rows.groupby(["tables", "dataset", *CELL], sort=False):
        head = cell.iloc[0]
        by_width = {
            f"{row['width_percent']} %": with_interval(
                row["median_difference"], row["interval_low"], row["interval_high"]
            )
            for row in cell.to_dict("records")
        }
        lines.append(
            {
                **by_width,
                "p": number(head["p_value"], 3),
                "decided": yes_no(head["decided"]),
                "seeds to decide": head["seeds_to_decide"],
            }
        )
        styles.append({"p": p_value_style(head["p_value"])})
        heads.append(head)
    frame = pd.DataFrame(heads).reset_index(drop=True)
    order = there_first(frame, "p_value").index
    decided = frame["decided"].dropna().astype(bool)
    notes = (
        extent(runs.together, artifact) + f" {len(artifact.seeds)} seeds a width are planned.",
        f"{int(decided.sum())} of the {len(decided)} cells with ours are decided: p at or below "
        f"{LEVEL:g} in one direction or the other.",
        "Median over seeds of sparse minus dense test accuracy in percentage points, by dense "
        "width in percent of the maximum, with its 95 % bootstrap interval. Seeds to decide: how "
        f"many the one-sided Wilcoxon test would need for power {POWER:g} at the effect seen "
        "(Noether's formula), rough with few pairs; –: undefined.",
    )
    return long_page(
        artifact.title,
        cell_index(frame.loc[order]),
        [lines[i] for i in order],
        [styles[i] for i in order],
        notes,
    )


def _spread(name: str, values: Floats) -> dict[str, float]:
    """Mean and 95 % range over the resamples of what is defined."""
    there = values[~np.isnan(values)]
    if not len(there):
        return {name: math.nan, f"{name}_low": math.nan, f"{name}_high": math.nan}
    low, high = np.quantile(there, (0.025, 0.975))
    return {name: float(there.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}


def _range(row: dict[Any, Any], name: str) -> str:
    low, high = number(row[f"{name}_low"], 2), number(row[f"{name}_high"], 2)
    return number(row[name], 2) + (f" [{low}, {high}]" if low != "–" else "")


def _capped(seeds: float) -> str:
    return f">{MOST_SEEDS}" if seeds > MOST_SEEDS else str(int(seeds))
