"""Watches over jobs in SLURM when SLURM does not answer, or no longer knows them.

Snakemake's executor (2.8) forgets every job that runs once its status query fails, and waits for
them without end; and where `scontrol` fails once it asks `sacct`, which may have no accounts. So
jobs that a query tells nothing of stay in its list here, `squeue` is asked where the profile says
so, and a job that has left the queue unseen is finished if its files are there, and failed if not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from gradflow.workflow.internals import wrap_slurm_executor

# Queries, one after the other, that do not know a job: a requeued one may miss one, and on a shared
# file system files appear later than their job ends.
GONE_AFTER, LOST_AFTER = 3, 6
TIMEOUT = 20.0  # seconds for an answer of SLURM
TRUSTED_AGE = 10**6  # MinJobAge, in seconds, where it is not to be asked for


class SlurmWatch:
    """Sees to it that each job that was sent to SLURM ends in Snakemake, too.

    Args:
        say: prints a line.
        queued: the numbers of the jobs in SLURM's queue among some; None when it does not answer.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        queued: Callable[[Sequence[str]], set[str] | None] | None = None,
    ):
        self.say = say
        self.queued = queued or queued_jobs
        self.unseen: dict[str, int] = {}
        self.silent = False  # whether SLURM did not answer, which is said once

    async def check(
        self, executor: Any, ask: Callable[[Any, list[Any]], AsyncIterator[Any]], jobs: list[Any]
    ) -> AsyncIterator[Any]:
        """Stand for the executor's own `check_active_jobs`.

        Args:
            executor: Snakemake's; it is told of jobs that ended.
            ask: its own check, which yields the jobs that still run.
            jobs: that were running.

        Yields:
            The jobs that still run, those that SLURM tells nothing of among them.
        """
        told: set[str] = set()
        own = {name: getattr(executor, name) for name in ("report_job_success", "report_job_error")}

        def noting(report: Callable[..., Any]) -> Callable[..., Any]:
            def note(job: Any, *values: Any, **named: Any) -> Any:
                told.add(job.external_jobid)
                return report(job, *values, **named)

            return note

        for name, report in own.items():
            setattr(executor, name, noting(report))
        try:
            try:
                async for _ in ask(executor, list(jobs)):
                    pass
            except (OSError, subprocess.SubprocessError, UnboundLocalError, ValueError) as error:
                self.say(f"SLURM's answer cannot be read ({error}); asking again")
            left = [job for job in jobs if job.external_jobid not in told]
            self._look(left)
            for job in left:
                number = job.external_jobid
                unseen = self.unseen.get(number, 0)
                if unseen >= GONE_AFTER and all(os.path.exists(path) for path in job.job.output):
                    self.say(
                        f"SLURM no longer knows job {number}; its files are there, so it is "
                        "finished"
                    )
                    executor.report_job_success(job)
                elif unseen >= LOST_AFTER:
                    message = f"SLURM no longer knows job {number}, and its files are not there. "
                    executor.report_job_error(job, msg=message)
                else:
                    yield job
        finally:
            for name, report in own.items():
                setattr(executor, name, report)

    def _look(self, jobs: list[Any]) -> None:
        """Count the queries in which the queue did not know a job."""
        numbers = [job.external_jobid for job in jobs]
        known = self.queued(numbers) if numbers else set()
        if (known is None) != self.silent:
            self.silent = known is None
            self.say(
                "SLURM does not answer; its jobs are waited for, and it is asked again"
                if self.silent
                else "SLURM answers again"
            )
        if known is not None:
            self.unseen = {
                number: 0 if number in known else self.unseen.get(number, 0) + 1
                for number in numbers
            }


def queued_jobs(numbers: Sequence[str]) -> set[str] | None:
    """Which of some jobs stand in SLURM's queue or run; None when it does not answer."""
    told = _ask("squeue", "--noheader", "--format=%i|%F")
    if told is None:
        return None
    # an array's task has a number with an underscore, and its array's number besides
    known = {number.strip() for line in told.splitlines() for number in line.split("|")}
    return {number for number in numbers if number in known or number.split("_")[0] in known}


def min_job_age(ask: Callable[[], int | None]) -> Callable[[], int]:
    """Stand for the executor's `get_min_job_age`: one answer that fails does not change how jobs
    are asked after.

    Args:
        ask: the executor's own; None where SLURM did not answer.
    """
    known: list[int] = []

    def answer() -> int:
        if (age := ask()) is not None:
            known[:] = [age]
        return known[0] if known else TRUSTED_AGE

    return answer


def watch_slurm(say: Callable[[str], None]) -> None:
    """Let a watch stand beside the SLURM executor of this process."""
    watch = SlurmWatch(say)

    def watching(ask: Callable[[Any, list[Any]], AsyncIterator[Any]]) -> Callable[..., Any]:
        async def check_active_jobs(executor: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
            async for job in watch.check(executor, ask, active_jobs):
                yield job

        return check_active_jobs

    wrap_slurm_executor(watching, min_job_age)


# --- before anything is sent ----------------------------------------------------------------------


def preflight(status_command: str | None, interval: float, results: Path) -> list[str]:
    """Sentences on what of this SLURM and this file system would fail later.

    Args:
        status_command: `sacct` or `squeue`, as the profile has it; None where it names none.
        interval: seconds between two queries.
        results: the results folder, which every node writes to.
    """
    found: list[str] = []
    if shutil.which("sbatch") is None:
        found.append("There is no sbatch here; run this on a login node of the cluster.")
    told = _ask("scontrol", "show", "config")
    if told is None:
        found.append(
            "SLURM does not answer (scontrol show config); jobs are sent as soon as it does."
        )
    else:
        settings = dict(re.findall(r"^(\w+) *= *(.*?) *$", told, flags=re.MULTILINE))
        accounts = not settings.get("AccountingStorageType", "").endswith("/none")
        if status_command == "sacct" and not accounts:
            found.append(
                "This SLURM keeps no accounts, so sacct knows no job; set slurm-status-command: "
                "squeue in the profile."
            )
        age = re.match(r"\d+", settings.get("MinJobAge", ""))
        if status_command == "squeue" and age and int(age[0]) < 2 * interval:
            found.append(
                f"SLURM forgets a finished job after {age[0]} s (MinJobAge), and is asked every "
                f"{interval:g} s; set seconds-between-status-checks: {max(1, int(age[0]) // 3)} "
                "in the profile."
            )
    return found + flock_sentences(results, Path("/proc/mounts"))


def flock_sentences(folder: Path, mounts: Path) -> list[str]:
    """A sentence where locks of one node are not seen on another, by the options of the file
    system's mount.
    """
    place = folder.resolve()
    best: tuple[int, str, str, list[str]] = (-1, "", "", [])
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        words = line.split()
        if len(words) < 4:
            continue
        point = Path(words[1].replace("\\040", " "))
        if place.is_relative_to(point) and len(point.parts) >= best[0]:
            best = (len(point.parts), str(point), words[2], words[3].split(","))
    _, point_, kind, options = best
    local = (
        (kind == "lustre" and "flock" not in options)
        or (
            kind.startswith("nfs")
            and {"nolock", "local_lock=all", "local_lock=flock"} & set(options)
        )
        or (kind == "nfs" and "vers=2" in options)
    )
    if not local:
        return []
    return [
        f"Locks in {folder} hold on one node alone ({point_} is mounted as {kind} without shared "
        "flock): never run two snakemakes on it, and after one was killed wait for its jobs to "
        "end."
    ]


def _ask(*command: str) -> str | None:
    """What a command of SLURM prints; None when it fails, is not there or takes too long."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def say(text: str) -> None:
    """Print to where snakemake prints."""
    print(text, file=sys.stderr, flush=True)
