"""What happens when a workflow ends before its last job: artifacts from the runs that exist, and what failed.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradflow.workflow.attempts import Failure, forget, note_killed, read_failure
from gradflow.workflow.lock import HELD

INTERRUPTED = "Terminating processes on user request"  # snakemake's words for Ctrl-C
PARTIAL = "partial"  # the setting of config.yaml
AGAIN = "The same command goes on, half-trained jobs from their checkpoints."


class Listener(logging.Handler):
    """Keeps book of what began, failed and finished, by Snakemake's events; `--quiet` hides none of them from it."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: dict[int, Failure] = {}
        self.of_groups: set[int] = set()  # jobs of failed groups, of which some may have finished
        self.finished: set[int] = set()
        self.interrupted = False

    def emit(self, record: logging.LogRecord) -> None:
        """Note an event."""
        said = record.__dict__
        match said.get("event"):
            case "job_error":
                number, logs = said["jobid"], said.get("log") or []
                self.failed[number] = Failure(said["rule_name"], str(logs[0]) if logs else "")
                if said.get("indent"):
                    self.of_groups.add(number)
                if logs:
                    note_killed(Path(logs[0]))
            case "job_finished":
                number = said["job_id"]
                self.finished.add(number)
                self.failed.pop(number, None)  # it was tried again
        if str(record.msg).startswith(INTERRUPTED):
            self.interrupted = True

    def failures(self) -> list[Failure]:
        """The failed jobs with what their records tell, each once though it was tried again.

        Of a failed group (jobs that a cluster was sent as one) those that left a record; all that
        are not finished where none did, since nothing tells them apart.
        """
        told = {
            number: read_failure(Path(one.log)) for number, one in self.failed.items() if one.log
        }
        known = any(told.get(number) for number in self.of_groups)
        return [
            told.get(number) or one
            for number, one in self.failed.items()
            if number not in self.of_groups or told.get(number) or not known
        ]

    def left_out(self, steps: Mapping[int, Collection[int]]) -> int:
        """How many steps neither ran nor wait for one that failed.

        Args:
            steps: what each step that was to run waits for, in an order in which they can run.
        """
        stopped, left = set(self.failed), 0
        for number, needed in steps.items():
            if number in self.finished or number in self.failed:
                continue
            if stopped.isdisjoint(needed):
                left += 1
            else:
                stopped.add(number)
        return left


@dataclass(frozen=True)
class Asked:
    """What a snakemake was asked for, as it understood its command line."""

    targets: Sequence[str]
    until: Collection[str]
    omit_from: Collection[str]
    config_files: Sequence[Path]
    config: Mapping[str, Any]  # of --config
    snakefile: Path
    cores: int
    options: Sequence[str] = ()  # others that the result depends on


def forget_failures(dag: Any) -> None:
    """What failed in an earlier attempt has not failed in this one yet."""
    for job in dag.needrun_jobs():
        for log in job.log:
            forget(Path(log))


def what_is_asked(workflow: Any) -> Asked:
    """What a snakemake was asked for, from its `Workflow`."""
    dag, settings = workflow.dag_settings, workflow.config_settings
    resources, deployment = workflow.resource_settings, workflow.deployment_settings
    methods = sorted(one.name.lower().replace("_", "-") for one in deployment.deployment_method)
    prefix = os.path.abspath(deployment.conda_prefix or ".snakemake/conda")
    return Asked(
        targets=list(dag.targets),
        until=sorted(dag.until),
        omit_from=sorted(dag.omit_from),
        config_files=list(settings.configfiles),
        config=dict(settings.config),
        snakefile=Path(workflow.main_snakefile),
        cores=(resources.cores if workflow.local_exec else resources.local_cores) or 1,
        options=["--software-deployment-method", *methods, "--conda-prefix", prefix]
        if methods
        else [],
    )


def steps_of(dag: Any) -> dict[int, set[int]]:
    """What each job that was to run waits for, by Snakemake's numbers, in an order in which they can run."""
    return {
        dag.jobid(job): {dag.jobid(other) for other in dag.dependencies[job]}
        for level in dag.toposorted()
        for job in level
        if dag.needrun(job)
    }


def partial_command(asked: Asked, trained: Callable[[str], bool]) -> list[str] | None:
    """The command that makes, of what was asked for, all that the finished runs allow.

    Args:
        asked: by the command that failed.
        trained: whether a name or path is that of a training rule or of what it makes, which
            partial mode has none of.

    Returns:
        None when nothing else was asked for.
    """
    targets = [target for target in asked.targets if not trained(target)]
    if (asked.targets and not targets) or any(map(trained, asked.until)):
        return None
    omitted = [name for name in asked.omit_from if not trained(name)]
    return [
        sys.executable,
        "-m",
        "snakemake",
        *("--snakefile", str(asked.snakefile)),
        *("--cores", str(asked.cores)),
        "--nolock",
        *("--quiet", "all"),
        *asked.options,
        *(["--until", *asked.until] if asked.until else []),
        *(["--omit-from", *omitted] if omitted else []),
        *same_settings(asked.config_files, {**asked.config, PARTIAL: True}),
        "--",
        *targets,
    ]


def same_settings(config_files: Iterable[Path], config: Mapping[str, Any]) -> list[str]:
    """The options by which another snakemake sees the same configuration."""
    files = [str(path) for path in config_files]
    values = [f"{key}={json.dumps(value)}" for key, value in config.items()]
    return [
        *(["--configfile", *files] if files else []),
        *(["--config", *values] if values else []),
    ]


def conclude(
    listener: Listener, steps: Mapping[int, Collection[int]], command: list[str] | None
) -> None:
    """Make what can be made, and say what happened; the caller holds the results folder, exit codes are left to it.

    Args:
        listener: of the run that did not end well.
        steps: what each of its steps waits for (`Listener.left_out`).
        command: makes the artifacts of the runs that exist (`partial_command`).
    """
    done = f"{len(listener.finished):,} of {len(steps):,} jobs are finished"
    failed = listener.failures()
    if listener.interrupted:
        say(f"\nInterrupted. Finished runs are kept ({done}).\n{AGAIN}")
        return
    if not failed:
        say(f"\nStopped before the end. Finished runs are kept ({done}).\n{AGAIN}")
        return
    if command is not None:
        say("\nSome jobs failed. Making every table and figure from the runs that are finished.")
        made = subprocess.run(command, env={**os.environ, HELD: str(os.getpid())}, check=False)
        if made.returncode:
            say("Not all of them could be made; see above.")
    say(f"\n{summary(failed, listener.left_out(steps), done)}")
    for failure in failed:
        say(f"  {failure}")
    say(
        "After mending the cause, the same command runs only what is missing and what depends on it."
    )


def summary(failed: Sequence[Failure], left_out: int, done: str) -> str:
    """The line before the failed jobs."""
    jobs = f"{len(failed)} failed {'job' if len(failed) == 1 else 'jobs'}"
    if left_out:
        return f"{jobs}, and {left_out:,} that did not run; {done} and kept:"
    return f"{jobs}; everything else is finished and kept:"


def say(text: str) -> None:
    """Print to where snakemake prints."""
    print(text, file=sys.stderr, flush=True)
