"""Runs a script of a table, figure or page in a fork of the warm drawing server, or here where
there is none.

    python -m gradflow.workflow.draw SCRIPT [ARGUMENT ...]

does what `python SCRIPT ...` does. Importing pandas, scipy and matplotlib takes most of a small
table's time.
"""

from __future__ import annotations

import os
import runpy
import sys
from importlib import import_module

from gradflow.workflow.attempts import recorded
from gradflow.workflow.warm import DRAWER, PLAIN, Run, exit_code, hand_over

LIBRARIES = (
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
    "matplotlib.figure",
    "pandas",
    "pyarrow.parquet",
    "scipy.stats",
)


def load_libraries() -> Run:
    """Import what most scripts need; the project's own modules are imported by each fork, as they
    are then.
    """
    for library in LIBRARIES:
        import_module(library)
    return run


def run(script: str, arguments: list[str]) -> int:
    """Run a script as Python would, and return its exit code."""
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        return exit_code(stop)
    return 0


def main() -> int:
    """Hand the script of this process's arguments over, or run it."""
    os.environ.update(PLAIN)
    script, *arguments = sys.argv[1:]

    def work() -> int:
        code = hand_over(DRAWER, script, arguments)
        return run(script, arguments) if code is None else code

    return recorded(work)


if __name__ == "__main__":
    sys.exit(main())
