"""What would fail late is refused early, and advice that is taken is the last one that is
needed.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from cohorts import DEVICE, make_data, make_job
from configurations import MLP, SHIPPED, WIDE, changed, grid_of, refusal
from hypothesis import given
from hypothesis import strategies as st

from gradflow.study.choices import (
    MOST,
    MOST_SEED,
    MOST_WIDTH,
    depth_mistakes,
    minibatch_mistake,
    regularization_mistakes,
)
from gradflow.study.cost import CostModel
from gradflow.study.job import REGULARIZATIONS, Job, Settings
from gradflow.study.memory import disk_bytes, memory_mb
from gradflow.training.cohort import Cohort
from gradflow.training.run_log import read_log, write_log

LATE = [
    ("scales.smoke.seeds", [2**63], "scales.smoke.seeds[0]", "at most 9,223,372,036,854,775,807"),
    ("scales.smoke.seeds", [10**30], "scales.smoke.seeds[0]", "at most"),
    (f"scales.smoke.studies.{MLP}.seeds", [2**64], "seeds[0]", "at most"),
    (f"studies.{MLP}.epochs", 10**20, f"studies.{MLP}.epochs", "at most 1,000,000"),
    (f"scales.smoke.studies.{MLP}.epochs", 10**7, "epochs", "at most 1,000,000"),
    (f"scales.smoke.studies.{MLP}.epochs", -(10**30), "epochs", "at least 1"),
    ("variants.paper.batch_size", 2**62, "variants.paper.batch_size", "at most 1,000,000"),
    ("scales.smoke.settings.batch_size", 10**30, "settings.batch_size", "at most 1,000,000"),
    ("scales.smoke.settings.probe_images", 10**12, "settings.probe_images", "at most 1,000,000"),
    ("scales.smoke.settings.probe_images", 1, "probe_images is 1", "take more"),
    ("scales.smoke.settings.train_images", 1, "train_images is 1", "take more"),
    ("variants.paper.mask_update_interval", 10**30, "mask_update_interval", "at most 1,000,000"),
    ("variants.paper.mask_update_fraction", 1.0, "mask_update_fraction", "between 0 and 1"),
    ("datasets.digits.max_width", 10**13, "datasets.digits.max_width", "at most 100,000"),
    ("scales.smoke.max_widths", {"digits": 10**6}, "max_widths.digits", "at most 100,000"),
    (f"studies.{WIDE}.blocks.0.widen_factors", [10**9], "widen_factors[0]", "at most 1,000,000"),
    (f"studies.{WIDE}.blocks.0.depths", [10**9 + 4], "depths[0]", "at most 1,000,000"),
    (f"studies.{MLP}.blocks.0.learning_rates", [float("inf")], "learning_rates[0]", ""),
    (f"studies.{MLP}.blocks.0.learning_rates", [float("nan")], "learning_rates[0]", ""),
]


@pytest.mark.parametrize(
    ("place", "value", "named", "limit"), LATE, ids=[f"{p}={v}"[:60] for p, v, _, _ in LATE]
)
def test_what_would_fail_late_is_refused_at_once(
    place: str, value: Any, named: str, limit: str
) -> None:
    said = refusal(changed(place, value))
    assert named in said and limit in said
    assert max(map(len, said.splitlines())) < 300


@pytest.mark.parametrize(
    "change",
    [{"seed": MOST_SEED}, {"epochs": MOST}, {"max_width": MOST_WIDTH}],
    ids=["seed", "epochs", "width"],
)
def test_the_most_that_is_accepted_can_be_planned(change: dict[str, int]) -> None:
    job = dataclasses.replace(make_job(), **change)
    assert Job.from_json(job.to_json()) == job
    assert CostModel().runtime(job, "cpu") > 0
    assert memory_mb(job, "cpu") > 0 and disk_bytes(job, keep_weights=True) > 0


def test_the_largest_seed_is_trained_and_logged(tmp_path: Path) -> None:
    job = dataclasses.replace(make_job(percents=(50,)), seed=MOST_SEED)
    cohort = Cohort(job, make_data(), DEVICE)
    cohort.train(job.epochs)
    rows = cohort.rows[job.runs[0]]
    write_log(tmp_path / "log.parquet", rows, {"spec": job.only(job.runs[0]).to_json()})
    assert read_log(tmp_path / "log.parquet")["seed"].to_pylist() == [MOST_SEED] * len(rows)


@given(
    batch=st.integers(1, 200),
    images=st.integers(2, 5000),
    probes=st.integers(2, 5000),
    train=st.one_of(st.just("all"), st.integers(2, 5000)),
    others=st.lists(st.integers(2, 5000), max_size=3),
)
def test_a_batch_size_that_is_advised_is_accepted(
    batch: int, images: int, probes: int, train: Any, others: list[int]
) -> None:
    settings = Settings(batch_size=batch, probe_images=probes, train_images=train)
    said = minibatch_mistake(settings, images, "digits", others)
    if said and (found := re.search(r"take (\d+)$", said)):
        better = dataclasses.replace(settings, batch_size=int(found[1]))
        for size in (images, *others):
            told = minibatch_mistake(better, size, "digits", others) or ""
            assert "batch_size" not in told


@pytest.mark.parametrize("batch", range(1, 6))
def test_advice_on_the_shipped_configuration_is_taken_once(batch: int) -> None:
    raw = changed("scales.smoke.settings.batch_size", batch)
    try:
        grid_of(raw)
        return
    except ValueError as error:
        said = str(error)
    assert "batch_size" in said
    grid_of(changed("scales.smoke.settings.batch_size", int(said.rpartition("take ")[2])))


@given(st.integers(1, MOST), st.booleans())
def test_a_depth_that_is_advised_is_accepted(depth: int, wide: bool) -> None:
    for said in depth_mistakes("depths", depth, wide):
        assert not list(depth_mistakes("depths", int(said.rpartition("take ")[2]), wide))


@pytest.mark.parametrize("regularization", REGULARIZATIONS)
def test_a_regularization_that_is_advised_is_accepted(regularization: str) -> None:
    for said in regularization_mistakes("r", regularization, wide=True):
        better = said.rpartition("take ")[2]
        assert better in REGULARIZATIONS
        assert not list(regularization_mistakes("r", better, wide=True))


def test_the_shipped_configuration_is_within_all_limits() -> None:
    grid_of(copy.deepcopy(SHIPPED))
