"""The published numbers: all there, the same as the ones they were copied from, and refused when
damaged.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from pathlib import Path

import pytest

from gradflow.paper.published import (
    BEST,
    PUBLISHED,
    PublishedError,
    distinct_p_values,
    implied_dead_runs,
    load_correlations,
    load_means,
    load_p_values,
)

# SHA-256 of the tables as they were transcribed from the paper and proofread
TRANSCRIBED = {
    "pvalues": "a0c2722f12cb3f63489f97493ca112458847f39ff95846249dec372fd867cc3a",
    "correlations": "43fd71fee67b843f7f368a2710e51930e22f7e6e20716c7eb2bc3994f6ba442e",
    "cifar100_means": "0b3881a967f00ea4de6b3b268ef0d0be4bdfc890eeec0e802f319e3799cc9569",
}


def test_every_published_number_is_there() -> None:
    printed = load_p_values()
    assert len(printed) == 254
    assert len(distinct_p_values(printed)) == 209
    assert len(load_correlations()) == 48
    assert len(load_means()) == 48


def test_cells_that_two_tables_print_are_one() -> None:
    cells = distinct_p_values(load_p_values())
    assert Counter(cell.tables for cell in cells) == {
        ("3a", "6a"): 40, ("6a",): 10, ("3b",): 25, ("3b", "3c"): 5, ("3c",): 25, ("4",): 21,
        ("5a",): 25,
        ("5b",): 20, ("5c",): 8, ("6b",): 30,
    }  # fmt: skip


def test_an_open_regularization_names_its_study() -> None:
    cells = distinct_p_values(load_p_values())
    assert Counter(cell.best_study for cell in cells if cell.regularization == BEST) == {
        "cifar100_high_activations": 25, "cifar10_activations": 8, "cifar100_low_activations": 30,
    }  # fmt: skip
    assert all(cell.best_study is None for cell in cells if cell.regularization != BEST)
    relu = {cell.optimizer: cell.regularization for cell in cells if cell.tables == ("3b", "3c")}
    assert relu["adam"] == "DA_SC_BN"
    assert relu["momentum"] == "DA_L2_SC_BN"


@pytest.mark.parametrize("name", TRANSCRIBED)
def test_tables_are_as_they_were_transcribed(name: str) -> None:
    content = (PUBLISHED / f"{name}.csv").read_bytes()
    assert hashlib.sha256(content).hexdigest() == TRANSCRIBED[name]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("3a,cifar100,4,0.001,adagrad,NR,relu,1.000,", "3a,cifar100,4,0.001,adagrad,NR,relu,1.2,",
         "not within"),
        ("3a,cifar100,4,0.001,adagrad,NR,relu,1.000,", "3a,cifar100,4,0.001,adagrad,NR,relu,nan,",
         "not within"),
        ("3a,cifar100,4,0.001,adagrad,NR,", "3a,cifar100,4,0.001,adagrd,NR,",
         "optimizer 'adagrd' is none of"),
        ("3a,cifar100,4,0.001,adagrad,NR,", "3a,cifar100,four,0.001,adagrad,NR,",
         "invalid literal"),
        ("3a,cifar100,4,0.001,adagrad,NR,", "3a,cifar100,4,0.001,adagrad,DA,", "occurs twice"),
        ("3a,cifar100,4,0.001,adagrad,NR,relu,1.000,", "3a,cifar100,4,0.001,adagrad,NR,relu",
         "as many values"),
        ("table,dataset", "tables,dataset", "the columns must be"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    text = (PUBLISHED / "pvalues.csv").read_text()
    assert old in text
    (tmp_path / "pvalues.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(PublishedError, match=complaint):
        load_p_values(tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PublishedError, match="cannot be read"):
        load_means(tmp_path)


def test_tables_that_differ_are_refused(tmp_path: Path) -> None:
    text = (PUBLISHED / "pvalues.csv").read_text()
    (tmp_path / "pvalues.csv").write_text(
        text.replace(
            "3a,cifar100,4,0.001,adagrad,NR,relu,1.000", "3a,cifar100,4,0.001,adagrad,NR,relu,0.9"
        )
    )
    with pytest.raises(PublishedError, match="tables 3a and 6a differ at adagrad, NR"):
        distinct_p_values(load_p_values(tmp_path))


def test_implied_dead_runs_of_a_known_mixture() -> None:
    # 6 of 15 at chance 1, 9 at 21: mean 13, variance 0.4 * 0.6 * 20^2
    assert implied_dead_runs(13, math.sqrt(96), chance=1) == pytest.approx(6)
    assert implied_dead_runs(20, 0, chance=1) == 0
    assert math.isnan(implied_dead_runs(1, 0.1, chance=1))
