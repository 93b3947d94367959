"""Which step a cohort takes: the compiled one on a CPU, where it covers the job, else that by
autograd.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gradflow.study.compiled_steps import why_not
from gradflow.study.job import Job
from gradflow.training.batches import Batches
from gradflow.training.stack import Stack

if TYPE_CHECKING:
    from gradflow.training.native.choice import Choice
    from gradflow.training.native.steps import NativeSteps

SWITCH = "GRADFLOW_STEP"  # environment variable: auto (the default), native or autograd


def step_kind(job: Job, device: torch.device, capturing: bool) -> tuple[bool, str]:
    """Whether a job's steps are compiled ones, and a few words on them that its logs keep.

    Args:
        job: what is trained.
        device: where.
        capturing: whether steps are captured and replayed, which only those by autograd can be.

    Raises:
        ValueError: GRADFLOW_STEP asks for what there is not, or for what does not cover the job.
    """
    wanted = os.environ.get(SWITCH, "auto")
    if wanted not in ("auto", "native", "autograd"):
        raise ValueError(f"{SWITCH} is {wanted}; it may be auto, native or autograd")
    if wanted == "autograd":
        return False, f"autograd ({SWITCH})"
    if device.type != "cpu":
        why = "not on a CPU"
    elif capturing:
        why = "captured"
    elif not compiler_works():
        why = "numba does not work"
    else:
        why = why_not(job)
    if why and wanted == "native":
        raise ValueError(f"{SWITCH} is native, and this job cannot have it: {why}")
    return not why, f"autograd ({why})" if why else "native"


def native_steps(
    job: Job, stacks: list[Stack], batches: Batches, choice: Choice | None
) -> NativeSteps:
    """The compiled steps of a cohort's stacks."""
    from gradflow.training.native.choice import THIS_PROCESS
    from gradflow.training.native.steps import NativeSteps

    return NativeSteps(job, stacks, batches, THIS_PROCESS if choice is None else choice)


@contextmanager
def kept_choice(path: Path) -> Iterator[Choice | None]:
    """The kernels chosen by earlier jobs, kept in a file with what the block adds; None without a
    compiler.
    """
    if not compiler_works():
        yield None
        return
    from gradflow.training.native import choice

    with choice.kept_choice(path) as kept:
        yield kept


@cache
def compiler_works() -> bool:
    """Whether kernels can be compiled here; says so once where they cannot."""
    try:
        from gradflow.training.native.compiled import try_out

        try_out()
    except Exception as error:  # numba's are many: no such package, an old one, a broken compiler
        line = (str(error).splitlines() or [type(error).__name__])[0]
        print(f"no compiled steps here ({line}); training by autograd, slower", file=sys.stderr)
        return False
    return True
