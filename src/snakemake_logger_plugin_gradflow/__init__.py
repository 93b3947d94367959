"""Snakemake's logger plugin of this workflow (`--logger gradflow`; profiles/default names it).

The plugin belongs to the environment, and what it shows to the workflow that runs: the Snakefile
gives it a display (`gradflow.workflow.display`). So it imports nothing of the library, of which the
workflow may have another copy. Until it has a display it shows what Snakemake would.

Snakemake reads and merges the files of `--configfile` before any Snakefile. The plugin is there
earlier still, and has each of them looked at first.
"""

from __future__ import annotations

import subprocess
import sys
from logging import Handler, LogRecord
from pathlib import Path
from typing import Any, Protocol

from snakemake_interface_logger_plugins.base import LogHandlerBase


class Shows(Protocol):
    """What the workflow gives to the plugin."""

    def handle(self, record: LogRecord) -> None:
        """Show a record, or leave it out."""

    def close(self) -> None:
        """Show the end of the run."""


def look_at_config_files() -> None:
    """Let Snakemake read no file of `--configfile` that would run code, or whose aliases stand for
    too much.

    A process of its own looks, since this one may import no library yet. Merging such aliases takes
    hours.
    """
    from snakemake.settings import types

    load = types.load_configfile
    if getattr(load, "looks", False):  # one snakemake after another in this process
        return

    def look_and_load(path: Path) -> Any:
        look = [sys.executable, "-P", "-m", "gradflow.study.config_file", str(path)]
        done = subprocess.run(look, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"The configuration is wrong; nothing was started.\n{done.stdout.rstrip()}")
        return load(path)

    look_and_load.looks = True  # type: ignore[attr-defined]
    types.load_configfile = look_and_load


class LogHandler(LogHandlerBase):
    """Writes to the terminal, or to the log that stands in its place."""

    display: Shows | None = None
    plain: Handler  # as Snakemake itself would write

    def __post_init__(self) -> None:
        """Make Snakemake's own handler, with its filter and formatter."""
        from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter

        look_at_config_files()
        wanted = self.common_settings
        self.plain = ColorizingTextHandler(
            nocolor=wanted.nocolor,
            stream=sys.stdout if wanted.stdout else sys.stderr,
            formatter=DefaultFormatter(wanted.quiet, wanted.show_failed_logs),
            filter=DefaultFilter(
                wanted.quiet, wanted.debug_dag, wanted.verbose, wanted.dryrun, wanted.printshellcmds
            ),
        )

    def emit(self, record: LogRecord) -> None:
        """Show a record."""
        if self.display is None:
            self.plain.handle(record)
        else:
            self.display.handle(record)

    def close(self) -> None:
        """Show the end of the run; Snakemake closes its plugins when all else is done."""
        display, self.display = self.display, None
        if display is not None:
            display.close()
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """In place of Snakemake's own handler."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Snakemake's own log file stays."""
        return False

    @property
    def has_filter(self) -> bool:
        """The display sees all records."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Of its own."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """No."""
        return False
