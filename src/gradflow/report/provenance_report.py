"""The provenance of an artifact as text: a summary of its runs, then the runs."""

from __future__ import annotations

import hashlib
import json
import textwrap
import time
from collections.abc import Iterable
from typing import Any

from gradflow.report.provenance import Provenance, Source
from gradflow.study.config import Config
from gradflow.study.grid import Grid
from gradflow.study.job import Job
from gradflow.text import COLUMNS, count, duration
from gradflow.training.run_log import LIBRARIES

INDENT = 16


def report(provenance: Provenance, config: Config) -> str:
    """A summary of 80 columns, what all specifications have in common, and a line or two a run."""
    sources = provenance.sources
    lines = [f"{provenance.path}: {provenance.artifact.kind}, {_runs(provenance)}"]
    if sources:
        lines += ["", *_summary(provenance, config), "", *_specification(sources)]
    notes = [
        *provenance.missing,
        *(f"{column} tells no runs apart and is passed over." for column in provenance.ignored),
    ]
    if notes:
        lines += [
            "",
            *(
                line
                for note in notes
                for line in textwrap.wrap(note, COLUMNS, break_on_hyphens=False)
            ),
        ]
    if sources:
        lines += ["", "runs (seconds are those of the job that trained them)"]
        lines += [_run(provenance, source) for source in sources]
    return "\n".join(lines)


def _runs(provenance: Provenance) -> str:
    if provenance.planned is None:
        return (
            "made of no runs"
            if not provenance.artifact.studies
            else "no study table to tell its runs"
        )
    return f"{len(provenance.sources):,} of {provenance.planned:,} planned runs"


def _summary(provenance: Provenance, config: Config) -> list[str]:
    sources = provenance.sources
    jobs = {_job(source): source.row["seconds"] for source in sources}
    known = [seconds for seconds in jobs.values() if seconds is not None]
    logs = [provenance.results / source.row["log"] for source in sources]
    written = sorted(path.stat().st_mtime for path in logs if path.exists())
    facts = {
        "studies": _listed(source.row["study"] for source in sources),
        "data set": _listed(_data_set(source) for source in sources),
        "variant": _listed(source.row["variant"] for source in sources),
        "seeds": _listed(source.row["seed"] for source in sources),
        "device": _listed(
            source.row["device"] and f"{source.row['device']} ({source.row['device_type']})"
            for source in sources
        ),
        "versions": _listed(_versions(source) for source in sources),
        "seconds": f"{duration(sum(known))} in {count(len(known), 'job')}"
        if known
        else "not known",
        "logs": f"{len(written):,} there, {len(logs) - len(written):,} gone"
        + (f"; written {_date(written[0])} to {_date(written[-1])}" if written else ""),
        "config": _config(provenance, config),
        "specifications": f"{len(sources):,}, SHA-256 of all {_fingerprint(sources)}",
    }
    return [line for name, fact in facts.items() for line in _fact(name, fact)]


def _fact(name: str, fact: str) -> list[str]:
    wrapped = textwrap.wrap(fact, COLUMNS - INDENT, break_on_hyphens=False) or [""]
    return [f"{name:<{INDENT}}{wrapped[0]}", *(f"{'':{INDENT}}{line}" for line in wrapped[1:])]


def _listed(values: Iterable[Any]) -> str:
    """The distinct values, with how many runs each has where there are several that do."""
    found: dict[Any, int] = {}
    for value in values:
        found[value] = found.get(value, 0) + 1
    if all(isinstance(value, int) for value in found):
        return ", ".join(map(str, sorted(found)))
    several = len(found) > 1
    parts = [
        f"{'not known' if value is None else value}{f' ({count:,} runs)' if several else ''}"
        for value, count in found.items()
    ]
    return "; ".join(parts)


def _data_set(source: Source) -> str:
    dataset, about = source.row["dataset"], source.row["stands_for"]
    return dataset if dataset == about else f"{dataset}, standing in for {about}"


def _versions(source: Source) -> str | None:
    row = source.row
    if row["engine_version"] is None:
        return None
    named = [
        f"{library} {row[f'{library}_version']}"
        for library in LIBRARIES
        if row[f"{library}_version"]
    ]
    return ", ".join([f"engine {row['engine_version']}", *named])


def _job(source: Source) -> tuple[Any, ...]:
    """What runs of one job have in common; their seconds tell apart runs that a later job trained
    again.
    """
    row = source.row
    run = row["log"] if source.value("model") == "wide_resnet" else row["log"].rpartition("/")[0]
    return run, row["seconds"], row["device"]


def _date(moment: float) -> str:
    return time.strftime("%F %H:%M", time.localtime(moment))


def _fingerprint(sources: list[Source]) -> str:
    text = "\n".join(sorted(source.row["spec"] for source in sources))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _config(provenance: Provenance, config: Config) -> str:
    """Whether the configuration still plans these very runs."""
    grid = Grid(config)
    others = sum(not _is_planned(grid, source) for source in provenance.sources)
    return (
        f"{others:,} of these runs are not what it plans now" if others else "plans these very runs"
    )


def _is_planned(grid: Grid, source: Source) -> bool:
    try:
        own = Job.from_json(source.row["spec"])
    except ValueError:
        return False  # of another engine version
    if own.scale not in grid.config.scales:
        return False
    job = grid.jobs(own.scale).get(own.key)
    return job is not None and own.runs[0] in job.runs and job.only(own.runs[0]) == own


def _specification(sources: list[Source]) -> list[str]:
    """The parts of the specifications that all have in common, and the names of the others."""
    specs = [_flat(source.spec) for source in sources]
    same = {
        key: value
        for key, value in specs[0].items()
        if all(spec.get(key) == value for spec in specs)
    }
    differing = sorted({key for spec in specs for key in spec} - same.keys())
    lines = ["specification (settings at their default are left out)"]
    lines += [
        line for key, value in same.items() for line in _fact(f"  {key}", f" {json.dumps(value)}")
    ]
    for key in differing:
        values = sorted({json.dumps(spec.get(key)) for spec in specs})
        shown = ", ".join(values[:12]) + (
            f" and {len(values) - 12} more" if len(values) > 12 else ""
        )
        lines += _fact(f"  {key}", f" {shown}")
    return lines


def _flat(spec: dict[str, Any]) -> dict[str, Any]:
    """Configuration and settings on one level with the rest."""
    plain = {key: value for key, value in spec.items() if not isinstance(value, dict)}
    return {**spec["configuration"], **plain, **spec["settings"]}


def _run(provenance: Provenance, source: Source) -> str:
    seconds = source.row["seconds"]
    path = provenance.results / source.row["log"]
    gone = "" if path.exists() else " (gone)"
    return f"{'?' if seconds is None else f'{seconds:,.1f}':>10} s  {path}{gone}"
