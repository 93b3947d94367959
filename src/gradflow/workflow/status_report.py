"""The status of a scale as text of 80 columns."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from gradflow.workflow.status import JobStatus, ScaleStatus, State, last_epoch

COLUMNS = 80
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
    lines = [f"{_count(len(jobs), 'job')} running", f"{'epoch':>11}{'left':>9}"]
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
    lines = [f"{_count(len(failed), 'job')} failed"] if failed else []
    for name, log, message in failed:
        lines += [f"  {name}", f"    {_cut(message, COLUMNS - 4)}", f"    log: {log}"]
    return lines


def _stale(runs: dict[str, State], results: Path) -> list[str]:
    stale = [path for path, state in runs.items() if state is State.STALE]
    if not stale:
        return []
    lines = [
        f"{_count(len(stale), 'log')} of another specification or damaged, to be trained again"
    ]
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
    jobs = f"{_count(len(unfinished), 'job')} left"
    if not running:
        device = "CPU core" if status.device == "cpu" else "GPU"
        return f"{jobs}, nothing is running: about {duration(left)} on one {device}."
    ends = max(left / len(running), *(job.left for job in running))
    return f"{jobs}, {len(running):,} running: about {duration(ends)} at this pace, until {clock(ends)}."


def clock(seconds: float) -> str:
    """The time of day in so many seconds, with the day where it is another."""
    then = time.time() + seconds
    same_day = time.strftime("%F") == time.strftime("%F", time.localtime(then))
    return time.strftime("%H:%M" if same_day else "%d %b %H:%M", time.localtime(then))


def duration(seconds: float) -> str:
    """Of two figures or so: `40 s`, `12 min`, `3.4 h`, `12 days`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.0f} days"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
