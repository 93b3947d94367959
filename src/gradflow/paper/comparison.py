"""Ours beside theirs: every published p-value and mean with what our runs give for it.

The published numbers say which cells there are, so a cell without runs keeps its row, with ours
empty. Correlations and their nulls are in `gradflow.paper.permutation_null`, what follows from the
p-values in `gradflow.paper.agreement`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pandas as pd
from statsmodels.stats.multitest import multipletests

from gradflow.analysis.levels import EVEN, LEVEL, significant
from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact, extent
from gradflow.analysis.stats import MINIMUM, signed_rank_test
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
from gradflow.paper.published import (
    PublishedMean,
    PublishedPValue,
    distinct_p_values,
    implied_dead_runs,
    load_means,
    load_p_values,
)
from gradflow.study import labels
from gradflow.study.datasets import SHAPES

FLAGS = ["diverged_dense", "diverged_sparse", "collapsed_dense", "collapsed_sparse"]


def compare_p_values(request: Request) -> tuple[pd.DataFrame, Page]:
    """Set every distinct published p-value (Tables 3 to 6) beside ours."""
    runs = read_runs(request.paths, request.artifact)
    rows = p_value_rows(distinct_p_values(load_p_values()), runs, request.artifact)
    return rows, p_value_page(rows, runs, request.artifact)


def p_value_rows(
    published: Sequence[PublishedPValue], runs: Runs, artifact: Artifact
) -> pd.DataFrame:
    """Every distinct published p-value (Tables 3 to 6) beside ours.

    Args:
        published: the distinct cells.
        runs: of the artifact.
        artifact: its `planned` is the number of pairs that each cell should have.

    Returns:
        A row per cell, in the order of `published`: the cell (`tables` that print it, `table` that
        it is counted in, `our_regularization` where the paper leaves it open); `theirs`; `ours`
        (exact) and `ours_normal`; `n`, `planned`, `zeros`, `ties`; whether both are on one side of
        0.05 (`same_decision`) and of 0.5 (`same_side`), missing without ours; Holm-adjusted
        `holm_ours` and `holm_theirs`, over all the cells that the home table prints; matched-pairs
        rank-biserial correlation; median difference and its 95 % bootstrap interval in percentage
        points; how many dense and sparse runs diverged and collapsed.

    Raises:
        ValueError: see `pairs_of_cells`.
    """
    rows = []
    for cell, home, pairs in zip(
        published, home_tables(published), pairs_of_cells(published, runs), strict=True
    ):
        test = signed_rank_test(differences_of(pairs))
        identity = dataclasses.asdict(cell)
        missing = math.isnan(test.p_value)
        rows.append(
            {
                "tables": " ".join(cell.tables),
                "table": home,
                **{key: identity[key] for key in ("dataset", *CELL)},
                "our_regularization": str(pairs["regularization"].iloc[0]) if len(pairs) else None,
                "theirs": cell.p_value,
                "ours": test.p_value,
                "ours_normal": test.p_value_normal,
                "n": test.n,
                "planned": artifact.planned,
                "zeros": test.zeros,
                "ties": test.ties,
                "same_decision": None
                if missing
                else bool(significant(test.p_value) == significant(cell.p_value)),
                "same_side": None if missing else (test.p_value < EVEN) == (cell.p_value < EVEN),
                "holm_ours": math.nan,
                "holm_theirs": math.nan,
                "rank_biserial": test.rank_biserial,
                "median_difference": test.median_difference,
                "interval_low": test.interval_low,
                "interval_high": test.interval_high,
                **{flag: int(pairs[flag].sum()) for flag in FLAGS},
            }
        )
    frame = pd.DataFrame(rows)
    for adjusted, raw in (("holm_ours", "ours"), ("holm_theirs", "theirs")):
        for table in frame["table"].unique():
            printed = [table in cell.tables for cell in published]
            values = holm(frame.loc[printed, raw])
            at_home = frame.index[frame["table"] == table]
            frame.loc[at_home, adjusted] = values[at_home]
    return frame


def holm(p_values: pd.Series[float]) -> pd.Series[float]:
    """Holm-adjusted p-values; what is undefined stays so, and is no member of the family."""
    adjusted = p_values.astype(float)
    there = adjusted.notna()
    if there.any():
        adjusted[there] = multipletests(adjusted[there].to_numpy(), method="holm")[1]
    return adjusted


def compare_means(request: Request) -> tuple[pd.DataFrame, Page]:
    """Set every published mean test accuracy (the paper's earlier version) beside ours."""
    runs = read_runs(request.paths, request.artifact)
    rows = mean_rows(load_means(), runs, request.artifact)
    return rows, mean_page(rows, runs, request.artifact)


def mean_rows(published: Sequence[PublishedMean], runs: Runs, artifact: Artifact) -> pd.DataFrame:
    """Every published mean of the final test accuracy beside ours, over dense widths and seeds.

    Returns:
        A row per published mean: its place; mean and standard deviation (n - 1; which the paper
        takes it does not say), theirs and ours, in percent; `difference`, ours minus theirs in
        *published* standard deviations; `runs` and `planned` ones; how many of ours diverged or
        collapsed (`dead`), and the most that the published spread leaves room for (`implied_dead`,
        see `implied_dead_runs`).
    """
    ours = runs.together[
        (runs.together["hidden_layers"] == 4) & (runs.together["activation"] == "relu")
    ]
    key = ["stands_for", "learning_rate", "optimizer", "regularization", "architecture"]
    found = dict(iter(ours.groupby(key)))
    rows = []
    for value in published:
        place = (
            value.dataset,
            value.learning_rate,
            value.optimizer,
            value.regularization,
            value.architecture,
        )
        group = found.get(place, ours.iloc[:0])
        accuracy = group["test_accuracy"].to_numpy(dtype=float)
        mean = float(accuracy.mean()) if len(accuracy) else math.nan
        rows.append(
            {
                "dataset": value.dataset,
                "learning_rate": value.learning_rate,
                "optimizer": value.optimizer,
                "regularization": value.regularization,
                "architecture": value.architecture,
                "mean_theirs": value.mean,
                "mean_ours": mean,
                "std_theirs": value.std,
                "std_ours": float(accuracy.std(ddof=1)) if len(accuracy) > 1 else math.nan,
                "difference": (mean - value.mean) / value.std if value.std else math.nan,
                "runs": len(accuracy),
                "planned": artifact.planned,
                "dead": int(
                    (group["diverged"].astype(bool) | group["collapsed"].astype(bool)).sum()
                ),
                "implied_dead": implied_dead_runs(
                    value.mean, value.std, 100 / SHAPES[value.dataset].classes
                ),
            }
        )
    return pd.DataFrame(rows)


def p_value_page(rows: pd.DataFrame, runs: Runs, artifact: Artifact) -> Page:
    """Arrange `p_value_rows`: a line a cell, blocks of the tables that print it, both p-values
    coloured.

    What we have comes first.
    """
    rows = there_first(rows, "ours")
    lines, styles = [], []
    for row in rows.to_dict("records"):
        lines.append(
            {
                "S > D, ours": number(row["ours"], 3),
                "published": number(row["theirs"], 3),
                "ours, normal": number(row["ours_normal"], 3),
                "n": str(row["n"]),
                "same decision": yes_no(row["same_decision"]),
                "same side": yes_no(row["same_side"]),
                "Holm, ours": number(row["holm_ours"], 3),
                "Holm, published": number(row["holm_theirs"], 3),
                "rank-biserial": number(row["rank_biserial"], 2, signed=True),
                "median difference": with_interval(
                    row["median_difference"], row["interval_low"], row["interval_high"]
                ),
                "diverged": str(row["diverged_dense"] + row["diverged_sparse"]),
                "collapsed": str(row["collapsed_dense"] + row["collapsed_sparse"]),
            }
        )
        styles.append(
            {"S > D, ours": p_value_style(row["ours"]), "published": p_value_style(row["theirs"])}
        )
    defined = rows[rows["ours"].notna()]
    count = f"{len(rows)} distinct published cells, {len(defined)} of them with ours"
    if len(defined):
        count += (
            f": {int(defined['same_decision'].sum())} with the same decision at {LEVEL:g}, "
            f"{int(defined['same_side'].sum())} on the same side of {EVEN:g}"
        )
    notes = (
        extent(runs.together, artifact) + f" {artifact.planned} pairs a cell are planned.",
        count + ".",
        "One-sided Wilcoxon signed-rank test of test accuracy, sparse (S) against dense (D): "
        f"exact, and by the normal approximation; –: undefined (fewer than {MINIMUM} pairs). "
        "Holm's adjustment is over the cells of the largest table that prints the cell. Median "
        "difference in percentage points, with its 95 % bootstrap interval.",
    )
    return long_page(artifact.title, cell_index(rows), lines, styles, notes)


def mean_page(rows: pd.DataFrame, runs: Runs, artifact: Artifact) -> Page:
    """Arrange `mean_rows`: a line a published mean."""
    lines = [
        {
            "ours": number(row["mean_ours"], 2),
            "published": number(row["mean_theirs"], 2),
            "std, ours": number(row["std_ours"], 2),
            "std, published": number(row["std_theirs"], 2),
            "difference / std": number(row["difference"], 2, signed=True),
            "n": str(row["runs"]),
            "dead, ours": str(row["dead"]),
            "dead, published": f"≤ {row['implied_dead']:.1f}",
        }
        for row in rows.to_dict("records")
    ]
    index = [
        (
            labels.label("optimizer", row["optimizer"]),
            labels.label("regularization", row["regularization"]),
            labels.ARCHITECTURE_LABELS[row["architecture"]],
        )
        for row in rows.to_dict("records")
    ]
    far = rows["difference"].abs()
    notes = (
        extent(runs.together, artifact) + f" {artifact.planned} runs a mean are planned.",
        f"{int(far.notna().sum())} of {len(rows)} published means with ours"
        + (
            f"; {int((far <= 1).sum())} within one published standard deviation."
            if far.notna().any()
            else "."
        ),
        "Final test accuracy in percent over dense widths and seeds; difference: ours minus "
        "published, in published standard deviations. Dead runs: ours diverged or never left "
        "chance; published: the most that mean and spread leave room for.",
    )
    return long_page(
        artifact.title,
        pd.MultiIndex.from_tuples(index),
        lines,
        [{}] * len(lines),
        notes,
        scale=False,
    )
