"""Tables of activations, data sets and configurations, and what they refuse."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
from html_cells import Cells
from study_tables import make_study_table
from table_artifacts import PERCENTS, SEEDS, TABLE1

from gradflow.analysis.correlation_table import correlation_cells
from gradflow.analysis.grid_table import grid_cells, grid_page
from gradflow.analysis.runs import Artifact, select, summarise_runs
from gradflow.analysis.tables import (
    significance_cells,
    significance_page,
    write_html,
    write_latex,
)

pytestmark = pytest.mark.filterwarnings("error")


def test_activations_as_columns() -> None:
    artifact = Artifact(
        "table6b", "T", "paper", columns="activation", seeds=SEEDS, percents=PERCENTS
    )
    rows = pd.concat(
        [make_study_table(("adam",), ("DA_SC_BN",), ("swish", "relu", "elu"), advantage=3.0)]
    )
    runs = summarise_runs(rows)
    cells = significance_cells(runs, artifact)
    assert list(cells["activation"]) == ["relu", "swish", "elu"]
    assert (cells["p_value"] < 0.001).all()
    text = significance_page(cells, runs, artifact).texts["html"]
    assert [*text.columns] == ["ReLU", "Swish", "ELU"]


def test_what_a_table_of_activations_is_made_of() -> None:
    artifact = Artifact(
        "table3c", "T", "paper", columns="activation", seeds=SEEDS, percents=PERCENTS
    )
    rows = [
        make_study_table(("adam",), ("DA_SC_BN",), ("swish", "relu"), stands_for="cifar100"),
        make_study_table(("sgd",), ("DA_L2_SC_BN",), ("swish", "relu"), stands_for="cifar100"),
    ]
    runs = summarise_runs(pd.concat(rows))
    cells = significance_cells(runs, dataclasses.replace(artifact, planned_runs={"cifar100": 150}))
    assert set(cells["stands_for"]) == {"cifar100"} and set(cells["dataset"]) == {"digits"}
    notes = "\n".join(
        significance_page(
            cells, runs, dataclasses.replace(artifact, planned_runs={"cifar100": 150})
        ).notes
    )
    assert "CIFAR-100 (Digits stands in): 120 of 150 planned runs of 5 epochs." in notes
    assert "Regularization: DA SC BN (Adam); DA L2 SC BN (SGD)." in notes


def test_an_artifact_takes_the_runs_of_its_own_studies() -> None:
    rows = make_study_table(("adam",), ("NR",), study="own")
    other = make_study_table(("adam",), ("NR", "BN"), study="other")
    artifact = Artifact("t", "T", "paper", studies=("own",))
    for order in ((rows, other), (other, rows)):
        chosen = summarise_runs(select(pd.concat(order, ignore_index=True), artifact))
        assert len(chosen) == 30 and set(chosen["regularization"]) == {"NR"}
    both = summarise_runs(
        select(pd.concat([rows, other]), dataclasses.replace(artifact, studies=("own", "other")))
    )
    pd.testing.assert_frame_equal(both, summarise_runs(other))  # what they share is there once


def test_a_cell_of_two_data_sets_is_refused() -> None:
    rows = [
        make_study_table(("adam",), ("NR",), stands_for=name) for name in ("cifar10", "cifar100")
    ]
    runs = summarise_runs(pd.concat(rows))
    assert len(runs) == 60
    with pytest.raises(ValueError, match=r"would mix cifar10/digits/.*, cifar100/digits/"):
        significance_cells(runs, Artifact("t", "T", "paper"))
    mixed = pd.concat([rows[0], make_study_table(("adam",), ("NR",), dataset="cifar10")])
    with pytest.raises(ValueError, match="cifar10 would mix digits, cifar10"):
        correlation_cells(summarise_runs(mixed), TABLE1)


def test_table_of_configurations(tmp_path: Path) -> None:
    def configuration(**other: object) -> dict[str, object]:
        return {
            "dataset": "digits", "stands_for": "cifar100", "model": "mlp", "depth": 4,
            "widen_factor": 0,
            "activation": "relu", "optimizer": "sgd", "learning_rate": 0.1,
            "regularization": "DA_BN",
            "dense_widths": [4, 20], **other,
        }  # fmt: skip

    configurations = (
        configuration(),
        configuration(),  # of another study
        configuration(optimizer="adamw", regularization="NR", learning_rate=0.001, depth=1),
        configuration(
            dataset="fashion_mnist",
            stands_for="fashion_mnist",
            activation="swish",
            dense_widths=[79, 394],
        ),
    )
    artifact = Artifact("table2", "T", "paper", configurations=configurations)
    cells = grid_cells(artifact)
    counts = cells.set_index(["property", "value"])["configurations"]
    assert (
        counts["regularization", "BN"] == 2
        and counts["optimizer", "sgd"] == 2
        and counts["dense_width", 4] == 2
    )
    page = grid_page(cells, artifact)
    write_html(tmp_path / "table2.html", page)
    write_latex(tmp_path / "table2.tex", page)
    assert Cells((tmp_path / "table2.html").read_text(encoding="utf-8")).rows == [
        ["Configuration", "Variants"],
        ["Optimizers", "SGD and AdamW."],
        [
            "Regularization/Normalization",
            "No regularization (NR), data augmentation (DA) and BatchNorm (BN).",
        ],
        ["Number of hidden layers", "1 and 4."],
        ["Dense width", "79 and 394 (Fashion-MNIST); 4 and 20 (CIFAR-100)."],
        ["Activation functions", "ReLU and Swish."],
        ["Learning rate", "0.001 and 0.1."],
        ["Datasets", "Fashion-MNIST and CIFAR-100 (Digits stands in)."],
    ]
    assert "3 configurations" in page.notes[0]
