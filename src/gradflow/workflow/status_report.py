"""The status of a scale as text of 80 columns."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from gradflow.text import COLUMNS, clock, count, cut, duration
from gradflow.workflow.missing import State
from gradflow.workflow.status import JobStatus, ScaleStatus, last_epoch

QUIET = 600.0  # seconds without a sign of life after which a running job is remarked on
STALE_SHOWN = 3


def report(status: ScaleStatus, results: Path) -> str:
    """Running and failed jobs, then the runs by study with their total, and last what is left.

    Args:
        status: of a scale.
        results: the results folder, as paths are to begin.
    """
    parts = [
        _running(status.of(State.RUNNING)),
        _failed(status, results),
        _stale(status.runs, results),
        _table(status),
        [_last_line(status)],
    ]
    return "\n\n".join(
        "\n".join(lines) for lines in [[f"Status of scale {status.scale}"], *parts] if lines
    )


def _table(status: ScaleStatus) -> list[str]:
    rows = [_row(study, Counter(runs.values())) for study, runs in status.studies.items()]
    shared = sum(map(len, status.studies.values())) > len(status.runs)
    total = "total, shared ones once" if shared else "total"
    head = f"{'runs by study':<28}{'planned':>9}" + "".join(f"{state:>8}" for state in State)
    return [head, *rows, _row(total, Counter(status.runs.values()))]


def _row(name: str, counts: Counter[State]) -> str:
    return f"{name:<28.28}{counts.total():>9,}" + "".join(f"{counts[state]:>8,}" for state in State)


def _running(jobs: list[JobStatus]) -> list[str]:
    if not jobs:
        return []
    lines = [f"{count(len(jobs), 'job')} running", f"{'epoch':>11}{'left':>9}"]
    for job in jobs:
        if job.position is None:
            lines.append(_beside(f"{'starting':>11}{duration(job.left):>9}", job.name))
            continue
        until = last_epoch(job.job, job.pretraining)
        epoch = f"{min(int(job.position.epochs_done) + 1, until):,}/{until:,}"
        lines.append(_beside(f"{epoch:>11}{duration(job.left):>9}", job.name))
        if job.position.age > QUIET:
            lines.append(f"{'':>22}no sign of life for {duration(job.position.age)}")
    return lines


def _beside(figures: str, name: str) -> str:
    line = f"{figures}  {name}"
    return line if len(line) <= COLUMNS else f"{figures}\n    {name}"


def _failed(status: ScaleStatus, results: Path) -> list[str]:
    failed = [(job.name, str(results / job.log), job.failure) for job in status.of(State.FAILED)]
    failed += [(failure.rule, failure.log, failure.message) for failure in status.others]
    lines = [f"{count(len(failed), 'job')} failed"] if failed else []
    for name, log, message in failed:
        lines += [f"  {name}", f"    {cut(message, COLUMNS - 4)}", f"    log: {log}"]
    return lines


def _stale(runs: dict[str, State], results: Path) -> list[str]:
    stale = [path for path, state in runs.items() if state is State.STALE]
    if not stale:
        return []
    lines = [f"{count(len(stale), 'log')} of another specification or damaged, to be trained again"]
    lines += [f"  {results / path}" for path in stale[:STALE_SHOWN]]
    return lines + (
        [f"  and {len(stale) - STALE_SHOWN:,} more"] if len(stale) > STALE_SHOWN else []
    )


def _last_line(status: ScaleStatus) -> str:
    unfinished = [job for job in status.jobs if job.state is not State.DONE]
    running = status.of(State.RUNNING)
    if not unfinished:
        return "All runs are finished."
    left = sum(job.left for job in unfinished)
    jobs = f"{count(len(unfinished), 'job')} left"
    if not running:
        device = "CPU core" if status.device == "cpu" else "GPU"
        return f"{jobs}, nothing is running: about {duration(left)} on one {device}."
    ends = max(left / len(running), *(job.left for job in running))
    return (
        f"{jobs}, {len(running):,} running: about {duration(ends)} at this pace, until "
        f"{clock(ends)}."
    )
