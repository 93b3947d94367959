"""Checkpoints of a cohort: tensors as safetensors beside a small JSON file that names them with
their checksum.

The JSON file is the checkpoint: it is replaced last and whole, so a crash at any moment leaves the
one before. It also tells a reader how far a job has come (`epoch` of `epochs`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from gradflow.files import remove_asides, replacing, save_tensors
from gradflow.study.job import Run
from gradflow.training.cohort import Cohort
from gradflow.training.made_by import MadeBy


class CheckpointError(Exception):
    """A checkpoint is damaged or does not fit; the message is one sentence."""


@dataclass(frozen=True)
class Progress:
    """How far a job has come, and the log rows written so far."""

    spec: str
    epoch: int
    step_in_epoch: int
    epochs: int
    seconds: float  # spent training, over all attempts
    rows: dict[Run, list[dict[str, Any]]]
    tensors: str = ""  # file name beside the JSON file; empty once there is nothing left to train
    sha256: str = ""
    made_by: list[MadeBy] = field(default_factory=list)  # an entry for each attempt that differs


def progress_of(cohort: Cohort, seconds: float) -> Progress:
    """How far a cohort is, without its tensors."""
    return Progress(
        spec=cohort.job.to_json(),
        epoch=cohort.epoch,
        step_in_epoch=cohort.step_in_epoch,
        epochs=cohort.job.epochs,
        seconds=seconds,
        rows=cohort.rows,
        made_by=cohort.made_by,
    )


def save_checkpoint(path: Path, cohort: Cohort, seconds: float) -> None:
    """Write the cohort's state; `path` is the JSON file."""
    before = read_progress(path)
    name = f"{path.stem}-{cohort.epoch}-{cohort.step_in_epoch}.safetensors"
    tensors = {
        # masks as booleans take a quarter of the room
        key: (tensor.bool() if ".mask." in key else tensor.detach()).contiguous().cpu()
        for key, tensor in cohort.tensors().items()
    }
    with replacing(path.with_name(name)) as aside:
        save_tensors(aside, tensors)
        digest = _sha256(aside)
    progress = dataclasses.replace(progress_of(cohort, seconds), tensors=name, sha256=digest)
    write_progress(path, progress)
    if before is not None and before.tensors not in ("", name):
        path.with_name(before.tensors).unlink(missing_ok=True)


def restore_checkpoint(path: Path, progress: Progress, cohort: Cohort) -> None:
    """Put the state that `progress` names into the cohort.

    Raises:
        CheckpointError: the tensors are missing or damaged, or belong to another set of runs; the
            cohort is untouched.
    """
    if progress.rows.keys() != cohort.rows.keys():
        raise CheckpointError(f"{path}: the checkpoint holds other runs than are to be trained")
    saved = load_tensors(path.with_name(progress.tensors), progress.sha256)
    present = cohort.tensors()
    if saved.keys() != present.keys() or any(
        saved[key].shape != present[key].shape for key in present
    ):
        raise CheckpointError(f"{path}: the checkpoint does not fit the networks")
    with torch.no_grad():
        for key, tensor in present.items():
            tensor.copy_(saved[key])
    cohort.epoch, cohort.step_in_epoch = progress.epoch, progress.step_in_epoch
    cohort.rows = {run: list(rows) for run, rows in progress.rows.items()}
    cohort.made_by = list(progress.made_by)
    for stack in cohort.stacks:
        stack.count_live()


def load_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read a safetensors file after checking it.

    Raises:
        CheckpointError: the file is missing, or its checksum is another.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: the file is missing")
    if _sha256(path) != sha256:
        raise CheckpointError(f"{path}: the file is damaged (its checksum does not match)")
    return load_file(path)


def write_progress(path: Path, progress: Progress) -> None:
    """Replace the JSON file."""
    rows = [[run.architecture, run.percent, rows] for run, rows in progress.rows.items()]
    plain = {**progress.__dict__, "rows": rows}
    with replacing(path) as aside:
        aside.write_text(json.dumps({**plain, "checksum": _checksum(plain)}))


def read_progress(path: Path) -> Progress | None:
    """Read the JSON file; None when it does not exist or is damaged."""
    try:
        plain = json.loads(path.read_text())
        if plain.pop("checksum") != _checksum(plain):
            return None
        rows = {
            Run(architecture, percent): rows for architecture, percent, rows in plain.pop("rows")
        }
        return Progress(**plain, rows=rows)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def remove_checkpoint(path: Path) -> None:
    """Remove the JSON file and what lies beside it under its name."""
    path.unlink(missing_ok=True)
    for tensors in path.parent.glob(f"{path.stem}-*.safetensors"):
        tensors.unlink(missing_ok=True)
    for name in (path.name, f"{path.stem}-*.safetensors"):
        remove_asides(path.parent, name)


def _checksum(plain: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
