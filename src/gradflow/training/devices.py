"""Where a job trains: the CPU, or a slot on one of the machine's GPUs.

A GPU has one slot, or as many as GRADFLOW_GPU_SLOTS says (profiles/gpu does). A job takes a free
slot on the GPU with the fewest jobs and waits while there is none. Slots are locks that end with
their process, however it dies.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from gradflow.training.device_name import DEVICE, device_name
from gradflow.training.train_job import Stopped, StopSignals

SLOTS = "GRADFLOW_GPU_SLOTS"
# The environment variable in which a scheduler says to which allocation a process belongs.
ALLOCATIONS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")
WAIT_SECONDS = 0.5  # between two looks for a free slot


def choose_device() -> torch.device:
    """The device named by the environment variable GRADFLOW_DEVICE: auto (the default), cpu, cuda or cuda:N.

    Returns:
        cpu; cuda, any of the GPUs that torch sees; or cuda:N, that one.

    Raises:
        ValueError: the name is none of these, or the device is absent.
    """
    kind, index = device_name()
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    name = f"{kind}:{index}" if index else kind
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"{DEVICE} is {name}, but torch finds no CUDA device here; use auto or cpu"
        )
    if index and int(index) >= torch.cuda.device_count():
        raise ValueError(
            f"{DEVICE} is {name}, but torch finds {torch.cuda.device_count()} CUDA devices here"
        )
    return torch.device(name)


def slots_per_gpu() -> int:
    """How many jobs may share a GPU: GRADFLOW_GPU_SLOTS, or 1.

    Raises:
        ValueError: it is no whole number above 0.
    """
    slots = os.environ.get(SLOTS, "1")
    if not (slots.isascii() and slots.isdigit() and int(slots)):
        raise ValueError(
            f"{SLOTS} is {slots}; it must be a whole number of jobs that share a GPU, 1 or more"
        )
    return int(slots)


@contextmanager
def training_device() -> Iterator[torch.device]:
    """The device to train on, and on a GPU a slot for as long as the block lasts.

    Yields:
        cpu, or the GPU with its index; the GPU is torch's current device then.

    Raises:
        ValueError: see `choose_device` and `slots_per_gpu`.
        OSError: the folder of the slots cannot be used.
        Stopped: SIGTERM or SIGINT arrived while all slots were taken.
    """
    device = choose_device()
    if device.type == "cpu":
        yield device
        return
    gpus = range(torch.cuda.device_count()) if device.index is None else [device.index]
    names = [gpu_name(gpu) for gpu in gpus]
    with ExitStack() as held:
        chosen = _wait_for_slot(slots_folder(), names, slots_per_gpu(), held)
        device = torch.device("cuda", gpus[chosen])
        torch.cuda.set_device(device)
        yield device


def gpu_name(gpu: int) -> str:
    """What tells a GPU from the machine's others: its index differs where CUDA_VISIBLE_DEVICES hides some."""
    return str(torch.cuda.get_device_properties(gpu).uuid)


def slots_folder() -> Path:
    """Where the slots lie: a folder for the user, and for the allocation of a cluster's scheduler.

    The scheduler has divided the GPUs among allocations already, and may have put two on one GPU;
    each has its slots.

    Raises:
        OSError: the folder is another user's, or cannot be made.
    """
    folder = Path(tempfile.gettempdir()) / f"gradflow-slots-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise OSError(f"{folder} belongs to someone else; set TMPDIR to a folder of your own")
    allocation = next(
        (f"{name}-{os.environ[name]}" for name in ALLOCATIONS if os.environ.get(name)), "machine"
    )
    return folder / allocation.replace("/", "_")


def _wait_for_slot(folder: Path, gpus: Sequence[str], slots: int, held: ExitStack) -> int:
    """Take a slot, waiting for one; `held` gives it back. Returns the position of its GPU in `gpus`."""
    folder.mkdir(mode=0o700, exist_ok=True)
    told = False
    with StopSignals() as stop:
        while True:
            # one at a time looks around, else each of two would take the slots that the other tries
            # for taken
            with FileLock(folder / "choosing"):
                chosen = _take_slot(folder, gpus, slots, held)
            if stop.requested:
                raise Stopped(
                    "stopped while waiting for a GPU; the same command goes on from there"
                )
            if chosen is not None:
                return chosen
            if not told:
                there = f"{len(gpus)} GPU{'s' if len(gpus) > 1 else ''}"
                print(
                    f"all {slots * len(gpus)} slots on {there} are taken; waiting",
                    file=sys.stderr,
                    flush=True,
                )
                told = True
            time.sleep(WAIT_SECONDS)


def _take_slot(folder: Path, gpus: Sequence[str], slots: int, held: ExitStack) -> int | None:
    """Take a slot on the GPU with the most free ones, the first of equals; None when all are taken."""
    with ExitStack() as looking:
        free: list[list[Path]] = []
        for gpu in gpus:
            free.append([])
            for slot in range(slots):
                path = folder / f"{gpu}.{slot}"
                try:
                    looking.enter_context(FileLock(path, blocking=False))
                except Timeout:
                    continue
                free[-1].append(path)
    chosen = max(range(len(gpus)), key=lambda gpu: len(free[gpu]))
    if not free[chosen]:
        return None
    held.enter_context(FileLock(free[chosen][0]))
    return chosen
