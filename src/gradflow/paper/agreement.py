"""How far our p-values agree with the published ones, how far they could, and what is behind each of ours.

Agreement by itself says little: where nearly every cell is decided the same way, chance alone
agrees often. Beside it stand the agreement expected by chance, Cohen's kappa, and a ceiling: how
well a bootstrap of our own pairs agrees with our own decisions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import NDArray

from gradflow.analysis.request import PUBLISHED, Request
from gradflow.analysis.runs import Artifact, extent
from gradflow.analysis.stats import DECIMALS, MINIMUM, bootstrap_interval, signed_rank_test
from gradflow.analysis.tables import SIGNIFICANT, Page
from gradflow.paper.comparison import (
    CELL,
    EVEN,
    Runs,
    cell_index,
    differences_of,
    home_tables,
    long_page,
    number,
    p_value_style,
    pairs_of_cells,
    read_runs,
    with_interval,
    yes_no,
)
from gradflow.paper.published import PublishedPValue, distinct_p_values, load_p_values

RESAMPLES = 200  # of the pairs of each cell, for the ceiling
# beyond, the ceiling takes the normal approximation: the exact one takes seconds a cell there
EXACT_PAIRS = 30
POWER = 0.8
MOST_SEEDS = 100  # more are shown as >100
CRITERIA = {f"p < {SIGNIFICANT:g}": SIGNIFICANT, f"p < {EVEN:g}": EVEN}
WHOLE = "all"

Floats = NDArray[np.floating[Any]]


def kappa_of(
    ours: Sequence[bool] | NDArray[np.bool_], theirs: Sequence[bool] | NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Agreement of two sets of decisions, shape [n]: observed, expected by chance, and Cohen's kappa.

    Chance: both decide independently, each as often yes as they do. Kappa is undefined (NaN) where
    chance alone agrees always; without decisions all are.
    """
    a, b = np.asarray(ours, dtype=bool), np.asarray(theirs, dtype=bool)
    if len(a) == 0:
        return math.nan, math.nan, math.nan
    observed = float((a == b).mean())
    expected = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
    return observed, expected, (observed - expected) / (1 - expected) if expected < 1 else math.nan


def p_of_chance(
    ours: Sequence[bool] | NDArray[np.bool_], theirs: Sequence[bool] | NDArray[np.bool_]
) -> float:
    """How probable at least this agreement is by chance: Fisher's exact test, one-sided; NaN without decisions."""
    a, b = np.asarray(ours, dtype=bool), np.asarray(theirs, dtype=bool)
    if len(a) == 0:
        return math.nan
    counts = np.array([[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]])
    return float(scipy.stats.fisher_exact(counts, alternative="greater").pvalue)


def p_values_of_rows(differences: Floats) -> Floats:
    """The p-value of `signed_rank_test` for every row of `differences`, shape [rows, n], at once.

    Exact as there, given zeros and ties, up to EXACT_PAIRS columns; the normal approximation
    beyond.
    """
    values = np.asarray(differences, dtype=float).round(DECIMALS)
    zero = values == 0
    ranks = scipy.stats.rankdata(np.abs(values), axis=1) - zero.sum(axis=1, keepdims=True)
    ranks = np.where(zero, 0, ranks)  # the zeros have the lowest ranks, and are left out
    observed = np.where(values > 0, ranks, 0).sum(axis=1)
    if values.shape[1] > EXACT_PAIRS:
        deviation = np.sqrt(
            (ranks**2).sum(axis=1) / 4
        )  # given the ranks, each sign is a fair coin: ties included
        with np.errstate(invalid="ignore", divide="ignore"):
            score = (observed - ranks.sum(axis=1) / 2) / deviation
        return np.where(deviation > 0, scipy.stats.norm.sf(score), 1.0)
    doubled, reached = (
        np.rint(2 * ranks).astype(int),
        np.rint(2 * observed).astype(int),
    )  # ties have half ranks
    places = np.arange(values.shape[1] * (values.shape[1] + 1) + 1)
    probability = np.zeros((len(values), len(places)))
    probability[:, 0] = 1
    for column in range(values.shape[1]):
        source = places - doubled[:, column, None]
        shifted = np.where(
            source >= 0, np.take_along_axis(probability, np.maximum(source, 0), axis=1), 0
        )
        probability = (probability + shifted) / 2
    return np.minimum(1, np.where(places >= reached[:, None], probability, 0).sum(axis=1))


def agreement_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """Count the agreement table by table."""
    runs = read_runs(request.paths, request.artifact)
    rows = agreement_rows(distinct_p_values(load_p_values(PUBLISHED)), runs)
    return rows, agreement_page(rows, runs, request.artifact)


def agreement_rows(published: Sequence[PublishedPValue], runs: Runs) -> pd.DataFrame:
    """Agreement of our p-values (exact) with the published ones, by table and over all distinct cells.

    Args:
        published: the distinct cells; each counts in every table that prints it, and once in the
            whole.
        runs: of the artifact.

    Returns:
        A row per table and criterion (p < 0.05, the decision; p < 0.5, the side), the whole last:
        `cells` published, `cells_ours` with ours, `yes_ours` and `yes_theirs` of these, `agreeing`,
        `agreement` and the one `expected` by chance, `kappa`, `p_chance` (`p_of_chance`); and,
        agreeing with ourselves under a bootstrap of each cell's pairs, the means
        (`ceiling_agreement`, `ceiling_kappa`) and 95 % ranges over the resamples.
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
            again[:, column] = p_values_of_rows(differences[chosen])
    homes = home_tables(published)
    tables = sorted({table for cell in published for table in cell.tables} | set(homes))
    rows = []
    for table in [*tables, WHOLE]:
        printed = np.array([table == WHOLE or table in cell.tables for cell in published])
        there = printed & ~np.isnan(ours)
        for criterion, level in CRITERIA.items():
            decided, decided_theirs = ours[there] < level, theirs[there] < level
            observed, expected, kappa = kappa_of(decided, decided_theirs)
            resampled = np.array([kappa_of(decided, row < level) for row in again[:, there]])
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
                    "p_chance": p_of_chance(decided, decided_theirs),
                    **_spread("ceiling_agreement", resampled[:, 0]),
                    **_spread("ceiling_kappa", resampled[:, 2]),
                }
            )
    return pd.DataFrame(rows)


def signed_rank_p_value(pairs: pd.DataFrame) -> float:
    """The exact p-value of a cell's pairs, without the interval that `signed_rank_test` bootstraps."""
    differences = differences_of(pairs)
    if len(differences) < MINIMUM:
        return math.nan
    if len(differences) > EXACT_PAIRS:
        return signed_rank_test(differences).p_value
    return float(p_values_of_rows(differences[None])[0])


def seeds_to_decide(differences: Floats, widths: int) -> float:
    """The smallest number of seeds at which the test of a cell would have power 0.8 for the effect seen.

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
    quantiles = scipy.stats.norm.ppf(1 - SIGNIFICANT) + scipy.stats.norm.ppf(POWER)
    return float(math.ceil(quantiles**2 / (3 * (share - 0.5) ** 2) / widths))


def effect_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """Give every cell's effect by width."""
    runs = read_runs(request.paths, request.artifact)
    rows = effect_rows(distinct_p_values(load_p_values(PUBLISHED)), runs, request.artifact)
    return rows, effect_page(rows, runs, request.artifact)


def effect_rows(
    published: Sequence[PublishedPValue], runs: Runs, artifact: Artifact
) -> pd.DataFrame:
    """Sparse minus dense test accuracy of every distinct published cell at each dense width.

    Returns:
        A row per cell and width: the cell; `width_percent` and `dense_width`; `n` seeds with both
        twins, and `planned` ones; `median_difference` over them and its 95 % bootstrap interval
        (with three seeds their range), in percentage points; and of the cell as a whole, the same
        in each of its rows: `p_value` (exact), `decided` (p < 0.05 or p > 0.95) and
        `seeds_to_decide`, empty for a decided one, `>100` beyond MOST_SEEDS.
    """
    rows = []
    for cell, pairs in zip(published, pairs_of_cells(published, runs), strict=True):
        p_value = signed_rank_p_value(pairs)
        missing = math.isnan(p_value)
        decided = p_value < SIGNIFICANT or p_value > 1 - SIGNIFICANT
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
            "p of chance": number(row["p_chance"], 3),
            "ceiling": _range(row, "ceiling_agreement"),
            "ceiling κ": _range(row, "ceiling_kappa"),
        }
        for row in rows.to_dict("records")
    ]
    index = pd.MultiIndex.from_frame(rows[["table", "criterion"]])
    notes = (
        extent(runs.together, artifact),
        f"Of the distinct published cells with ours: how many have p < {SIGNIFICANT:g} (the decision) and p < {EVEN:g} "
        "(the side) in both or in neither. A cell that two tables print counts in both, and once in all.",
        "By chance: what independent decisions with the same shares of yes would agree in; p of chance: how probable "
        "as much agreement is then (Fisher's exact test). Ceiling: our decisions "
        f"against those of {RESAMPLES} bootstrap resamples of our own pairs, mean and 95 % range; –: undefined.",
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
    """Arrange `effect_rows`: a line a cell, a column a dense width, and the seeds that would decide the cell."""
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
    order = frame["tables"].sort_values(kind="stable").index
    decided = frame["decided"].dropna().astype(bool)
    notes = (
        extent(runs.together, artifact) + f" {len(artifact.seeds)} seeds a width are planned.",
        f"{int(decided.sum())} of the {len(decided)} cells with ours are decided: p < {SIGNIFICANT:g} or "
        f"p > {1 - SIGNIFICANT:g}.",
        "Median over seeds of sparse minus dense test accuracy in percentage points, by dense width in percent of the "
        "maximum, with its 95 % bootstrap interval. Seeds to decide: how many the one-sided Wilcoxon test would need "
        f"for power {POWER:g} at the effect seen (Noether's formula), rough with few pairs; –: undefined.",
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
