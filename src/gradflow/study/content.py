"""Which images a job trains on: the SHA-256 of its data set's arrays, a part of its identity.

Those of the paper's data sets are known before they are fetched. What a user's own file reads is
known once it was read: its manifest in results/data tells, so a job is planned without it, and
trained and looked up with it. Free of torch, because Snakemake imports it.
"""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress
from pathlib import Path

from gradflow.study.datasets import SHAPES
from gradflow.study.job import Job


def own_content(dataset: str, results: Path) -> str:
    """The checksum of a user's own data set as it was last fetched.

    Returns:
        Hexadecimal; empty before that, and for a data set whose `SHAPE` tells it.
    """
    if dataset in SHAPES and not SHAPES[dataset].sha256:
        with suppress(OSError, ValueError, KeyError, TypeError):
            manifest = json.loads((results / "data" / f"{dataset}.json").read_bytes())
            return str(manifest["arrays_sha256"])
    return ""


def as_fetched(job: Job, results: Path) -> Job:
    """A job with the data that are there."""
    own = own_content(job.configuration.dataset, results)
    return dataclasses.replace(job, data=own) if own else job


def as_planned(job: Job) -> Job:
    """A job as it is the same before and after a user's own data are fetched."""
    return dataclasses.replace(job, data=SHAPES[job.configuration.dataset].sha256)
