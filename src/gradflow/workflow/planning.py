"""What a target would take: configurations, jobs, runs, hours and disk by study, before anything
runs.

Free of torch and pandas: it answers in a second for ten thousand runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gradflow.study.cost import CostModel
from gradflow.study.grid import Grid
from gradflow.study.job import Job
from gradflow.study.kinds import KINDS
from gradflow.study.memory import disk_bytes
from gradflow.study.names import PAGES, artifact_groups
from gradflow.study.work import DeviceType
from gradflow.text import count, nearest
from gradflow.workflow.missing import comes_back, is_pretrained, unfinished_runs

DEVICES: tuple[DeviceType, ...] = ("cuda", "cpu")
MLP = "MLPs of the paper"
RANDOM = "Wide ResNets, random"
MAGNITUDE = "Wide ResNets, magnitude"
PRETRAINING = "  their pretrainings"
BESIDE = "other variants"
GROUPS = (MLP, RANDOM, MAGNITUDE, PRETRAINING, BESIDE)


LISTED = "snakemake help lists the targets"


class TargetError(ValueError):
    """There is no such target; the message is one sentence."""


@dataclass(frozen=True)
class Need:
    """What a target is made of: whole studies of a scale, or a single job."""

    scale: str
    studies: tuple[str, ...] = ()
    jobs: tuple[Job, ...] = ()


@dataclass
class Sum:
    """Totals over jobs, each counted once however often it is added."""

    configurations: set[tuple[str, str, str]] = field(default_factory=set)
    keys: set[tuple[str, str, bool]] = field(default_factory=set)
    runs: int = 0
    finished: int = 0
    hours: dict[DeviceType, float] = field(default_factory=lambda: dict.fromkeys(DEVICES, 0.0))
    left: dict[DeviceType, float] = field(default_factory=lambda: dict.fromkeys(DEVICES, 0.0))
    disk: float = 0.0

    def add(self, item: Item) -> None:
        """Count a job."""
        key = (item.job.scale, item.job.key, item.pretraining)
        if key in self.keys:
            return
        self.keys.add(key)
        configuration = item.job.configuration
        self.configurations.add((item.job.scale, configuration.dataset, configuration.name))
        self.runs += 0 if item.pretraining else len(item.job.runs)
        self.finished += item.finished
        self.disk += item.disk
        for device in DEVICES:
            self.hours[device] += item.hours[device]
            self.left[device] += 0.0 if item.kept else item.hours[device]


@dataclass(frozen=True)
class Item:
    """A job with its cost; `pretraining` marks the dense first half that magnitude jobs share."""

    job: Job
    pretraining: bool
    finished: bool
    kept: bool  # finished, or moved aside and about to be taken back
    hours: dict[DeviceType, float]
    disk: float


def resolve(grid: Grid, target: str, scale: str) -> Need:
    """What a target needs: a scale, an artifact, a group of artifacts, a study, or a file below
    results/.

    Raises:
        TargetError: there is no such target; the message names the nearest one.
    """
    config = grid.config
    if target in ("all", "report", "bundle"):
        target = "paper"
    if (of := re.sub("^(report|bundle)_", "", target)) in config.scales:
        target = of
    if target in config.scales:
        return Need(target, _drawn(grid, target, grid.artifacts(target)))
    if target in config.artifacts:
        return Need(scale, _drawn(grid, scale, [target]))
    if group := artifact_groups(config.artifacts).get(target):
        return Need(scale, _drawn(grid, scale, group))
    if target in config.scales[scale].studies:
        return Need(scale, (target,))
    if file := re.fullmatch(r"(?:\./)?results/([^/]+)/(.+)", target):
        return _resolve_file(grid, target, file[1], file[2])
    known = ["all", *config.scales, *config.artifacts, *config.studies]
    if target in config.studies:
        raise TargetError(
            f"scale {scale} has no study {target}; it has {', '.join(config.scales[scale].studies)}"
        )
    raise TargetError(f"there is no target {target}{nearest(target, known, LISTED)}")


def _resolve_file(grid: Grid, target: str, scale: str, rest: str) -> Need:
    config = grid.config
    if scale not in config.scales:
        raise TargetError(
            f"{target}: there is no scale {scale}{nearest(scale, config.scales, LISTED)}"
        )
    if rest in PAGES:
        return Need(scale, tuple(config.scales[scale].studies))
    if flow := re.fullmatch(r"figures/flow_over_training/([^/]+)/([^/]+)/(.+)\.(pdf|png)", rest):
        if study := grid.study_of(scale, flow[1], flow[2], flow[3]):
            return Need(scale, (study,))
        raise TargetError(
            f"{target}: no study of scale {scale} trains this configuration; see studies in "
            "config.yaml"
        )
    if made := re.fullmatch(r"(tables|figures|studies)/([^/.]+)\.\w+", rest):
        folder, name = made.groups()
        if folder == "studies":
            if name not in config.scales[scale].studies:
                near = nearest(name, config.scales[scale].studies, LISTED)
                raise TargetError(f"{target}: scale {scale} has no study {name}{near}")
            return Need(scale, (name,))
        if name not in grid.artifacts(scale):
            raise TargetError(
                f"{target}: scale {scale} has no artifact "
                f"{name}{nearest(name, grid.artifacts(scale), LISTED)}"
            )
        return Need(scale, _drawn(grid, scale, [name]))
    for job in grid.jobs(scale).values():
        if any(job.log_path(run) == f"{scale}/{rest}" for run in job.runs):
            return Need(scale, jobs=(job,))
    raise TargetError(f"{target}: no job makes this file; see studies in config.yaml")


def _drawn(grid: Grid, scale: str, artifacts: Iterable[str]) -> tuple[str, ...]:
    """The studies whose runs the artifacts need, in the scale's order."""
    needed = {
        study
        for name in artifacts
        if KINDS[grid.config.artifacts[name].kind].runs != "none"
        for study in grid.studies(scale, name)
    }
    return tuple(study for study in grid.config.scales[scale].studies if study in needed)


class Planner:
    """Sums what targets need.

    Args:
        grid: of the configuration.
        results: the results folder: finished jobs and measured times are found there.
    """

    def __init__(self, grid: Grid, results: Path):
        self.grid = grid
        self.results = results
        self.costs = CostModel.of_results(results, measure=True)
        self._items: dict[tuple[str, str, bool], Item] = {}
        self._paper: dict[str, set[str]] = {}

    def items(self, jobs: Iterable[Job]) -> list[Item]:
        """The jobs with the pretrainings that they need."""
        found: list[Item] = []
        for job in jobs:
            if job.architectures == ("magnitude",):
                found.append(self._item(job.pretraining(), pretraining=True))
            found.append(self._item(job, pretraining=False))
        return found

    def _item(self, job: Job, pretraining: bool) -> Item:
        key = (job.scale, job.key, pretraining)
        if key not in self._items:
            left = [] if pretraining else unfinished_runs(job, self.results)
            finished = is_pretrained(job, self.results) if pretraining else not left
            self._items[key] = Item(
                job,
                pretraining,
                finished=finished,
                kept=finished or (not pretraining and comes_back(job, left, self.results)),
                hours={
                    device: self.costs.seconds(job, device, pretraining) / 3600
                    for device in DEVICES
                },
                disk=disk_bytes(job, self.grid.config.scales[job.scale].keep_weights, pretraining),
            )
        return self._items[key]

    def report(self, targets: Sequence[str], scale: str) -> str:
        """The plan of some targets, as text of at most 80 columns.

        Raises:
            TargetError: one of them does not exist.
        """
        needs = [resolve(self.grid, target, scale) for target in targets]
        studies = list(
            dict.fromkeys((need.scale, study) for need in needs for study in need.studies)
        )
        single = [job for need in needs for job in need.jobs]
        several = len({need.scale for need in needs}) > 1
        rows, total = [], Sum()
        groups: dict[str, Sum] = {}
        for name, study in studies:
            row = Sum()
            for item in self.items(self.grid.plan(name, study).jobs()):
                for counted in (row, total, groups.setdefault(self._group(name, item), Sum())):
                    counted.add(item)
            rows.append((f"{name}/{study}" if several else study, row))
        if single:
            row = Sum()
            for item in self.items(single):
                row.add(item)
                total.add(item)
            rows.append(("single jobs", row))
        lines = [
            f"Plan of {', '.join(targets)}"
            if len(targets) < 4
            else f"Plan of {len(targets)} targets",
            "",
        ]
        lines += [_line("study", "configs", "jobs", "finished", "runs", "GPU h", "CPU h", "disk")]
        lines += [_row(name, row) for name, row in rows]
        lines += [_row("total, shared ones once", total)]
        if len(groups) > 1:
            lines += [
                "",
                "of these",
                *(_row(group, groups[group]) for group in GROUPS if group in groups),
            ]
        text = "\n".join([*lines, "", *self._notes(total)])
        return "\n".join(line.rstrip() for line in text.splitlines())

    def total(self, targets: Sequence[str], scale: str) -> Sum:
        """What some targets take together; what they share counts once.

        Raises:
            TargetError: one of them does not exist.
        """
        total = Sum()
        for item in self.items(self.jobs(targets, scale)):
            total.add(item)
        return total

    def _group(self, scale: str, item: Item) -> str:
        """The part of the whole that a job belongs to; what sensitivity shares with the paper is
        the paper's.
        """
        if item.job.configuration.model == "wide_resnet":
            if item.pretraining:
                return PRETRAINING
            return MAGNITUDE if item.job.architectures == ("magnitude",) else RANDOM
        return MLP if item.job.key in self._of_the_paper(scale) else BESIDE

    def _of_the_paper(self, scale: str) -> set[str]:
        """The jobs of all studies but those that only tables across variants are drawn from: the
        paper's own grid.
        """
        if scale not in self._paper:
            beside: set[str] = set()
            others: set[str] = set()
            for artifact in self.grid.config.artifacts.values():
                every = KINDS[artifact.kind].runs == "every variant"
                (beside if every else others).update(artifact.studies)
            self._paper[scale] = {
                job.key
                for study in self.grid.config.scales[scale].studies
                if study not in beside - others
                for job in self.grid.plan(scale, study).jobs()
            }
        return self._paper[scale]

    def jobs(self, targets: Sequence[str], scale: str) -> list[Job]:
        """The jobs of some targets, each once, in the order in which a budget is best spent on
        them.

        That is the order of config.yaml, with the seeds of a configuration one after the other: a
        cell's p-value needs all of its pairs, so a list cut short leaves whole cells, the first
        rows of the paper's tables first.

        Raises:
            TargetError: one of the targets does not exist.
        """
        found: dict[tuple[str, str], Job] = {}
        for need in [resolve(self.grid, target, scale) for target in targets]:
            planned = [
                job for study in need.studies for job in self.grid.plan(need.scale, study).jobs()
            ]
            for job in [*planned, *need.jobs]:
                found.setdefault((job.scale, job.key), job)
        return list(found.values())

    def _notes(self, total: Sum) -> list[str]:
        left = f"{_hours(total.left['cuda'])} GPU h, or {_hours(total.left['cpu'])} CPU h"
        notes = [
            f"Left: {left}.",
            "A job is finished when its logs are there and of today's specification.",
            "Hours are a model's estimates, for one GPU (H100 class) or one CPU core.",
        ]
        for device, label in zip(DEVICES, ("GPU", "CPU"), strict=True):
            for model, plural in (("mlp", "MLPs"), ("wide_resnet", "Wide ResNets")):
                factor = self.costs.factor(model, device)
                how = (
                    f"calibrated by {count(factor.jobs, 'finished job')}, times {factor.value:.2f}"
                )
                if not factor.jobs:
                    how = "not calibrated, no finished job"
                    how += "; a core measured here" * (device == "cpu" and self.costs.cpu.measured)
                notes.append(f"  {plural} on a {label}: {how}")
        return notes


def _row(name: str, row: Sum) -> str:
    return _line(
        name,
        f"{len(row.configurations):,}",
        f"{len(row.keys):,}",
        f"{row.finished:,}",
        f"{row.runs:,}",
        _hours(row.hours["cuda"]),
        _hours(row.hours["cpu"]),
        _size(row.disk),
    )


def _line(name: str, *cells: str) -> str:
    widths = (7, 6, 9, 7, 7, 9, 9)
    return f"{name:<26.26}" + "".join(
        f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False)
    )


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"


def _size(size: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 1e3:.0f} kB"
