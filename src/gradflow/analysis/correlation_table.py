"""Table 1: how the measures of gradient flow correlate with performance, and what dense width alone
gives of that.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pandas as pd

from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact, about, extent
from gradflow.analysis.stats import Correlation, mean_absolute_tau
from gradflow.analysis.tables import DASH, Page, Target, in_small_print
from gradflow.analysis.width_margin import (
    TARGETS,
    Margin,
    favourite,
    margin_of,
    signs_of,
    taus_within_widths,
)
from gradflow.study import labels
from gradflow.training.run_log import MEASURES

COLUMN_ARCHITECTURES = ("sparse", "dense")  # the paper's order in Table 1
MARGIN = ["margin", "margin_null_low", "margin_null_high", "margin_explained"]
ABOVE = "Margin of EGF"


def correlation_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """Correlate each measure with each target."""
    runs = request.runs()
    cells = correlation_cells(runs, request.artifact)
    return cells, correlation_page(cells, runs, request.artifact)


def correlation_cells(runs: pd.DataFrame, artifact: Artifact) -> pd.DataFrame:
    """Mean absolute Kendall tau of each gradient-flow measure, by data set, architecture and target
    (Table 1).

    Args:
        runs: one row per run, already those of the artifact; several data sets make several blocks.
        artifact: its `where` may list data sets under `stands_for`, which then keep a block without
            runs.

    Returns:
        One row per cell, in the table's order, with the statistics of `Correlation`; `incomplete`:
        how many configurations have fewer runs than planned; `within_width`
        (`width_margin.taus_within_widths`); and of the paper's best measure in sparse networks, how
        far it is above the best other one (`margin`), the 95 % range of that by dense width alone,
        and whether the range explains it (`margin_explained`; `width_margin.Margin`).

    Raises:
        ValueError: a block would mix several data sets.
    """
    cells = []
    for stands_for in artifact.listed("stands_for") or labels.in_order(
        "dataset", runs["stands_for"]
    ):
        of_block = runs[runs["stands_for"] == stands_for]
        datasets = labels.in_order("dataset", of_block["dataset"])
        if len(datasets) > 1:
            raise ValueError(
                f"artifact {artifact.name}: {stands_for} would mix {', '.join(datasets)}; narrow "
                "`where`"
            )
        groups = {name: of_block[of_block["architecture"] == name] for name in COLUMN_ARCHITECTURES}
        within = {name: taus_within_widths(group) for name, group in groups.items()}
        signs, best = signs_of(groups["sparse"]), favourite(str(stands_for))
        for place, measure in enumerate(MEASURES):
            for architecture, of_cell in groups.items():
                incomplete = int((of_cell["configuration"].value_counts() < artifact.planned).sum())
                for column, target in enumerate(TARGETS):
                    of_width: dict[str, Any] = {"within_width": within[architecture][place, column]}
                    if signs is not None and (architecture, measure) == ("sparse", best):
                        of_width |= _margin(margin_of(best, column, *signs))
                    correlation = mean_absolute_tau(of_cell, measure, target)
                    cells.append(
                        {"artifact": artifact.name, "variant": artifact.variant,
                         "stands_for": stands_for,
                         "dataset": next(iter(datasets), None), "measure": measure,
                         "architecture": architecture,
                         "target": target,
                         **dataclasses.asdict(correlation), "incomplete": incomplete, **of_width}
                    )  # fmt: skip
    statistics = [field.name for field in dataclasses.fields(Correlation)]
    keys = ["artifact", "variant", "stands_for", "dataset", "measure", "architecture", "target"]
    columns = [*keys, *statistics, "incomplete", "within_width", *MARGIN]
    return pd.DataFrame(cells, columns=columns).astype(dict.fromkeys(MARGIN[:-1], float))


def _margin(found: Margin) -> dict[str, Any]:
    values = (found.margin[0], *found.null_range, bool(found.explained[0]))
    return dict(zip(MARGIN, values, strict=True))


def correlation_page(cells: pd.DataFrame, runs: pd.DataFrame, artifact: Artifact) -> Page:
    """Arrange the cells of `correlation_cells`: a block of four measures a data set, its best of a
    column bold.

    The correlation within a width stands in small print, and a block's last line has the margin.
    """
    blocks = {
        name: about(runs[runs["stands_for"] == name], name)
        for name in dict.fromkeys(cells["stands_for"])
    }
    columns = pd.MultiIndex.from_product(
        [
            [labels.ARCHITECTURE_LABELS[architecture] for architecture in COLUMN_ARCHITECTURES],
            [labels.TARGET_LABELS[target] for target in TARGETS],
        ]
    )
    texts: dict[Target, pd.DataFrame] = {}
    styles = pd.DataFrame()
    names = {"html": labels.measure_html, "latex": labels.MEASURE_LABELS.__getitem__}
    targets: tuple[Target, ...] = ("html", "latex")
    for target in targets:
        index = pd.MultiIndex.from_product(
            [list(blocks.values()), [*(names[target](name) for name in MEASURES), ABOVE]]
        )
        text = pd.DataFrame(DASH[target], index=index, columns=columns)
        styles = pd.DataFrame("", index=index, columns=columns)
        best = cells.groupby(["stands_for", "architecture", "target"])[
            "mean_abs_kendall_tau"
        ].transform("max")
        for cell, highest in zip(cells.to_dict("records"), best, strict=True):
            row = blocks[cell["stands_for"]], names[target](cell["measure"])
            place = (
                row,
                (
                    labels.ARCHITECTURE_LABELS[cell["architecture"]],
                    labels.TARGET_LABELS[cell["target"]],
                ),
            )
            tau, within = cell["mean_abs_kendall_tau"], cell["within_width"]
            shown = DASH[target] if math.isnan(tau) else f"{tau:.3f}"
            if not math.isnan(within):
                shown = in_small_print(shown, f"{within:.3f}", target)
            text.loc[place] = shown
            if not math.isnan(cell["margin"]):
                low, high = cell["margin_null_low"], cell["margin_null_high"]
                range_ = DASH[target] if math.isnan(low) else f"{low:+.3f} to {high:+.3f}"
                text.loc[(row[0], ABOVE), place[1]] = in_small_print(
                    f"{cell['margin']:+.3f}", range_, target
                )
            styles.loc[place] = "font-weight: bold;" if tau == highest else ""
        texts[target] = text
    notes = [
        extent(runs, artifact),
        "Mean over configurations of the absolute Kendall tau-b between the average of the "
        "measure over the probe epochs and the final test value; bold: the highest of a column, "
        "by data set; –: undefined. In dense networks EGF_1 and the norm tie by arithmetic.",
        "Dense width drives both, so that a measure which only tells wide networks from narrow "
        "ones correlates too. Small print: the same over the seeds of one width, the mean over "
        "configurations and widths; three seeds have 0.556 by chance.",
        f"{ABOVE}: how far the paper's best measure, EGF_2 (EGF_1 on Fashion-MNIST), is above the "
        "best other one in sparse networks, and in small print the 95 % range of that by dense "
        "width alone (seeds permuted within widths). A margin inside its range says nothing of "
        "gradient flow.",
    ]
    for stands_for, name in blocks.items():
        of_dataset = cells[cells["stands_for"] == stands_for]
        count = int((of_dataset["configurations"] + of_dataset["undefined"]).max())
        note = f"{name}: {count} configurations"
        if incomplete := int(of_dataset["incomplete"].max()):
            note += (
                f", {incomplete} of them with fewer than the planned {artifact.planned} runs an "
                "architecture"
            )
        if undefined := int(of_dataset["undefined"].max()):
            note += f"; up to {undefined} left out of a cell, as theirs is undefined"
        margins = of_dataset[of_dataset["margin_null_low"].notna()]
        told = [
            f"for {labels.TARGET_LABELS[cell['target']].lower()} "
            + (
                "not "
                if cell["margin_null_low"] <= cell["margin"] <= cell["margin_null_high"]
                else ""
            )
            + "beyond what width alone gives"
            for cell in margins.to_dict("records")
        ]
        if told:
            note += f"; the margin is {' and '.join(told)}"
        notes.append(note + ".")
    return Page(artifact.title, texts, styles, tuple(note for note in notes if note), scale=False)
