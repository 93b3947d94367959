"""What the benchmark measures: two plain loops and the engine, in turns, on the same device and
data in one process.

For each network, precision, optimizer and regularization all contenders are built, warmed up, and
then take turns for several rounds: A B C A B C. A turn is some whole epochs, so what an epoch costs
at its start (order and draws, a loader's iterator) is inside. Data sets are cut to as many whole
minibatches as the time allows, with the test images and the probe images cut alike, so that a probe
epoch keeps its share; `train_images` says how many were left.

Stacks (K) and their jobs: 1, 2, 5 and 15 are sparse networks of the maximum width and differ in
their masks alone; 15 takes 15 percents, which no study has, as the present `Job` stacks percents
and not seeds. 10 is the cohort that the workflow trains, the five sparse networks and their five
dense twins. A plain loop trains one network, a sparse one for the former; for the latter each of
the ten is counted, dense ones by their own measurement.

Everyone's epochs alternate between those that measure gradient flow and those that only train.
`run_us` weighs them as the whole run does, at most 11 of whose epochs measure: the norms of every
minibatch, the probe pass, the test pass.

All contenders compute with one CPU thread and the same precision flags. The DataLoader works in
this process on a CPU, one thread like for like; on a GPU it has `workers`.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmark.cases import COHORT, FIVE, Case, stack_job
from benchmark.measurement import Measurement, over_a_run
from benchmark.plain_loops import DeviceLoop, ImageLoop, PlainLoop, image_loaders, plain_network
from benchmark.roofline import floor_us, measured_rates
from benchmark.turns import LONGEST_CYCLE, Contender, Engine, Plain, free_mb
from gradflow.data.store import ImageData, load_dataset
from gradflow.study.job import Job, Run
from gradflow.study.memory import IMPORTS_MB, gpu_memory_mb, memory_mb
from gradflow.study.sizes import shape_of
from gradflow.study.work import Rates
from gradflow.training.made_by import made_here
from gradflow.training.train_job import prepare

ROUNDS, FEWEST_ROUNDS = 5, 3  # at most 5: quick has 7 probe epochs, and two are spent on warming up
FEWEST_STEPS = {"cpu": 4, "cuda": 64}  # of an epoch of a data set that is cut
UNCUT_STEPS = 16  # a data set with so few minibatches is never cut
STEP_SECONDS = 0.01  # of a plain loop, at the least, before any was measured: what its images take
ABOVE_FLOOR = 3.0  # how far a step is expected to be above its floor, before any was measured


def load_or_make(job: Job, folder: Path) -> tuple[ImageData, bool]:
    """The job's data set from `folder`, and true; where it is absent random pixels of its shape,
    and false.
    """
    path = folder / f"{job.configuration.dataset}.safetensors"
    if path.exists():
        return load_dataset(path).as_used(job.settings), True
    shape = shape_of(job)
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        size = (count, *shape.image)
        images = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
        return images, torch.randint(shape.classes, (count,), generator=generator)

    mean, std = (
        torch.full((shape.channels,), value, dtype=torch.float64) for value in (127.5, 73.9)
    )
    made = ImageData(
        job.configuration.dataset,
        shape.classes,
        *draw(shape.train_images),
        *draw(shape.test_images),
        mean,
        std,
    )
    return made, False


def steps_in(job: Job, data: ImageData) -> int:
    """Minibatches of an epoch; the last may be short."""
    return math.ceil(len(data.train_images) / job.settings.batch_size)


def cut(job: Job, data: ImageData, steps: int) -> tuple[Job, ImageData]:
    """The same with `steps` whole minibatches an epoch, test and probe images in proportion; all
    where it has fewer.
    """
    images = steps * job.settings.batch_size
    whole = len(data.train_images)
    if images >= whole:
        return job, data

    def share(count: int) -> int:
        return max(1, round(count * images / whole))

    tests = share(len(data.test_images))
    settings = dataclasses.replace(
        job.settings, probe_images=share(min(job.settings.probe_images, whole))
    )
    return dataclasses.replace(job, settings=settings), dataclasses.replace(
        data,
        train_images=data.train_images[:images],
        train_labels=data.train_labels[:images],
        test_images=data.test_images[:tests],
        test_labels=data.test_labels[:tests],
    )


@dataclass
class Bench:
    """How and on what everything is measured."""

    device: torch.device
    data: Path  # the folder of data sets
    stacks: Sequence[int]
    seconds: float  # for everything
    workers: int
    say: Callable[[str], None] = print

    def run(self, cases: Sequence[Case]) -> Iterator[list[Measurement]]:
        """The measurements of one case after the other."""
        end = time.monotonic() + self.seconds
        for index, case in enumerate(cases):
            # for the rules, since one that runs longer than planned must leave time to those behind
            # it
            share = max(end - time.monotonic(), 0.0) / (len(cases) - index)
            yield self.measure(case, share)

    def measure(self, case: Case, seconds: float) -> list[Measurement]:
        """All contenders of a case in about so many seconds, three rounds at the least."""
        began = time.monotonic()
        prepare(self.device, case.job, threads=1)
        torch.manual_seed(0)
        rates = measured_rates(stack_job(case.job, max(self.stacks)), self.device)
        whole, real = load_or_make(case.job, self.data)
        turns = 4 * (1 + (len(FIVE) if COHORT in self.stacks else 0)) + 2 * len(self.stacks)
        span = seconds / (
            turns * (ROUNDS + 2)
        )  # of a turn; building and warming up take as long as two
        longest = max(ABOVE_FLOOR * self._step_seconds(case.job, k, rates) for k in self.stacks)
        steps = max(int(span / max(longest, STEP_SECONDS)), FEWEST_STEPS[self.device.type])
        job, data = (
            (case.job, whole)
            if steps_in(case.job, whole) <= UNCUT_STEPS
            else cut(case.job, whole, steps)
        )
        steps = steps_in(job, data)
        contenders = self._contenders(job, data, steps, span, rates)
        for contender in contenders:
            contender.start()
        rounds = 0
        while rounds < ROUNDS and (rounds < FEWEST_ROUNDS or time.monotonic() - began < seconds):
            gc.collect()
            for contender in contenders:
                contender.take_turn()
            rounds += 1
        context = _Context(case, job, data, self, rates, real, rounds)
        return context.rows(contenders)

    def _step_seconds(self, job: Job, networks: int, rates: Rates) -> float:
        """The floor of one step of a stack."""
        return floor_us(stack_job(job, networks), rates, self.device.type) * networks / 1e6

    def _contenders(
        self, job: Job, data: ImageData, steps: int, span: float, rates: Rates
    ) -> list[Contender]:
        """In the order of their turns; a stack that does not fit into memory is left out, and that
        is said.
        """
        loaders = image_loaders(job, data, self.device, self.workers)
        found: list[Contender] = []
        percents = FIVE if COHORT in self.stacks else ()
        for run in (Run("sparse", 50), *(Run("dense", percent) for percent in percents)):
            own = dataclasses.replace(
                job, architectures=(run.architecture,), percents=(run.percent,)
            )

            def image_loop(own: Job = own, run: Run = run) -> PlainLoop:
                return ImageLoop(own, plain_network(own, run, data), loaders, self.device)

            def device_loop(own: Job = own, run: Run = run) -> PlainLoop:
                return DeviceLoop(own, plain_network(own, run, data), data, self.device)

            found.append(Plain("plain", own, self.device, steps, image_loop, span))
            found.append(Plain("plain_device", own, self.device, steps, device_loop, span))
        free = free_mb(self.device)
        for networks in sorted(self.stacks):
            epoch = ABOVE_FLOOR * self._step_seconds(job, networks, rates) * steps
            cycle = 1 + min(max(round(span / epoch), 1), LONGEST_CYCLE)
            stacked = stack_job(job, networks, cycle)
            gpu = self.device.type == "cuda"
            needed = gpu_memory_mb(stacked) if gpu else memory_mb(stacked, "cpu") - IMPORTS_MB
            if needed > free:
                self.say(
                    f"K={networks} is left out: it needs about {needed:,.0f} MB, and {free:,.0f} "
                    "are free"
                )
                continue
            free -= needed
            found.append(Engine(stacked, data, self.device, steps, cycle))
        return found


def _median_of_means(samples: Sequence[Sequence[float]]) -> float:
    """The median over the rounds of the mean over networks; samples by network and round."""
    return statistics.median(statistics.fmean(values) for values in zip(*samples, strict=True))


@dataclass(frozen=True)
class _Context:
    """What the rows of a case have in common."""

    case: Case
    job: Job
    data: ImageData
    bench: Bench
    rates: Rates
    real: bool
    rounds: int

    def rows(self, contenders: Sequence[Contender]) -> list[Measurement]:
        """A row a contender, in the order of their turns."""
        plain = {
            (c.name, c.job.runs[0].architecture, c.job.percents[0]): c
            for c in contenders
            if c.name != "engine"
        }

        def of_same_networks(name: str, job: Job) -> tuple[float, float]:
            """A plain loop's mean over a job's networks, training alone and over a whole run."""
            keys = [
                (name, run.architecture, run.percent if run.architecture == "dense" else 50)
                for run in job.runs
            ]
            samples = [plain[key].samples for key in keys]
            us = _median_of_means([own.us for own in samples])
            return us, over_a_run(
                us, _median_of_means([own.probe_us for own in samples]), self.case.job.epochs
            )

        found = made_here(self.bench.device, "", {})
        return [
            self._row(
                c, of_same_networks("plain", c.job), of_same_networks("plain_device", c.job), found
            )
            for c in contenders
        ]

    def _row(
        self,
        contender: Contender,
        plain: tuple[float, float],
        plain_device: tuple[float, float],
        found: dict[str, str],
    ) -> Measurement:
        job, samples = contender.job, contender.samples
        us = statistics.median(samples.us)
        probe_us = statistics.median(samples.probe_us)
        epochs = self.case.job.epochs
        first = job.runs[0]
        runs = "job" if len(job.architectures) > 1 else first.architecture
        precision = job.settings.precision
        return Measurement(
            network=self.case.network,
            dataset=job.configuration.dataset,
            max_width=job.max_width,
            hidden_layers=job.configuration.depth,
            optimizer=job.configuration.optimizer,
            regularization=job.configuration.regularization,
            precision=precision,
            contender=contender.name,
            networks=len(job.runs),
            runs=job.run_name(first) if runs == "dense" else runs,
            us=us,
            us_min=min(samples.us),
            us_max=max(samples.us),
            probe_us=probe_us,
            probe_us_min=min(samples.probe_us),
            probe_us_max=max(samples.probe_us),
            run_us=over_a_run(us, probe_us, epochs),
            plain_us=plain[0],
            plain_run_us=plain[1],
            plain_device_us=plain_device[0],
            plain_device_run_us=plain_device[1],
            floor_us=floor_us(job, self.rates, self.bench.device.type),
            peak_memory_mb=contender.peak_mb,
            build_seconds=contender.build_seconds,
            first_seconds=contender.first_extra,
            epochs=epochs,
            rounds=self.rounds,
            steps=contender.steps,
            train_images=len(self.data.train_images),
            real_data=self.real,
            batch_size=job.settings.batch_size,
            bandwidth=self.rates.bandwidth,
            flops=self.rates.flops[precision],
            workers=self.bench.workers if contender.name == "plain" else 0,
            threads=torch.get_num_threads(),
            device=found["device"],
            device_type=found["device_type"],
            torch_version=found["torch_version"],
            cuda_version=torch.version.cuda or "" if self.bench.device.type == "cuda" else "",
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )
