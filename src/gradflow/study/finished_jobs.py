"""How long finished jobs took: a line each in a file a scale, by which plans are corrected."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gradflow.files import lock, lock_path
from gradflow.study.job import Job, Run


def record_job(
    results: Path,
    job: Job,
    runs: Iterable[Run],
    seconds: float,
    device: str,
    native: bool,
    pretraining: bool = False,
) -> None:
    """Note how long a job took: one line in a file a scale, so that thousands are read at once.

    Appending alone is not atomic between the machines of a shared file system, hence the lock. A
    job of which only a part was trained anew is left out. `native` says that its steps were
    compiled ones, all of them.
    """
    if set(runs) != set(job.runs) or seconds <= 0:
        return
    line = {
        "spec": job.to_json(),
        "pretraining": pretraining,
        "device_type": device,
        "native": native,
        "seconds": round(seconds, 3),
    }
    path = results / job.scale / "state" / "costs.jsonl"
    with lock(lock_path(path)), open(path, "ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")


def records(results: Path) -> Iterator[dict[str, Any]]:
    """What `record_job` noted, of all scales; a line that a crash cut short is passed over."""
    for path in sorted(results.glob("*/state/costs.jsonl")):
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                yield record
