"""What a job leaves when it fails: a record beside its log, which the summary and the status read.

The record is there from the job's first line on, and is removed when the job ends well or was asked
to stop. One with an exit code is of a job that failed; a job that was killed outright leaves none,
and snakemake, which sees it fail, adds it. Free of torch and pandas.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

# environment variable: the rule and the log of a job, with a colon between; without a rule it is
# the first part of the log's path in its folder of logs
JOB = "GRADFLOW_JOB"
STOPPED = 143  # exit code of a job that was asked to stop, as a shell reports SIGTERM
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
KILL = -signal.SIGKILL  # the code that is noted for a job that was killed outright
KILLED = "no message: the process was killed, for example for want of memory or time"
ENDING = ".failed"


@dataclass(frozen=True)
class Failure:
    """A failed job: its rule, its log and why it failed."""

    rule: str
    log: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}\n    log: {self.log or 'none'}"

    @property
    def message(self) -> str:
        """Why: what was noted, or the last line of its log."""
        return self.reason or self.last_line or "no message"

    @property
    def last_line(self) -> str:
        """The last line of its log, empty where there is none."""
        return next(iter(last_lines_of(self.log, 1)), "")


def last_lines_of(log: str, number: int) -> list[str]:
    """The last lines of a log that say something, the last one last; none where it cannot be
    read.
    """
    try:
        lines = Path(log).read_text(errors="replace").split("\n")
    except OSError:
        return []
    return [line.strip() for line in lines if line.strip()][-number:]


def record_path(log: Path) -> Path:
    """Where the record of a job lies: beside its log."""
    return log.with_name(f"{log.name}{ENDING}")


def recorded(work: Callable[[], int]) -> int:
    """Do a job's work, with a record while it lasts and after it failed.

    Args:
        work: returns the job's exit code.

    Returns:
        The exit code. Without GRADFLOW_JOB in the environment, or where no record can be written,
        the work is done all the same.
    """
    rule, colon, log = os.environ.pop(JOB, "").partition(":")
    if not colon:
        return work()
    rule = rule or log.rpartition("/logs/")[2].partition("/")[0].removesuffix(".log")
    path = record_path(Path(log))
    begun: dict[str, object] = {"rule": rule}
    _write(path, begun)

    def end(number: int, _frame: FrameType | None) -> None:
        _remove(path)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for number in STOPS:  # what is asked to stop before it can answer has not failed
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)
    code: object = 1
    try:
        code = work()
    except KeyboardInterrupt:
        code = STOPPED
        raise
    except SystemExit as stop:
        code = stop.code
        raise
    finally:
        if code in (None, 0, *(128 + number for number in STOPS)):
            _remove(path)
        else:
            _write(path, {**begun, "code": code if isinstance(code, int) else 1})
    return code


def read_failure(log: Path) -> Failure | None:
    """The failure of a job's last attempt; None when it did not fail, still runs, or died with its
    snakemake.
    """
    try:
        plain = json.loads(record_path(log).read_text())
        rule, code = str(plain["rule"]), plain.get("code")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if code is None:
        return None
    return Failure(rule, str(log), KILLED if code == KILL else "")


def note_killed(log: Path) -> None:
    """Note that snakemake saw a job fail which could not tell so itself."""
    path = record_path(log)
    with suppress(OSError, ValueError, TypeError):
        plain = json.loads(path.read_text())
        if "code" not in plain:
            _write(path, {**plain, "code": KILL})


def forget(log: Path) -> None:
    """Remove the record of an earlier attempt: the job is about to run."""
    _remove(record_path(log))


def _write(path: Path, plain: dict[str, object]) -> None:
    with suppress(OSError):  # a full disk is told by the job itself
        path.write_text(json.dumps(plain))


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
