"""What a training job costs: seconds from its work, corrected by the wall time of finished jobs.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gradflow.study.cpu_speed import ASSUMED, CpuRates, cpu_rates
from gradflow.study.finished_jobs import records
from gradflow.study.job import Job
from gradflow.study.native_cost import is_native, native_seconds
from gradflow.study.work import DeviceType, stacks_of, work_of

# Imports and data. On a CPU most jobs fork from a process that has imported torch.
START_SECONDS: dict[DeviceType, float] = {"cuda": 15.0, "cpu": 1.0}
DRAW_SECONDS = 2e-7  # a weight: its initial value and its place in a mask are drawn on the CPU


def training_seconds(
    job: Job, device: DeviceType, pretraining: bool = False, cpu: CpuRates = ASSUMED
) -> float:
    """What a job trains and measures, before any factor: by the compiled steps where it has
    them.
    """
    if device == "cpu" and is_native(job):
        return native_seconds(job, pretraining, cpu)
    seconds = work_of(job, pretraining).seconds(device, job.settings.precision)
    # the rates of a CPU above are those assumed
    return seconds * ASSUMED.flops / cpu.flops if device == "cpu" else seconds


@dataclass(frozen=True)
class Factor:
    """Measured over predicted seconds, and from how many jobs."""

    value: float = 1.0
    jobs: int = 0


class CostModel:
    """Seconds of jobs, corrected by one factor a model and device type.

    Args:
        factors: by (model, device type); 1 where there is none.
        cpu: how fast a core is.
    """

    def __init__(
        self, factors: dict[tuple[str, str], Factor] | None = None, cpu: CpuRates = ASSUMED
    ):
        self.factors = factors or {}
        self.cpu = cpu

    @classmethod
    def of_results(cls, results: Path, measure: bool = False) -> CostModel:
        """Calibrate by the finished jobs of all scales.

        Args:
            results: the results folder.
            measure: whether a core's speed may be measured, a quarter of a second, where no
                finished job tells it and none is kept.
        """
        timed: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for record in records(results):
            try:
                job, device, seconds = (
                    Job.from_json(record["spec"]),
                    record["device_type"],
                    float(record["seconds"]),
                )
                predicted = training_seconds(job, device, record["pretraining"])
                # the speed of other steps, or of those before there were compiled ones, says
                # nothing of today's
                same_steps = record.get("native", False) == (device == "cpu" and is_native(job))
                measured = 0 < seconds < math.inf and 0 < predicted < math.inf and same_steps
            # of another engine version, whose speed says nothing of this one's, or damaged
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                continue
            if not measured:
                continue
            timed.setdefault((job.configuration.model, device), []).append((seconds, predicted))
        factors = {key: Factor(weighted_median(pairs), len(pairs)) for key, pairs in timed.items()}
        if any(device == "cpu" for _, device in factors):  # of the assumed rates
            return cls(factors)
        return cls(factors, cpu_rates(results, measure))

    def factor(self, model: str, device: DeviceType) -> Factor:
        """The correction of a model's predicted seconds on a device."""
        return self.factors.get((model, device), Factor())

    def seconds(self, job: Job, device: DeviceType, pretraining: bool = False) -> float:
        """Wall seconds of a job, its start included."""
        training = training_seconds(job, device, pretraining, self.cpu)
        start = START_SECONDS[device] + DRAW_SECONDS * sum(
            stack.weights for stack in stacks_of(job)
        )
        return start + training * self.factor(job.configuration.model, device).value

    def runtime(self, job: Job, device: DeviceType, pretraining: bool = False) -> int:
        """Minutes to ask a cluster for: twice the estimate and ten."""
        return math.ceil(2 * self.seconds(job, device, pretraining) / 60 + 10)


def weighted_median(pairs: Iterable[tuple[float, float]]) -> float:
    """Median of measured / predicted, weighted by measured seconds: many jobs of a second do not
    outvote an hour.
    """
    ratios = sorted((measured / predicted, measured) for measured, predicted in pairs)
    half = sum(weight for _, weight in ratios) / 2
    below = 0.0
    for ratio, weight in ratios:
        below += weight
        if below >= half:
            return ratio
    raise ValueError("there is nothing to take a median of")


def planned_device(elsewhere: bool) -> DeviceType:
    """The kind of device that jobs are planned for.

    GRADFLOW_DEVICE says it; otherwise a GPU, if this machine has one or the jobs run `elsewhere`,
    on a cluster.
    """
    name = os.environ.get("GRADFLOW_DEVICE", "auto").partition(":")[0]
    if name in ("cpu", "cuda"):
        return "cpu" if name == "cpu" else "cuda"
    return "cuda" if elsewhere or os.path.exists("/dev/nvidiactl") else "cpu"
