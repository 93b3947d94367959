"""Where a job trains: the CPU, or a slot on one of the machine's GPUs.

A GPU has one slot, or as many as GRADFLOW_GPU_SLOTS says (profiles/gpu does). A job takes a free
slot on the GPU with the fewest jobs, if its planned memory fits beside that of the jobs there, and
waits while there is none. Slots are locks that end with their process, however it dies.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
    """The device named by the environment variable GRADFLOW_DEVICE: auto (the default), cpu, cuda
    or cuda:N.

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


@dataclass(frozen=True)
class Gpu:
    """What tells a GPU from the machine's others, and its memory."""

    name: str
    megabytes: float


@contextmanager
def training_device(megabytes: float) -> Iterator[torch.device]:
    """The device to train on, and on a GPU a slot for as long as the block lasts.

    Args:
        megabytes: of a GPU's memory that the job is planned with; one that needs more than there is
            has a GPU for itself, and trains in parts.

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
    found = [Gpu(gpu_name(gpu), gpu_megabytes(gpu)) for gpu in gpus]
    with ExitStack() as held:
        chosen = _wait_for_slot(slots_folder(), found, slots_per_gpu(), megabytes, held)
        device = torch.device("cuda", gpus[chosen])
        torch.cuda.set_device(device)
        yield device


def gpu_name(gpu: int) -> str:
    """What tells a GPU from the machine's others: its index differs where CUDA_VISIBLE_DEVICES
    hides some.
    """
    return str(torch.cuda.get_device_properties(gpu).uuid)


def gpu_megabytes(gpu: int) -> float:
    """All of a GPU's memory."""
    return float(torch.cuda.get_device_properties(gpu).total_memory) / 1e6


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


def _wait_for_slot(
    folder: Path, gpus: Sequence[Gpu], slots: int, megabytes: float, held: ExitStack
) -> int:
    """Take a slot, waiting for one; `held` gives it back. Returns the position of its GPU in
    `gpus`.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    told = False
    with StopSignals() as stop:
        while True:
            # one at a time looks around, else each of two would take the slots that the other tries
            # for taken
            with FileLock(folder / "choosing"):
                chosen, any_free = _take_slot(folder, gpus, slots, megabytes, held)
            if stop.requested:
                raise Stopped(
                    "stopped while waiting for a GPU; the same command goes on from there"
                )
            if chosen is not None:
                return chosen
            if not told:
                there = f"{len(gpus)} GPU{'s' if len(gpus) > 1 else ''}"
                taken = f"all {slots * len(gpus)} slots on {there} are taken"
                full = (
                    f"the {megabytes:,.0f} MB that the job is planned with do not fit beside the "
                    f"jobs on {there}"
                )
                print(f"{full if any_free else taken}; waiting", file=sys.stderr, flush=True)
                told = True
            time.sleep(WAIT_SECONDS)


def _take_slot(
    folder: Path, gpus: Sequence[Gpu], slots: int, megabytes: float, held: ExitStack
) -> tuple[int | None, bool]:
    """Take a slot on the GPU with the most free ones, the first of equals.

    Returns:
        The position of that GPU, None when there is none whose memory suffices; and whether any
        slot was free.
    """
    with ExitStack() as looking:
        free: list[list[Path]] = []
        planned: list[float] = []  # by the jobs in the taken slots
        for gpu in gpus:
            free.append([])
            planned.append(0.0)
            for slot in range(slots):
                path = folder / f"{gpu.name}.{slot}"
                try:
                    looking.enter_context(FileLock(path, blocking=False))
                except Timeout:
                    planned[-1] += _plan_of(path)
                    continue
                free[-1].append(path)
    room = [
        place
        for place, gpu in enumerate(gpus)
        if free[place] and (not planned[place] or planned[place] + megabytes <= gpu.megabytes)
    ]
    if not room:
        return None, any(free)
    chosen = max(room, key=lambda place: len(free[place]))
    path = free[chosen][0]
    held.enter_context(FileLock(path))
    # a file of its own, since whoever tries a lock empties its file
    path.with_name(f"{path.name}.megabytes").write_text(str(megabytes))
    return chosen, True


def _plan_of(slot: Path) -> float:
    """Megabytes that the job in a slot is planned with."""
    try:
        return float(slot.with_name(f"{slot.name}.megabytes").read_text())
    except (OSError, ValueError):  # taken by an earlier version, or a crash cut the file short
        return 0.0
