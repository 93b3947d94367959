"""Table 1 beside ours, and what a mean absolute Kendall tau would be without any relation.

Dense width drives gradient flow and performance alike, so |tau| over the runs of a configuration is
well above zero by width alone. Three numbers beside each value tell the two apart: its null from
permuting the measure within each width, tau within a width, and tau across configurations at a
fixed width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradflow.analysis.correlation_table import COLUMN_ARCHITECTURES
from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact, extent
from gradflow.analysis.stats import MINIMUM, bootstrap_interval
from gradflow.analysis.tables import Page
from gradflow.analysis.width_margin import TARGETS, margin_of, signs_of, taus_within_widths
from gradflow.paper.cells import Runs, read_runs
from gradflow.paper.claims.correlations import margin_part
from gradflow.paper.long_pages import long_page, number, yes_no
from gradflow.paper.published import PublishedCorrelation, load_correlations
from gradflow.study import labels
from gradflow.training.run_log import MEASURES

PERMUTATIONS = 200
DECIMALS = 3  # of the published correlations; measures that agree so far count as tied in the order

MARGIN = [
    "margin", "margin_null_low", "margin_null_high", "margin_explained", "margin_holds",
    "margin_opposite",
]  # fmt: skip

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Taus:
    """Correlations of the four measures (rows) with test loss and test accuracy (columns) of one
    architecture.

    Every array ends in [4, 2] and holds means of |tau|; NaN marks what is undefined.
    """

    ours: Floats  # [configurations, 4, 2]
    null: Floats  # [permutations, 4, 2]: mean over configurations under one permutation
    within: Floats  # [4, 2]: mean over configurations and widths
    within_null: Floats  # [4, 2]: its mean under permutation, 0.556 for three untied seeds
    across: Floats  # [4, 2]: over configurations at one width, mean over widths


def tau_b(measure: Floats, target: Floats) -> Floats:
    """Kendall's tau-b of every row of `measure` with every row of `target`, as
    scipy.stats.kendalltau gives it.

    Args:
        measure: shape [..., a, n]; infinite values share the highest rank.
        target: shape [b, n], likewise.

    Returns:
        Shape [..., a, b]; NaN where a row does not vary, or n < 3.
    """
    return _tau_of_signs(*_signs(measure, target))


def correlations_of(runs: pd.DataFrame) -> Taus:
    """The correlations of Table 1 and their nulls.

    Args:
        runs: one row per run (`summarise_runs`) of one data set, variant and architecture.

    Returns:
        See `Taus`. The permutations of a configuration depend on its name alone, and are the same
        for all measures. Without a width that has two runs there is nothing to permute, and the
        null is undefined.
    """
    measures, targets = [f"mean_{measure}" for measure in MEASURES], list(TARGETS)
    shape = (len(MEASURES), len(TARGETS))
    ours, null, within_null = [], [], []
    for name, group in runs.groupby("configuration", sort=True):
        group = group.sort_values(["width_percent", "seed"])
        x = group[measures].to_numpy(dtype=float).T
        y = group[targets].to_numpy(dtype=float).T
        width = group["width_percent"].to_numpy(dtype=int)
        ours.append(np.abs(tau_b(x, y)))
        if len(np.unique(width)) == len(width):
            continue
        order = _orders_within(width, np.random.default_rng([*str(name).encode()]))
        sx, sy = _signs(
            np.moveaxis(x[:, order], 0, 1), y
        )  # [permutations, 4, couples], [2, couples]
        null.append(np.abs(_tau_of_signs(sx, sy)))
        first, second = np.triu_indices(len(width), k=1)
        for value in np.unique(width):
            couples = (width[first] == value) & (width[second] == value)
            if (width == value).sum() >= MINIMUM:
                within_null.append(np.abs(_tau_of_signs(sx[..., couples], sy[:, couples])))

    across = []
    for _, of_width in runs.groupby("width_percent", sort=True):
        seeds = of_width.groupby("configuration", sort=True)[[*measures, *targets]].mean()
        if len(seeds) >= MINIMUM:
            across.append(
                np.abs(
                    tau_b(
                        seeds[measures].to_numpy(dtype=float).T,
                        seeds[targets].to_numpy(dtype=float).T,
                    )
                )
            )
    return Taus(
        ours=np.array(ours).reshape(-1, *shape),
        null=_mean(null, (PERMUTATIONS, *shape)),
        within=taus_within_widths(runs),
        within_null=_mean([value for permuted in within_null for value in permuted], shape),
        across=_mean(across, shape),
    )


def compare_correlations(request: Request) -> tuple[pd.DataFrame, Page]:
    """Set every published correlation (Table 1) beside ours and beside its nulls."""
    runs = read_runs(request.paths, request.artifact)
    rows = correlation_rows(load_correlations(), runs, request.artifact)
    return rows, correlation_comparison_page(rows, runs, request.artifact)


def correlation_rows(
    published: Sequence[PublishedCorrelation], runs: Runs, artifact: Artifact
) -> pd.DataFrame:
    """Every published correlation (Table 1) beside ours, with its nulls.

    Args:
        published: of Table 1.
        runs: of its studies.
        artifact: its `planned` is the number of runs of a configuration and architecture.

    Returns:
        A row per published value, in its order: `theirs`; `ours` with its bootstrap interval over
        the configurations; `configurations` with a defined tau and those without one, `undefined`,
        and those `incomplete`; mean (`null_mean`) and 95 % range (`null_low`, `null_high`) of the
        permutation null, and the share of permutations with a value as high (`null_p_value`);
        `within_width` and its own null `within_width_null`; `across_configurations`; and for the
        four measures of a data set, architecture and target, the same in each of their rows:
        `same_order` (no two stand the other way round, after rounding ours as theirs are),
        `same_best`, and `order_tau`, Kendall's tau-b between ours and theirs; missing where all
        four are tied. Of sparse networks, likewise, how far the published best measure is above the
        best other one (`margin`), the 95 % range of that by width alone (`margin_null_low` and
        `_high`), whether width alone explains what is seen (`margin_explained`), and the p-values
        of the margin as a part of a claim (`margin_holds`, `margin_opposite`: see
        `claims.correlations.highest`). In dense networks two measures are equal by arithmetic.
    """
    found: dict[tuple[str, str], tuple[Taus, int]] = {}
    for (dataset, architecture), group in runs.together.groupby(["stands_for", "architecture"]):
        if architecture in COLUMN_ARCHITECTURES:
            incomplete = int((group["configuration"].value_counts() < artifact.planned).sum())
            found[str(dataset), str(architecture)] = correlations_of(group), incomplete
    rows = []
    for value in published:
        place = MEASURES.index(value.measure), TARGETS.index(value.target)
        taus, incomplete = found.get(
            (value.dataset, value.architecture), (correlations_of(runs.together.iloc[:0]), 0)
        )
        sizes = taus.ours[:, *place]
        defined = sizes[~np.isnan(sizes)]
        low, high = bootstrap_interval(defined, np.mean)
        ours = float(defined.mean()) if len(defined) else math.nan
        null = taus.null[:, *place]
        known = not np.isnan(null).any()
        null_low, null_high = np.quantile(null, (0.025, 0.975)) if known else (math.nan, math.nan)
        rows.append(
            {
                "dataset": value.dataset,
                "architecture": value.architecture,
                "target": value.target,
                "measure": value.measure,
                "theirs": value.mean_abs_kendall_tau,
                "ours": ours,
                "interval_low": low,
                "interval_high": high,
                "configurations": len(defined),
                "undefined": len(sizes) - len(defined),
                "incomplete": incomplete,
                "null_mean": float(null.mean()),
                "null_low": float(null_low),
                "null_high": float(null_high),
                "null_p_value": (1 + int((null >= ours - 1e-9).sum())) / (1 + len(null))
                if known
                else math.nan,
                "within_width": float(taus.within[place]),
                "within_width_null": float(taus.within_null[place]),
                "across_configurations": float(taus.across[place]),
            }
        )
    frame = pd.DataFrame(rows)
    frame[["same_order", "same_best", "order_tau"]] = None
    for _, block in frame.groupby(["dataset", "architecture", "target"]):
        if not block["ours"].isna().any():
            theirs, ours_here = (
                block[name].to_numpy().round(DECIMALS) for name in ("theirs", "ours")
            )
            signs_theirs, signs_ours = _signs(theirs[None], ours_here[None])
            if signs_theirs.any() and signs_ours.any():  # four tied measures have no order
                frame.loc[block.index, "same_order"] = bool((signs_theirs * signs_ours >= 0).all())
                frame.loc[block.index, "same_best"] = bool(
                    theirs[ours_here == ours_here.max()].max() == theirs.max()
                )
                frame.loc[block.index, "order_tau"] = float(
                    tau_b(theirs[None], ours_here[None])[0, 0]
                )
    frame["order_tau"] = frame["order_tau"].astype(float)
    frame[MARGIN] = None
    for (dataset, target), block in frame[frame["architecture"] == "sparse"].groupby(
        ["dataset", "target"]
    ):
        group = runs.together
        group = group[(group["stands_for"] == dataset) & (group["architecture"] == "sparse")]
        signs = signs_of(group)
        if signs is not None:
            best = str(block["measure"].to_numpy()[block["theirs"].to_numpy().argmax()])
            margin = margin_of(best, TARGETS.index(str(target)), *signs)
            part = margin_part("", margin)
            values = (
                float(margin.margin[0]), *margin.null_range, bool(part.is_explained[0]),
                float(part.holds[0]),
                float(part.opposite[0]),
            )  # fmt: skip
            for name, number in zip(MARGIN, values, strict=True):
                frame.loc[block.index, name] = number
    numbers = [column for column in MARGIN if column != "margin_explained"]
    return frame.astype(dict.fromkeys(numbers, float))


def correlation_comparison_page(rows: pd.DataFrame, runs: Runs, artifact: Artifact) -> Page:
    """Arrange `correlation_rows`: a line a published value, in blocks of the four measures that are
    ranked.
    """
    rows = rows.sort_values(
        ["dataset", "architecture", "target"], kind="stable", ascending=[False, False, True]
    )
    order = {name: place for place, name in enumerate(labels.DATASET_LABELS)}
    rows = rows.sort_values("dataset", key=lambda names: names.map(order), kind="stable")
    lines, index = [], []
    for row in rows.to_dict("records"):
        low, high = number(row["null_low"], 3), number(row["null_high"], 3)
        lines.append(
            {
                "ours": number(row["ours"], 3),
                "published": number(row["theirs"], 3),
                "same order": yes_no(row["same_order"]),
                "tau of the orders": number(row["order_tau"], 2, signed=True),
                "null": number(row["null_mean"], 3) + (f" [{low}, {high}]" if low != "–" else ""),
                "within a width": number(row["within_width"], 3),
                "its null": number(row["within_width_null"], 3),
                "across configurations": number(row["across_configurations"], 3),
                "margin": number(row["margin"], 3, signed=True)
                + (
                    ""
                    if math.isnan(row["margin_null_low"])
                    else f" [{number(row['margin_null_low'], 3, signed=True)}, "
                    f"{number(row['margin_null_high'], 3, signed=True)}]"
                ),
                "configurations": str(row["configurations"]),
            }
        )
        index.append(
            (
                labels.label("dataset", row["dataset"]),
                labels.ARCHITECTURE_LABELS[row["architecture"]],
                labels.TARGET_LABELS[row["target"]],
                labels.measure_html(row["measure"]),
            )
        )
    blocks = rows.drop_duplicates(["dataset", "architecture", "target"])
    there = blocks[blocks["same_order"].notna()]
    notes = (
        extent(runs.together, artifact),
        f"{int(rows['ours'].notna().sum())} of {len(rows)} published correlations with ours; the "
        f"order of the four measures agrees in {int(there['same_order'].eq(True).sum())} of "
        f"{len(there)} blocks, the highest one in {int(there['same_best'].eq(True).sum())}.",
        "Mean over configurations of the absolute Kendall tau-b. Null: its mean and 95 % range "
        f"over {PERMUTATIONS} permutations of the measure within each dense width, which keep "
        "what width alone explains. Within a width: mean over configurations and widths of "
        "absolute tau over the seeds; its null is 0.556 for three untied seeds. Across "
        "configurations: mean over widths of absolute tau over the configurations' means over "
        "seeds. Margin: of the published best measure above the best other one, and in brackets "
        "its 95 % range by width alone; in dense networks EGF_1 and the norm are equal by "
        "arithmetic. –: undefined, or all four measures tied.",
    )
    page = long_page(
        artifact.title,
        pd.MultiIndex.from_tuples(index),
        lines,
        [{}] * len(lines),
        notes,
        scale=False,
    )
    measures = [
        (*names[:-1], labels.MEASURE_LABELS[measure])
        for names, measure in zip(index, rows["measure"], strict=True)
    ]
    page.texts["latex"].index = pd.MultiIndex.from_tuples(measures)
    return page


def _signs(measure: Floats, target: Floats) -> tuple[Floats, Floats]:
    """The sign of the difference of each couple of values: shapes [..., a, n (n - 1) / 2] and [b, n
    (n - 1) / 2].
    """
    first, second = np.triu_indices(measure.shape[-1], k=1)

    def signs(values: Floats) -> Floats:
        # comparing, since inf - inf is undefined
        left, right = values[..., first], values[..., second]
        return (left > right).astype(float) - (left < right)

    return signs(measure), signs(target)


def _tau_of_signs(measure: Floats, target: Floats) -> Floats:
    if measure.shape[-1] < MINIMUM * (MINIMUM - 1) // 2:
        return np.full((*measure.shape[:-1], len(target)), math.nan)
    untied = (measure**2).sum(-1)[..., None] * (target**2).sum(-1)
    with np.errstate(invalid="ignore"):
        return measure @ target.T / np.sqrt(untied)


def _orders_within(
    width: NDArray[np.integer[Any]], generator: np.random.Generator
) -> NDArray[np.integer[Any]]:
    """Orders of the runs, shape [permutations, n], that are random within each width; `width` is
    sorted.
    """
    keys = generator.random((PERMUTATIONS, len(width)))
    return np.lexsort((keys, np.broadcast_to(width, keys.shape)), axis=1)


def _mean(values: Sequence[Floats], shape: tuple[int, ...]) -> Floats:
    """The mean over the first axis of what is defined; NaN where nothing is."""
    stacked = np.array(values).reshape(-1, *shape)
    there = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        return np.where(there, stacked, 0).sum(0) / there.sum(0)
