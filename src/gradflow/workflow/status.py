"""How far a scale has come: which of its runs are done, running, failed, stale or missing, and how
long the rest takes.

Everything is read from the results folder, and nothing is written or locked, so it may be asked
while snakemake runs. Free of torch and pandas: it answers in seconds for ten thousand runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gradflow.files import is_locked, lock_path
from gradflow.study.cost import CostModel, planned_device
from gradflow.study.grid import Grid
from gradflow.study.job import Job
from gradflow.study.sizes import epochs_of
from gradflow.study.work import DeviceType
from gradflow.training.heartbeat import Position, read_checkpoint_position, read_position
from gradflow.workflow.attempts import ENDING, Failure, read_failure
from gradflow.workflow.missing import State, is_pretrained, run_states

STOPPED = "stopped in epoch"


@dataclass(frozen=True)
class JobStatus:
    """A training job; `pretraining` marks the dense first half that magnitude jobs share, which has
    no run.
    """

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
class ScaleStatus:
    """A scale, its jobs in the order of the configuration."""

    scale: str
    studies: dict[str, dict[str, State]]  # run states by study and log path
    jobs: list[JobStatus]
    others: list[Failure]  # of jobs that train nothing: a download, a collection, a table or figure
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
    look = _Look(results, CostModel.of_results(results), device)
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
    return ScaleStatus(scale, studies, jobs, list(other_failures(results, scale, jobs)), device)


def other_failures(results: Path, scale: str, jobs: list[JobStatus]) -> Iterator[Failure]:
    """Failed jobs of this scale, or of all, that train nothing."""
    training = {results / job.log for job in jobs}
    for folder in (results / scale / "logs", results / "logs"):
        for record in sorted(folder.rglob(f"*{ENDING}")):
            log = record.with_name(record.name.removesuffix(ENDING))
            if log not in training and (failure := read_failure(log)):
                yield failure


@dataclass(frozen=True)
class _Look:
    """What all jobs of a scale are looked at with."""

    results: Path
    costs: CostModel
    device: DeviceType

    def job_status(self, job: Job, pretraining: bool = False) -> JobStatus:
        """A job's status, from its logs, its lock, its checkpoint and what it printed."""
        runs = {} if pretraining else run_states(job, self.results)
        done = (
            is_pretrained(job, self.results)
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
                    # it may have finished between the first look and the lock
                    runs = run_states(job, self.results)
                position = read_checkpoint_position(place, spec)
                failed = read_failure(
                    self.results / f"{job.scale}/logs/{log_name(job, pretraining)}.log"
                )
                failure = failed.message if failed else ""
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
