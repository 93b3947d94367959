"""A person's mistakes that Snakemake finds itself, answered in a sentence in place of its own
words.

Snakemake reports them through its log, so `display`, which shows it, sees them all, and a start
without a mistake costs nothing. `target_names` knows the targets, `config_sentences` the
configuration, `device_name` the device; what is wrong before Snakemake reads any file of ours,
bootstrap.py answers.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from gradflow.report.reference import NAME as REFERENCE
from gradflow.study.grid import Grid
from gradflow.study.names import bundle_target
from gradflow.training.device_name import check_device_here, device_name
from gradflow.workflow.target_names import wrong_target

STARTED = "workflow_started"  # Snakemake's event of the lines on host and versions
NO_BACKUP = re.compile(
    r"Cannot restore .*: no backup found"
)  # of each output of a failed job that had none before
NOT_MADE = re.compile(r"File (results/([^/]+)/\S+) marked for report but does not exist")
NO_RULE = re.compile(r"No rule to produce (.+) \(if you use input functions")
FILE_ERROR = re.compile(r"^(?:PermissionError|OSError): \[Errno \d+\] (.+): '(.+)'$", re.MULTILINE)

# to --forceall, and to --forcerun of a training rule
FORCED_TRAINING = (
    "Finished runs are kept whatever is forced: a training job trains only what has no log of "
    "today's specification. To train runs anew, move their logs out of results/SCALE/runs."
)


class MistakeError(Exception):
    """A setting is wrong; the message is one sentence."""


def check_settings(cores: int | None, jobs: int | None, runs_here: bool) -> None:
    """Refuse settings with which no job could do its work.

    Args:
        cores: that Snakemake was given for this machine; None where it was given none.
        jobs: likewise at a time on a cluster.
        runs_here: whether this machine is about to train.

    Raises:
        MistakeError: one of them is wrong.
    """
    for option, number in (("cores", cores), ("jobs", jobs)):
        if number is not None and number < 1:  # Snakemake would wait without end
            raise MistakeError(
                f"--{option} {number} lets no job run; name 1 or more, or leave the option out"
            )
    try:
        check_device_here() if runs_here else device_name()
    except ValueError as error:
        raise MistakeError(str(error)) from error
    folder = os.environ.get("GRADFLOW_DATA")
    if folder and not Path(folder).expanduser().is_dir():
        raise MistakeError(
            f"GRADFLOW_DATA is {folder}, which is no folder; correct the name, or unset it"
        )


class Answers:
    """Replaces Snakemake's words on a mistake, and leaves out its idle lines, which its log file
    has.
    """

    def __init__(self, grid: Grid):
        self._answers: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
            (NO_RULE, lambda found: wrong_target(grid, REFERENCE, found[1])),
            (NOT_MADE, _not_made),
            (
                FILE_ERROR,
                lambda found: (
                    f"{found[2]} cannot be written ({found[1]}); mend that, or run in another "
                    "folder"
                ),
            ),
        )

    def answer(self, record: logging.LogRecord) -> bool:
        """Change a record with a mistake; false for what is left out."""
        if getattr(record, "event", None) == STARTED or NO_BACKUP.match(str(record.msg)):
            return False
        if record.levelno >= logging.ERROR and getattr(record, "exception", None):
            text = record.getMessage()
            for pattern, answer in self._answers:
                if found := pattern.search(text):
                    record.msg, record.args = answer(found), ()
                    break
        return True


def _not_made(found: re.Match[str]) -> str:
    bundle = bundle_target(found[2])
    return (
        f"{found[1]} is not made yet; snakemake {bundle} makes what is missing and then that report"
    )
