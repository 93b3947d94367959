"""What a run shows: few lines of its own, a bar on a terminal, and its end.

It gets Snakemake's log events from the logger plugin (`snakemake_logger_plugin_gradflow`), and
obeys Snakemake's own options. With `--quiet rules`, as profiles/default has it, jobs that begin and
end are a bar on a terminal and a line each in a log; without it Snakemake's blocks stand for them.
`--quiet progress` leaves out the bar, `--quiet all` everything but failures and an early end.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TextIO

from gradflow.workflow.attempts import Failure, last_lines_of
from gradflow.workflow.events import INTERRUPTED, Events
from gradflow.workflow.internals import Snakemake
from gradflow.workflow.progress import Progress, Step, bar
from gradflow.workflow.status import STOPPED

BAR_SECONDS = 1.0  # between two drawings
LOAD = 0.005  # of a core, at most, that drawing may take
LINE_SECONDS = 60.0  # between two lines on how far it is; of a long run, a hundredth of its time
JOB_LINES = 200  # lines on finished jobs, however many there are
TAIL = 20  # lines of a failed job's log that are shown in a log
# Of Snakemake's words without an event, those that a person who runs the workflow wants
WORTH = re.compile(
    rf"Nothing to be done|{INTERRUPTED}|Unlocked|Trying to restart|Creating conda|SLURM"
)
# and of its errors and warnings, what its own lines on failed jobs have better
COMMAND_FAILED = re.compile(r"RuleException[\s\S]*CalledProcessError")
AFTERMATH = re.compile(
    r"Exiting because a job execution failed|At least one job did not complete|--keep-incomplete"
)


class Settings(Protocol):
    """Of Snakemake's output settings, those that are obeyed."""

    quiet: Collection[object] | None
    dryrun: bool
    stdout: bool


class Display:
    """Shows a run from its first event to `close`.

    Args:
        settings: Snakemake's.
        plain: Snakemake's own handler; None where another plugin shows the run, so that nothing
            but its end is shown here.
        events: the book to keep.
        answer: changes a record with a mistake, and tells whether it is to be shown at all.
        end: gives the last lines.
    """

    def __init__(
        self,
        settings: Settings,
        plain: logging.Handler | None,
        events: Events,
        answer: Callable[[logging.LogRecord], bool],
        end: Callable[[], Sequence[str]],
    ):
        quiet = {getattr(choice, "name", str(choice)) for choice in settings.quiet or ()}
        self.silent, self.brief = "ALL" in quiet, "RULES" in quiet and plain is not None
        self.tells_progress = plain is not None and not quiet & {"ALL", "PROGRESS"}
        self.dry, self.to_stdout = settings.dryrun, settings.stdout
        self._plain, self._events, self._answer, self._end = plain, events, answer, end
        self._began = False  # whether the run itself has begun
        self._planned = False  # whether its jobs are known
        self._closed = False
        self._progress: Progress | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._lines = 0

    def handle(self, record: logging.LogRecord) -> None:
        """Keep book, and show a record if it is worth it."""
        self._events.note(record)
        event = getattr(record, "event", None)
        self._began = self._began or event == "workflow_started"
        first_plan = event == "run_info" and not self._planned
        self._planned = self._planned or event == "run_info" or is_idle(record)
        if self._plain is None or not self._answer(record):
            return
        if (self.silent and not self.dry) or not self.brief or not self._began:
            self._plain.handle(record)
        elif event == "job_finished":
            self._tell_job(record.__dict__["job_id"])
        elif event == "job_error":
            self._tell_failure(record.__dict__["rule_name"], record.__dict__["log"] or [])
        elif first_plan or (event is None and WORTH.match(str(record.msg))) or self._warns(record):
            self._plain.handle(record)

    def _warns(self, record: logging.LogRecord) -> bool:
        event = getattr(record, "event", None)
        if record.levelno < logging.WARNING or event == "group_error":
            return False
        failed = self._events.failed or self._events.interrupted
        text = str(record.msg)
        return not (COMMAND_FAILED.match(text) or (failed and AFTERMATH.search(text)))

    def _tell_failure(self, rule: str, logs: Sequence[object]) -> None:
        failure = Failure(rule, ", ".join(map(str, logs)))
        stopped = failure.last_line.startswith(STOPPED)
        self.say(f"{'Stopped' if stopped else 'Failed'}: {failure}")
        if not stopped and not self.on_terminal:
            for line in last_lines_of(failure.log, TAIL)[:-1]:
                self.say(f"      {line}")

    def _tell_job(self, number: int) -> None:
        """A line in a log, with the number of jobs that are finished; of many jobs of some
        alone.
        """
        progress = self._progress
        if progress is None or self.on_terminal:
            return
        done, steps = len(self._events.finished), len(progress.steps)
        if done * JOB_LINES >= self._lines * steps or done == steps:
            self._lines = done * JOB_LINES // steps + 1
            name = progress.steps.get(number, Step("job")).name
            self.say(f"{now()} {done:>{len(str(steps))},} of {steps:,}  {name}")

    @property
    def on_terminal(self) -> bool:
        """Whether a person looks on."""
        stream = sys.__stdout__ if self.to_stdout else sys.__stderr__
        return bool(stream and stream.isatty()) and os.environ.get("TERM") != "dumb"

    def say(self, text: str) -> None:
        """Print a line of our own."""
        print(text, file=sys.stdout if self.to_stdout else sys.stderr, flush=True)

    def start(self, progress: Progress) -> None:
        """Jobs begin: show how far they are, until `stop`."""
        self._progress = progress
        if self.tells_progress:
            draws = self.on_terminal and self.brief
            self._thread = threading.Thread(target=self._draw if draws else self._tell, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Take the bar away."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def end_here(self) -> None:
        """The last job has ended: show the end, unless the plugin is to do that after Snakemake's
        own last words.
        """
        self.stop()
        if self._plain is None:
            self.close()

    def close(self) -> None:
        """Show the end of the run; once."""
        if self._closed:
            return
        self._closed = True
        self.stop()
        if self._planned and (self._fell_short() or not self.silent):
            lines = self._end()
            if lines:
                self.say("\n" + "\n".join(lines))

    def _fell_short(self) -> bool:
        """Whether the run ended before its last job, for whatever reason."""
        left = self._progress and len(self._events.finished) < len(self._progress.steps)
        return bool(self._events.failed or self._events.interrupted or left)

    def _tell(self) -> None:
        assert self._progress is not None
        while not self._stopped.wait(max(LINE_SECONDS, 0.01 * self._progress.elapsed)):
            self.say(f"{now()} {self._progress.view().line}")

    def _draw(self) -> None:
        from rich.console import Console
        from rich.live import Live

        assert self._progress is not None and isinstance(self._plain, logging.StreamHandler)
        stream: TextIO = sys.stderr
        console = Console(file=stream, highlight=False)
        live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        try:
            with live:
                console.show_cursor(True)  # it would be lost when this process is killed
                self._plain.setStream(sys.stderr)  # rich's, which writes above the bar
                pause = BAR_SECONDS
                while not self._stopped.wait(pause):
                    before = time.thread_time()
                    live.update(bar(self._progress.view()), refresh=True)
                    pause = max(BAR_SECONDS, (time.thread_time() - before) / LOAD)
        finally:
            self._plain.setStream(stream)


def is_idle(record: logging.LogRecord) -> bool:
    """Whether Snakemake finds that all is made; it has no event for that."""
    return str(record.msg).startswith("Nothing to be done")


def now() -> str:
    """The time, as the lines of a log begin."""
    return time.strftime("[%H:%M:%S]")


class _Listener(logging.Handler):
    """Hands events on where another plugin, or Snakemake itself, shows the run."""

    def __init__(self, display: Display):
        super().__init__()
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on."""
        self._display.handle(record)


def show_run(
    snakemake: Snakemake,
    events: Events,
    answer: Callable[[logging.LogRecord], bool],
    end: Callable[[], Sequence[str]],
) -> Display:
    """Let a display show a run, through the logger plugin where it is there."""
    handler, settings = snakemake.own_handler(), snakemake.output_settings
    display = Display(settings, handler.plain if handler else None, events, answer, end)
    if handler:
        handler.display = display
    else:
        snakemake.add_handler(_Listener(display))
    return display
