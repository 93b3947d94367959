"""Our runs that belong to the cells of the published tables, and their pairs of twins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradflow.analysis.runs import PAIR_KEY, Artifact, pair_twins, read_rows, select, summarise_runs
from gradflow.paper.published import PublishedPValue

CELL = ["hidden_layers", "learning_rate", "optimizer", "regularization", "activation"]


@dataclass(frozen=True)
class Runs:
    """The runs of an artifact, a row each as `summarise_runs` gives them, as a whole and by
    study.
    """

    together: pd.DataFrame  # a run that several studies share is there once
    by_study: dict[str, pd.DataFrame]


def read_runs(paths: Iterable[Path], artifact: Artifact) -> Runs:
    """Read study tables for an artifact; the ReLU runs of Table 6b, say, are in the study of Table
    6a too.

    Raises:
        ValueError: a file is no study table, or the artifact's `where` names no column.
    """
    rows = select(read_rows(paths), artifact)
    by_study = {str(study): summarise_runs(of_study) for study, of_study in rows.groupby("study")}
    return Runs(summarise_runs(rows), by_study)


def pairs_of_cells(published: Sequence[PublishedPValue], runs: Runs) -> list[pd.DataFrame]:
    """The pairs of twins that each published cell is about, as `pair_twins` gives them, without
    rows where none are.

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
                f"study {study}: {cell.optimizer}, {cell.activation} has several regularizations, "
                f"{several}"
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
    """The table that each cell is counted in: the largest that prints it, the first of equally
    large ones.
    """
    sizes: dict[str, int] = {}
    for cell in published:
        for table in cell.tables:
            sizes[table] = sizes.get(table, 0) + 1
    return [max(cell.tables, key=lambda table: sizes[table]) for cell in published]
