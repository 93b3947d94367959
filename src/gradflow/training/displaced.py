"""Finished runs that made room for others, and damaged ones: moved aside, never deleted.

A log of another specification moves to `{scale}/superseded/{hash of its specification}/`, with its
kept weights, and comes back when that specification is planned again. A damaged log moves to
`{scale}/damaged/`, with the reason in a text file beside it. `magnitude_pruning` does likewise
with pretrained networks. Free of torch, because collecting does without it.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from gradflow.files import replacing
from gradflow.study.job import Job, Run, superseded_path
from gradflow.training.run_log import WrongLogError, read_log

DAMAGED = "damaged"
WEIGHTS = ".safetensors"  # the ending of kept weights, beside their log (`weights.weights_path`)


def displace_log(job: Job, run: Run, results: Path) -> str:
    """Make room for a run's log: move aside what lies there, unless it is of this specification.

    Returns:
        What was moved and why, as a sentence; empty when nothing was in the way.

    Raises:
        run_log.RunLogError: the log is there and cannot be read.
    """
    place = job.log_path(run)
    log = results / place
    if not log.exists():
        return ""
    try:
        spec = (read_log(log).schema.metadata or {})[b"spec"].decode()
    except WrongLogError as error:
        kept = set_aside_damaged(results, place, str(error))
        return f"{error}; it is kept as {kept}"
    if spec == job.only(run).to_json():
        return ""
    aside = results / superseded_path(place, spec)
    weights = log.with_suffix(WEIGHTS)
    if _weights_spec(weights) == spec:
        move(weights, aside.with_suffix(WEIGHTS))
    move(log, aside)  # last: without it the weights are nobody's
    return f"{log}: the log is of another specification; it is kept as {aside}"


def take_back_log(job: Job, run: Run, results: Path) -> bool:
    """Put a run's superseded log back in its place, if there is one.

    Returns:
        Whether the run is finished by that.
    """
    spec, place = job.only(run).to_json(), job.log_path(run)
    aside = results / superseded_path(place, spec)
    if not aside.exists():
        return False
    try:
        read_log(aside, spec)
    except WrongLogError as error:
        set_aside_damaged(results, aside.relative_to(results).as_posix(), str(error))
        return False
    displace_log(job, run, results)
    with suppress(FileNotFoundError):
        move(aside.with_suffix(WEIGHTS), (results / place).with_suffix(WEIGHTS))
    move(aside, results / place)
    return True


def set_aside_damaged(results: Path, path: str, reason: str) -> Path:
    """Move a damaged file to `{scale}/damaged/`, its reason in a text file beside it.

    Args:
        results: the results folder.
        path: the file's place below it; the first part is the scale.
        reason: a sentence.

    Returns:
        Where it lies now.
    """
    scale, _, rest = path.partition("/")
    place = results / scale / DAMAGED / rest
    number = 1
    while place.exists():  # one that was damaged before
        number += 1
        place = (results / scale / DAMAGED / rest).with_suffix(f".{number}{Path(rest).suffix}")
    with replacing(place.with_name(f"{place.name}.txt")) as aside:
        aside.write_text(f"{reason}\n")
    with suppress(FileNotFoundError):  # another process was first
        move(results / path, place)
    return place


def move(source: Path, target: Path) -> None:
    """Move a file within the results folder; what lies at the target is replaced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)


def _weights_spec(path: Path) -> str:
    """The specification that kept weights name in their header; empty where there is none."""
    try:
        with open(path, "rb") as file:
            header = file.read(int.from_bytes(file.read(8), "little"))
        return str(json.loads(header)["__metadata__"]["spec"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError):
        return ""
