"""What is missing of a study: one answer for status, the plan, snakemake and the tables.

A run is done when its log is there and was written for the specification that the configuration
gives it now. A study table is current when it was made of the very runs that are planned, and all
of them are done. Free of torch, pandas and pyarrow, because Snakemake asks at every start.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gradflow.files import read_checksum
from gradflow.study.job import SUPERSEDED, Job, Run, superseded_path
from gradflow.study.plan import Plan, runs_digest
from gradflow.training.heartbeat import read_checkpoint_position


class State(StrEnum):
    """Of a run. The first one that fits counts."""

    DONE = "done"  # its log is there, written for this specification
    RUNNING = "running"  # a trainer holds its cohort
    FAILED = "failed"  # the last attempt ended with an error
    STALE = "stale"  # its log is of another specification, or damaged: it will be trained again
    MISSING = "missing"  # not begun, or stopped with a checkpoint


def run_states(job: Job, results: Path) -> dict[str, State]:
    """Done, stale or missing: each run of a job, by the path of its log below the results
    folder.
    """
    return {job.log_path(run): _run_state(job, run, results) for run in job.runs}


def _run_state(job: Job, run: Run, results: Path) -> State:
    log = results / job.log_path(run)
    # first, since a specification takes longer to write than a file to find
    return log_state(log, job.only(run).to_json()) if log.exists() else State.MISSING


def is_pretrained(job: Job, results: Path) -> bool:
    """Whether the dense network that a configuration's magnitude-pruned ones start from is there.

    Args:
        job: the pretraining (`Job.pretraining`).
        results: the results folder.
    """
    return read_checkpoint_position(results / job.pretrained_path, job.to_json()) is not None


def unfinished_runs(job: Job, results: Path) -> list[Run]:
    """The runs of a job that are not done."""
    return [run for run in job.runs if _run_state(job, run, results) is not State.DONE]


def comes_back(job: Job, unfinished: list[Run], results: Path) -> bool:
    """Whether all these runs of a job were moved aside when finished: they will be taken back, not
    trained.
    """
    return (results / job.scale / SUPERSEDED).exists() and all(
        (results / superseded_path(job.log_path(run), job.only(run).to_json())).exists()
        for run in unfinished
    )


@dataclass(frozen=True)
class StudyState:
    """What a study lacks. Paths are below the results folder."""

    unfinished: list[str]  # logs, and pretrained networks that runs without a log start from
    stale: (
        str  # why its table is to be made again, as the rest of a sentence; empty if it is current
    )


def study_state(plan: Plan, results: Path, partial: bool = False) -> StudyState:
    """Look at a study's logs and its table.

    Args:
        plan: the study at its scale.
        results: the results folder.
        partial: whether the table is to be made of the runs that are done, instead of all.
    """
    unfinished: list[str] = []
    wanted: list[str] = []
    pretrained: dict[str, bool] = {}
    lacking = planned = 0
    for job in plan.jobs():
        states = run_states(job, results)
        left = [path for path, state in states.items() if state is not State.DONE]
        unfinished += left
        if left and job.architectures == ("magnitude",):
            path = job.pretrained_path
            if path not in pretrained:
                pretrained[path] = is_pretrained(job.pretraining(), results)
        planned, lacking = planned + len(states), lacking + len(left)
        wanted += [
            job.only(run).to_json()
            for run in job.runs
            if not partial or states[job.log_path(run)] is State.DONE
        ]
    unfinished += [path for path, there in pretrained.items() if not there]
    table = results / plan.scale / "studies" / f"{plan.study}.parquet"
    return StudyState(unfinished, _stale(table, plan, wanted, 0 if partial else lacking, planned))


def _stale(table: Path, plan: Plan, wanted: list[str], lacking: int, planned: int) -> str:
    try:
        content = table.read_bytes()
    except OSError:
        return "is missing"
    if not is_whole(table, content):
        return "is damaged"
    # a table's Parquet footer holds its metadata as they are
    if plan.to_json().encode() not in content:
        return f"was made before {plan.study} was changed in config.yaml"
    if lacking:
        return (
            f"is of {planned} runs, {lacking:,} of which are not there or not as config.yaml has "
            "them"
        )
    if runs_digest(wanted).encode() not in content:
        return "is of other runs, or of another version of the engine"
    return ""


def is_whole(table: Path, content: bytes) -> bool:
    """Whether a study table has the checksum that was written beside it; true where there is
    none.
    """
    return read_checksum(table) in (None, hashlib.sha256(content).hexdigest())


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
