"""One snakemake at a time on a results folder, and none locked out by a dead one.

Snakemake's own lock outlives a killed snakemake, and cannot be told from a live one's. A flock ends
with its process: who gets it may clear what Snakemake left behind.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path
from typing import IO

from gradflow.files import try_lock
from gradflow.workflow.internals import remove_locks, trust_files

HELD = (
    "GRADFLOW_RESULTS_LOCK"  # set for a snakemake that runs on behalf of one which holds the lock
)
# Options of a snakemake that runs no job. Of the short ones, which may stand together, those before
# take no value.
LOOKING = re.compile(
    r"-[tkfFpa]*[nlSDhv]\w*"
    r"|--(dry-?run|lint|list(-[\w-]+)?|(detailed-)?summary|unlock|report|(d3)?dag|(rule|file)graph|help|version|archive"
    r"|generate-unit-tests)(=.*)?"
)
AFTER_ALL = "--report-after-run"  # and this one makes `--report` run jobs


def take_results_lock(main_process: bool, results: Path) -> IO[str] | None:
    """Take the lock when this snakemake is about to run jobs; exit with a line when another one
    does.

    Args:
        main_process: not a job's process on a cluster node.
        results: the results folder.

    Returns:
        The lock, to be kept until the process ends; None where none is needed.
    """
    looking = AFTER_ALL not in sys.argv and any(LOOKING.fullmatch(word) for word in sys.argv[1:])
    if not main_process or HELD in os.environ or looking:
        return None
    try:
        lock = try_lock(results / ".lock")
    except OSError as error:
        sys.exit(
            f"{results}/ cannot be written ({error.strerror}); make it writable, or run in "
            "another folder"
        )
    if lock is None:
        process, _, host = (results / ".lock").read_text(errors="replace").strip().partition(" ")
        where = "" if host in ("", socket.gethostname()) else f" on {host}"
        sys.exit(
            f"Another snakemake (process {process or 'unknown'}{where}) is running on {results}/; "
            f"wait for it or stop it{where} with: kill {process or 'PID'}. The lock ends with it"
        )
    lock.truncate(0)
    lock.write(f"{os.getpid()} {socket.gethostname()}\n")
    lock.flush()
    # nobody else is alive, so a lock of Snakemake's own is a dead one's
    remove_locks()
    # Data files are whole once they are there. A marked one would be fetched again, and nothing
    # else done: Snakemake does not look at the jobs behind one that it forces, and training, whose
    # data are `ancient` inputs, is not drawn along either.
    trust_files(f"{results}/data")
    return lock
