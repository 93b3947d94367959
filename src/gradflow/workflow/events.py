"""A book of what began, failed and finished, kept from Snakemake's log events.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping
from pathlib import Path

from gradflow.workflow.attempts import Failure, note_killed, read_failure

INTERRUPTED = "Terminating processes on user request"  # Snakemake's words for Ctrl-C; no event


class Events:
    """The jobs of a run, by Snakemake's numbers of them. `--quiet` hides no event from it."""

    def __init__(self) -> None:
        self.failed: dict[int, Failure] = {}
        self.of_groups: set[int] = set()  # jobs of failed groups, of which some may have finished
        self.finished: set[int] = set()
        self.running: dict[int, None] = {}  # in the order in which they began
        self.interrupted = False
        self._lock = threading.Lock()

    def note(self, record: logging.LogRecord) -> None:
        """Note an event."""
        said = record.__dict__
        with self._lock:
            match said.get("event"):
                case "job_info":
                    self.running[said["jobid"]] = None
                case "job_error":
                    self._fail(said)
                case "job_finished":
                    number = said["job_id"]
                    self.running.pop(number, None)
                    self.finished.add(number)
                    self.failed.pop(number, None)  # it was tried again
            if str(record.msg).startswith(INTERRUPTED):
                self.interrupted = True

    def _fail(self, said: Mapping[str, object]) -> None:
        number, logs = said["jobid"], said.get("log")
        assert isinstance(number, int)
        log = str(logs[0]) if isinstance(logs, list) and logs else ""
        self.running.pop(number, None)
        self.failed[number] = Failure(str(said["rule_name"]), log)
        if said.get("indent"):
            self.of_groups.add(number)
        if log:
            note_killed(Path(log))

    def look(self) -> tuple[list[int], set[int]]:
        """The running and the finished jobs at this moment."""
        with self._lock:
            return list(self.running), set(self.finished)

    def failures(self) -> list[Failure]:
        """The failed jobs with what their records tell, each once though it was tried again.

        Of a failed group (jobs that a cluster was sent as one) those that left a record; all that
        are not finished where none did, since nothing tells them apart.
        """
        told = {
            number: read_failure(Path(one.log)) for number, one in self.failed.items() if one.log
        }
        known = any(told.get(number) for number in self.of_groups)
        return [
            told.get(number) or one
            for number, one in self.failed.items()
            if number not in self.of_groups or told.get(number) or not known
        ]

    def left_out(self, steps: Mapping[int, Collection[int]]) -> int:
        """How many steps neither ran nor wait for one that failed.

        Args:
            steps: what each step that was to run waits for, in an order in which they can run.
        """
        stopped, left = set(self.failed), 0
        for number, needed in steps.items():
            if number in self.finished or number in self.failed:
                continue
            if stopped.isdisjoint(needed):
                left += 1
            else:
                stopped.add(number)
        return left
