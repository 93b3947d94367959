"""Which initialisation did the paper use? Each one's accuracies against the published means,
spreads and dead runs.

The published numbers (the paper's earlier version) are a mean and a standard deviation over 15
runs: 5 dense widths and 3 seeds. Variants differ in the initialisation alone.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact, extent
from gradflow.analysis.tables import Page, Target, latex_text
from gradflow.paper.published import PAIRS, PublishedMean, implied_dead_runs, load_means
from gradflow.study import labels
from gradflow.study.datasets import SHAPES

# percentage points, one of 10,000 test images: the log of a smaller one would rule the score
LEAST_SPREAD = 0.01
ARCHITECTURES = ("dense", "sparse")
COLUMNS = [
    "variant", "initialisation", "stands_for", "dataset", "optimizer", "regularization",
    "architecture", "n", "planned",
    "mean", "std", "dead", "published_mean", "published_std", "published_dead", "mean_score",
    "spread_score",
    "variant_score", "rank",
]  # fmt: skip


def calibration_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """Score every initialisation by the published means."""
    runs, variants = request.runs_of_all_variants(), request.definition.get("variants")
    cells = calibration_cells(runs, request.artifact, load_means(), variants)
    return cells, calibration_page(cells, runs, request.artifact)


def standardised_differences(
    mean: float, std: float, n: int, published_mean: float, published_std: float
) -> tuple[float, float]:
    """Squared standardised differences of a mean and of a logarithm of a standard deviation; 0 is a
    perfect fit.

    The mean's is by the standard error of a difference of two means, with the published spread for
    both, so that a variant gains nothing by a large spread of its own. The logarithm's is by sqrt(1
    / (2 (n - 1)) + 1 / (2 (15 - 1))), its standard error for normal values. Each is about 1 on
    average where the published runs were drawn as ours.

    Args:
        mean: of our runs, percent.
        std: likewise, with n - 1; LEAST_SPREAD at least is taken.
        n: our runs, 2 at least.
        published_mean: over 15 runs, percent.
        published_std: likewise.
    """
    yardstick = max(published_std, LEAST_SPREAD)
    of_mean = (mean - published_mean) ** 2 / (yardstick**2 * (1 / n + 1 / PAIRS))
    ratio = math.log(max(std, LEAST_SPREAD) / yardstick)
    return of_mean, ratio**2 / (1 / (2 * (n - 1)) + 1 / (2 * (PAIRS - 1)))


def calibration_cells(
    runs: pd.DataFrame,
    artifact: Artifact,
    published: Iterable[PublishedMean],
    variants: Mapping[str, Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """Each variant's accuracies beside the published ones, by configuration and architecture, and
    its score.

    Args:
        runs: one row per run (`gradflow.analysis.runs.summarise_runs`), of every variant of a
            study.
        artifact: its `where` may list data sets, optimizers and regularizations, which have a row
            without runs too; its seeds and percents say how many runs are planned.
        published: the published means (`gradflow.paper.published.load_means`).
        variants: the planned variants, each with the settings in which it differs from `paper`;
            those of the runs are added. With None a variant without any run has no row.

    Returns:
        A row per variant, optimizer, regularization and architecture that was published, with
        COLUMNS. `mean` and `std` of the final test accuracy (percent; n - 1); `dead`: runs that
        never left chance or diverged; `published_dead`: as many dead runs as the published spread
        can hold (`published.implied_dead_runs`). The two scores are `standardised_differences`,
        undefined unless all planned runs are there; `variant_score` is their sum over a variant's
        rows, undefined if any of them is, and `rank` 1 is the lowest.

    Raises:
        ValueError: a row would mix runs of several configurations or data sets.
    """
    planned = dict(variants or {})
    names = list(dict.fromkeys([*planned, *runs["variant"]]))
    stands_for = artifact.listed("stands_for") or labels.in_order("dataset", runs["stands_for"])
    optimizers = artifact.listed("optimizer") or labels.in_order("optimizer", runs["optimizer"])
    regularizations = artifact.listed("regularization") or labels.in_order(
        "regularization", runs["regularization"]
    )
    compared = [
        one
        for one in sorted(published, key=lambda one: _order(one, optimizers, regularizations))
        if one.dataset in stands_for
        and one.optimizer in optimizers
        and one.regularization in regularizations
    ]
    rows = [
        _cell(runs, name, planned.get(name, {}), one, artifact)
        for name in names
        for one in compared
    ]
    cells = pd.DataFrame(rows, columns=COLUMNS)
    # skipna: a variant of which anything is missing has no score
    totals = {
        name: (group["mean_score"] + group["spread_score"]).sum(skipna=False)
        for name, group in cells.groupby("variant", sort=False)
    }
    cells["variant_score"] = cells["variant"].map(totals).astype(float)
    ranks = pd.Series(totals, dtype=float).rank(method="min")
    cells["rank"] = cells["variant"].map(ranks).astype("Int64")
    return cells


def calibration_page(cells: pd.DataFrame, runs: pd.DataFrame, artifact: Artifact) -> Page:
    """Arrange `calibration_cells`: a row an initialisation, the published numbers first, the best
    score bold.
    """
    columns: dict[str, None] = {}  # in their order
    first = "Published"
    shown: dict[str, dict[str, str]] = {first: {}}
    for cell in cells.to_dict("records"):
        optimizer, regularization = (
            labels.label(name, cell[name]) for name in ("optimizer", "regularization")
        )
        column = f"{optimizer} {regularization} {cell['architecture']}"
        columns[column] = None
        shown[first][column] = (
            f"{cell['published_mean']:.1f} ± {cell['published_std']:.1f}, dead ≤ "
            f"{cell['published_dead']:.1f}"
        )
        name, variant = str(cell["initialisation"] or cell["variant"]), str(cell["variant"])
        row = shown.setdefault(name if name == variant else f"{name} ({variant})", {})
        row[column] = _numbers(cell)
        scored = not math.isnan(cell["variant_score"])
        row["Score"] = f"{cell['variant_score']:.1f}" if scored else "no score: runs are missing"
        row["Rank"] = str(cell["rank"]) if scored else ""
    frame = pd.DataFrame.from_dict(
        shown, orient="index", columns=[*columns, "Score", "Rank"]
    ).fillna("")
    frame = frame if len(cells) else frame.iloc[:0, :0]
    styles = pd.DataFrame("", index=frame.index, columns=frame.columns)
    if len(cells):
        styles.loc[frame["Rank"] == "1", ["Score", "Rank"]] = "font-weight: bold;"
    latex = frame.map(lambda text: latex_text(text).replace("±", r"$\pm$").replace("≤", r"$\leq$"))
    texts: dict[Target, pd.DataFrame] = {
        "html": frame.map(html.escape).rename(index=html.escape),
        "latex": latex.rename(index=latex_text, columns=latex_text),
    }
    count = 2 * len(columns)
    notes = [
        extent(runs, artifact),
        "Mean and standard deviation of the final test accuracy in percent over widths and seeds; "
        "dead: runs that never left chance or diverged.",
        f"Published: Tessera, Hooker and Rosman (2021), earlier version, {PAIRS} runs; the dead "
        "runs are as many as the spread leaves room for, if all live runs had one accuracy and "
        "the dead ones chance.",
        "Score: the sum of the squared standardised differences of means and of logarithms of "
        f"standard deviations, lower is better; about {count} is to be expected of the paper's "
        "own choice. It takes runs for independent draws and adds up what is correlated, so it "
        "ranks the choices and is no test.",
    ]
    if (used := set(runs["dataset"])) - set(runs["stands_for"]):
        names = " and ".join(
            labels.label("dataset", name) for name in labels.in_order("dataset", used)
        )
        notes.append(f"The runs are of {names}, so that the scores say nothing of the paper.")
    return Page(artifact.title, texts, styles, tuple(notes), scale=False)


def _numbers(cell: Mapping[Any, Any]) -> str:
    if cell["n"] < 2:
        return f"missing (n={cell['n']})"
    missing = "" if cell["n"] == cell["planned"] else f" (n={cell['n']})"
    return f"{cell['mean']:.1f} ± {cell['std']:.1f}, dead {cell['dead']}{missing}"


def _cell(
    runs: pd.DataFrame,
    variant: str,
    settings: Mapping[str, Any],
    one: PublishedMean,
    artifact: Artifact,
) -> dict[str, Any]:
    own = runs[runs["variant"] == variant]
    cell = own[
        (own["stands_for"] == one.dataset)
        & (own["learning_rate"] == one.learning_rate)
        & (own["optimizer"] == one.optimizer)
        & (own["regularization"] == one.regularization)
        & (own["architecture"] == one.architecture)
    ]
    if cell[["configuration", "dataset", "scale"]].nunique().max() > 1:
        mixed = ", ".join(sorted(set(cell["dataset"] + "/" + cell["configuration"])))
        raise ValueError(
            f"artifact {artifact.name}: {one.optimizer}, {one.regularization} would mix {mixed}"
        )
    known = settings.get("initialisation") or (own["initialisation"].iloc[0] if len(own) else None)
    mean, std, n = (
        float(cell["test_accuracy"].mean()),
        float(cell["test_accuracy"].std()),
        len(cell),
    )
    complete = n >= max(artifact.planned, 2)
    scores = (
        standardised_differences(mean, std, n, one.mean, one.std)
        if complete
        else (math.nan, math.nan)
    )
    return {
        "variant": variant,
        "initialisation": known,
        "stands_for": one.dataset,
        "dataset": cell["dataset"].iloc[0] if n else None,
        "optimizer": one.optimizer,
        "regularization": one.regularization,
        "architecture": one.architecture,
        "n": n,
        "planned": artifact.planned,
        "mean": mean,
        "std": std,
        "dead": int((cell["collapsed"] | cell["diverged"]).sum()),
        "published_mean": one.mean,
        "published_std": one.std,
        "published_dead": implied_dead_runs(one.mean, one.std, 100 / SHAPES[one.dataset].classes),
        "mean_score": scores[0],
        "spread_score": scores[1],
    }


def _order(
    one: PublishedMean, optimizers: list[str], regularizations: list[str]
) -> tuple[int, int, int]:
    """Place of a row: those that are not asked for last, since they are left out."""
    return (
        optimizers.index(one.optimizer) if one.optimizer in optimizers else len(optimizers),
        regularizations.index(one.regularization)
        if one.regularization in regularizations
        else len(regularizations),
        ARCHITECTURES.index(one.architecture)
        if one.architecture in ARCHITECTURES
        else len(ARCHITECTURES),
    )
