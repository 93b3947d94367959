"""The planned memory of a GPU, and what trains at once in it."""

from __future__ import annotations

import dataclasses
from functools import partial

from gradflow.study.job import Configuration, Job
from gradflow.study.memory import gpu_memory_mb, runs_that_fit

FIVE = (10, 30, 50, 70, 90)


def cifar_job(optimizer: str = "adam") -> Job:
    configuration = Configuration("cifar100", "mlp", 4, 0, "relu", optimizer, 0.001, "BN")
    return Job("paper", "paper", configuration, 0, 1000, ("dense", "sparse"), FIVE, 3076)


def test_it_holds_what_must_be_held() -> None:
    job = cifar_job()
    # of the sparse stack alone: weights, gradients and two states, float32, of 38.1 million weights each
    sparse = [run for run in job.runs if run.architecture == "sparse"]
    assert gpu_memory_mb(job, sparse) > 5 * 38.1 * 4 * 4
    assert gpu_memory_mb(job) > gpu_memory_mb(job, sparse) > gpu_memory_mb(cifar_job("sgd"), sparse)
    assert gpu_memory_mb(job) == gpu_memory_mb(job, job.runs) < 80_000  # an H100 holds it
    fewer = dataclasses.replace(job, percents=FIVE[:2])
    assert gpu_memory_mb(fewer) < gpu_memory_mb(job)


def test_stacks_stay_whole_and_every_run_has_its_turn() -> None:
    job = cifar_job()
    fit = partial(runs_that_fit, job)
    assert fit(job.runs, 80_000) == job.runs
    assert fit(job.runs, gpu_memory_mb(job)) == job.runs
    assert len(fit(job.runs, gpu_memory_mb(job) - 1)) == 9
    assert {run.architecture for run in fit(job.runs, 100)} == {"sparse"}  # the first in any case
    left, turns = list(job.runs), 0
    while left:
        chosen = fit(left, 4000)
        assert chosen and set(chosen) <= set(left)
        left = [run for run in left if run not in chosen]
        turns += 1
    assert 2 < turns <= 6
