"""The life of a training job: wait for the cohort's lock, keep what is done, resume, train, publish
the logs.

Everything in between lives in the state folder, keyed by what is trained: a killed job goes on from
its checkpoint, and a finished one whose logs were not all published publishes the rest.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from gradflow.data.store import DamagedDataError, DataError, ImageData, load_dataset
from gradflow.files import lock, lock_path, remove_asides
from gradflow.study.finished_jobs import record_job
from gradflow.study.job import Job, Run
from gradflow.study.memory import GPU_CONTEXT_MB, gpu_memory_mb, runs_that_fit
from gradflow.training.checkpoint import (
    CheckpointError,
    Progress,
    progress_of,
    read_progress,
    remove_checkpoint,
    restore_checkpoint,
    save_checkpoint,
    write_progress,
)
from gradflow.training.cohort import Cohort
from gradflow.training.displaced import displace_log, take_back_log
from gradflow.training.heartbeat import ProgressRecord
from gradflow.training.log_rows import log_notes
from gradflow.training.made_by import are_native, joined, made_here
from gradflow.training.run_log import WrongLogError, read_log, write_log
from gradflow.training.step_choice import kept_choice
from gradflow.training.weights import weights_path, write_weights

KERNELS = "kernels.json"  # in the results folder: what was chosen by measuring, see `native.choice`
CHECKPOINT_SECONDS = 300.0  # between two checkpoints, at least
# of the time may go into writing them: large cohorts on slow disks save less often
CHECKPOINT_SHARE = 0.015


class Stopped(Exception):
    """The process was asked to stop; the checkpoint is saved."""


def train_job(
    job: Job,
    results: Path,
    device: torch.device,
    keep_weights: bool = False,
    start: Callable[[Cohort], None] | None = None,
) -> None:
    """Train what is missing of a job and publish its logs.

    Args:
        job: what to train.
        results: the results folder; `Job` knows where in it everything lies.
        device: where to train.
        keep_weights: write final weights and masks beside the logs of the runs that are trained;
            see `weights`.
        start: brings a new cohort to its starting point, for a job that continues another's
            network.

    Raises:
        Stopped: SIGTERM, SIGINT or SIGHUP arrived; the checkpoint holds what was done.
    """
    # after a killed snakemake its trainers live on: whoever comes second waits here and finds the
    # work done
    state = results / job.state_path
    with lock(lock_path(state)):
        missing = [
            run
            for run in job.runs
            if not is_finished(job, run, results) and not take_back_log(job, run, results)
        ]
        while missing:
            progress = read_checkpoint(state)
            if progress is not None and (
                progress.spec != job.to_json() or not resumable(missing, progress, device)
            ):
                progress = (
                    None  # left by another specification, or without the runs that are missing now
                )
            # a checkpoint says itself which runs train together
            chosen = progress.rows if progress else at_once(job, missing, device)
            part = [run for run in missing if run in chosen]
            if progress is None or progress.tensors:
                progress = _train(job, part, results, progress, device, keep_weights, start)
            publish(job, part, progress, results)
            native = are_native(progress.made_by)
            record_job(results, job, progress.rows, progress.seconds, device.type, native)
            missing = [run for run in missing if run not in part]
            if missing:
                remove_checkpoint(state)
        remove_checkpoint(state)


def resumable(missing: Sequence[Run], progress: Progress, device: torch.device) -> bool:
    """Whether a checkpoint has the missing runs: all, or on a GPU, which may train them in parts,
    some.
    """
    found = set(missing) & progress.rows.keys()
    return bool(found) and (device.type == "cuda" or len(found) == len(missing))


def at_once(job: Job, runs: Sequence[Run], device: torch.device) -> tuple[Run, ...]:
    """The runs that train together: on a GPU those for which its free memory is planned to
    suffice.
    """
    if device.type != "cuda":
        return tuple(runs)
    free = torch.cuda.mem_get_info(device)[0] / 1e6 + GPU_CONTEXT_MB  # which is taken by now
    chosen = runs_that_fit(job, runs, free)
    if len(chosen) < len(runs):
        print(
            f"{len(runs)} networks are planned with {gpu_memory_mb(job, runs):,} MB on the GPU "
            f"and {free:,.0f} MB are free: {len(chosen)} train at once, the others after them",
            file=sys.stderr,
        )
    return chosen


def read_checkpoint(state: Path) -> Progress | None:
    """How far a job has come; says so where that cannot be known."""
    progress = read_progress(state)
    if progress is None and state.exists():
        print(
            f"{state}: the checkpoint is damaged; the job starts from the beginning",
            file=sys.stderr,
        )
    return progress


def is_finished(job: Job, run: Run, results: Path) -> bool:
    """Whether the run's log exists, is whole and was written for this very specification.

    Raises:
        runlog.RunLogError: the log is there and cannot be read.
    """
    log = results / job.log_path(run)
    if not log.exists():
        return False
    try:
        read_log(log, job.only(run).to_json())
    except WrongLogError as error:
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
) -> Progress:
    data = load_job_data(job, results)
    # a checkpoint goes on with all of its networks; those that are finished already cost little
    runs = missing if progress is None else list(progress.rows)
    with kept_choice(results / KERNELS) as choice:
        cohort = Cohort(job, data, device, runs=runs, choice=choice)
    state = results / job.state_path
    seconds = advance(cohort, job.epochs, state, progress, start)
    # before the job is marked as done, since its tensors are gone then: killed in between, it goes
    # on from its last checkpoint and writes the same weights again
    for run in missing:
        displace_log(job, run, results)  # with its weights, whose place is needed now
        if keep_weights:
            write_weights(weights_path(job, run, results), cohort, run)
        else:
            weights_path(job, run, results).unlink(missing_ok=True)  # of a log that is gone
    done = progress_of(cohort, seconds)
    write_progress(state, done)
    return done


def load_job_data(job: Job, results: Path) -> ImageData:
    """The data set of a job, with the images and in the size that it uses.

    Raises:
        data.DataError: it is missing, damaged, or not the one that the job names; its files are
        removed then, so that the same command fetches it anew.
    """
    path = results / "data" / f"{job.configuration.dataset}.safetensors"
    try:
        data = load_dataset(path)
        if job.data and data.sha256 != job.data:
            raise DamagedDataError(
                f"{path} holds arrays of sha256 {data.sha256} where {job.data} is to be trained "
                "on; run the same command again, which fetches the data set anew"
            )
    except DamagedDataError as error:
        for file in (path, path.with_suffix(".json")):
            file.unlink(missing_ok=True)
        raise DataError(f"{error} (the damaged files are removed)") from None
    return data.as_used(job.settings)


def advance(
    cohort: Cohort,
    until: int,
    state: Path,
    progress: Progress | None,
    start: Callable[[Cohort], None] | None = None,
) -> float:
    """Train a new cohort to the end of epoch `until` - 1, from its checkpoint if it has one, and
    keep checkpoints.

    Returns:
        Seconds spent, earlier attempts included.

    Raises:
        Stopped: SIGTERM, SIGINT or SIGHUP arrived; the checkpoint holds what was done.
    """
    began, earlier, resumed = time.monotonic(), 0.0, False
    if progress is not None:
        try:
            restore_checkpoint(state, progress, cohort)
            earlier, resumed = progress.seconds, True
            print(f"resumed at epoch {cohort.epoch} of {until}", file=sys.stderr)
        except CheckpointError as error:
            print(f"{error}; the job starts from the beginning", file=sys.stderr)
    if start is not None and not resumed:
        start(cohort)
    attempt = made_here(cohort.device, cohort.step_kind, cohort.kernels)
    if attempt not in cohort.made_by:
        cohort.made_by.append(attempt)

    def seconds() -> float:
        return earlier + time.monotonic() - began

    with StopSignals() as stop, ProgressRecord(state) as record:
        saved, interval = time.monotonic(), CHECKPOINT_SECONDS

        def at_step() -> bool:
            nonlocal saved, interval
            if not stop.requested and (asked := time.monotonic()) - saved > interval:
                save_checkpoint(state, cohort, seconds())
                saved = time.monotonic()
                interval = max(CHECKPOINT_SECONDS, (saved - asked) / CHECKPOINT_SHARE)
            if record.due():
                record.write(
                    cohort.epoch + cohort.step_in_epoch / cohort.steps_per_epoch, seconds()
                )
            return stop.requested

        if not cohort.train(until, at_step):
            save_checkpoint(state, cohort, seconds())
            raise Stopped(
                f"stopped in epoch {cohort.epoch} of {until}; the same command goes on from there"
            )
    return seconds()


def publish(job: Job, runs: Sequence[Run], progress: Progress, results: Path) -> None:
    """Write the logs of `runs`."""
    for run in runs:
        log = results / job.log_path(run)
        remove_asides(log.parent, log.name)
        displace_log(job, run, results)  # Snakemake may have restored it since this job was trained
        spec = job.only(run).to_json()
        metadata = joined(progress.made_by, job.run_name(run)) | {
            "spec": spec,
            "seconds": f"{progress.seconds:.3f}",
        }
        rows = progress.rows[run]
        write_log(log, rows, metadata | log_notes(job, run, rows))


def prepare(device: torch.device, job: Job, threads: int) -> None:
    """Make this process compute repeatably: the same job on the same device gives the same bits."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    torch.set_flush_denormal(
        True
    )  # a collapsing network is full of denormals, which cost a CPU a hundred times more
    if device.type == "cuda":
        choose_repeatable_kernels()
    tf32 = job.settings.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


def choose_repeatable_kernels() -> None:
    """Have a GPU's libraries take kernels that give the same bits each time; before their first
    call.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def keep_freed_memory() -> None:
    """Ask the C library not to hand freed memory back: each step would fault in its gradients'
    pages anew.
    """
    with suppress(AttributeError, OSError):  # not glibc
        allocator = ctypes.CDLL(None)
        allocator.mallopt(-4, 0)  # M_MMAP_MAX: large blocks come from the heap too
        allocator.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def is_of_gpu(error: RuntimeError) -> bool:
    """Whether a GPU or a library of its failed; those of cuBLAS and cuDNN have no class of their
    own.
    """
    classes = (torch.OutOfMemoryError, torch.AcceleratorError)
    return isinstance(error, classes) or str(error).startswith(("CUDA ", "cuDNN "))


def gpu_error(error: RuntimeError, job: Job) -> str:
    """One sentence for what a GPU could not do."""
    reason = str(error).strip().split("\n")[0].rstrip(".")
    if isinstance(error, torch.OutOfMemoryError):
        return (
            f"the GPU's memory does not suffice ({reason}); the job is planned with "
            f"{gpu_memory_mb(job):,} MB: let fewer jobs share the GPU (GRADFLOW_GPU_SLOTS), or "
            "take one with more memory"
        )
    return (
        f"the GPU failed ({reason}); run the same command again, with GRADFLOW_GRAPHS=off and "
        "GRADFLOW_FUSED=off if it fails again"
    )


class StopSignals:
    """Turns SIGTERM, SIGINT and SIGHUP (a closed terminal) into a request which training sees at
    its next step.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as SIGHUP is under nohup
                self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
