"""What was trained, and how well it did: the paper's table of configurations (Table 2) and its table of means.

Each is a tidy frame, which is the CSV, and a `Page` that arranges it, as in `tables`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from gradflow.analysis.runs import Artifact, extent, only_about, refuse_mixture
from gradflow.analysis.tables import Page, Target
from gradflow.study import labels

# The paper's rows of Table 2, by their names there.
_GRID_ROWS = {
    "optimizer": "Optimizers",
    "regularization": "Regularization/Normalization",
    "depth": "Number of hidden layers",
    "dense_width": "Dense width",
    "activation": "Activation functions",
    "learning_rate": "Learning rate",
    "stands_for": "Datasets",
}
_MEAN_KEYS = ["stands_for", "dataset", "learning_rate", "optimizer", "regularization"]
_ARCHITECTURES = ("dense", "sparse")


def grid_cells(artifact: Artifact) -> pd.DataFrame:
    """Every variant of Table 2: what the artifact's configurations, which the plans give, are combined from.

    Returns:
        One row per property and value, in the paper's order: its data set where values differ by
        data set (dense widths), and in how many configurations it is. A regularization is counted
        by its parts: DA_BN is DA and BN.
    """
    configurations = pd.DataFrame(_distinct(artifact.configurations))
    if configurations.empty:
        return pd.DataFrame(
            columns=["artifact", "property", "stands_for", "dataset", "value", "configurations"]
        )
    counts: dict[tuple[str, str, str, Any], int] = {}
    for configuration in configurations.to_dict("records"):
        for name in _GRID_ROWS:
            for key in _values(name, configuration):
                counts[key] = counts.get(key, 0) + 1
    cells = [
        {"artifact": artifact.name, "property": name, "stands_for": stands_for, "dataset": dataset, "value": value,
         "configurations": counts[name, stands_for, dataset, value]}
        for name, stands_for, dataset, value in sorted(counts, key=_grid_place)
    ]  # fmt: skip
    return pd.DataFrame(cells)


def grid_page(cells: pd.DataFrame, artifact: Artifact) -> Page:
    """Arrange the cells of `grid_cells`: a row a property, its variants in a sentence."""
    rows = {}
    for name, title in _GRID_ROWS.items():
        own = cells[cells["property"] == name]
        if len(own):
            rows[title] = _GRID_TEXTS.get(name, _listed)(own)
    text = pd.DataFrame({"Variants": rows}, index=list(rows), columns=["Variants"] if rows else [])
    text.columns.name = "Configuration"
    styles = pd.DataFrame(
        "text-align: left; white-space: normal;", index=text.index, columns=text.columns
    )
    count = len(_distinct(artifact.configurations))
    notes = [
        f"{count} configurations, not every combination of these, each in the variant {artifact.variant}."
    ]
    if "adamw" in set(cells["value"]):
        notes.append("AdamW is set against Adam with L2 (Figure 23) only.")
    latex = text.map(lambda value: value.replace("–", "--"))
    texts: dict[Target, pd.DataFrame] = {"html": text, "latex": latex}
    return Page(
        artifact.title, texts, styles, tuple(notes), scale=False, latex_columns=r"lp{0.6\linewidth}"
    )


def mean_cells(runs: pd.DataFrame, artifact: Artifact) -> pd.DataFrame:
    """Mean and sample standard deviation of the final test accuracy over widths and seeds (the table of means).

    Args:
        runs: one row per run, already those of the artifact. Diverged ones count, at chance
            accuracy.
        artifact: its `where` may list optimizers and regularizations, which then keep a cell (n =
            0) without runs.

    Returns:
        One row per optimizer, regularization and architecture, in the table's order.

    Raises:
        ValueError: a cell would mix several configurations.
    """
    cells = []
    for optimizer in artifact.in_order("optimizer", runs):
        for regularization in artifact.in_order("regularization", runs):
            both = runs[
                (runs["optimizer"] == optimizer) & (runs["regularization"] == regularization)
            ]
            refuse_mixture(both, f"artifact {artifact.name}: {optimizer}, {regularization}")
            known = (
                {key: both[key].iloc[0] for key in _MEAN_KEYS}
                if len(both)
                else only_about(artifact)
            )
            for architecture in _ARCHITECTURES:
                accuracy = both.loc[both["architecture"] == architecture, "test_accuracy"]
                cells.append(
                    {"artifact": artifact.name, "variant": artifact.variant, **known, "optimizer": optimizer,
                     "regularization": regularization, "architecture": architecture, "metric": "test_accuracy",
                     "mean": accuracy.mean(), "std": accuracy.std(), "n": len(accuracy), "planned": artifact.planned}
                )  # fmt: skip
    columns = [
        "artifact",
        "variant",
        *_MEAN_KEYS,
        "architecture",
        "metric",
        "mean",
        "std",
        "n",
        "planned",
    ]
    return pd.DataFrame(cells, columns=columns)


def mean_page(cells: pd.DataFrame, runs: pd.DataFrame, artifact: Artifact) -> Page:
    """Arrange the cells of `mean_cells`: optimizers as rows, dense beside sparse for each regularization."""
    columns = pd.MultiIndex.from_product(
        [
            [
                labels.label("regularization", name)
                for name in dict.fromkeys(cells["regularization"])
            ],
            [labels.ARCHITECTURE_LABELS[name] for name in _ARCHITECTURES],
        ]
    )
    rows = [labels.label("optimizer", name) for name in dict.fromkeys(cells["optimizer"])]
    html = pd.DataFrame("", index=rows, columns=columns)
    latex = html.copy()
    for cell in cells.to_dict("records"):
        place = (
            labels.label("optimizer", cell["optimizer"]),
            (
                labels.label("regularization", cell["regularization"]),
                labels.ARCHITECTURE_LABELS[cell["architecture"]],
            ),
        )
        some = "" if cell["n"] == cell["planned"] else f" (n={cell['n']})"
        spread = cell["n"] > 1
        values = (f"{cell['mean']:.2f}", f"{cell['std']:.2f}" if spread else "")
        html.loc[place] = (" ± ".join(filter(None, values)) if cell["n"] else "–") + some
        latex.loc[place] = (r" $\pm$ ".join(filter(None, values)) if cell["n"] else "--") + some
    notes = [
        extent(runs, artifact)
        + f" {artifact.planned} runs a cell are planned; n is shown where it differs.",
        "Final test accuracy in percent, mean and sample standard deviation over dense widths and seeds; diverged "
        "runs count, at chance.",
        labels.abbreviations(cells["regularization"]),
    ]
    styles = pd.DataFrame("", index=html.index, columns=html.columns)
    return Page(
        artifact.title,
        {"html": html, "latex": latex},
        styles,
        tuple(note for note in notes if note),
        False,
    )


def _distinct(configurations: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those that several studies share."""
    found: dict[str, dict[str, Any]] = {}
    for configuration in configurations:
        found.setdefault(repr(sorted(configuration.items())), configuration)
    return list(found.values())


def _values(name: str, configuration: dict[Any, Any]) -> list[tuple[str, str, str, Any]]:
    """What a configuration adds to a row of Table 2, as its property, data set (real one too) and value."""
    stands_for, dataset = configuration["stands_for"], configuration["dataset"]
    match name:
        case "regularization":
            return [(name, "", "", part) for part in configuration[name].split("_")]
        case "dense_width":
            return [(name, stands_for, dataset, width) for width in configuration["dense_widths"]]
        case "stands_for":
            return [(name, stands_for, dataset, stands_for)]
    return [(name, "", "", configuration[name])]


def _grid_place(key: tuple[str, str, str, Any]) -> tuple[int, tuple[int, str], Any]:
    """The place of a value in Table 2: its row's, its data set's, its own."""
    name, stands_for, _, value = key
    columns = {"optimizer": "optimizer", "activation": "activation", "stands_for": "dataset"}
    own: Any = value
    if name in columns:
        own = labels.place(columns[name], value)
    elif name == "regularization":
        own = list(labels.ABBREVIATIONS).index(value)
    return (
        list(_GRID_ROWS).index(name),
        labels.place("dataset", stands_for) if stands_for else (-1, ""),
        own,
    )


def _listed(cells: pd.DataFrame) -> str:
    """The variants of a property, with an `and` before the last."""
    column = cells["property"].iloc[0]
    written = [
        labels.label(column, value) if isinstance(value, str) else f"{value:g}"
        for value in cells["value"]
    ]
    return " and ".join(filter(None, [", ".join(written[:-1]), written[-1]])) + "."


def _regularizations(cells: pd.DataFrame) -> str:
    parts = [f"{labels.ABBREVIATIONS[short]} ({short})" for short in cells["value"]]
    sentence = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
    return sentence[0].upper() + sentence[1:] + "."


def _dense_widths(cells: pd.DataFrame) -> str:
    """The widths, once for all data sets that share them."""
    by_widths: dict[str, list[str]] = {}
    for stands_for, own in cells.groupby("stands_for", sort=False):
        by_widths.setdefault(_listed(own)[:-1], []).append(labels.label("dataset", str(stands_for)))
    if len(by_widths) == 1:
        return f"{next(iter(by_widths))}."
    return "; ".join(f"{widths} ({', '.join(names)})" for widths, names in by_widths.items()) + "."


def _datasets(cells: pd.DataFrame) -> str:
    written = []
    for cell in cells.to_dict("records"):
        name = labels.label("dataset", cell["stands_for"])
        stand_in = labels.label("dataset", cell["dataset"])
        written.append(name if name == stand_in else f"{name} ({stand_in} stands in)")
    return " and ".join(filter(None, [", ".join(written[:-1]), written[-1]])) + "."


_GRID_TEXTS: dict[str, Callable[[pd.DataFrame], str]] = {
    "regularization": _regularizations,
    "dense_width": _dense_widths,
    "stands_for": _datasets,
}
