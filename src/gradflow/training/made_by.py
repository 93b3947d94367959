"""What made a run's numbers: machine, software, step and kernels, for each attempt at its job."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch

from gradflow.study.cpu_speed import cpu_name
from gradflow.study.job import ENGINE_VERSION
from gradflow.training.run_log import LIBRARIES

MadeBy = dict[
    str, str
]  # keys of a log's metadata; `kernels` by run as JSON, since a log has its own


def made_here(device: torch.device, step: str, kernels: dict[str, str]) -> MadeBy:
    """What an attempt in this process is made by.

    Args:
        device: where it trains.
        step: native, or by autograd and why.
        kernels: of each run, by its name.
    """
    libraries = {f"{library}_version": library_version(library) for library in LIBRARIES}
    return {
        "engine_version": str(ENGINE_VERSION),
        "device": machine(device),
        "device_type": device.type,
        "step": step,
        "kernels": json.dumps(kernels, sort_keys=True),
        "threads": str(torch.get_num_threads()),
        **libraries,
    }


def machine(device: torch.device) -> str:
    """A device by its name; of a CPU with the instructions that torch computes by, on which the
    bits depend.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_name()} ({torch.backends.cpu.get_cpu_capability()})"


def joined(attempts: Iterable[MadeBy], run_name: str) -> MadeBy:
    """One value a key, for one run's log; where attempts differ, all of theirs in turn."""
    found: dict[str, list[str]] = {}
    for attempt in attempts:
        own = json.loads(attempt.get("kernels", "{}")).get(run_name, "")
        for key, value in {**attempt, "kernels": own}.items():
            values = found.setdefault(key, [])
            if value not in values:
                values.append(value)
    return {key: ", then ".join(values) for key, values in found.items()}


def are_native(attempts: Sequence[MadeBy]) -> bool:
    """Whether all attempts at a job took compiled steps."""
    return bool(attempts) and all(attempt.get("step") == "native" for attempt in attempts)


@cache
def library_version(name: str) -> str:
    """A library's version; numba may be missing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
