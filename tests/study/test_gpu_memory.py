"""The planned memory of a GPU, and what trains at once in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmark.counted import empty_stacks
from gradflow.study.job import Configuration, Job
from gradflow.study.memory import gpu_memory_mb, runs_that_fit, step_bytes
from gradflow.study.sizes import shape_of
from gradflow.study.work import stacks_of
from gradflow.training.stack import Stack
from gradflow.training.step import train_step

FIVE = (10, 30, 50, 70, 90)


def cifar_job(optimizer: str = "adam") -> Job:
    configuration = Configuration("cifar100", "mlp", 4, 0, "relu", optimizer, 0.001, "BN")
    return Job("paper", "paper", configuration, 0, 1000, ("dense", "sparse"), FIVE, 3076)


def test_it_holds_what_must_be_held() -> None:
    job = cifar_job()
    # of the sparse stack alone: weights, gradients and two states, float32, of 38.1 million weights
    # each
    sparse = [run for run in job.runs if run.architecture == "sparse"]
    assert gpu_memory_mb(job, sparse) > 5 * 38.1 * 4 * 4
    assert gpu_memory_mb(job) > gpu_memory_mb(job, sparse) > gpu_memory_mb(cifar_job("sgd"), sparse)
    assert gpu_memory_mb(job) == gpu_memory_mb(job, job.runs) < 80_000  # an H100 holds it
    fewer = dataclasses.replace(job, percents=FIVE[:2])
    assert gpu_memory_mb(fewer) < gpu_memory_mb(job)


# --- against what a step makes, counted on tensors without values --------------------------------


class Living(TorchDispatchMode):
    """The most bytes at once in the storages that operations make in its block."""

    def __init__(self, there: Iterable[Tensor]):
        super().__init__()
        self.peak = 0
        self.storages = {t.untyped_storage()._cdata: self.held(t, 0) for t in there}

    @staticmethod
    def held(tensor: Tensor, size: int) -> tuple[StorageWeakRef, int]:
        return StorageWeakRef(tensor.untyped_storage()), size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        fused = func.overloadpacket.__name__.startswith("_fused_")  # torch has none without values
        out = None if fused else func(*args, **(kwargs or {}))
        self.storages = {k: held for k, held in self.storages.items() if not held[0].expired()}
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self.storages.setdefault(storage._cdata, self.held(tensor, storage.nbytes()))
        self.peak = max(self.peak, sum(size for _, size in self.storages.values()))
        return out


def counted_step(job: Job, stack: Stack) -> int:
    shape, size, meta = shape_of(job), job.settings.batch_size, torch.device("meta")
    columns = len(job.percents)
    images = torch.empty(columns, size, *shape.image, device=meta)
    labels = torch.empty(columns, size, dtype=torch.int64, device=meta)
    there = [*stack.network.parameters(), *(stack.masks or []), *stack.optimizer.tensors().values()]
    with Living([*there, images, labels]) as living:
        train_step(
            stack, images[stack.picks], labels[stack.picks], 0.1, precision="float32", probing=True
        )
    return living.peak


def wide_resnet_job(activation: str) -> Job:
    configuration = Configuration(
        "cifar100", "wide_resnet", 28, 10, activation, "sgd", 0.1, "L2_BN"
    )
    return Job("paper", "paper", configuration, 0, 200, ("sparse",), (30,), 0)


def mlp_job(regularization: str, **changes: Any) -> Job:
    job = cifar_job()
    configuration = dataclasses.replace(job.configuration, regularization=regularization, **changes)
    return dataclasses.replace(job, configuration=configuration, percents=(30, 50))


@pytest.mark.parametrize(
    "job",
    [
        mlp_job("NR", optimizer="sgd"),
        mlp_job("BN", depth=1),
        mlp_job("L2_BN", optimizer="rmsprop"),
        mlp_job("L2", optimizer="adam", activation="srelu"),
        wide_resnet_job("relu"),
        pytest.param(wide_resnet_job("srelu"), marks=pytest.mark.slow),
    ],
    ids=lambda job: job.configuration.name,
)
def test_a_step_makes_what_is_planned_and_not_much_less(job: Job) -> None:
    planned = [step_bytes(job, stack) for stack in stacks_of(job)]
    counted = [counted_step(job, stack) for stack in empty_stacks(job, fused=True)]
    for ours, theirs in zip(planned, counted, strict=True):
        assert theirs <= ours < 1.8 * theirs, (ours, theirs)


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
