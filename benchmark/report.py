"""The benchmark's results as lines of 80 columns, as verdicts, as a table in a file and as a
figure.
"""

from __future__ import annotations

import dataclasses
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.cases import COHORT
from benchmark.measurement import Measurement
from gradflow.analysis.figures import TEXT_WIDTH, scale_y_logarithmically, style, wrapped_note
from gradflow.files import replacing
from gradflow.study import labels

# the plain loop's time over the job's, by type of device
TARGET_RATIO = {"cpu": 5.0, "cuda": 50.0}
FULL_WIDTH = 5  # networks of the stack that is judged beside the best K
# microseconds a step of one network at the best K: SGD in TF32, on a GPU
TARGET_US = {"fashion_mnist": 36.0, "cifar100": 480.0}
NAMES = {"plain": "plain loop", "plain_device": "plain, on device", "engine": "engine"}
LOOKS: dict[str, dict[str, Any]] = {
    "plain_run_us": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "plain_device_run_us": {"color": "#E69F00", "marker": "s", "linestyle": "--"},
    "run_us": {"color": "#D55E00", "marker": "^", "linestyle": "-"},
    "us": {"color": "#009E73", "marker": "v", "linestyle": "-."},
    "floor_us": {"color": "0.35", "marker": "", "linestyle": ":"},
}
LINE_NAMES = {
    "plain_run_us": "plain loop",
    "plain_device_run_us": "plain, data on device",
    "run_us": "engine",
    "us": "engine, training alone",
    "floor_us": "floor",
}
DERIVED = ("ratio", "ratio_training", "ratio_device", "ratio_device_training", "floor_share")
HEADER = (
    f"{'':<17}{'K':>3}{'us a':>9}{'whole':>9}{'times':>8}{'times':>8}{'floor':>9}"
    f"{'of the':>8}{'peak':>8}\n"
    f"{'':<17}{'':>3}{'net-step':>9}{'run':>9}{'plain':>8}{'device':>8}{'us':>9}{'floor':>8}{'MB':>8}"
)


def machine_lines(rows: Sequence[Measurement]) -> list[str]:
    """On what was measured."""
    first = rows[0]
    cuda = f", CUDA {first.cuda_version}" if first.cuda_version else ""
    workers = max(row.workers for row in rows)
    return [
        first.device,
        f"torch {first.torch_version}{cuda}; {first.date}; "
        f"{first.threads} CPU thread, {workers or 'no'} loader workers",
    ]


def case_lines(title: str, rows: Sequence[Measurement]) -> list[str]:
    """The measurements of one case; a dense network's plain loops are counted in those of the
    job.
    """
    first = rows[0]
    real = "" if first.real_data else "; synthetic images"
    lines = [
        title,
        f"  {first.train_images:,} images, {first.rounds} rounds{real}; a copy here "
        f"{first.bandwidth / 1e9:,.0f} GB/s, a product {first.flops / 1e12:.3g} TFLOP/s",
        HEADER,
    ]
    shown = [row for row in rows if row.runs in ("sparse", "job")]
    for row in shown:
        lines.append(_line(NAMES[row.contender], row))
    for row in (row for row in shown if row.runs == "job"):
        for name in ("plain", "plain_device"):
            us, run_us = getattr(row, f"{name}_us"), getattr(row, f"{name}_run_us")
            of_job = dataclasses.replace(row, us=us, run_us=run_us, peak_memory_mb=float("nan"))
            lines.append(_line(f"{NAMES[name]}*", of_job))
    engines = [row for row in shown if row.contender == "engine"]
    if any(row.runs == "job" for row in engines):
        lines.append("  * mean over the job's networks, each alone: five sparse, five dense")
    starts = [
        f"K={row.networks} {row.build_seconds:.2g} + {row.first_seconds:.2g}" for row in engines
    ]
    started = (
        f"start of the engine, s, drawing + first epochs beyond later ones: {', '.join(starts)}"
    )
    return [*lines, *textwrap.wrap(started, 80, initial_indent="  ", subsequent_indent="  "), ""]


def _line(name: str, row: Measurement) -> str:
    peak = "" if row.peak_memory_mb != row.peak_memory_mb else f"{row.peak_memory_mb:,.0f}"
    line = (
        f"{name:<17}{row.networks:>3}{_number(row.us):>9}{_number(row.run_us):>9}{_number(row.ratio):>8}"
        f"{_number(row.ratio_device):>8}{_number(row.floor_us):>9}{row.floor_share:>8.1%}{peak:>8}"
    )
    return line.rstrip()


def _number(value: float) -> str:
    """Three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def verdict_lines(rows: Sequence[Measurement]) -> list[str]:
    """For each network whether the targets are reached, and by what; every configuration counts."""
    target = TARGET_RATIO[rows[0].device_type]
    lines = []
    for network in dict.fromkeys(row.network for row in rows):
        own = [row for row in rows if row.network == network and row.contender == "engine"]
        lines += _ratio_verdict(network, [row for row in own if row.networks == COHORT], target)
        best = [row for row in own if row.optimizer == "sgd" and row.precision == "tf32"]
        if network in TARGET_US and best:
            lines += _floor_verdict(network, best, TARGET_US[network])
    return [line for text in lines for line in textwrap.wrap(text, 80, subsequent_indent="  ")]


def _ratio_verdict(network: str, jobs: Sequence[Measurement], target: float) -> list[str]:
    aim = (
        f"{network}: at least {target:g} times the plain loop, K={COHORT}, whole run, both "
        "measuring"
    )
    if not jobs:
        return [f"{aim}: not measured."]
    whole = [(row.ratio, _configuration(row)) for row in jobs]
    training = [(row.ratio_training, _configuration(row)) for row in jobs]
    verdict = "REACHED" if statistics.median(ratio for ratio, _ in whole) >= target else "MISSED"
    return [
        f"{aim}: {verdict} with {_spread(whole, target)}",
        f"{network}: training alone, neither measuring: {_spread(training, target)}",
    ]


def _spread(found: Sequence[tuple[float, str]], target: float) -> str:
    """Median, lowest and highest of ratios by configuration, and all that are below the target."""
    ratios = sorted(found)
    (lowest, at), (highest, best) = ratios[0], ratios[-1]
    median = statistics.median(ratio for ratio, _ in ratios)
    below = [f"{name} {_number(ratio)}" for ratio, name in ratios if ratio < target]
    named = f": {'; '.join(below)}" if below else ""
    return (
        f"a median of {_number(median)}, lowest {_number(lowest)} ({at}), highest "
        f"{_number(highest)} ({best}); below {target:g} in {len(below)} of {len(ratios)} "
        f"configurations{named}."
    )


def _floor_verdict(network: str, rows: Sequence[Measurement], target: float) -> list[str]:
    lines = []
    for regularization in labels.in_order("regularization", (row.regularization for row in rows)):
        row = min(
            (row for row in rows if row.regularization == regularization),
            key=lambda row: row.run_us,
        )
        verdict = "REACHED" if row.run_us <= target else "MISSED"
        lines.append(
            f"{network}: at most {target:g} us a net-step at the best K, SGD, TF32, "
            f"{regularization}, measurements included: {verdict} with {_number(row.run_us)} at "
            f"K={row.networks}."
        )
        # the mean over a job's networks hides what one of the full width takes
        for row in rows:
            if row.regularization == regularization and row.networks == FULL_WIDTH:
                verdict = "REACHED" if row.run_us <= target else "MISSED"
                lines.append(
                    f"{network}: the same at K={FULL_WIDTH}, all sparse and of the full width: "
                    f"{verdict} with {_number(row.run_us)}, {row.floor_share:.0%} of the floor's "
                    "speed."
                )
    return lines


def _configuration(row: Measurement) -> str:
    return f"{row.optimizer} {row.regularization} {row.precision}"


def table(rows: Iterable[Measurement]) -> pd.DataFrame:
    """A row a measurement, with the ratios and the share of the floor as columns."""
    return pd.DataFrame(
        [dataclasses.asdict(row) | {name: getattr(row, name) for name in DERIVED} for row in rows]
    )


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """As Parquet, whole or not at all."""
    with replacing(path) as aside:
        frame.to_parquet(aside, index=False)


def figure_of_benchmark(frame: pd.DataFrame) -> Figure:
    """Time a net-step by K: a row of panels a network and optimizer, a column a regularization;
    both axes logarithmic.

    Args:
        frame: `table`'s rows.

    Returns:
        Lines join stacks of sparse networks; the job, whose dense networks are smaller, stands
        apart with empty markers. TF32 is drawn paler than IEEE float32. A whisker is the range over
        the rounds.
    """
    engine = frame[frame["contender"] == "engine"]
    rows = list(dict.fromkeys(zip(engine["network"], engine["optimizer"], strict=True)))
    columns = labels.in_order("regularization", engine["regularization"])
    precisions = list(dict.fromkeys(engine["precision"]))
    stacks = sorted(engine["networks"].unique())
    with style():
        figure = Figure(figsize=(TEXT_WIDTH, min(9.3, 1.5 + 1.35 * len(rows))))
        figure.suptitle("Time of a training step of one network, by the number K trained together")
        panels = figure.subplots(len(rows), len(columns), sharex=True, sharey="row", squeeze=False)
        for (network, optimizer), of_row in zip(rows, panels, strict=True):
            for regularization, panel in zip(columns, of_row, strict=True):
                own = engine[(engine["network"] == network) & (engine["optimizer"] == optimizer)]
                own = own[own["regularization"] == regularization]
                for precision in precisions:
                    _draw(
                        panel,
                        own[own["precision"] == precision],
                        0.5 if precision == "tf32" else 1.0,
                    )
                panel.set_xlim(stacks[0] / 1.3, stacks[-1] * 1.3)
                panel.set_xscale("log")
                panel.set_xticks(stacks, labels=[str(k) for k in stacks])
                panel.minorticks_off()
            data_set, name = own["dataset"].iloc[0], labels.label("optimizer", optimizer)
            of_row[0].set_ylabel(f"{labels.label('dataset', data_set)}\n{name}, µs")
            scale_y_logarithmically(of_row[0])
            of_row[0].yaxis.set_major_formatter("{x:,g}")
        for panel, regularization in zip(panels[0], columns, strict=True):
            panel.set_title(labels.label("regularization", regularization))
        for panel in panels[-1]:
            panel.set_xlabel("K")
            panel.tick_params(axis="x", labelsize=6)
        handles = [Line2D([], [], label=LINE_NAMES[name], **look) for name, look in LOOKS.items()]
        legend = figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=len(handles),
            handlelength=2.3,
            columnspacing=1.0,
            fontsize=7,
            title=wrapped_note(_note(engine, precisions, columns), TEXT_WIDTH),
        )
        legend.get_title().set_fontsize(7)
    return figure


def _draw(panel: Axes, own: pd.DataFrame, alpha: float) -> None:
    sparse = own[own["runs"] == "sparse"].sort_values("networks")
    job = own[own["runs"] == "job"]
    for name, look in LOOKS.items():
        panel.plot(sparse["networks"], sparse[name], alpha=alpha, **look)
        apart = look | {"linestyle": "", "marker": look["marker"] or "_"}
        panel.plot(
            job["networks"], job[name], alpha=alpha, markerfacecolor="white", zorder=3, **apart
        )
    panel.vlines(
        own["networks"],
        own["us_min"],
        own["us_max"],
        color=LOOKS["us"]["color"],
        lw=0.8,
        alpha=alpha,
    )


def _note(engine: pd.DataFrame, precisions: Sequence[str], columns: Sequence[str]) -> str:
    first = engine.iloc[0]
    sentences = [
        f"{first['device']}, torch {first['torch_version']}, {str(first['date'])[:10]}.",
        "Medians over rounds, of whole runs with their measurements of gradient flow unless said "
        "otherwise; whiskers: lowest and highest round of the engine's training alone.",
        "Empty markers: a whole job, five sparse networks and their dense twins."
        if COHORT in set(engine["networks"])
        else "",
        "Pale: TF32."
        if "tf32" in precisions and len(precisions) > 1
        else f"Precision: {', '.join(precisions)}.",
        labels.abbreviations(columns),
    ]
    return " ".join(filter(None, sentences))
