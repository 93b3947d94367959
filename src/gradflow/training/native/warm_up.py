"""Bring the kernels' machine code into a process, so that those forked from it find it there.

A kernel's first call in a process reads its code from disk, some 10 ms a kernel; on a machine's
first use it is compiled, a second a kernel.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from gradflow.data.store import ImageData
from gradflow.study.job import Configuration, Job, Settings
from gradflow.training.cohort import Cohort
from gradflow.training.native.choice import Choice
from gradflow.training.native.updates import UPDATES


class _Given(Choice):
    """Nothing is measured; active weights alone in some layers, all weights in others."""

    def product(self, role: str, inputs: int, outputs: int) -> str:
        return "mm"

    def sparse_below(self, inputs: int, outputs: int) -> float:
        return float(inputs == outputs)


def warm_up() -> None:
    """Train tiny networks for two epochs, one of which measures, with each kernel once."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 1, 4, 4), dtype=torch.uint8, generator=generator)
    labels = torch.arange(8) % 2
    data = ImageData(
        name="digits", classes=2, train_images=images, train_labels=labels, test_images=images,
        test_labels=labels, mean=torch.full((1,), 127.0).double(), std=torch.ones(1).double(),
    )  # fmt: skip
    job = Job(
        scale="smoke", variant="paper",
        configuration=Configuration("digits", "mlp", 3, 0, "relu", "sgd", 0.1, "NR"),
        seed=0, epochs=2, architectures=("dense", "sparse"), percents=(50,), max_width=8,
        crop_padding=1, settings=Settings(batch_size=4),
    )  # fmt: skip
    for number, optimizer in enumerate(name for name in UPDATES if name != "adamw"):
        configuration = replace(
            job.configuration,
            optimizer=optimizer,
            regularization=("NR", "DA_L2_SC_BN")[number % 2],
        )
        ours = replace(job, configuration=configuration)
        cohort = Cohort(ours, data, torch.device("cpu"), choice=_Given())
        cohort.probes = {1}
        cohort.train(2)
