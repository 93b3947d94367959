"""Made-up runs of four studies, and their rows beside the published p-values."""

from __future__ import annotations

import pandas as pd
import pytest
from made_runs import ARTIFACT, CELLS, EWMA, REGULARIZATIONS, TABLE_4, made_runs
from study_tables import make_study_table

from gradflow.paper.cells import Runs
from gradflow.paper.comparison import p_value_rows


@pytest.fixture(scope="module")
def tables() -> list[pd.DataFrame]:
    """Parts of four studies; digits stands in for CIFAR-100."""
    cifar100 = {"stands_for": "cifar100", "epochs": 2}
    return [
        make_study_table(TABLE_4, REGULARIZATIONS, dataset="fashion_mnist",
                         study="fashion_mnist_low", epochs=2),
        make_study_table(EWMA, REGULARIZATIONS, study="cifar100_low",
                         diverged=[("adam", "sparse", 2)], **cifar100),
        make_study_table(EWMA, ("BN", "DA_SC_BN"), study="cifar100_high", learning_rate=0.1,
                         **cifar100),
        make_study_table(
            EWMA, ("DA_SC_BN",), ("relu", "swish"), study="cifar100_low_activations", advantage=5,
            **cifar100
        ),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tables: list[pd.DataFrame]) -> Runs:
    return made_runs(*tables)


@pytest.fixture(scope="module")
def rows(runs: Runs) -> pd.DataFrame:
    return p_value_rows(CELLS, runs, ARTIFACT)
