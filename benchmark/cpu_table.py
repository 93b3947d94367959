"""How long a network's step takes on a CPU: plain loops beside the engine, for every width,
optimizer and method.

`python -m benchmark.cpu_table` measures cell by cell and writes results/benchmark/cpu.parquet and
cpu.md after each; started again it goes on with the cells that are missing. Needs an otherwise idle
core. Four contenders train ten networks in turns: five dense ones and their sparse twins, on one
thread, timed in CPU seconds. The images are random.

- memory: normalised images as one tensor in memory, nn.Linear, torch.optim, the mask on the
  gradient
- loader: a DataLoader over PIL images; two of the ten networks stand for all
- engine: as a training job runs it
- autograd: the engine with GRADFLOW_STEP=autograd
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pandas as pd
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from benchmark.memory_loop import MemoryLoop  # noqa: E402
from benchmark.plain_loops import ImageLoop, PlainLoop, image_loaders, plain_network  # noqa: E402
from gradflow.data.store import ImageData  # noqa: E402
from gradflow.files import replacing  # noqa: E402
from gradflow.networks.build import mlp_shapes  # noqa: E402
from gradflow.study.job import (  # noqa: E402
    PAPER_OPTIMIZERS,
    PROBES,
    Configuration,
    Job,
    Regularization,
    Run,
    Settings,
    probe_epochs,
)
from gradflow.training.cohort import Cohort  # noqa: E402
from gradflow.training.made_by import made_here  # noqa: E402
from gradflow.training.step_choice import SWITCH  # noqa: E402
from gradflow.training.train_job import prepare  # noqa: E402

CPU = torch.device("cpu")
# width: channels and side of the images, about as many pixels, and minibatches of an epoch
WIDTHS = {40: (1, 6, 32), 200: (1, 14, 16), 256: (1, 16, 16), 392: (3, 11, 8), 788: (1, 28, 4)}
REGULARIZATIONS: tuple[Regularization, ...] = ("NR", "BN", "DA_L2_SC_BN")
BATCH, PERCENTS = 128, (10, 30, 50, 70, 90)
EPOCHS = 100  # of the run over which probes are spread
CYCLE = 2  # a probing epoch, and one that only trains
FEWEST_ROUNDS, MOST_ROUNDS = 2, PROBES - 2
LOADED = (Run("sparse", 50), Run("dense", 50))
CONTENDERS = ("memory", "loader", "engine", "autograd")
KEY = ["width", "optimizer", "regularization"]

Turn = tuple[Callable[[], object], Callable[[], object]]  # an epoch that trains, one that measures


def job_of(width: int, optimizer: str, regularization: Regularization) -> Job:
    """The job of a cell; its probe and its test set are as large as its training set."""
    steps = WIDTHS[width][2]
    return Job(
        scale="benchmark",
        variant="paper",
        configuration=Configuration(
            "cifar10", "mlp", 4, 0, "relu", optimizer, 0.001, regularization
        ),
        seed=0,
        epochs=(PROBES - 1) * CYCLE + 1,
        architectures=("dense", "sparse"),
        percents=PERCENTS,
        max_width=width,
        settings=Settings(batch_size=BATCH, probe_images=steps * BATCH),
    )


def random_data(width: int) -> ImageData:
    """Random images and labels of a width's shape."""
    channels, side, steps = WIDTHS[width]
    generator = torch.Generator().manual_seed(0)
    shape = (steps * BATCH, channels, side, side)
    images = [
        torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for _ in range(2)
    ]
    labels = [torch.randint(10, shape[:1], generator=generator) for _ in range(2)]
    mean, std = (torch.full((channels,), value, dtype=torch.float64) for value in (127.5, 73.9))
    return ImageData("cifar10", 10, images[0], labels[0], images[1], labels[1], mean, std)


@contextmanager
def step_by(kind: str) -> Iterator[None]:
    """GRADFLOW_STEP for what is built in the block."""
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = kind
    try:
        yield
    finally:
        os.environ.pop(SWITCH)
        if before is not None:
            os.environ[SWITCH] = before


def of_loops(loops: Sequence[PlainLoop]) -> Turn:
    """One epoch of each loop."""
    return (
        lambda: [loop.train_epoch() for loop in loops],
        lambda: [loop.measured_epoch() for loop in loops],
    )


def of_cohort(cohort: Cohort) -> Turn:
    """Epochs of a cohort, which probes at every other: first a measuring one, then a training
    one.
    """

    def epoch() -> None:
        cohort.train(cohort.epoch + 1)

    return epoch, epoch


def floor_us(job: Job, data: ImageData) -> float:
    """Microseconds of a network's products alone, over all weights: the mean over the job's
    networks.
    """
    total = 0.0
    for run in job.runs:
        for index, (inputs, outputs) in enumerate(mlp_shapes(job, run, data)[0]):
            w, h, d = (
                torch.randn(inputs, outputs),
                torch.randn(inputs, BATCH),
                torch.randn(outputs, BATCH),
            )
            products = [(w.t(), h), (h, d.t()), *([(w, d)] if index else [])]
            for left, right in products:
                out = torch.empty(left.shape[0], right.shape[1])
                total += _best(lambda a=left, b=right, c=out: torch.mm(a, b, out=c))  # type: ignore[misc]
    return 1e6 * total / len(job.runs)


def _best(work: Callable[[], object], turns: int = 5, repeats: int = 10) -> float:
    work()
    found = []
    for _ in range(turns):
        began = time.process_time()
        for _ in range(repeats):
            work()
        found.append((time.process_time() - began) / repeats)
    return min(found)


def measure(
    width: int, optimizer: str, regularization: Regularization, seconds: float
) -> list[dict[str, object]]:
    """A cell: a row a contender, CPU microseconds a step of one network, medians over the
    rounds.
    """
    began = time.monotonic()
    job, data = job_of(width, optimizer, regularization), random_data(width)
    prepare(CPU, job, threads=1)
    torch.manual_seed(0)
    loaders = image_loaders(job, data, CPU)
    with step_by("auto"):
        engine = Cohort(job, data, CPU)
    with step_by("autograd"):
        autograd = Cohort(job, data, CPU)
    turns = {
        "memory": of_loops([MemoryLoop(job, run, data) for run in job.runs]),
        "loader": of_loops(
            [ImageLoop(job, plain_network(job, run, data), loaders, CPU) for run in LOADED]
        ),
        "engine": of_cohort(engine),
        "autograd": of_cohort(autograd),
    }
    networks = dict.fromkeys(CONTENDERS, len(job.runs)) | {"loader": len(LOADED)}
    training: dict[str, list[float]] = {name: [] for name in turns}
    probing: dict[str, list[float]] = {name: [] for name in turns}
    rounds = -1  # the first warms up
    while rounds < MOST_ROUNDS and (rounds < FEWEST_ROUNDS or time.monotonic() - began < seconds):
        rounds += 1
        for name, (train, probe) in turns.items():
            for work, samples in ((probe, probing), (train, training)):
                start = time.process_time()
                work()
                took = time.process_time() - start
                if rounds:
                    samples[name].append(1e6 * took / (WIDTHS[width][2] * networks[name]))
    floor, probes = floor_us(job, data), len(probe_epochs(EPOCHS))
    made = made_here(CPU, "", {})
    rows: list[dict[str, object]] = []
    for name in CONTENDERS:
        us, probe_us = statistics.median(training[name]), statistics.median(probing[name])
        rows.append(
            {
                "width": width,
                "optimizer": optimizer,
                "regularization": regularization,
                "contender": name,
                "us": us,
                "us_min": min(training[name]),
                "us_max": max(training[name]),
                "probe_us": probe_us,
                "run_us": (us * (EPOCHS - probes) + probe_us * probes) / EPOCHS,
                "floor_us": floor,
                "rounds": rounds,
                "device": made["device"],
                "torch_version": made["torch_version"],
                "engine_version": made["engine_version"],
                "date": time.strftime("%Y-%m-%d", time.gmtime()),
            }
        )
    return rows


def markdown(frame: pd.DataFrame) -> str:
    """Two tables, training steps only and whole runs, each with its ratios' median and least."""
    first = frame.iloc[0]
    parts = [
        f"{first['device']}, torch {first['torch_version']}, one thread, {frame['date'].max()}. "
        "CPU milliseconds a step of one network, ten networks: five dense and their sparse twins, "
        "minibatches of 128, four hidden layers. Times: the in-memory loop's time over the "
        "engine's. Products: of all weights, by themselves; where a mask is sparse the engine "
        "multiplies active weights alone, and may need less.",
    ]
    for column, title in (
        ("us", "Training steps only"),
        ("run_us", f"With probes ({len(probe_epochs(EPOCHS))} in {EPOCHS} epochs)"),
    ):
        wide = frame.pivot(index=KEY, columns="contender", values=column) / 1000
        floor = frame.groupby(KEY)["floor_us"].first() / 1000
        times = wide["memory"] / wide["engine"]
        lines = [
            f"## {title}",
            "",
            "| width | optimizer | methods | in memory | loader | engine | by autograd | products "
            "| times |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for key in frame[KEY].drop_duplicates().itertuples(index=False, name=None):
            numbers = [f"{wide.loc[key, name]:.3g}" for name in CONTENDERS]
            cells = [*map(str, key), *numbers, f"{floor[key]:.3g}", f"{times[key]:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
        lines += [
            "",
            f"{len(times)} cells: {times.median():.2f} times in the median, {times.min():.2f} at "
            "the least.",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def read_cells(path: Path) -> pd.DataFrame:
    """What was measured before on this processor with these versions; empty where nothing was."""
    if not path.exists():
        return pd.DataFrame(columns=[*KEY, "contender"])
    frame, made = pd.read_parquet(path), made_here(CPU, "", {})
    same = [frame[name] == made[name] for name in ("device", "torch_version", "engine_version")]
    return frame[same[0] & same[1] & same[2]]


def write(frame: pd.DataFrame, output: Path) -> None:
    """The cells so far, as Parquet and as Markdown."""
    with replacing(output.with_suffix(".parquet")) as aside:
        frame.to_parquet(aside, index=False)
    with replacing(output.with_suffix(".md")) as aside:
        aside.write_text(markdown(frame))


def main() -> int:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.cpu_table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--widths", nargs="+", type=int, choices=WIDTHS, default=list(WIDTHS))
    parser.add_argument(
        "--optimizers", nargs="+", choices=PAPER_OPTIMIZERS, default=PAPER_OPTIMIZERS
    )
    parser.add_argument(
        "--regularizations", nargs="+", choices=REGULARIZATIONS, default=REGULARIZATIONS
    )
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="a cell, two rounds at the least (default: 15)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("results/benchmark/cpu"), metavar="PATH",
        help="of the files, without .parquet and .md (default: results/benchmark/cpu)",
    )  # fmt: skip
    arguments = parser.parse_args()
    frame = read_cells(arguments.output.with_suffix(".parquet"))
    done = set(frame[KEY].itertuples(index=False, name=None))
    for cell in product(arguments.widths, arguments.optimizers, arguments.regularizations):
        if cell in done:
            continue
        measured = pd.DataFrame(measure(*cell, arguments.seconds))
        frame = pd.concat([frame, measured], ignore_index=True) if len(frame) else measured
        write(frame, arguments.output)
        us = measured.set_index("contender")["us"] / 1000
        print(*cell, *(f"{name} {us[name]:.3g} ms" for name in CONTENDERS), flush=True)
    print(arguments.output.with_suffix(".md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
