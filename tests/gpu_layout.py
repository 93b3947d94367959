"""A cohort as it is on a GPU, on whatever device the tests have."""

from __future__ import annotations

import pytest
import torch
from cohorts import DEVICE, make_data

from gradflow.study.job import Job
from gradflow.training.cohort import Cohort
from gradflow.training.fused.update import SWITCH
from gradflow.training.stack import lie_as_gpus_like, place_mask


def as_on_a_gpu(job: Job, monkeypatch: pytest.MonkeyPatch) -> Cohort:
    """At its start: fused, everything in memory as a GPU likes it, optimizer states like their
    weights.
    """
    monkeypatch.setenv(SWITCH, "on")
    cohort = Cohort(job, make_data(), DEVICE)
    for stack in cohort.stacks:
        assert stack.fused
        lie_as_gpus_like(stack.network, job.settings.precision)
        stack.masks = stack.masks and [
            place_mask(mask, layer).to(torch.uint8)
            for mask, layer in zip(stack.masks, stack.layers, strict=True)
        ]
        for layer in stack.layers:
            for state in stack.optimizer.state_of(layer):
                state.data = torch.zeros_like(layer)
    return cohort
