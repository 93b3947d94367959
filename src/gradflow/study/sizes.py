"""How much a job trains: images, epochs and the size of a number. Free of torch."""

from __future__ import annotations

from gradflow.study.datasets import SHAPES, DatasetShape
from gradflow.study.job import Job


def float_size(job: Job) -> int:
    """Bytes of a float."""
    return 8 if job.settings.precision == "float64" else 4


def epochs_of(job: Job, pretraining: bool) -> range:
    """The epochs that a job trains: a pretraining the first half, a magnitude job the second."""
    half = max(1, job.epochs // 2)
    if pretraining:
        return range(half)
    return range(half if job.architectures == ("magnitude",) else 0, job.epochs)


def shape_of(job: Job) -> DatasetShape:
    """The shape of a job's data set, at the side that it is trained on."""
    return SHAPES[job.configuration.dataset].at_side(job.settings.image_side)


def train_images(job: Job) -> int:
    """How many training images a job uses: all of its data set's, or a subset."""
    count = job.settings.train_images
    return SHAPES[job.configuration.dataset].train_images if count == "all" else count
