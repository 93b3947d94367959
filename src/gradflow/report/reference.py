"""Results that were computed for real and are kept in the repository: `results/reference`.

A folder a scale, with its study tables, configuration and provenance. The workflow draws the
scale's artifacts from them without training and without data; keeping a scale anew replaces its own
folder. `unpack` makes run logs of them again. Free of torch and pandas.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from gradflow.files import checksum_path, lock, remove_asides
from gradflow.study.config import Config, ConfigError
from gradflow.study.config_checks import load_config
from gradflow.study.grid import Grid
from gradflow.study.job import ENGINE_VERSION, Run
from gradflow.study.plan import Plan
from gradflow.study.reductions import FULL

NAME = "reference"  # the folder below results/, and the target
CONFIG, PROVENANCE = "config.yaml", "provenance.json"
STUDIES, SOURCES = (
    "studies",
    "provenance",
)  # folders of a table a study: its runs, and where each comes from
MOST_BYTES = 25_000_000  # of all tables of all scales: they are in the repository
KEEP = "gradflow keep SCALE"
_LIBRARY = "_version"  # the end of a log's metadata keys that name a version


class ReferenceError(ValueError):
    """There is no reference, or it cannot be kept; the message is one sentence."""


@dataclass(frozen=True)
class Reference:
    """What is kept, to draw artifacts from."""

    grid: Grid  # what was run, as the kept configuration says, with the artifacts of today's
    scale: str  # with the kept studies alone

    def artifacts(self) -> list[str]:
        """Names of the artifacts that can be drawn."""
        return self.grid.artifacts(self.scale)


def kept_folder(results: Path, scale: str) -> Path:
    """Where a scale is kept."""
    return results / NAME / scale


def kept_data(results: Path, scale: str) -> list[Path]:
    """The files of a kept scale that everything is drawn from: configuration, provenance, runs."""
    folder = kept_folder(results, scale)
    tables = (path for kind in (STUDIES, SOURCES) for path in folder.glob(f"{kind}/[!.]*"))
    return sorted([folder / CONFIG, folder / PROVENANCE, *tables])


def folder_before(results: Path, scale: str) -> Path:
    """What was kept of a scale, while another takes its place."""
    return results / f".{NAME}-before.{scale}"


def kept_scales(results: Path) -> list[str]:
    """The scales that are kept."""
    before = folder_before(results, "")
    found = {path.parent.name for path in (results / NAME).glob(f"*/{PROVENANCE}")}
    found |= {path.name.removeprefix(before.name) for path in results.glob(f"{before.name}*")}
    return sorted(found)


def read_reference(results: Path, scale: str, current: Config) -> Reference:
    """Read what is kept of a scale.

    Args:
        results: the results folder.
        scale: its name.
        current: today's configuration, for its artifacts: a table added later is made of kept runs
            too.

    Raises:
        ReferenceError: nothing is kept, or not as this version of the library reads it.
    """
    folder, before = kept_folder(results, scale), folder_before(results, scale)
    if not folder.exists() and before.exists():
        folder = before  # its successor's process died
    try:
        studies = list(json.loads((folder / PROVENANCE).read_text())["studies"])
        config = load_config(_read_yaml(folder / CONFIG))
        kept = config.scales[scale]
        chosen = {study: kept.studies[study] for study in studies}
    except FileNotFoundError:
        raise ReferenceError(
            f"{folder} holds no results; keep those of a scale with: {KEEP}"
        ) from None
    except (ConfigError, OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ReferenceError(
            f"{folder} cannot be read by this version ({reason}); keep the results anew"
        ) from None
    scales = {scale: kept.model_copy(update={"studies": chosen})}
    if FULL in config.scales:  # what the kept scale leaves out is told against it
        scales.setdefault(FULL, config.scales[FULL])
    drawn = {"artifacts": current.artifacts, "figures": current.figures}
    return Reference(Grid(config.model_copy(update={"scales": scales, **drawn})), scale)


def keep_reference(
    config_path: Path, results: Path, scale: str, studies: Sequence[str] | None = None
) -> dict[str, Any]:
    """Keep the finished runs of a scale, in the place of what was kept of it before.

    Args:
        config_path: the configuration that they were made with; logs of other specifications are
            left out.
        results: the results folder.
        scale: the scale's name.
        studies: of the scale; None: all that have a finished run, and second looks.

    Returns:
        The provenance, as it is written.

    Raises:
        ReferenceError: the scale or a study does not exist, nothing is finished, or the tables
            would be too large.
        ConfigError: the configuration is wrong.
    """
    config = load_config(_read_yaml(config_path))
    if scale not in config.scales:
        raise ReferenceError(f"there is no scale {scale}; there are {', '.join(config.scales)}")
    for study in studies or ():
        if study not in config.scales[scale].studies:
            raise ReferenceError(
                f"scale {scale} has no study {study}; it has "
                f"{', '.join(config.scales[scale].studies)}"
            )
    grid = Grid(config)
    with lock(results / f".{NAME}.lock"):
        return _keep(config_path, results, grid, scale, studies)


def _keep(
    config_path: Path, results: Path, grid: Grid, scale: str, studies: Sequence[str] | None
) -> dict[str, Any]:
    """What `keep_reference` does while it alone does it."""
    from gradflow.analysis.collect import collect_runs, compact_table

    restore_reference(results, scale)
    remove_asides(results, NAME)  # of one that was killed
    folder, before = kept_folder(results, scale), folder_before(results, scale)
    config = grid.config
    others = [path for path in (results / NAME).glob("*/*/*.parquet") if folder not in path.parents]
    aside = results / f".{NAME}.{socket.gethostname()}.{os.getpid()}"
    aside.mkdir()
    try:
        plans: list[Plan] = []
        logs: dict[str, Log] = {}
        for plan in (grid.plan(scale, study) for study in studies or config.scales[scale].studies):
            table, sources = (aside / kind / f"{plan.study}.parquet" for kind in (STUDIES, SOURCES))
            collect_runs(plan, results, table, sources, partial=True)
            found = dict(_finished(plan, results))
            # a second look that is planned divides the level of the first, trained or not
            if found or (studies is None and config.studies[plan.study].second_look):
                plans.append(plan)
                logs |= found
                compact_table(table)
            else:
                for path in (table, checksum_path(table), sources):
                    path.unlink()
        if not logs:
            raise ReferenceError(f"no run of scale {scale} is finished in {results}")
        size = sum(path.stat().st_size for path in aside.glob("*/*.parquet"))
        total = size + sum(path.stat().st_size for path in others)
        if total > MOST_BYTES:
            raise ReferenceError(
                f"the tables take {size / 1e6:.1f} MB, and {total / 1e6:.1f} MB with the other "
                f"scales', more than the {MOST_BYTES / 1e6:g} MB that a repository should carry; "
                "name fewer studies"
            )
        content = config_path.read_bytes()
        (aside / CONFIG).write_bytes(content)
        provenance = {
            "scale": scale,
            "kept": datetime.now(UTC).date().isoformat(),
            "config_sha256": hashlib.sha256(content).hexdigest(),
            "study_tables_bytes": size,
            **_provenance(plans, logs),
        }
        (aside / PROVENANCE).write_text(json.dumps(provenance, indent=1) + "\n")
        # the one before is whole until the new one has its place, whenever this process dies
        folder.parent.mkdir(exist_ok=True)
        if folder.exists():
            os.rename(folder, before)
        os.rename(aside, folder)
        shutil.rmtree(before, ignore_errors=True)
    finally:
        restore_reference(results, scale)
        shutil.rmtree(aside, ignore_errors=True)
    return provenance


def restore_reference(results: Path, scale: str) -> None:
    """Put back what was kept of a scale before, where its successor did not get its place; or
    remove it.
    """
    folder, before = kept_folder(results, scale), folder_before(results, scale)
    if before.exists():
        if folder.exists():
            shutil.rmtree(before, ignore_errors=True)
        else:
            folder.parent.mkdir(exist_ok=True)
            os.rename(before, folder)


def _read_yaml(path: Path) -> Any:
    return yaml.load(
        path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )


@dataclass(frozen=True)
class Log:
    """What a finished run's log says of how it was made."""

    job: str  # Job.key
    device: str
    versions: tuple[str, ...]
    kernel: str  # that did the training step, where the log says
    seconds: float  # of the whole job, which trained its other runs too
    written: float  # time of the file


def _finished(plan: Plan, results: Path) -> Iterator[tuple[str, Log]]:
    """The finished runs of a study, by the path of their logs."""
    from gradflow.training.run_log import RunLogError, read_log

    for job, run in plan.runs():
        path = results / job.log_path(run)
        try:
            raw = read_log(path, job.only(run).to_json()).schema.metadata
        except RunLogError:
            continue
        said = {key.decode(): value.decode() for key, value in raw.items()}
        versions = sorted(
            f"{key.removesuffix(_LIBRARY)} {value}"
            for key, value in said.items()
            if key.endswith(_LIBRARY)
        )
        written = path.stat().st_mtime
        yield (
            job.log_path(run),
            Log(
                job.key,
                said["device"],
                tuple(versions),
                said.get("kernels", "not said"),
                float(said["seconds"]),
                written,
            ),
        )


def _provenance(plans: Sequence[Plan], logs: dict[str, Log]) -> dict[str, Any]:
    """What was planned and what is finished, where, with what, when and how long; shared runs count
    once in totals.
    """
    planned = {job.log_path(run): job.key for plan in plans for job, run in plan.runs()}
    devices = sorted({log.device for log in logs.values()})
    written = [datetime.fromtimestamp(log.written, UTC) for log in logs.values()]
    return {
        "engine_version": ENGINE_VERSION,
        "logs_written": [f"{moment:%Y-%m-%d %H:%M} UTC" for moment in (min(written), max(written))],
        **_counts(planned, logs),
        "devices": {
            device: _counts(
                planned,
                {path: log for path, log in logs.items() if log.device == device},
                whole=False,
            )
            for device in devices
        },
        "kernels": dict(sorted(Counter(log.kernel for log in logs.values()).items())),
        "versions": dict(
            sorted(Counter(version for log in logs.values() for version in log.versions).items())
        ),
        "studies": {plan.study: _study(plan, logs) for plan in plans},
    }


def _counts(planned: dict[str, str], logs: dict[str, Log], whole: bool = True) -> dict[str, Any]:
    """Runs, jobs and hours; an hour is one of a training process, several of which may share a
    machine.
    """
    finished = {path: log for path, log in logs.items() if path in planned}
    seconds: dict[str, float] = {}
    for log in finished.values():
        seconds[log.job] = max(seconds.get(log.job, 0.0), log.seconds)
    counts: dict[str, Any] = {"finished_runs": len(finished), "finished_jobs": len(seconds)}
    if whole:
        left = {job for path, job in planned.items() if path not in finished}
        counts = {
            "planned_runs": len(planned),
            "finished_runs": len(finished),
            "planned_jobs": len(set(planned.values())),
            "finished_jobs": len(set(planned.values()) - left),
        }
    return {**counts, "job_hours": round(sum(seconds.values()) / 3600, 4)}


def _study(plan: Plan, logs: dict[str, Log]) -> dict[str, Any]:
    cells: dict[tuple[str, str], dict[tuple[int, Run], str]] = {}
    for job, run in plan.runs():
        cells.setdefault((job.variant, job.configuration.name), {})[job.seed, run] = job.log_path(
            run
        )
    incomplete = [
        {"variant": variant, "configuration": configuration, "runs": len(finished),
         "planned_runs": len(cell),
         "pairs": _pairs(finished), "planned_pairs": _pairs(cell)}
        for (variant, configuration), cell in cells.items()
        if len(finished := {key: path for key, path in cell.items() if path in logs}) < len(cell)
    ]  # fmt: skip
    return {
        "stands_for": plan.stands_for,
        "epochs": plan.epochs,
        "train_images": plan.variants[0][1].train_images,
        "probe_images": plan.variants[0][1].probe_images,
        "image_side": plan.variants[0][1].image_side,
        "seeds": plan.seeds,
        "percents": plan.percents,
        **_counts({job.log_path(run): job.key for job, run in plan.runs()}, logs),
        "cells": len(cells),
        "incomplete_cells": incomplete,
    }


def _pairs(runs: dict[tuple[int, Run], str]) -> int:
    """How many dense runs have their sparse twin."""
    keys = {(seed, run.architecture, run.percent) for seed, run in runs}
    return sum(
        (seed, "sparse", percent) in keys
        for seed, architecture, percent in keys
        if architecture == "dense"
    )
