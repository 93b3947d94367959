"""How far a running workflow is: jobs done, the time left, the running jobs' epochs, what will be
drawn next.

Snakemake's events tell which jobs begin and end, the trainers' own records (`heartbeat`) in which
epoch they are, the cost model what they take. Free of torch, and of rich until a bar is drawn.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gradflow.study.content import as_fetched
from gradflow.study.job import Job
from gradflow.text import clock, count, duration
from gradflow.training.heartbeat import Position, read_position
from gradflow.workflow.events import Events
from gradflow.workflow.status import checkpoint_path, last_epoch, share_done

if TYPE_CHECKING:
    from rich.console import RenderableType

OTHER_SECONDS = 3.0  # of a table, a figure or a collection, mostly the start of Python
TRUST = 10.0  # seconds of work after which the measured pace counts as much as the cost model's
SHOWN = 4  # running jobs beside the bar


@dataclass(frozen=True)
class Step:
    """One of Snakemake's jobs, with seconds by the cost model."""

    name: str
    seconds: float = OTHER_SECONDS
    job: Job | None = None  # that it trains
    pretraining: bool = False
    files: tuple[str, ...] = ()  # that it makes, where it trains nothing
    artifact: str = ""  # the table or figure that it draws


@dataclass(frozen=True)
class View:
    """The state of a workflow at one moment."""

    steps: int
    done: int
    running: list[tuple[Step, Position | None]]
    share: float  # of all work, by the cost model
    left: float  # seconds
    next: str = ""  # the table or figure that needs the fewest further jobs
    before: int = 0  # so many

    @property
    def summary(self) -> str:
        """In words."""
        words = [f"{self.done:,} of {self.steps:,} jobs"]
        if self.done < self.steps:
            words.append(f"about {duration(self.left)} left, until {clock(self.left)}")
        return ", ".join(words)

    @property
    def drawn_next(self) -> str:
        """What will be drawn next, in words; empty where there is none."""
        if not self.next:
            return ""
        after = f", after {count(self.before, 'more job')}" if self.before else ""
        return f"next: {self.next}{after}"

    @property
    def jobs(self) -> list[str]:
        """The running jobs, those that train first, a line each."""
        training = [(step, position) for step, position in self.running if step.job is not None]
        lines = [f"{epoch_of(step, at):>14}  {step.name}" for step, at in training[:SHOWN]]
        others = Counter(step.name for step, _ in self.running if step.job is None)
        lines += [f"{'':>14}  {name}" for name in list(others)[: SHOWN - len(lines)]]
        more = len(self.running) - len(lines)
        return [*lines, f"{'':>14}  and {more} more"] if more > 0 else lines

    @property
    def line(self) -> str:
        """All of it in one line, for a log."""
        trained = [f"{epoch_of(step, at)} of {step.name}" for step, at in self.running if step.job]
        parts = [f"{len(self.running)} running", *trained[:1], self.drawn_next]
        return "; ".join([self.summary, *filter(None, parts)])


def epoch_of(step: Step, position: Position | None) -> str:
    """The epoch that a training job is in."""
    assert step.job is not None
    if position is None:
        return "starting"
    until = last_epoch(step.job, step.pretraining)
    return f"epoch {min(int(position.epochs_done) + 1, until)}/{until}"


@dataclass
class Progress:
    """Of a run from now on.

    Args:
        steps: what is to run, by Snakemake's number of it.
        needs: the steps among them that each one waits for.
        events: of the run.
        results: the results folder.
        at_once: steps that can run at the same time.
    """

    steps: Mapping[int, Step]
    needs: Mapping[int, Collection[int]]
    events: Events
    results: Path
    at_once: int
    began: float = field(default_factory=time.monotonic)

    def view(self) -> View:
        """Look at the records of the running jobs."""
        running, done = self.events.look()
        shown = [
            (self.steps.get(number, Step("job")), self._position(number)) for number in running
        ]
        work = sum(step.seconds for step in self.steps.values())
        worked = sum(step.seconds for number, step in self.steps.items() if number in done)
        longest = 0.0
        for step, position in shown:
            if step.job is not None and position is not None:
                share = share_done(step.job, step.pretraining, position)
                worked += share * step.seconds
                if share > 0.02:
                    longest = max(longest, position.seconds / share * (1 - share))
        pace = (self.elapsed + TRUST) / (worked + TRUST * self.at_once)
        left = max((work - worked) * pace, longest)
        artifact, before = self._drawn_next(running, done)
        share = worked / work if work else 1.0
        return View(len(self.steps), len(done), shown, share, left, artifact, before)

    @property
    def elapsed(self) -> float:
        """Seconds since the first job could begin."""
        return time.monotonic() - self.began

    def _drawn_next(self, running: Collection[int], done: set[int]) -> tuple[str, int]:
        """The table or figure that waits for the fewest jobs, and for how many."""
        # many are drawn of the same tables, and each table is collected of many runs
        waiting: dict[int, set[int]] = {}
        best: tuple[str, int] = ("", 0)
        for number, step in self.steps.items():
            if not step.artifact or number in done or number in running:
                continue
            left: set[int] = set()
            for table in self.needs.get(number, ()):
                if table not in done:
                    if table not in waiting:
                        waiting[table] = {table, *self.needs.get(table, ())} - done
                    left |= waiting[table]
            if not best[0] or len(left) < best[1]:
                best = (step.artifact, len(left))
        return best

    def _position(self, number: int) -> Position | None:
        step = self.steps.get(number)
        if step is None or step.job is None:
            return None
        job = as_fetched(step.job, self.results)  # its data may have been fetched since
        return read_position(self.results / checkpoint_path(job, step.pretraining), job.to_json())


def bar(view: View) -> RenderableType:
    """The bar at the foot of a terminal."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 2), expand=False)
    head.add_row(ProgressBar(total=1.0, completed=view.share, width=24), Text(view.summary))
    lines = [*view.jobs, *([f"{'':>14}  {view.drawn_next}"] if view.next else [])]
    return Group(head, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))
