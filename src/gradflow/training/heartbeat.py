"""Where a running job stands, for whoever looks from outside: a small JSON file beside its
checkpoint.

The checkpoint says the same, but may be five minutes old. The record is written at most every two
seconds, costs no fsync, and nothing in training reads it: without it, or with a wrong one, a job
computes the same. Free of torch.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gradflow.files import remove_asides

RECORD_SECONDS = 2.0


@dataclass(frozen=True)
class Position:
    """How far a job has come."""

    epochs_done: float  # with the share of the epoch under way
    seconds: float  # spent training, over all attempts
    age: float  # seconds since this was written


class ProgressRecord:
    """The record of one attempt; it is removed when the attempt ends, and a killed one leaves it
    behind.

    Args:
        state: the JSON file of the job's checkpoint.
    """

    def __init__(self, state: Path):
        self.path = record_path(state)
        self._written = -RECORD_SECONDS

    def __enter__(self) -> ProgressRecord:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
            remove_asides(self.path.parent, self.path.name)

    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self._written >= RECORD_SECONDS

    def write(self, epochs_done: float, seconds: float) -> None:
        """Replace the file. A full disk is no reason to stop training: what cannot be written is
        not.
        """
        self._written = time.monotonic()
        aside = self.path.with_name(f".{self.path.name}.{socket.gethostname()}.{os.getpid()}")
        with suppress(OSError):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                aside.write_text(
                    json.dumps({"epochs_done": round(epochs_done, 4), "seconds": round(seconds, 3)})
                )
                os.replace(aside, self.path)
            finally:
                aside.unlink(missing_ok=True)


def record_path(state: Path) -> Path:
    """The record's place, beside the checkpoint's JSON file."""
    return state.with_suffix(".progress")


def read_position(state: Path, spec: str) -> Position | None:
    """How far a job has come by its record, or else by its checkpoint; None when neither tells.

    Args:
        state: the JSON file of the job's checkpoint.
        spec: the job's canonical JSON; a checkpoint of another specification is passed over.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        path = record_path(state)
        plain = json.loads(path.read_text())
        return Position(float(plain["epochs_done"]), float(plain["seconds"]), _age(path))
    return read_checkpoint_position(state, spec)


def read_checkpoint_position(state: Path, spec: str) -> Position | None:
    """How far a job's checkpoint has come; None where there is none of this specification."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        plain = json.loads(state.read_text())
        if plain["spec"] == spec:
            return Position(float(plain["epoch"]), float(plain["seconds"]), _age(state))
    return None


def _age(path: Path) -> float:
    return max(0.0, time.time() - path.stat().st_mtime)
