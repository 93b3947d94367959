"""Who takes turns in the benchmark, a plain loop or the engine, and how a turn's time and memory
are taken.
"""

from __future__ import annotations

import os
import resource
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmark.plain_loops import PlainLoop
from benchmark.roofline import timed
from gradflow.data.store import ImageData
from gradflow.study.job import Job
from gradflow.training.cohort import Cohort

LONGEST_CYCLE = 50  # epochs of a turn


class PeakMemory:
    """The most memory in use, in MB, while a block ran.

    On a GPU what torch allocated beyond what there was before. On a CPU the resident memory of the
    whole process, all contenders included, as its allocator keeps what others gave back.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.before = self.mb = 0.0

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device) / 1e6
        else:
            with suppress(OSError):  # without the right to do so the peak is that since the start
                Path("/proc/self/clear_refs").write_text("5")
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self.mb = torch.cuda.max_memory_allocated(self.device) / 1e6 - self.before
        else:
            self.mb = resident_peak_mb()


def resident_peak_mb() -> float:
    """Of this process, as far as Linux says since it was reset."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def free_mb(device: torch.device) -> float:
    """Memory for another contender: a GPU's, or this machine's where that is less, since networks
    are drawn there.
    """
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        pages = (
            int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
        )
    if device.type == "cuda":
        pages = min(pages, torch.cuda.mem_get_info(device)[0])
    return pages / 1e6


@dataclass
class Samples:
    """Microseconds a step of one network, by round."""

    us: list[float] = field(default_factory=list)
    probe_us: list[float] = field(default_factory=list)


class Contender(ABC):
    """Something that trains networks, in turns."""

    def __init__(self, name: str, job: Job, device: torch.device, steps_per_epoch: int):
        self.name, self.job, self.device = name, job, device
        self.steps_per_epoch = steps_per_epoch
        self.samples = Samples()
        self.build_seconds = self.warm_up_seconds = self.turn_seconds = 0.0
        self.peak_mb = self.resident_mb = 0.0
        self.steps = 0

    @abstractmethod
    def build(self) -> None:
        """Make the networks."""

    @abstractmethod
    def warm_up(self) -> None:
        """Train as in a turn, untimed."""

    @abstractmethod
    def turn(self) -> None:
        """Train and take the time."""

    def start(self) -> None:
        """Build and warm up."""
        with PeakMemory(self.device) as memory:
            self.build_seconds = timed(self.device, self.build)
            self.warm_up_seconds = timed(self.device, self.warm_up)
        self.peak_mb = memory.mb
        if self.device.type == "cuda":
            self.resident_mb = torch.cuda.memory_allocated(self.device) / 1e6 - memory.before

    def take_turn(self) -> None:
        """One round."""
        with PeakMemory(self.device) as memory:
            start = time.perf_counter()
            self.turn()
            self.turn_seconds = time.perf_counter() - start
        self.peak_mb = max(self.peak_mb, self.resident_mb + memory.mb)

    @property
    def first_extra(self) -> float:
        """Seconds of the first turn beyond the last one, where warming up is a turn."""
        return 0.0

    def per_step(self, work: Callable[[], object], epochs: int) -> float:
        """Microseconds a step of one network."""
        seconds = timed(self.device, work)
        self.steps += epochs * self.steps_per_epoch
        return 1e6 * seconds / (epochs * self.steps_per_epoch * len(self.job.runs))


class Plain(Contender):
    """A plain loop on one network."""

    def __init__(
        self,
        name: str,
        job: Job,
        device: torch.device,
        steps: int,
        make: Callable[[], PlainLoop],
        span: float,
    ):
        super().__init__(name, job, device, steps)
        self.make, self.span, self.epochs = make, span, 1

    def build(self) -> None:
        """Make the network and its optimizer."""
        self.loop = self.make()

    def warm_up(self) -> None:
        """An epoch of each kind, and another that says how many make a turn."""
        self.loop.measured_epoch()
        seconds = timed(self.device, self.loop.train_epoch)
        self.epochs = min(max(round(self.span / seconds), 1), LONGEST_CYCLE)

    def turn(self) -> None:
        """A probe epoch, then some others."""

        def train() -> None:
            for _ in range(self.epochs):
                self.loop.train_epoch()

        self.samples.probe_us.append(self.per_step(self.loop.measured_epoch, 1))
        self.samples.us.append(self.per_step(train, self.epochs))


class Engine(Contender):
    """A cohort; its job has a probe epoch at each `cycle` epochs."""

    def __init__(self, job: Job, data: ImageData, device: torch.device, steps: int, cycle: int):
        super().__init__("engine", job, device, steps)
        self.data, self.cycle = data, cycle

    def build(self) -> None:
        """Draw masks and weights."""
        self.cohort = Cohort(self.job, self.data, self.device)

    def warm_up(self) -> None:
        """A whole cycle: both kinds of epoch, and whatever is captured for them."""
        self.cohort.train(self.cycle)

    def turn(self) -> None:
        """A probe epoch, then the others of a cycle."""
        epoch = self.cohort.epoch
        self.samples.probe_us.append(self.per_step(lambda: self.cohort.train(epoch + 1), 1))
        self.samples.us.append(
            self.per_step(lambda: self.cohort.train(epoch + self.cycle), self.cycle - 1)
        )

    @property
    def first_extra(self) -> float:
        """Capture and all else that only a first use costs."""
        return max(self.warm_up_seconds - self.turn_seconds, 0.0)
