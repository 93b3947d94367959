"""All that the project knows of Snakemake's insides, which a new version may change.

`tests/workflow/test_internals.py` holds everything else to Snakemake's documented names. Free of
torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import logging
import os
import shutil
from base64 import urlsafe_b64decode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path(".snakemake")


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


@dataclass(frozen=True)
class PlannedJob:
    """A job that Snakemake has to run."""

    number: int
    rule: str
    wildcards: Any  # by name, as attributes; iterating gives their values
    files: tuple[str, ...]
    logs: tuple[Path, ...]


class Snakemake:
    """The snakemake that reads the rules.

    Args:
        workflow: its `Workflow`. Jobs are known from `onstart` on.
    """

    def __init__(self, workflow: Any):
        self._workflow = workflow

    @property
    def is_main(self) -> bool:
        """Whether this is the process that a person started: not that of a job, of a cluster
        too.
        """
        return bool(self._workflow.is_main_process)

    @property
    def runs_here(self) -> bool:
        """Whether jobs run on this machine."""
        return bool(self._workflow.local_exec)

    @property
    def is_dry(self) -> bool:
        """Whether nothing is run (`-n`)."""
        return bool(self._workflow.dryrun)

    @property
    def uses_conda(self) -> bool:
        """Whether jobs run in the rules' conda environments."""
        methods = self._workflow.deployment_settings.deployment_method
        return any(one.name == "CONDA" for one in methods)

    @property
    def snakefile(self) -> Path:
        """The Snakefile."""
        return Path(self._workflow.main_snakefile)

    @property
    def config_files(self) -> list[Path]:
        """Of --configfile."""
        return [Path(path) for path in self._workflow.config_settings.configfiles]

    @property
    def config(self) -> dict[str, Any]:
        """Of --config."""
        return dict(self._workflow.config_settings.config)

    @property
    def cores(self) -> int | None:
        """Of this machine; None where none were named."""
        cores: int | None = self._workflow.resource_settings.cores
        return cores

    @property
    def jobs(self) -> int | None:
        """At a time on a cluster; None where none were named."""
        nodes: int | None = self._workflow.resource_settings.nodes
        return nodes

    def resource(self, name: str) -> object | None:
        """A global resource (`--resources`); None where it is not named."""
        resources = self._workflow.global_resources
        return resources[name].value if name in resources else None

    def force(self, files: Iterable[str]) -> None:
        """Make files anew if they are planned at all; nothing is touched, so that `-n` tells the
        same.
        """
        self._workflow.dag.forcefiles.update(files)

    def forces(self, rules: Collection[str]) -> bool:
        """Whether --forceall was given, or --forcerun with one of some rules."""
        asked = self._workflow.dag_settings
        return bool(asked.forceall or not asked.forcerun.isdisjoint(rules))

    @property
    def targets(self) -> list[str]:
        """As they were named."""
        return [str(target) for target in self._workflow.dag_settings.targets]

    @property
    def target_files(self) -> list[str]:
        """The files that the targets stand for."""
        return [str(path) for path in self._workflow.dag.derived_targetfiles]

    def planned_jobs(self) -> Iterator[PlannedJob]:
        """The jobs to run, those that have run by now among them."""
        dag = self._workflow.dag
        for job in dag.needrun_jobs(exclude_finished=False):
            logs = tuple(Path(path) for path in job.log)
            yield PlannedJob(
                dag.jobid(job), job.rule.name, job.wildcards, tuple(map(str, job.output)), logs
            )

    def needs(self) -> dict[int, set[int]]:
        """The numbers of the jobs that each job to run waits for, in an order in which they can
        run.
        """
        dag = self._workflow.dag
        return {
            dag.jobid(job): {dag.jobid(other) for other in dag.dependencies[job]}
            for level in dag.toposorted()
            for job in level
            if dag.needrun(job)
        }

    def asked(self) -> Asked:
        """What it was asked for."""
        workflow = self._workflow
        dag, resources = workflow.dag_settings, workflow.resource_settings
        deployment = workflow.deployment_settings
        methods = sorted(one.name.lower().replace("_", "-") for one in deployment.deployment_method)
        prefix = os.path.abspath(deployment.conda_prefix or FOLDER / "conda")
        return Asked(
            targets=self.targets,
            until=sorted(dag.until),
            omit_from=sorted(dag.omit_from),
            config_files=self.config_files,
            config=self.config,
            snakefile=self.snakefile,
            cores=(resources.cores if self.runs_here else resources.local_cores) or 1,
            options=["--software-deployment-method", *methods, "--conda-prefix", prefix]
            if methods
            else [],
        )

    def slurm(self) -> tuple[str | None, float] | None:
        """The status command and seconds between two queries; None for another executor than
        SLURM.
        """
        plugin = getattr(self._workflow, "_executor_plugin", None)
        if getattr(plugin, "name", "") != "slurm":
            return None
        remote = self._workflow.remote_execution_settings
        return self._workflow.executor_settings.status_command, remote.seconds_between_status_checks

    # --- its log ----------------------------------------------------------------------------------

    @property
    def output_settings(self) -> Any:
        """What is to be shown."""
        return self._workflow.output_settings

    def own_handler(self) -> Any:
        """The handler of this workflow's logger plugin; None where another one shows the run."""
        handlers = self._workflow.logger_manager.get_log_handlers()
        return next((handler for handler in handlers if hasattr(handler, "display")), None)

    def add_handler(self, handler: logging.Handler) -> None:
        """Let a handler of ours see all that is logged."""
        self._workflow.logger_manager.logger.addHandler(handler)

    def settle(self) -> None:
        """Wait until plugins, which have a thread of their own, have seen all that was logged."""
        listener = self._workflow.logger_manager.queue_listener
        if listener is not None:
            listener.queue.join()


# --- what it keeps in its folder ------------------------------------------------------------------


def remove_locks() -> None:
    """Remove the locks of a snakemake that is dead."""
    shutil.rmtree(FOLDER / "locks", ignore_errors=True)


def trust_files(folder: str) -> None:
    """Remove Snakemake's marks of an unfinished writer from the files of a folder.

    A mark's path is the file's, in base64, cut into pieces.
    """
    marks = FOLDER / "incomplete"
    for mark in marks.rglob("*"):
        if mark.is_file():
            name = "".join(part.removeprefix("@") for part in mark.relative_to(marks).parts)
            with suppress(ValueError):  # not one of Snakemake's
                if urlsafe_b64decode(name).startswith(f"{folder}/".encode()):
                    mark.unlink()


# --- its executor for SLURM -----------------------------------------------------------------------


def wrap_slurm_executor(
    check: Callable[[Any], Any], age: Callable[[Callable[[], int | None]], Callable[[], int]]
) -> None:
    """Let functions of ours stand for two of the executor's.

    Args:
        check: given `check_active_jobs` of its class, returns what stands for it.
        age: likewise for `get_min_job_age`.
    """
    plugin: Any = import_module("snakemake_executor_plugin_slurm")  # an extra
    plugin.Executor.check_active_jobs = check(plugin.Executor.check_active_jobs)
    plugin.get_min_job_age = age(plugin.get_min_job_age)
