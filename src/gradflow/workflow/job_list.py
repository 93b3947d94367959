"""Jobs of a list without Snakemake: on a machine that has torch alone and is held for minutes.

Every job runs in a fork of one process that has imported torch, so that small jobs do not pay for
the import. Logs, checkpoints and times go where the workflow has them: a results folder filled
here, or its `{scale}/runs` copied into another, is what Snakemake would have made.
"""

from __future__ import annotations

import io
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from gradflow.files import replacing
from gradflow.study.cost import planned_device, training_seconds
from gradflow.study.job import Job
from gradflow.study.work import DeviceType
from gradflow.workflow.attempts import JOB, STOPPED, recorded
from gradflow.workflow.commands import load_scripts_and_kernels
from gradflow.workflow.warm import Run

COMPLETE, FAILED, LEFT = 0, 1, 3  # exit codes; STOPPED when a signal ended the run
_SIGNALS = tuple(
    number
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    if signal.getsignal(number) is not signal.SIG_IGN  # as SIGHUP is under nohup
)
_FORK = multiprocessing.get_context("fork")


def write_job_list(path: Path, jobs: Sequence[Job]) -> None:
    """Write jobs as canonical JSON, one a line."""
    with replacing(path) as aside:
        aside.write_text("".join(f"{job.to_json()}\n" for job in jobs))


def read_job_list(path: Path) -> list[Job]:
    """Read a file of `write_job_list`.

    Raises:
        ValueError: a line is no job, or of another engine version; the message names it.
        OSError: the file cannot be read.
    """
    jobs = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            jobs.append(Job.from_json(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    return jobs


def commands_of(job: Job, results: Path) -> Iterator[tuple[str, list[str]]]:
    """The training scripts that make a job, with their arguments: those of the rules in
    rules/train.smk.
    """

    def command(script: str, what: Job) -> tuple[str, list[str]]:
        return script, ["--job", what.to_json(), "--results", str(results)]

    if job.configuration.model == "mlp":
        yield command("train_mlp", job)
    elif job.architectures == ("magnitude",):
        yield command("pretrain_wide_resnet", job.pretraining())
        yield command("prune_and_finetune", job)
    else:
        yield command("train_wide_resnet", job)


@dataclass(frozen=True)
class Started:
    """A job that runs."""

    job: Job
    at: float  # time.monotonic()
    resumed: bool  # from a checkpoint


def log_of(job: Job, results: Path) -> Path:
    """Where the job's messages go: the log file of its rule."""
    return results / job.scale / "logs" / f"{job.key}.log"


class JobRunner:
    """Runs jobs side by side until all are done, the time is over or a signal arrives, and tells
    what happens.

    Args:
        jobs: in the order in which they are started.
        results: the results folder; the data sets lie in its `data`.
        minutes: after these, counted from `began`, running jobs are asked for a checkpoint; None:
            no limit.
        processes: how many jobs run at once; None: one a CPU core that this process may use, on a
            GPU one.
        began: `time.monotonic()` of the beginning.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        results: Path,
        minutes: float | None,
        processes: int | None,
        began: float,
    ):
        # asking torch whether there is a GPU would keep the forks from using it
        self.device = planned_device(elsewhere=False)
        self.processes = processes or (1 if self.device == "cuda" else len(os.sched_getaffinity(0)))
        self.jobs = jobs
        self.results = results
        self.deadline = math.inf if minutes is None else began + 60 * minutes
        self.signalled = False
        self.waiting: list[Job] = []
        self.running: dict[BaseProcess, Started] = {}
        self.finished = self.interrupted = self.failed = 0
        self.measured = self.predicted = (
            0.0  # seconds of the jobs that this run trained from beginning to end
        )

    def run(self) -> int:
        """Run the jobs.

        Returns:
            COMPLETE, FAILED when a job failed, STOPPED after a signal, LEFT when the time was over
            first.
        """
        for dataset in sorted({job.configuration.dataset for job in self.jobs}):
            file = self.results / "data" / f"{dataset}.safetensors"
            if not (file.exists() and file.with_suffix(".json").exists()):
                say(
                    f"{file} and {dataset}.json beside it are missing; make them where the "
                    f"workflow is set up, with `snakemake results/data/{dataset}.safetensors`, "
                    "and copy both"
                )
                return FAILED
        run_script = load_scripts_and_kernels()
        self.waiting = self._unfinished()
        self.finished = len(self.jobs) - len(self.waiting)
        say(
            f"{len(self.jobs)} jobs, {self.finished} of them finished before; {self.processes} at "
            "a time"
        )
        # the reading end tells a fork that this process is gone, however it went: the fork then
        # saves a checkpoint
        life = os.pipe()
        with self._signals() as woken:
            while (self.waiting and not self._over()) or self.running:
                while self.waiting and len(self.running) < self.processes and not self._over():
                    self._start(self.waiting.pop(0), run_script, life)
                if self._over():
                    for process in self.running:
                        process.terminate()
                    for process in self.running:
                        process.join()
                else:
                    rest = (
                        None
                        if math.isinf(self.deadline)
                        else max(0.0, self.deadline - time.monotonic())
                    )
                    wait([*(process.sentinel for process in self.running), woken], rest)
                for process in [process for process in self.running if not process.is_alive()]:
                    self._ended(process, self.running.pop(process))
        for end in life:
            os.close(end)
        return self._conclude()

    def _unfinished(self) -> list[Job]:
        """The jobs of which a log is missing; looked up in forks, since reading Parquet starts
        threads.
        """
        with ProcessPoolExecutor(self.processes, mp_context=_FORK) as pool:
            finished = list(
                pool.map(partial(_is_finished, results=self.results), self.jobs, chunksize=16)
            )
        return [job for job, done in zip(self.jobs, finished, strict=True) if not done]

    def _over(self) -> bool:
        return self.signalled or time.monotonic() >= self.deadline

    @contextmanager
    def _signals(self) -> Iterator[int]:
        """Note the signals that ask to stop; the file descriptor that it yields is readable after
        one.
        """
        woken, wake = os.pipe()

        def note(_number: int, _frame: FrameType | None) -> None:
            self.signalled = True
            os.write(wake, b"x")

        before = {number: signal.signal(number, note) for number in _SIGNALS}
        try:
            yield woken
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(woken)
            os.close(wake)

    def _start(self, job: Job, run_script: Run, life: tuple[int, int]) -> None:
        started = Started(job, time.monotonic(), resumed=(self.results / job.state_path).exists())
        process = _FORK.Process(target=_train, args=(job, self.results, run_script, life))
        # a signal that met the fork with this process's handlers would be lost
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self.running[process] = started

    def _ended(self, process: BaseProcess, started: Started) -> None:
        job, seconds = started.job, time.monotonic() - started.at
        if process.exitcode == COMPLETE:
            self.finished += 1
            if not started.resumed:
                self.measured += seconds
                self.predicted += self._predict(job)
            say(f"{self.finished}/{len(self.jobs)}  {seconds:.0f} s  {self._left()}{job.key}")
        elif self._over() and process.exitcode in (STOPPED, *(-number for number in _SIGNALS)):
            self.interrupted += 1
        else:
            self.failed += 1
            log = log_of(job, self.results)
            lines = [
                line.strip()
                for line in log.read_text(errors="replace").splitlines()
                if line.strip()
            ]
            say(
                f"FAILED  {job.key}: {lines[-1] if lines else f'exit code {process.exitcode}'}\n  "
                f"  log: {log}"
            )

    def _left(self) -> str:
        """An estimate of the time until all jobs are done, from the speed so far."""
        if not self.predicted:
            return ""
        speed, now = self.measured / self.predicted, time.monotonic()
        seconds = sum(self._predict(job) for job in self.waiting) * speed
        for other in self.running.values():
            seconds += max(0.0, self._predict(other.job) * speed - (now - other.at))
        hours, minutes = divmod(math.ceil(seconds / self.processes / 60), 60)
        return f"{hours}:{minutes:02} h left  "

    def _predict(self, job: Job) -> float:
        return _predicted_seconds(job, self.device)

    def _conclude(self) -> int:
        left = len(self.waiting) + self.interrupted
        parts = [f"{self.finished} of {len(self.jobs)} jobs are done"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if left:
            parts.append(
                f"{left} left, of these {self.interrupted} stopped in training; the same command "
                "goes on"
            )
        say("; ".join(parts))
        if self.failed:
            return FAILED
        return (STOPPED if self.signalled else LEFT) if left else COMPLETE


def say(text: str) -> None:
    """Print a line at once, for whoever follows a file or a pipe."""
    print(text, flush=True)


@cache
def _predicted_seconds(job: Job, device: DeviceType) -> float:
    return training_seconds(job, device)


def _is_finished(job: Job, results: Path) -> bool:
    from gradflow.training.train_job import is_finished

    with redirect_stderr(
        io.StringIO()
    ):  # the fork that trains it says in its log what is wrong with a log
        return all(is_finished(job, run, results) for run in job.runs)


def _train(job: Job, results: Path, run_script: Run, life: tuple[int, int]) -> None:
    """In the fork: run the job's scripts, their messages in its log file; exits with the first code
    that is not 0.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    reading, writing = life
    os.close(writing)
    threading.Thread(target=_stop_without_parent, args=(reading,), daemon=True).start()
    log = log_of(job, results)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    for script, arguments in commands_of(job, results):
        os.environ[JOB] = f"{script}:{log}"
        if code := recorded(partial(run_script, script, arguments)):
            sys.exit(code)


def _stop_without_parent(reading: int) -> None:
    os.read(reading, 1)
    os.kill(os.getpid(), signal.SIGTERM)
