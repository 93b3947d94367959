"""Which conclusions hang on a choice that the paper leaves open: each alternative against the
variant `paper`.

Choices of training are variants with runs of their own; choices of analysis are made anew on the
runs of `paper`. A conclusion is which twin is better in a configuration (Section 2.1), or the place
of a gradient-flow measure among the four by mean absolute correlation (Section 2.2).
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats

from gradflow.analysis.correlation_table import COLUMN_ARCHITECTURES
from gradflow.analysis.levels import LEVEL, significant
from gradflow.analysis.request import Request
from gradflow.analysis.runs import RUN_KEY, Artifact, extent, pair_twins, refuse_mixture
from gradflow.analysis.stats import MINIMUM, configuration_taus, signed_rank_test
from gradflow.analysis.tables import (
    Page,
    Target,
    latex_text,
)
from gradflow.analysis.width_margin import TARGETS
from gradflow.study import labels
from gradflow.training.run_log import MEASURES

REFERENCE = "paper"
MISSING = "missing"
NO_EFFECT = "no effect by construction"
COLUMNS = [
    "choice", "alternative", "where_applied", "conclusion", "reference_value", "value",
    "reference_conclusion",
    "conclusion_reached", "changes", "n", "reference_median_difference", "median_difference",
]  # fmt: skip

# what must be equal in every run for a choice to have touched nothing: by accuracy alone, dead runs
# would all agree
_SAME = ["test_accuracy", "test_loss", "train_loss"]
_PAIR = ["width_percent", "seed"]
_SHOWN = ["Applied", "Conclusions", "Changed", "No effect", "Missing", "Which change"]
_WRAPPED = "white-space: normal; text-align: left; min-width: 20em;"


class Alternative(NamedTuple):
    """A choice made in another way."""

    choice: str
    name: str
    where_applied: str  # training or analysis


class Tested(NamedTuple):
    """A test of sparse against dense and what it says."""

    p_value: float
    conclusion: str
    median_difference: float  # percentage points
    n: int


Correlate = Callable[
    [pd.DataFrame, str, str], "tuple[float, int]"
]  # runs, measure, target: mean |r|, configurations


def sensitivity_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """Conclude under every alternative."""
    runs = request.runs_of_all_variants()
    cells = sensitivity_cells(runs, request.artifact, request.definition.get("variants"))
    return cells, sensitivity_page(cells, runs, request.artifact)


def sensitivity_cells(
    runs: pd.DataFrame, artifact: Artifact, variants: Mapping[str, Mapping[str, Any]] | None = None
) -> pd.DataFrame:
    """Every conclusion under every alternative, beside the one reached with the defaults.

    Args:
        runs: one row per run (`gradflow.analysis.runs.summarise_runs`), of every variant of a
            study.
        artifact: its `where` may list optimizers and regularizations, which then have a row without
            runs too.
        variants: the planned variants, each with the settings in which it differs from `paper`;
            those of the runs are added, so that None is possible: then a variant without any run
            has no row, and `choice` is `variant`.

    Returns:
        A row per conclusion and alternative, with COLUMNS. `value` is a p-value, or a mean absolute
        correlation; n is pairs, or configurations with a correlation. A variant is compared over
        the pairs that `paper` has too. `changes` is missing where either conclusion is.

    Raises:
        ValueError: the runs are of several data sets, or a test would mix configurations.
    """
    if runs[["scale", "stands_for", "dataset"]].nunique().max() > 1:
        raise ValueError(
            f"artifact {artifact.name}: its runs are of several data sets; narrow `studies`"
        )
    planned = dict(variants or {})
    names = [name for name in dict.fromkeys([*planned, *runs["variant"]]) if name != REFERENCE]
    places = [
        (optimizer, regularization)
        for optimizer in artifact.listed("optimizer")
        or labels.in_order("optimizer", runs["optimizer"])
        for regularization in artifact.listed("regularization")
        or labels.in_order("regularization", runs["regularization"])
    ]
    reference = runs[runs["variant"] == REFERENCE]
    rows: list[dict[str, Any]] = []
    for name in names:
        choice = ", ".join(planned.get(name, {})) or "variant"
        rows += _training(
            reference, runs[runs["variant"] == name], places, Alternative(choice, name, "training")
        )
    rows += _analysis_of_tests(reference, places)
    rows += _analysis_of_correlations(reference)
    return pd.DataFrame(rows, columns=COLUMNS).astype({"changes": "boolean"})


def sensitivity_page(cells: pd.DataFrame, runs: pd.DataFrame, artifact: Artifact) -> Page:
    """Arrange `sensitivity_cells`: a row an alternative, with how many conclusions change and
    which.
    """
    shown = []
    for (choice, alternative, where), group in cells.groupby(COLUMNS[:3], sort=False):
        changed = group[group["changes"].fillna(False)]
        which = [
            f"{row['conclusion']}: {row['reference_conclusion']}, then {row['conclusion_reached']}"
            for row in changed.to_dict("records")
        ]
        shown.append(
            {
                "place": (choice, alternative),
                "Applied": where,
                "Conclusions": str(len(group)),
                "Changed": str(len(changed)),
                "No effect": str(int((group["conclusion_reached"] == NO_EFFECT).sum())),
                "Missing": str(int(group["changes"].isna().sum())),
                "Which change": "; ".join(which),
            }
        )
    frame = pd.DataFrame(shown, columns=["place", *_SHOWN])
    places = (
        pd.MultiIndex.from_tuples(frame.pop("place").tolist(), names=[None, None])
        if len(frame)
        else frame.index
    )
    frame.index = places
    latex = frame.map(latex_text)
    latex["Which change"] = [
        rf"\parbox[t]{{0.4\linewidth}}{{\raggedright {text}}}" for text in latex["Which change"]
    ]
    latex.index = _mapped(places, latex_text)
    page = frame.map(html.escape)
    page.index = _mapped(places, html.escape)
    styles = pd.DataFrame("vertical-align: top;", index=places, columns=_SHOWN)
    styles["Which change"] += _WRAPPED
    styles.loc[(frame["Changed"] != "0").to_numpy(), "Changed"] += " font-weight: bold;"
    texts: dict[Target, pd.DataFrame] = {"html": page, "latex": latex}
    notes = (
        f"{extent(runs, artifact)} Reference: the variant {REFERENCE}, {artifact.planned} pairs a "
        "test when complete; a variant is compared over the pairs that both have.",
        "Sparse or dense better: a one-sided Wilcoxon signed-rank test has p at or below "
        f"{LEVEL:g} in that direction (dense: p > 0.95, the chance of the rank sum itself not "
        "counted); otherwise undecided. Measures: their place among the four by mean absolute "
        "correlation with final test loss or accuracy.",
        "No effect: every run is the same to the last digit, so the choice touches nothing there, "
        f"which is no agreement. Missing: fewer than {MINIMUM} pairs, or no correlation; never "
        "counted as unchanged. Tests are not corrected for their number: with many, some change "
        "by chance.",
    )
    return Page(artifact.title, texts, styles, notes, scale=False)


def conclude(differences: pd.Series[float], *, exact: bool = True) -> Tested:
    """What a one-sided Wilcoxon signed-rank test says of pairs of twins (Equation 4).

    Args:
        differences: sparse minus dense, percentage points, finite.
        exact: the exact distribution, or else the normal approximation.

    Returns:
        `sparse better` for p <= 0.05; `dense better` where the test in the other direction has p <=
        0.05: that is p >= 0.95 but for the probability of the observed rank sum, which with few
        pairs is not small; `undecided` otherwise; `missing` with fewer than 3 pairs.
    """
    test = signed_rank_test(differences)
    if test.n < MINIMUM:
        return Tested(math.nan, MISSING, math.nan, test.n)
    other = signed_rank_test(-differences)
    both = (test, other)
    p_value, p_other = (one.p_value if exact else one.p_value_normal for one in both)
    if significant(p_value):
        conclusion = "sparse better"
    else:
        conclusion = "dense better" if significant(p_other) else "undecided"
    return Tested(p_value, conclusion, test.median_difference, test.n)


def _training(
    reference: pd.DataFrame,
    runs: pd.DataFrame,
    places: list[tuple[str, str]],
    alternative: Alternative,
) -> Iterator[dict[str, Any]]:
    pairs, other_pairs = pair_twins(reference), pair_twins(runs)
    for place in places:
        ours, theirs = _differences(pairs, place), _differences(other_pairs, place)
        common = ours.index.intersection(theirs.index)
        before, after = conclude(ours[common]), conclude(theirs[common])
        if after.conclusion == MISSING and len(ours) >= MINIMUM:
            before = conclude(ours)  # known all the same
        elif after.conclusion != MISSING and _identical(reference, runs, place):
            after = after._replace(conclusion=NO_EFFECT)
        yield _test_row(alternative, place, before, after)


def _analysis_of_tests(
    reference: pd.DataFrame, places: list[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    pairs = pair_twins(reference)
    finite = pairs[~(pairs["diverged_dense"] | pairs["diverged_sparse"])]
    for place in places:
        differences, before = _differences(pairs, place), conclude(_differences(pairs, place))
        normal = Alternative("Wilcoxon test", "normal approximation", "analysis")
        yield _test_row(normal, place, before, conclude(differences, exact=False))
        dropped = Alternative("diverged runs", "dropped", "analysis")
        kept = _differences(finite, place)
        after = conclude(kept)
        if len(kept) == len(differences) >= MINIMUM:
            after = after._replace(conclusion=NO_EFFECT)
        yield _test_row(dropped, place, before, after)


def _analysis_of_correlations(reference: pd.DataFrame) -> Iterator[dict[str, Any]]:
    averages = {
        Alternative("gradient probe", "minibatch mean", "analysis"): "mean_minibatch_{}",
        Alternative("average over probes", "geometric mean", "analysis"): "geometric_mean_{}",
    }
    for alternative, column in averages.items():
        other = reference.assign(
            **{f"mean_{measure}": reference[column.format(measure)] for measure in MEASURES}
        )
        yield from _orders(reference, other, alternative, _kendall)
    yield from _orders(
        reference, reference, Alternative("correlation", "Spearman", "analysis"), _spearman
    )
    finite = reference[~reference["diverged"]]
    dropped = Alternative("diverged runs", "dropped", "analysis")
    for row in _orders(reference, finite, dropped, _kendall):
        same = len(finite) == len(reference) and row["conclusion_reached"] != MISSING
        yield {**row, "conclusion_reached": NO_EFFECT} if same else row


def _orders(
    reference: pd.DataFrame, runs: pd.DataFrame, alternative: Alternative, correlate: Correlate
) -> Iterator[dict[str, Any]]:
    """The place of each measure among the four, by architecture and target."""
    for architecture in COLUMN_ARCHITECTURES:
        before, after = (
            table[table["architecture"] == architecture] for table in (reference, runs)
        )
        for target in TARGETS:
            old = {measure: _kendall(before, measure, target) for measure in MEASURES}
            new = {measure: correlate(after, measure, target) for measure in MEASURES}
            for measure in MEASURES:
                what = f"{architecture}, {labels.TARGET_LABELS[target].lower()}: {measure}"
                yield _row(
                    alternative, what, old[measure][0], new[measure][0], _place(old, measure),
                    _place(new, measure),
                    new[measure][1],
                )  # fmt: skip


def _place(found: Mapping[str, tuple[float, int]], measure: str) -> str:
    values = [value for value, _ in found.values()]
    if any(math.isnan(value) for value in values):
        return MISSING
    return (
        f"place {1 + sum(value > found[measure][0] + 1e-12 for value in values)} of {len(values)}"
    )


def _kendall(runs: pd.DataFrame, measure: str, target: str) -> tuple[float, int]:
    return _mean_absolute(configuration_taus(runs, measure, target))


def _spearman(runs: pd.DataFrame, measure: str, target: str) -> tuple[float, int]:
    values = {}
    for name, group in runs.groupby("configuration", sort=True):
        columns = group[[f"mean_{measure}", target]]
        if len(group) >= MINIMUM and columns.nunique().min() > 1:
            values[name] = float(
                scipy.stats.spearmanr(columns.to_numpy()).statistic
            )  # infinite values: highest rank
    return _mean_absolute(pd.Series(values, dtype=float))


def _mean_absolute(values: pd.Series[float]) -> tuple[float, int]:
    defined = values.dropna().abs()
    return (float(defined.mean()) if len(defined) else math.nan), len(defined)


def _differences(pairs: pd.DataFrame, place: tuple[str, str]) -> pd.Series[float]:
    """Sparse minus dense accuracy of a configuration's pairs, by dense width and seed."""
    cell = pairs[(pairs["optimizer"] == place[0]) & (pairs["regularization"] == place[1])]
    refuse_mixture(cell, f"{place[0]}, {place[1]}")
    indexed = cell.set_index(_PAIR)
    return indexed["test_accuracy_sparse"] - indexed["test_accuracy_dense"]


def _identical(reference: pd.DataFrame, runs: pd.DataFrame, place: tuple[str, str]) -> bool:
    """Whether all runs that both have end in the very same numbers, and not for the reason that
    none is finite.
    """
    key = [name for name in RUN_KEY if name not in ("variant", "density_percent")]
    columns = [*key, *_SAME, "diverged"]
    tables = [
        table.loc[(table["optimizer"] == place[0]) & (table["regularization"] == place[1]), columns]
        for table in (reference, runs)
    ]
    both = tables[0].merge(tables[1], on=key, suffixes=("", "_other"))
    same = [np.array_equal(both[column], both[f"{column}_other"]) for column in _SAME]
    return len(both) > 0 and all(same) and not both["diverged"].all()


def _test_row(
    alternative: Alternative, place: tuple[str, str], before: Tested, after: Tested
) -> dict[str, Any]:
    what = f"{place[0]} {place[1]}"
    row = _row(
        alternative,
        what,
        before.p_value,
        after.p_value,
        before.conclusion,
        after.conclusion,
        after.n,
    )
    medians = {
        "reference_median_difference": before.median_difference,
        "median_difference": after.median_difference,
    }
    return {**row, **medians}


def _row(
    alternative: Alternative,
    conclusion: str,
    old: float,
    new: float,
    before: str,
    after: str,
    n: int,
) -> dict[str, Any]:
    changes = None if MISSING in (before, after) else after not in (before, NO_EFFECT)
    values = (*alternative, conclusion, old, new, before, after, changes, n)
    return dict(zip(COLUMNS, values, strict=False))


def _mapped(index: pd.Index[Any], function: Callable[[str], str]) -> pd.Index[Any]:
    if not isinstance(index, pd.MultiIndex):
        return index
    return pd.MultiIndex.from_tuples(
        [tuple(map(function, names)) for names in index], names=[None, None]
    )
