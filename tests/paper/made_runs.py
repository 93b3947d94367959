"""Made-up runs beside the published numbers."""

from __future__ import annotations

import pandas as pd

from gradflow.analysis.runs import Artifact, summarise_runs
from gradflow.paper.cells import Runs
from gradflow.paper.published import distinct_p_values, load_p_values

CELLS = distinct_p_values(load_p_values())
ARTIFACT = Artifact(
    "comparison", "Ours & theirs", "paper", seeds=(1, 2, 3), percents=(10, 30, 50, 70, 90)
)
EWMA = ("adam", "rmsprop")
TABLE_4 = ("adagrad", "adam", "momentum")
REGULARIZATIONS = ("NR", "BN", "DA_SC_BN")


def made_runs(*tables: pd.DataFrame) -> Runs:
    by_study = {str(table["study"].iloc[0]): summarise_runs(table) for table in tables}
    return Runs(summarise_runs(pd.concat(tables, ignore_index=True)), by_study)


def one(rows: pd.DataFrame, **where: object) -> pd.Series:
    chosen = rows
    for column, value in where.items():
        chosen = chosen[chosen[column] == value]
    assert len(chosen) == 1
    return chosen.iloc[0]
