"""A small job on made-up data, and the loops that train it."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from cohorts import DEVICE, make_job
from torch import nn

from benchmark.plain_loops import (
    DeviceLoop,
    ImageLoop,
    PlainLoop,
    image_loaders,
    plain_network,
)
from gradflow.data.store import ImageData
from gradflow.study.job import Configuration, Job, Run, Settings

SPARSE = Run("sparse", 50)


def small_job(
    optimizer: str = "sgd", regularization: str = "NR", run: Run = SPARSE, **changes: Any
) -> Job:
    job = make_job(
        optimizer,
        regularization,
        percents=(run.percent,),
        architectures=(run.architecture,),
        **changes,
    )
    settings = dataclasses.replace(job.settings, precision="float32", batch_size=16)
    return dataclasses.replace(job, settings=settings)


def loops(job: Job, data: ImageData, shuffle: bool = False) -> tuple[nn.Module, list[PlainLoop]]:
    """A network and both plain loops on copies of it."""
    torch.manual_seed(0)
    network = plain_network(job, job.runs[0], data)
    loaders = image_loaders(job, data, DEVICE, shuffle=shuffle)
    return network, [
        ImageLoop(job, copy.deepcopy(network), loaders, DEVICE),
        DeviceLoop(job, copy.deepcopy(network), data, DEVICE, shuffle=shuffle),
    ]


# --- the floor ------------------------------------------------------------------------------------


def job_of(
    dataset: str, width: int, optimizer: str, architectures: tuple[str, ...] = ("sparse",)
) -> Job:
    configuration = Configuration(dataset, "mlp", 4, 0, "relu", optimizer, 0.001, "NR")
    return Job(
        "paper",
        "paper",
        configuration,
        0,
        1000,
        architectures,
        (50,),
        width,
        settings=Settings(precision="tf32"),
    )
