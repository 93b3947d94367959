"""How well the networks did: the table of mean test accuracies of the paper's earlier version.

One cell is over the dense widths and seeds of an optimizer, a regularization and an architecture.
"""

from __future__ import annotations

import pandas as pd

from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact, extent, only_about, refuse_mixture
from gradflow.analysis.tables import Page
from gradflow.study import labels

_MEAN_KEYS = ["stands_for", "dataset", "learning_rate", "optimizer", "regularization"]
_ARCHITECTURES = ("dense", "sparse")


def means_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """Average every cell."""
    runs = request.runs()
    cells = mean_cells(runs, request.artifact)
    return cells, mean_page(cells, runs, request.artifact)


def mean_cells(runs: pd.DataFrame, artifact: Artifact) -> pd.DataFrame:
    """Mean and sample standard deviation of the final test accuracy over widths and seeds (the
    table of means).

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
                    {"artifact": artifact.name, "variant": artifact.variant, **known,
                     "optimizer": optimizer,
                     "regularization": regularization, "architecture": architecture,
                     "metric": "test_accuracy",
                     "mean": accuracy.mean(), "std": accuracy.std(), "n": len(accuracy),
                     "planned": artifact.planned}
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
    """Arrange the cells of `mean_cells`: optimizers as rows, dense beside sparse for each
    regularization.
    """
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
        "Final test accuracy in percent, mean and sample standard deviation over dense widths and "
        "seeds; diverged runs count, at chance.",
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
