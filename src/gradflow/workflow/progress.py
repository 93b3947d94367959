"""How a running workflow comes along: on a terminal a bar at its foot, in a log a plain line a minute.

Snakemake's log tells which jobs begin and end, the trainers' own records (`progress`) in which
epoch they are. Nothing is written to standard output. While the bar stands, Snakemake's blocks on
jobs that begin and end are left out on the terminal, and failures stand above it in brief;
Snakemake's log file has everything. Free of torch, and of rich until a bar is drawn.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradflow.study.job import Job
from gradflow.text import clock, duration
from gradflow.training.heartbeat import Position, read_position
from gradflow.workflow.attempts import Failure
from gradflow.workflow.status import STOPPED, checkpoint_path, last_epoch, share_done

if TYPE_CHECKING:
    from rich.console import RenderableType

BAR_SECONDS = 1.0  # between two drawings
LOAD = 0.005  # of a core, at most, that drawing may take
LINE_SECONDS = 60.0  # between two plain lines
OTHER_SECONDS = 3.0  # of a table, a figure or a collection, mostly the start of Python
TRUST = 10.0  # seconds of work after which the measured pace counts as much as the cost model's
SHOWN = 4  # running jobs beside the bar
# Snakemake's events that the bar stands for, and a line without one
BLOCKS = {
    "job_info",
    "job_started",
    "job_finished",
    "group_info",
    "shellcmd",
    "resources_info",
    "progress",
}
CHOOSING = "Select jobs to execute..."


@dataclass(frozen=True)
class Step:
    """One of Snakemake's jobs, with seconds by the cost model."""

    name: str
    seconds: float = OTHER_SECONDS
    job: Job | None = None  # that it trains
    pretraining: bool = False


class _Listener(logging.Handler):
    """Keeps book of the steps from Snakemake's log."""

    def __init__(self) -> None:
        super().__init__()
        self.running: dict[int, None] = {}  # in the order in which they began
        self.done: set[int] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Note a beginning or an end."""
        match getattr(record, "event", None):
            case "job_info":
                self.running[record.__dict__["jobid"]] = None
            case "job_error":
                self.running.pop(record.__dict__["jobid"], None)
            case "job_finished":
                number = record.__dict__["job_id"]
                self.running.pop(number, None)
                self.done.add(number)

    def look(self) -> tuple[list[int], set[int]]:
        """The running and the finished steps at this moment."""
        self.acquire()
        try:
            return list(self.running), set(self.done)
        finally:
            self.release()


@dataclass(frozen=True)
class View:
    """The state of a workflow at one moment."""

    steps: int
    done: int
    running: list[tuple[Step, Position | None]]
    share: float  # of all work, by the cost model
    left: float  # seconds

    @property
    def summary(self) -> str:
        """In words."""
        words = [f"{self.done:,} of {self.steps:,} jobs"]
        if self.done < self.steps:
            words.append(f"about {duration(self.left)} left, until {clock(self.left)}")
        return ", ".join(words)

    @property
    def jobs(self) -> list[str]:
        """The running jobs, those that train first, a line each."""
        training = [(step, position) for step, position in self.running if step.job is not None]
        lines = []
        for step, position in training[:SHOWN]:
            assert step.job is not None
            until = last_epoch(step.job, step.pretraining)
            epoch = (
                f"epoch {min(int(position.epochs_done) + 1, until)}/{until}"
                if position
                else "starting"
            )
            lines.append(f"{epoch:>14}  {step.name}")
        others = Counter(step.name for step, _ in self.running if step.job is None)
        lines += [f"{'':>14}  {name}" for name in list(others)[: SHOWN - len(lines)]]
        more = len(self.running) - len(lines)
        return [*lines, f"{'':>14}  and {more} more"] if more > 0 else lines


class WorkflowProgress:
    """Watches a workflow from `start` to `stop`; before and after it does nothing."""

    def start(
        self,
        logger: logging.Logger,
        steps: Mapping[int, Step],
        results: Path,
        at_once: int,
        details: bool,
    ) -> None:
        """Begin to watch.

        Args:
            logger: Snakemake's.
            steps: what is to run, by Snakemake's number of it.
            results: the results folder.
            at_once: steps that can run at the same time.
            details: whether Snakemake's own blocks are wanted on a terminal too; a bar would only
                be in their way.
        """
        self._steps, self._results, self._at_once = steps, results, at_once
        self._logger, self._listener, self._began = logger, _Listener(), time.monotonic()
        self._stopped = threading.Event()
        logger.addHandler(self._listener)
        shown = [handler for handler in logger.handlers if handler.name == "DefaultStreamHandler"]
        to_stderr = bool(shown) and getattr(shown[0], "stream", None) is sys.stderr
        on_terminal = (
            to_stderr and os.isatty(sys.stderr.fileno()) and os.environ.get("TERM") != "dumb"
        )
        if on_terminal and not details:
            shown[0].addFilter(_is_worth_a_look)
            shown[0].setFormatter(_Brief(shown[0].formatter))
            self._thread = threading.Thread(target=self._draw, args=shown[:1], daemon=True)
        else:
            self._thread = threading.Thread(target=self._print, daemon=True)
        self._thread.start()
        atexit.register(self.stop)  # so that no way out leaves a bar behind

    def stop(self) -> None:
        """Take the bar away."""
        if not hasattr(self, "_thread") or self._stopped.is_set():
            return
        self._stopped.set()
        self._thread.join()
        self._logger.removeHandler(self._listener)

    def view(self) -> View:
        """Look at the records of the running jobs."""
        running, done = self._listener.look()
        shown = [
            (self._steps.get(number, Step("job")), self._position(number)) for number in running
        ]
        work = sum(step.seconds for step in self._steps.values())
        worked = sum(step.seconds for number, step in self._steps.items() if number in done)
        longest = 0.0
        for step, position in shown:
            if step.job is not None and position is not None:
                share = share_done(step.job, step.pretraining, position)
                worked += share * step.seconds
                if share > 0.02:
                    longest = max(longest, position.seconds / share * (1 - share))
        elapsed = time.monotonic() - self._began
        pace = (elapsed + TRUST) / (worked + TRUST * self._at_once)
        left = max((work - worked) * pace, longest)
        return View(len(self._steps), len(done), shown, worked / work if work else 1.0, left)

    def _position(self, number: int) -> Position | None:
        step = self._steps.get(number)
        if step is None or step.job is None:
            return None
        return read_position(
            self._results / checkpoint_path(step.job, step.pretraining), step.job.to_json()
        )

    def _print(self) -> None:
        while not self._stopped.wait(LINE_SECONDS):
            view = self.view()
            running = f"{len(view.running)} running"
            print(
                f"{time.strftime('[%H:%M:%S]')} {view.summary}; {running}",
                file=sys.stderr,
                flush=True,
            )

    def _draw(self, handler: Any) -> None:
        from rich.console import Console
        from rich.live import Live

        stream = sys.stderr
        console = Console(file=stream, highlight=False)
        live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        try:
            with live:
                console.show_cursor(True)  # it would be lost when this process is killed
                handler.setStream(sys.stderr)  # rich's, which writes above the bar
                pause = BAR_SECONDS
                while not self._stopped.wait(pause):
                    before = time.thread_time()
                    live.update(_bar(self.view()), refresh=True)
                    pause = max(BAR_SECONDS, (time.thread_time() - before) / LOAD)
        finally:
            handler.setStream(stream)
            handler.removeFilter(_is_worth_a_look)
            handler.setFormatter(handler.formatter.whole)


class _Brief(logging.Formatter):
    """Of a failed or stopped job its log's last line, in place of a page with its command; all else as it was."""

    def __init__(self, whole: logging.Formatter | None):
        super().__init__()
        self.whole = whole or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """As Snakemake prints it, or two lines for a failed job."""
        if getattr(record, "event", None) == "job_error":
            failure = Failure(record.__dict__["rule_name"], ", ".join(record.__dict__["log"] or []))
            return f"{'Stopped' if failure.last_line.startswith(STOPPED) else 'Failed'}: {failure}"
        return self.whole.format(record)


def _is_worth_a_look(record: logging.LogRecord) -> bool:
    """Not what the bar stands for, nor the command of a failed job, which has its own line."""
    text = str(record.msg)
    failed_command = text.startswith("RuleException") and "CalledProcessError" in text
    return getattr(record, "event", None) not in BLOCKS and text != CHOOSING and not failed_command


def _bar(view: View) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 2), expand=False)
    head.add_row(ProgressBar(total=1.0, completed=view.share, width=24), Text(view.summary))
    return Group(head, *(Text(line, no_wrap=True, overflow="ellipsis") for line in view.jobs))
