"""What was trained: the paper's table of configurations (Table 2), from the plans of its studies.

The CSV holds every variant with the number of its configurations; the page lists them as the paper
does. No run is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact
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


def grid_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """List the variants."""
    cells = grid_cells(request.artifact)
    return cells, grid_page(cells, request.artifact)


def grid_cells(artifact: Artifact) -> pd.DataFrame:
    """Every variant of Table 2: what the artifact's configurations, which the plans give, are
    combined from.

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
        {"artifact": artifact.name, "property": name, "stands_for": stands_for, "dataset": dataset,
         "value": value,
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
        f"{count} configurations, not every combination of these, each in the variant "
        f"{artifact.variant}."
    ]
    if "adamw" in set(cells["value"]):
        notes.append("AdamW is set against Adam with L2 (Figure 23) only.")
    latex = text.map(lambda value: value.replace("–", "--"))
    texts: dict[Target, pd.DataFrame] = {"html": text, "latex": latex}
    return Page(
        artifact.title, texts, styles, tuple(notes), scale=False, latex_columns=r"lp{0.6\linewidth}"
    )


def _distinct(configurations: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those that several studies share."""
    found: dict[str, dict[str, Any]] = {}
    for configuration in configurations:
        found.setdefault(repr(sorted(configuration.items())), configuration)
    return list(found.values())


def _values(name: str, configuration: dict[Any, Any]) -> list[tuple[str, str, str, Any]]:
    """What a configuration adds to a row of Table 2, as its property, data set (real one too) and
    value.
    """
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
