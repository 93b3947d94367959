"""The life of a training job: wait for the cohort's lock, keep what is done, resume, train, publish the logs.

Everything in between lives in the state folder, keyed by what is trained: a killed job goes on from its checkpoint, and
a finished one whose logs were not all published publishes the rest.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from gradflow.checkpoint import (
    CheckpointError,
    Progress,
    read_progress,
    remove_checkpoint,
    restore_checkpoint,
    save_checkpoint,
    write_progress,
)
from gradflow.cohort import Cohort, MaskUpdate
from gradflow.cost import record_job
from gradflow.data import ImageData, load_dataset
from gradflow.files import lock
from gradflow.runlog import RunLogError, read_log, write_log
from gradflow.spec import ENGINE_VERSION, Job, Run
from gradflow.weights import weights_path, write_weights

CHECKPOINT_SECONDS = 300.0
LIBRARIES = ("torch", "numpy", "pyarrow", "safetensors")


class Stopped(Exception):
    """The process was asked to stop; the checkpoint is saved."""


def train_job(
    job: Job,
    results: Path,
    device: torch.device,
    keep_weights: bool = False,
    start: Callable[[Cohort], None] | None = None,
    mask_update: MaskUpdate | None = None,
) -> None:
    """Train what is missing of a job and publish its logs.

    Args:
        job: what to train.
        results: the results folder; `Job` knows where in it everything lies.
        device: where to train.
        keep_weights: write final weights and masks beside the logs of the runs that are trained; see `weights`.
        start: brings a new cohort to its starting point, for a job that continues another's network.
        mask_update: see `cohort.MaskUpdate`.

    Raises:
        Stopped: SIGTERM or SIGINT arrived; the checkpoint holds what was done.
    """
    # after a killed snakemake its trainers live on: whoever comes second waits here and finds the work done
    state = results / job.state_path
    with lock(state.with_suffix(".lock")):
        missing = [run for run in job.runs if not is_finished(job, run, results)]
        if missing:
            progress = read_progress(state)
            if progress is not None and (progress.spec != job.to_json() or not set(missing) <= progress.rows.keys()):
                progress = None  # left by another specification, or without the runs that are missing now
            if progress is None or progress.tensors:
                progress = _train(job, missing, results, progress, device, keep_weights, start, mask_update)
            publish(job, missing, progress, results, device)
            record_job(results, job, progress.rows, progress.seconds, device.type)
        remove_checkpoint(state)


def is_finished(job: Job, run: Run, results: Path) -> bool:
    """Whether the run's log exists, is whole and was written for this very specification."""
    log = results / job.log_path(run)
    try:
        read_log(log, job.only(run).to_json())
    except RunLogError as error:
        if log.exists():
            print(f"{error}; it is trained again now", file=sys.stderr)
        return False
    return True


def _train(
    job: Job,
    missing: Sequence[Run],
    results: Path,
    progress: Progress | None,
    device: torch.device,
    keep_weights: bool,
    start: Callable[[Cohort], None] | None,
    mask_update: MaskUpdate | None,
) -> Progress:
    cohort = Cohort(job, load_job_data(job, results), device, runs=missing, mask_update=mask_update)
    state = results / job.state_path
    seconds = advance(cohort, job.epochs, state, progress, start)
    # before the job is marked as done, since its tensors are gone then: killed in between, it goes on from its last
    # checkpoint and writes the same weights again
    for run in missing:
        if keep_weights:
            write_weights(weights_path(job, run, results), cohort, run)
        else:
            weights_path(job, run, results).unlink(missing_ok=True)  # of the run that this one replaces
    done = Progress(job.to_json(), cohort.epoch, 0, job.epochs, seconds, cohort.rows)
    write_progress(state, done)
    return done


def load_job_data(job: Job, results: Path) -> ImageData:
    """The data set of a job."""
    return load_dataset(results / "data" / f"{job.configuration.dataset}.safetensors")


def advance(
    cohort: Cohort,
    until: int,
    state: Path,
    progress: Progress | None,
    start: Callable[[Cohort], None] | None = None,
) -> float:
    """Train a new cohort to the end of epoch `until` - 1, from its checkpoint if it has one, and keep checkpoints.

    Returns:
        Seconds spent, earlier attempts included.

    Raises:
        Stopped: SIGTERM or SIGINT arrived; the checkpoint holds what was done.
    """
    began, earlier, resumed = time.monotonic(), 0.0, False
    spec = cohort.job.to_json()
    if progress is not None:
        try:
            restore_checkpoint(state, progress, cohort)
            earlier, resumed = progress.seconds, True
            print(f"resumed at epoch {cohort.epoch} of {until}", file=sys.stderr)
        except CheckpointError as error:
            print(f"{error}; the job starts from the beginning", file=sys.stderr)
    if start is not None and not resumed:
        start(cohort)

    def seconds() -> float:
        return earlier + time.monotonic() - began

    with StopSignals() as stop:
        saved = time.monotonic()

        def at_step() -> bool:
            nonlocal saved
            if not stop.requested and time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_checkpoint(state, spec, cohort, seconds())
                saved = time.monotonic()
            return stop.requested

        if not cohort.train(until, at_step):
            save_checkpoint(state, spec, cohort, seconds())
            raise Stopped(f"stopped in epoch {cohort.epoch} of {until}; the same command goes on from there")
    return seconds()


def publish(job: Job, runs: Sequence[Run], progress: Progress, results: Path, device: torch.device) -> None:
    """Write the logs of `runs`."""
    for run in runs:
        write_log(
            results / job.log_path(run),
            progress.rows[run],
            provenance(device) | {"spec": job.only(run).to_json(), "seconds": f"{progress.seconds:.3f}"},
        )


def provenance(device: torch.device) -> dict[str, str]:
    """What a log's metadata says of the machine and the software; seconds are the whole job's."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    libraries = {f"{library}_version": version(library) for library in LIBRARIES}
    return {"engine_version": str(ENGINE_VERSION), "device": name, "device_type": device.type, **libraries}


def choose_device() -> torch.device:
    """The device named by the environment variable GRADFLOW_DEVICE: auto (the default), cpu, cuda or cuda:N.

    Raises:
        ValueError: the name is none of these, or the device is absent.
    """
    name = os.environ.get("GRADFLOW_DEVICE", "auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise ValueError(f"GRADFLOW_DEVICE is {name}; it may be auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"GRADFLOW_DEVICE is {name}, but torch finds no CUDA device here; use auto or cpu")
    return torch.device(name)


def prepare(device: torch.device, job: Job, threads: int) -> None:
    """Make this process compute repeatably: the same job on the same device gives the same bits."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # a collapsing network is full of denormals, which cost a CPU a hundred times more
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    tf32 = job.settings.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


class StopSignals:
    """Turns SIGTERM and SIGINT into a request which the training loop sees at its next step."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "CPU"
