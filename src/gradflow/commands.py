"""What the training scripts share: parse a job, choose a device, end with a sentence and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gradflow.spec import Job

if TYPE_CHECKING:
    import torch


class WithoutPandas:
    """Keeps pandas out of a trainer: pyarrow imports it, a second a job, to ask whether a list is a Series."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Refuse pandas; leave everything else to the other finders."""
        if name == "pandas":
            raise ModuleNotFoundError("training does without pandas", name=name)


STOPPED = 143  # as a shell reports SIGTERM


def training_command(description: str | None, work: Callable[[], Callable[[Job, Path, torch.device], None]]) -> int:
    """Run a training script.

    Args:
        description: the script's docstring.
        work: imports and returns what to do with (job, results folder, device); torch takes seconds to import, which a
            mistake on the command line should not cost.

    Returns:
        The exit code: 0, 1 after an error that is told in one line, 143 after a request to stop.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--job", required=True, help="the job as canonical JSON (gradflow.spec.Job.to_json)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the results folder")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()
    try:
        job = Job.from_json(arguments.job)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1

    sys.meta_path.insert(0, WithoutPandas())
    from gradflow.checkpoint import CheckpointError
    from gradflow.data import DataError
    from gradflow.training import Stopped, choose_device, prepare

    try:
        device = choose_device()
        prepare(device, job, arguments.threads)
        work()(job, arguments.results, device)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return STOPPED
    except (CheckpointError, DataError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
