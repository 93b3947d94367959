"""A network that diverges has a cause in its log, and a sparse one says how its capacity agrees
with its twin's.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cohorts import DEVICE, make_data, make_job

from gradflow.study.job import Run
from gradflow.training.cohort import Cohort
from gradflow.training.log_rows import CAUSE, log_notes
from gradflow.training.run_log import SCHEMA, read_log, write_log


def causes(cohort: Cohort, run: Run) -> list[str | None]:
    return [row[CAUSE] for row in cohort.rows[run]]


@pytest.mark.parametrize(
    ("optimizer", "rate", "cause"), [("momentum", 1e200, "gradient"), ("adam", 1e308, "gradient")]
)
def test_the_cause_and_the_step(optimizer: str, rate: float, cause: str) -> None:
    job = make_job(optimizer, learning_rate=rate, percents=(30, 50), epochs=3)
    cohort = Cohort(job, make_data(), DEVICE)
    cohort.train(3)
    for run, rows in cohort.rows.items():
        assert rows[0]["diverged"]
        assert causes(cohort, run) == [causes(cohort, run)[0], None, None]
        assert causes(cohort, run)[0] in ("gradient", "weight", "loss")
        note = log_notes(job, run, rows)["divergence"]
        assert note == f"{causes(cohort, run)[0]} in steps 1 to 5"
    assert cause in {causes(cohort, run)[0] for run in cohort.rows}


def test_one_broken_weight_is_the_weight(tmp_path: Path) -> None:
    job = make_job("momentum", percents=(30, 50), epochs=2)
    cohort = Cohort(job, make_data(), DEVICE)
    cohort.train(1)
    stack = cohort.stacks[0]
    with torch.no_grad():
        place = stack.masks[0][1].nonzero()[0]
        stack.layers[0][1, place[0], place[1]] = float("inf")
    cohort._probe()
    broken, whole = (cohort.rows[run][-1] for run in (stack.runs[1], stack.runs[0]))
    assert broken[CAUSE] == "weight" and whole[CAUSE] is None
    rows = cohort.rows[stack.runs[1]]
    metadata = {"spec": "x", **log_notes(job, stack.runs[1], rows)}
    write_log(tmp_path / "log.parquet", rows, metadata)
    table = read_log(tmp_path / "log.parquet")
    assert table.schema.metadata[b"divergence"] == b"weight in steps 6 to 10"
    assert table.schema.names == SCHEMA.names


@pytest.mark.parametrize(
    ("method", "words"), [("random", "equal in each layer"), ("snip", "equal in total: [")]
)
def test_the_log_says_how_capacities_agree(method: str, words: str) -> None:
    job = make_job("adam", epochs=1, initial_mask=method)
    cohort = Cohort(job, make_data(), DEVICE)
    cohort.train(1)
    for run, rows in cohort.rows.items():
        notes = log_notes(job, run, rows)
        assert "divergence" not in notes
        assert ("capacity" in notes) == (run.architecture == "sparse")
        if run.architecture == "sparse":
            assert notes["capacity"].startswith(words)
