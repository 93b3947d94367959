"""Ours beside theirs: every published p-value and mean with what our runs give for it.

The published numbers say which cells there are, so a cell without runs keeps its row, with ours
empty. Correlations and their nulls are in `gradflow.paper.permutation_null`, what follows from the
p-values in `gradflow.paper.agreement`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests

from gradflow.analysis.levels import EVEN, LEVEL, significant
from gradflow.analysis.request import Request
from gradflow.analysis.runs import (
    PAIR_KEY,
    Artifact,
    extent,
    pair_twins,
    read_rows,
    select,
    summarise_runs,
)
from gradflow.analysis.stats import MINIMUM, signed_rank_test
from gradflow.analysis.tables import Page, colour
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

CELL = ["hidden_layers", "learning_rate", "optimizer", "regularization", "activation"]
FLAGS = ["diverged_dense", "diverged_sparse", "collapsed_dense", "collapsed_sparse"]


@dataclass(frozen=True)
class Runs:
    """The runs of an artifact, a row each as `summarise_runs` gives them, as a whole and by study."""

    together: pd.DataFrame  # a run that several studies share is there once
    by_study: dict[str, pd.DataFrame]


def read_runs(paths: Iterable[Path], artifact: Artifact) -> Runs:
    """Read study tables for an artifact; the ReLU runs of Table 6b, say, are in the study of Table 6a too.

    Raises:
        ValueError: a file is no study table, or the artifact's `where` names no column.
    """
    rows = select(read_rows(paths), artifact)
    by_study = {str(study): summarise_runs(of_study) for study, of_study in rows.groupby("study")}
    return Runs(summarise_runs(rows), by_study)


def pairs_of_cells(published: Sequence[PublishedPValue], runs: Runs) -> list[pd.DataFrame]:
    """The pairs of twins that each published cell is about, as `pair_twins` gives them, without rows where none are.

    A cell is found by its data set (the one that a study is about, whatever stands in for it),
    hidden layers, learning rate, optimizer, regularization and activation. Where the paper says
    only that the regularization is the best, our study for that table decides it.

    Raises:
        ValueError: that study has several regularizations for an optimizer and activation.
    """
    key = ["stands_for", *CELL]
    open_key = [column for column in key if column != "regularization"]
    together = pair_twins(runs.together)
    found = dict(iter(together.groupby(key)))
    in_study = {
        (study, *name): pairs
        for study, of_study in runs.by_study.items()
        for name, pairs in pair_twins(of_study).groupby(open_key)
    }
    cells = []
    for cell in published:
        place = (cell.dataset, cell.hidden_layers, cell.learning_rate, cell.optimizer)
        study = cell.best_study
        if study is None:
            pairs = found.get((*place, cell.regularization, cell.activation))
        else:
            pairs = in_study.get((study, *place, cell.activation))
        if pairs is not None and pairs["regularization"].nunique() > 1:
            several = ", ".join(sorted(set(pairs["regularization"])))
            raise ValueError(
                f"study {study}: {cell.optimizer}, {cell.activation} has several regularizations, {several}"
            )
        cells.append(
            (together.iloc[:0] if pairs is None else pairs).sort_values(PAIR_KEY, ignore_index=True)
        )
    return cells


def differences_of(pairs: pd.DataFrame) -> NDArray[np.floating[Any]]:
    """Sparse minus dense final test accuracy of each pair, shape [n], in percentage points."""
    difference = pairs["test_accuracy_sparse"].astype(float) - pairs["test_accuracy_dense"].astype(
        float
    )
    return difference.to_numpy()


def home_tables(published: Sequence[PublishedPValue]) -> list[str]:
    """The table that each cell is counted in: the largest that prints it, the first of equally large ones."""
    sizes: dict[str, int] = {}
    for cell in published:
        for table in cell.tables:
            sizes[table] = sizes.get(table, 0) + 1
    return [max(cell.tables, key=lambda table: sizes[table]) for cell in published]


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
    """Arrange `p_value_rows`: a line a cell, blocks of the tables that print it, both p-values coloured."""
    rows = rows.sort_values("tables", kind="stable")
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
        "One-sided Wilcoxon signed-rank test of test accuracy, sparse (S) against dense (D): exact, and by the normal "
        f"approximation; –: undefined (fewer than {MINIMUM} pairs). Holm's adjustment is over the cells of the largest "
        "table that prints the cell. Median difference in percentage points, with its 95 % bootstrap interval.",
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
        "Final test accuracy in percent over dense widths and seeds; difference: ours minus published, in published "
        "standard deviations. Dead runs: ours diverged or never left chance; published: the most that mean and "
        "spread leave room for.",
    )
    return long_page(
        artifact.title,
        pd.MultiIndex.from_tuples(index),
        lines,
        [{}] * len(lines),
        notes,
        scale=False,
    )


def long_page(
    title: str,
    index: pd.Index,
    lines: Sequence[dict[str, str]],
    styles: Sequence[dict[str, str]],
    notes: tuple[str, ...],
    scale: bool = True,
) -> Page:
    """A page with a line a cell; `styles` names CSS for some columns of each line."""
    plain = pd.DataFrame(list(lines), index=index)
    css = pd.DataFrame(
        [{column: style.get(column, "") for column in lines[0]} for style in styles], index=index
    )
    latex = plain.map(_latex_cell)
    latex.columns = pd.Index([_latex_cell(name) for name in plain.columns])
    latex.index = index.map(lambda names: tuple(_latex_cell(name) for name in names))
    return Page(title, {"html": plain, "latex": latex}, css, notes, scale=scale, long=True)


def cell_index(rows: pd.DataFrame) -> pd.Index:
    """The row headings of cells: tables, data set, learning rate, regularization or activation, optimizer."""
    return pd.MultiIndex.from_tuples(
        [
            (
                row["tables"].replace(" ", ", "),
                f"{labels.label('dataset', row['dataset'])}, {row['learning_rate']:g}",
                labels.label("activation", row["activation"])
                if "3c" in row["tables"] or row["regularization"] == "best"
                else labels.label("regularization", row["regularization"]),
                labels.label("optimizer", row["optimizer"]),
            )
            for row in rows.to_dict("records")
        ]
    )


def p_value_style(p_value: float) -> str:
    """CSS of a cell with a p-value: its colour, and bold at or below 0.05."""
    if math.isnan(p_value):
        return ""
    return f"background-color: {colour(p_value)};" + (
        " font-weight: bold;" if significant(p_value) else ""
    )


def number(value: float, decimals: int, signed: bool = False) -> str:
    """A number as tables show it; – where it is undefined."""
    if not math.isfinite(value):
        return "–"
    return f"{value:{'+' if signed else ''}.{decimals}f}".replace("-", "−")


def with_interval(value: float, low: float, high: float) -> str:
    """A value with its interval, for example `+1.2 [−0.3, +2.0]`."""
    text = number(value, 1, signed=True)
    return (
        text
        if math.isnan(low)
        else f"{text} [{number(low, 1, signed=True)}, {number(high, 1, signed=True)}]"
    )


def yes_no(value: bool | None) -> str:
    """`yes`, `no`, or – where there is nothing to compare."""
    return "–" if value is None else "yes" if value else "no"


def _latex_cell(text: str) -> str:
    for plain, escaped in (
        ("–", "--"),
        ("−", "$-$"),
        (">", "$>$"),
        ("≤", r"$\le$"),
        ("|", r"$|$"),
        ("κ", r"$\kappa$"),
    ):
        text = text.replace(plain, escaped)
    return text
