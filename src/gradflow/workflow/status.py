"""How far a scale has come: which of its runs are done, running, failed, stale or missing, and how long the rest takes.

Everything is read from the results folder, and nothing is written or locked, so it may be asked
while snakemake runs. Free of torch and pandas: it answers in seconds for ten thousand runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gradflow.files import is_locked, lock_path
from gradflow.study.cost import CostModel, DeviceType, epochs_of, planned_device
from gradflow.study.job import Job
from gradflow.study.plan import Grid
from gradflow.training.heartbeat import Position, read_checkpoint_position, read_position
from gradflow.workflow.after_failure import INTERRUPTED, failures

SNAKEMAKE_LOGS = 20  # the newest ones that are asked for failed jobs
# What a trainer prints when nothing is wrong; see training.py.
NOTES = re.compile(
    r"(resumed at|stopped in) epoch .*|.*; (it is trained again now|the job starts from the beginning)|.*Warning: .*"
)
STOPPED = "stopped in epoch"
SILENT = "no message: the process was killed, for example for want of memory or time"


class State(StrEnum):
    """Of a run. The first one that fits counts."""

    DONE = "done"  # its log is there, written for this specification
    RUNNING = "running"  # a trainer holds its cohort
    FAILED = "failed"  # the last attempt ended with an error
    STALE = "stale"  # its log is of another specification, or damaged: it will be trained again
    MISSING = "missing"  # not begun, or stopped with a checkpoint


@dataclass(frozen=True)
class JobStatus:
    """A training job; `pretraining` marks the dense first half that magnitude jobs share, which has no run."""

    job: Job
    pretraining: bool
    runs: dict[str, State]  # by log path below the results folder
    state: State
    position: Position | None  # of a job that runs, or that has a checkpoint
    failure: str  # the last line of a failed job's log
    left: float  # seconds it still takes, by its own pace or by the cost model

    @property
    def name(self) -> str:
        """As in its log's path."""
        return log_name(self.job, self.pretraining)

    @property
    def log(self) -> str:
        """Path of what it printed, below the results folder."""
        return f"{self.job.scale}/logs/{self.name}.log"


@dataclass(frozen=True)
class OtherFailure:
    """A job that trains nothing and failed: a download, a collection, a table or figure."""

    rule: str
    log: str  # path
    message: str


@dataclass(frozen=True)
class ScaleStatus:
    """A scale, its jobs in the order of the configuration."""

    scale: str
    studies: dict[str, dict[str, State]]  # run states by study and log path
    jobs: list[JobStatus]
    others: list[OtherFailure]
    device: DeviceType  # that the estimates are for

    @property
    def runs(self) -> dict[str, State]:
        """All runs, those that studies share once."""
        return {path: state for study in self.studies.values() for path, state in study.items()}

    def of(self, state: State) -> list[JobStatus]:
        """The jobs in a state."""
        return [job for job in self.jobs if job.state is state]


def scales_with_results(grid: Grid, results: Path) -> list[str]:
    """The scales of which something was begun."""
    return [scale for scale in grid.config.scales if (results / scale).is_dir()]


def scale_status(grid: Grid, results: Path, scale: str) -> ScaleStatus:
    """Look at a scale's results."""
    device = planned_device(elsewhere=False)
    look = _Look(results, CostModel.of_results(results), device, named_failures(results))
    jobs: list[JobStatus] = []
    pretrainings: set[str] = set()
    for job in grid.jobs(scale).values():
        if job.architectures == ("magnitude",) and job.pretrained_path not in pretrainings:
            pretrainings.add(job.pretrained_path)
            jobs.append(look.job_status(job.pretraining(), pretraining=True))
        jobs.append(look.job_status(job))
    states = {path: state for status in jobs for path, state in status.runs.items()}
    studies = {
        study: {path: states[path] for path in grid.logs(scale, study)}
        for study in grid.config.scales[scale].studies
    }
    return ScaleStatus(scale, studies, jobs, list(look.other_failures(scale, jobs)), device)


@dataclass(frozen=True)
class _Look:
    """What all jobs of a scale are looked at with."""

    results: Path
    costs: CostModel
    device: DeviceType
    named: dict[str, tuple[str, float]]

    def job_status(self, job: Job, pretraining: bool = False) -> JobStatus:
        """A job's status, from its logs, its lock, its checkpoint and what it printed."""
        runs = {} if pretraining else self.run_states(job)
        done = (
            self.is_pretrained(job)
            if pretraining
            else all(state is State.DONE for state in runs.values())
        )
        state, position, failure, left = State.DONE, None, "", 0.0
        if not done:
            place = self.results / checkpoint_path(job, pretraining)
            spec = job.to_json()
            if is_locked(lock_path(place)):
                state, position = State.RUNNING, read_position(place, spec)
            else:
                if not pretraining:
                    runs = self.run_states(
                        job
                    )  # it may have finished between the first look and the lock
                position = read_checkpoint_position(place, spec)
                failure = self.failure(
                    self.results / f"{job.scale}/logs/{log_name(job, pretraining)}.log"
                )
                state = (
                    State.FAILED
                    if failure
                    else min(runs.values(), key=_urgency, default=State.MISSING)
                )
            if state in (State.RUNNING, State.FAILED):
                runs = {
                    path: found if found is State.DONE else state for path, found in runs.items()
                }
            left = self.seconds_left(job, pretraining, runs, position)
        return JobStatus(job, pretraining, runs, state, position, failure, left)

    def run_states(self, job: Job) -> dict[str, State]:
        """By each run's log alone."""
        return {
            job.log_path(run): log_state(self.results / job.log_path(run), job.only(run).to_json())
            for run in job.runs
        }

    def is_pretrained(self, job: Job) -> bool:
        """Whether the dense network that magnitude jobs start from is there, or none of them needs it any more."""
        return (
            read_checkpoint_position(self.results / job.pretrained_path, job.to_json()) is not None
        )

    def failure(self, log: Path) -> str:
        """The last line of a failed attempt's log; empty when it did not fail."""
        try:
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            written = log.stat().st_mtime
        except OSError:
            return ""
        told = [
            line.strip()
            for line in lines
            if not line[0].isspace() and not NOTES.fullmatch(line.strip())
        ]
        if told or any(line.startswith(STOPPED) for line in lines):
            return told[-1] if told else ""
        # killed without a word, which is a failure if snakemake saw it and no later attempt was
        # begun
        _, named = self.named.get(_comparable(log), ("", 0.0))
        return SILENT if named >= written else ""

    def other_failures(self, scale: str, jobs: list[JobStatus]) -> Iterator[OtherFailure]:
        """Failed jobs of this scale, or of all, that train nothing."""
        training = {_comparable(self.results / job.log) for job in jobs}
        places = tuple(
            _comparable(self.results / place) + "/" for place in (f"{scale}/logs", "logs")
        )
        for log, (rule, named) in self.named.items():
            path = Path(log)
            if not log.startswith(places) or log in training or not path.exists():
                continue
            lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
            if lines and path.stat().st_mtime <= named:  # else it was begun again since
                shown = self.results / path.relative_to(self.results.resolve())
                yield OtherFailure(rule, str(shown), lines[-1].strip())

    def seconds_left(
        self, job: Job, pretraining: bool, runs: dict[str, State], position: Position | None
    ) -> float:
        """Of an unfinished job, by its own pace once that can be told."""
        share = share_done(job, pretraining, position)
        if position is not None and share > 0.02:
            return position.seconds / share * (1 - share)
        unfinished = (
            sum(state is not State.DONE for state in runs.values()) / len(runs) if runs else 1.0
        )
        return self.costs.seconds(job, self.device, pretraining) * unfinished * (1 - share)


def share_done(job: Job, pretraining: bool, position: Position | None) -> float:
    """Which part of its own epochs a job has behind it, 0 to 1."""
    epochs = epochs_of(job, pretraining)
    if position is None:
        return 0.0
    return (
        min(1.0, max(0.0, (position.epochs_done - epochs.start) / len(epochs)))
        if len(epochs)
        else 1.0
    )


def checkpoint_path(job: Job, pretraining: bool) -> str:
    """Path of a job's checkpoint below the results folder; its progress is recorded beside it."""
    return f"{job.pretrained_path}.state.json" if pretraining else job.state_path


def last_epoch(job: Job, pretraining: bool) -> int:
    """The epoch that a job ends with, at least 1."""
    return max(1, job.epochs // 2) if pretraining else job.epochs


def _urgency(state: State) -> int:
    """A job with a stale run is stale, one with a missing and no stale run is missing."""
    return (State.STALE, State.MISSING).index(state) if state in (State.STALE, State.MISSING) else 2


def log_name(job: Job, pretraining: bool) -> str:
    """What a job is called in the paths of its logs."""
    return f"{job.key.rpartition('/')[0]}/pretraining" if pretraining else job.key


def log_state(path: Path, spec: str) -> State:
    """Done, stale or missing, from the footer of a run's log alone.

    Parquet's own metadata take ten times as long to read. The specification stands in the footer as
    it is, a JSON object, so that one within another is the same one. What else is in the file is
    checked when it is collected.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 2**14))
            tail = file.read()
            length = int.from_bytes(tail[-8:-4], "little") + 8
            if length > len(tail):
                file.seek(max(0, size - length))
                tail = file.read()
    except OSError:
        return State.MISSING
    whole = tail.endswith(b"PAR1") and length <= len(tail)
    return State.DONE if whole and spec.encode() in tail[-length:] else State.STALE


def named_failures(results: Path) -> dict[str, tuple[str, float]]:
    """The failed jobs that snakemake's newest logs name: rule, and when that log ended, by the job's log."""
    folder = results.resolve().parent
    found: dict[str, tuple[str, float]] = {}
    logs = sorted(
        (folder / ".snakemake" / "log").glob("*.snakemake.log"), key=lambda path: path.name
    )
    for path in logs[-SNAKEMAKE_LOGS:]:
        try:
            text, ended = path.read_text(errors="replace"), path.stat().st_mtime
        except OSError:
            continue
        if "Error in rule" in text and INTERRUPTED not in text:
            for failure in failures(text):
                if failure.log:
                    found[_comparable(folder / failure.log)] = (failure.rule, ended)
    return found


def _comparable(path: Path) -> str:
    return str(path.resolve())
