"""The last lines of a run: what was made, the page to open, the verdicts in one line, what is
missing.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gradflow.study.work import DeviceType
from gradflow.text import count, duration, in_hours
from gradflow.workflow.attempts import Failure
from gradflow.workflow.events import Events
from gradflow.workflow.progress import Step

AGAIN = "The same command goes on, half-trained jobs from their checkpoints."
MENDED = (
    "After mending the cause, the same command runs only what is missing and what depends on it."
)
SCORECARD = "scorecard.csv"
PAGES = ("report.html", "scorecard.html")  # the first of a scale that was asked for is to be opened
OPENED = (".html", ".png", ".pdf", ".csv", ".parquet")  # likewise of other files
# verdicts as more than one claim has them
SAID = {"agrees": "agreeing on stand-in data", "disagrees": "disagreeing on stand-in data"}
FAILED_SHOWN = 20
NAMED = 6  # artifacts that are told by name


@dataclass
class Run:
    """What was to be done, as far as the last lines tell of it."""

    asked: Collection[str]  # files
    steps: Mapping[int, Step] = field(default_factory=dict)  # by Snakemake's numbers
    needs: Mapping[int, Collection[int]] = field(default_factory=dict)  # in a possible order
    device: DeviceType = "cpu"
    dry: bool = False


def last_lines(run: Run, events: Events, elapsed: float) -> list[str]:
    """The end of a run.

    Args:
        run: what was to be done.
        events: what happened.
        elapsed: seconds since its first job could begin.
    """
    if run.dry:
        return _planned(run)
    done = f"{len(events.finished):,} of {len(run.needs):,} jobs are finished"
    failed = events.failures()
    if events.interrupted:
        return [f"Interrupted. Finished runs are kept ({done}).", AGAIN]
    if failed:
        lines = [_failed(failed, events.left_out(run.needs), done)]
        lines += [f"  {failure}" for failure in failed[:FAILED_SHOWN]]
        if len(failed) > FAILED_SHOWN:
            lines.append(f"  and {len(failed) - FAILED_SHOWN:,} more; gradflow status names them")
        return [*lines, *_found(run.asked), MENDED]
    if len(events.finished) < len(run.needs):
        return [f"Stopped before the end. Finished runs are kept ({done}).", AGAIN]
    if not run.needs:
        return _found(run.asked)
    made = [step for number, step in run.steps.items() if number in events.finished]
    return [f"Finished in {duration(elapsed)}: {_made(made)}.", *_found(run.asked)]


def _planned(run: Run) -> list[str]:
    if not run.steps:
        return _found(run.asked)
    unit = "one CPU core" if run.device == "cpu" else "one GPU"
    training = [step for step in run.steps.values() if step.job is not None]
    hours = in_hours(sum(step.seconds for step in training))
    work = f", {len(training):,} of them training: {hours} on {unit}" if training else ""
    return [
        f"{count(len(run.steps), 'job')} would run{work}.",
        "This was a dry run. Without -n they run; --quiet host shows each of them.",
    ]


def _failed(failed: Sequence[Failure], left_out: int, done: str) -> str:
    jobs = count(len(failed), "failed job")
    if left_out:
        return f"{jobs}, and {left_out:,} that did not run; {done} and kept:"
    return f"{jobs}; everything else is finished and kept:"


def _made(steps: Sequence[Step]) -> str:
    """What jobs have made: few artifacts by name, many by number."""
    training = sum(step.job is not None for step in steps)
    drawn = [step for step in steps if step.artifact]
    words = [count(training, "training job")] if training else []
    if len(drawn) <= NAMED:
        words += [step.artifact for step in drawn]
    else:
        figures = sum("/figures/" in step.files[0] for step in drawn)
        tables = len(drawn) - figures
        words += [count(tables, "table")] * bool(tables) + [count(figures, "figure")] * bool(
            figures
        )
    others = sum(bool(step.files) and not step.artifact for step in steps)
    words += [count(others, "other file")] if others and not drawn else []
    return ", ".join(words) or "nothing new"


def _found(asked: Collection[str]) -> list[str]:
    """What to open, and what is known of it."""
    lines = []
    if page := page_to_open(asked):
        lines.append(f"  open     {page}")
    for scorecard in sorted(Path(file) for file in asked if Path(file).name == SCORECARD):
        lines += scorecard_lines(scorecard)
    return lines


def page_to_open(asked: Collection[str]) -> str:
    """The one file of those asked for that a person opens first; empty where none is there."""
    there = sorted(file for file in asked if Path(file).exists())
    for name in PAGES:
        if pages := [file for file in there if Path(file).name == name]:
            return pages[0]
    return next((file for ending in OPENED for file in there if file.endswith(ending)), "")


def scorecard_lines(scorecard: Path) -> list[str]:
    """The verdicts of a scale, and what it lacks; none where it has no scorecard yet."""
    try:
        with scorecard.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return []
    verdicts = Counter(row["verdict"] for row in rows if row["part"] == "claim")
    studies = [row for row in rows if row["part"] == "study"]
    planned = sum(int(row["planned"] or 0) for row in studies)
    lacking = planned - sum(int(row["finished"] or 0) for row in studies)
    not_run = verdicts.pop("not run", 0)
    scale = scorecard.parent.name
    words = [f"{number} {SAID.get(verdict, verdict)}" for verdict, number in verdicts.most_common()]
    lines = []
    if verdicts or not_run:
        claims = count(verdicts.total() + not_run, "claim")
        lines.append(f"  verdict  {claims}: {', '.join(words) or 'none is decided'}")
    missing = [f"{lacking:,} of {planned:,} runs"] if lacking else []
    if not_run:
        needs = "claim needs" if not_run == 1 else "claims need"
        missing.append(f"{not_run} {needs} runs that scale {scale} does not have")
    return [*lines, f"  missing  {'; '.join(missing) or f'nothing of scale {scale}'}"]
