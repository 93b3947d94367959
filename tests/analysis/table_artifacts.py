"""Artifacts of made-up tables."""

from __future__ import annotations

from gradflow.analysis.runs import Artifact

SEEDS, PERCENTS = (1, 2, 3), (10, 30, 50, 70, 90)
COLUMNS = ["NR", "L2", "BN", "DA_SC_BN"]
TABLE4 = Artifact(
    "table4",
    "Table 4 <made up>",
    "paper",
    where={"regularization": COLUMNS},
    seeds=SEEDS,
    percents=PERCENTS,
)
TABLE1 = Artifact("table1", "Table 1", "paper", seeds=SEEDS, percents=PERCENTS)
