"""What happens when jobs of a workflow fail: artifacts from the runs that exist.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gradflow.workflow.attempts import forget
from gradflow.workflow.internals import Asked, PlannedJob
from gradflow.workflow.lock import HELD

PARTIAL = "partial"  # the setting of config.yaml


def forget_failures(jobs: Iterable[PlannedJob]) -> None:
    """What failed in an earlier attempt has not failed in this one yet."""
    for job in jobs:
        for log in job.logs:
            forget(log)


def partial_command(asked: Asked, trained: Callable[[str], bool]) -> list[str] | None:
    """The command that makes, of what was asked for, all that the finished runs allow.

    Args:
        asked: by the command that failed.
        trained: whether a name or path is that of a training rule or of what it makes, which
            partial mode has none of.

    Returns:
        None when nothing else was asked for.
    """
    targets = [target for target in asked.targets if not trained(target)]
    if (asked.targets and not targets) or any(map(trained, asked.until)):
        return None
    omitted = [name for name in asked.omit_from if not trained(name)]
    return [
        sys.executable,
        "-m",
        "snakemake",
        *("--snakefile", str(asked.snakefile)),
        *("--cores", str(asked.cores)),
        "--nolock",
        *("--quiet", "all"),
        *asked.options,
        *(["--until", *asked.until] if asked.until else []),
        *(["--omit-from", *omitted] if omitted else []),
        *same_settings(asked.config_files, {**asked.config, PARTIAL: True}),
        "--",
        *targets,
    ]


def same_settings(config_files: Iterable[Path], config: Mapping[str, Any]) -> list[str]:
    """The options by which another snakemake sees the same configuration."""
    files = [str(path) for path in config_files]
    values = [f"{key}={json.dumps(value)}" for key, value in config.items()]
    return [
        *(["--configfile", *files] if files else []),
        *(["--config", *values] if values else []),
    ]


def draw_what_is_there(command: list[str]) -> None:
    """Make the artifacts of the runs that exist; the caller holds the results folder.

    Args:
        command: as `partial_command` gives it.
    """
    say("\nSome jobs failed. Making every table and figure from the runs that are finished.")
    made = subprocess.run(command, env={**os.environ, HELD: str(os.getpid())}, check=False)
    if made.returncode:
        say("Not all of them could be made; see above.")


def say(text: str) -> None:
    """Print to where snakemake prints."""
    print(text, file=sys.stderr, flush=True)
