"""What happens after a job has failed: artifacts from the runs that exist, and a summary of what failed.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gradflow.workflow.lock import HELD

PARTIAL = "partial=true"
INTERRUPTED = "Terminating processes on user request"  # snakemake's words for Ctrl-C


@dataclass(frozen=True)
class Failure:
    """A failed job: its rule, its log and the log's last line."""

    rule: str
    log: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.last_line or 'no message'}\n    log: {self.log or 'none'}"

    @property
    def last_line(self) -> str:
        """The last line of its log, empty where there is none."""
        try:
            lines = [
                line.strip()
                for line in Path(self.log).read_text(errors="replace").splitlines()
                if line.strip()
            ]
        except OSError:
            return ""
        return lines[-1] if lines else ""


def failures(snakemake_log: str) -> list[Failure]:
    """The failed jobs that a snakemake log tells of, each once though it was tried again.

    Of a failed group (jobs that were submitted as one) Snakemake tells of every job, indented; here
    the finished ones are left out.
    """
    found: dict[Failure, None] = {}
    grouped: dict[Failure, bool] = {}
    for indent, block in re.findall(
        r"^( *)Error in rule (.+?)(?=^ *Error in |\Z)", snakemake_log, re.MULTILINE | re.DOTALL
    ):
        rule = block.split(":", 1)[0]
        log = re.search(r"^ +log: (.+?)(?: \(check log file.*)?$", block, flags=re.MULTILINE)
        failure = Failure(rule, log[1].strip() if log else "")
        if indent:
            grouped[failure] = _finished(failure, block)
        else:
            found[failure] = None
    finished = [failure for failure, done in grouped.items() if done]
    unfinished = grouped.keys() - finished or grouped.keys()  # when nothing tells them apart, all
    return [
        *found,
        *(failure for failure in grouped if failure in unfinished and failure not in found),
    ]


def _finished(failure: Failure, block: str) -> bool:
    """Whether a job of a failed group has made its files and has nothing to complain of."""
    outputs = re.search(r"^ +output: (.+)$", block, flags=re.MULTILINE)
    paths = outputs[1].replace(" (update)", "").split(", ") if outputs else []
    quiet = not failure.last_line or failure.last_line.startswith("resumed at epoch")
    return quiet and bool(paths) and all(Path(path).exists() for path in paths)


def make_partial_artifacts(snakemake_log: Path, finished: str = "") -> None:
    """Run the same command once more in partial mode, then name the failed jobs.

    The caller holds the results folder; exit codes are left to it.

    Args:
        snakemake_log: of the run that failed.
        finished: how many of its jobs are finished, in words, for one that was interrupted.
    """
    log = snakemake_log.read_text(errors="replace")
    failed = failures(log)
    if INTERRUPTED in log:
        count = f" ({finished})" if finished else ""
        say(
            f"\nInterrupted. Finished runs are kept{count}.\n"
            "The same command goes on, half-trained jobs from their checkpoints."
        )
        return
    say("\nSome jobs failed. Making every table and figure from the runs that are finished.")
    command = [
        sys.executable,
        "-m",
        "snakemake",
        *with_partial(sys.argv[1:]),
        "--nolock",
        "--quiet",
        "all",
    ]
    done = subprocess.run(command, env={**os.environ, HELD: str(os.getpid())}, check=False)
    if done.returncode:
        say("Not all of them could be made; see above.")
    say(
        f"\n{len(failed)} failed {'job' if len(failed) == 1 else 'jobs'}; everything else is finished and kept:"
    )
    for failure in failed:
        say(f"  {failure}")
    say(
        "After mending the cause, the same command runs only what is missing and what depends on it."
    )


def with_partial(arguments: list[str]) -> list[str]:
    """The command line with partial mode switched on, beside settings that it has already."""
    for option in ("--config", "-C"):
        if option in arguments:
            place = arguments.index(option) + 1
            return [*arguments[:place], PARTIAL, *arguments[place:]]
    return [*arguments, "--config", PARTIAL]


def say(text: str) -> None:
    """Print to where snakemake prints."""
    print(text, file=sys.stderr, flush=True)
