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

from gradflow.workflow_lock import HELD

PARTIAL = "partial=true"
INTERRUPTED = "Terminating processes on user request"  # snakemake's words for Ctrl-C


@dataclass(frozen=True)
class Failure:
    """A failed job: its rule, its log and the log's last line."""

    rule: str
    log: str

    def __str__(self) -> str:
        try:
            lines = [line for line in Path(self.log).read_text(errors="replace").splitlines() if line.strip()]
        except OSError:
            lines = []
        return f"{self.rule}: {lines[-1].strip() if lines else 'no message'}\n    log: {self.log or 'none'}"


def failures(snakemake_log: str) -> list[Failure]:
    """The failed jobs that a snakemake log tells of, each once though it was tried again."""
    found = {}
    for block in re.split(r"^Error in rule ", snakemake_log, flags=re.MULTILINE)[1:]:
        rule = block.split(":", 1)[0]
        log = re.search(r"^    log: (.+?)(?: \(check log file.*)?$", block, flags=re.MULTILINE)
        path = log[1].strip() if log else ""
        found[rule, path] = Failure(rule, path)
    return list(found.values())


def make_partial_artifacts(snakemake_log: Path) -> None:
    """Run the same command once more in partial mode, then name the failed jobs.

    The caller holds the results folder; exit codes are left to it.
    """
    log = snakemake_log.read_text(errors="replace")
    failed = failures(log)
    if INTERRUPTED in log:
        say(
            "\nInterrupted. Finished runs are kept; the same command goes on, half-trained jobs from their checkpoints."
        )
        return
    say("\nSome jobs failed. Making every table and figure from the runs that are finished.")
    command = [sys.executable, "-m", "snakemake", *with_partial(sys.argv[1:]), "--nolock", "--quiet", "all"]
    done = subprocess.run(command, env={**os.environ, HELD: str(os.getpid())}, check=False)
    if done.returncode:
        say("Not all of them could be made; see above.")
    say(f"\n{len(failed)} failed {'job' if len(failed) == 1 else 'jobs'}; everything else is finished and kept:")
    for failure in failed:
        say(f"  {failure}")
    say("After mending the cause, the same command runs only what is missing and what depends on it.")


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
