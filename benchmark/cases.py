"""What the benchmark can be asked for: networks, stacks, and the jobs that they are. Free of
torch.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from gradflow.study.config import Config
from gradflow.study.job import PROBES, Job, Optimizer, Regularization
from gradflow.study.resolve import plan_study

# of which job in config.yaml a network is: scale and study
NETWORKS = {
    "quick": ("quick", "fashion_mnist_low"),
    "fashion_mnist": ("paper", "fashion_mnist_low"),
    "cifar100": ("paper", "cifar100_low"),
}
REGULARIZATIONS: tuple[Regularization, ...] = ("NR", "BN", "DA", "DA_BN")
Precision = Literal["float32", "tf32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FIVE = (10, 30, 50, 70, 90)
STACKS = {1: (50,), 2: (30, 70), 5: FIVE, 10: FIVE, 15: tuple(range(6, 91, 6))}
COHORT = 10  # the stack that is a whole job


@dataclass(frozen=True)
class Case:
    """What all contenders train: a job of config.yaml with another optimizer, regularization and
    precision.
    """

    network: str
    job: Job

    @property
    def title(self) -> str:
        """In words."""
        job, configuration = self.job, self.job.configuration
        return (
            f"{self.network}: {configuration.dataset} {job.max_width}x{configuration.depth}, "
            f"{configuration.optimizer}, {configuration.regularization}, {job.settings.precision}"
        )


def make_cases(
    config: Config,
    networks: Sequence[str],
    precisions: Sequence[Precision],
    optimizers: Sequence[Optimizer],
    regularizations: Sequence[Regularization],
) -> list[Case]:
    """All combinations, in the order of the arguments."""
    cases = []
    for network, precision in itertools.product(networks, precisions):
        template = next(plan_study(config, *NETWORKS[network]).jobs())
        settings = dataclasses.replace(template.settings, precision=precision)
        for optimizer, regularization in itertools.product(optimizers, regularizations):
            configuration = dataclasses.replace(
                template.configuration, optimizer=optimizer, regularization=regularization
            )
            cases.append(
                Case(
                    network,
                    dataclasses.replace(template, configuration=configuration, settings=settings),
                )
            )
    return cases


def stack_job(job: Job, networks: int, cycle: int = 1) -> Job:
    """The job of a stack, with a probe epoch at each `cycle` epochs."""
    return dataclasses.replace(
        job,
        architectures=("dense", "sparse") if networks == COHORT else ("sparse",),
        percents=STACKS[networks],
        epochs=(PROBES - 1) * cycle + 1,
    )
