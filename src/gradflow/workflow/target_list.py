"""The targets as a person would ask for them, in the paper's order: what each makes and what it
costs.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

from gradflow.report.reference import NAME as REFERENCE
from gradflow.study.grid import Grid
from gradflow.study.kinds import KINDS
from gradflow.study.labels import label
from gradflow.study.work import DeviceType
from gradflow.text import COLUMNS, in_hours
from gradflow.workflow.planning import Planner, Sum, TargetError

_NAME, _COST = 26, 11
_FULL = "paper"
_REPEATED = "Wilcoxon signed-rank test, sparse > dense: "  # the beginning of ten titles


def target_list(grid: Grid, results: Path, device: DeviceType) -> str:
    """The targets as text of 80 columns.

    Args:
        grid: of the configuration.
        results: the results folder: finished jobs have calibrated the costs there.
        device: that costs are for.
    """
    planner = Planner(grid, results)
    unit = "one CPU core" if device == "cpu" else "one GPU"
    lines = [f"snakemake TARGET. Hours are planned ones on {unit}, from scratch.", ""]
    lines += ["A scale, with all its tables and figures and its scorecard"]
    for name in sorted(grid.config.scales, key=lambda name: name != _FULL):
        total = _cost(planner, name, name)
        count = len(grid.artifacts(name))
        what = f"{total.runs:,} runs, {count} tables and figures" + (
            " (also without a target)" * (name == _FULL)
        )
        lines += _entry(name, what, total.hours[device])
    lines += _entry(REFERENCE, "the results that are kept in the repository, drawn anew", 0.0)
    lines += _entry("archive", "the project and these results as one zip file, with checksums", 0.0)
    lines += ["", "A scale's report, and all of its files as one, to read offline"]
    lines += _entry("report", f"results/{_FULL}/report.html; the whole scale first", None)
    lines += _entry(
        "report_quick", "results/quick/report.html; likewise report_SCALE for any scale", None
    )
    lines += _entry(
        "bundle_quick",
        "results/quick/bundle.html, with each CSV and PDF; likewise any scale",
        None,
    )
    paper = [kind for kind in KINDS.values() if kind.part == "paper"]
    for heading, kinds in (
        ("A table of the paper", [kind for kind in paper if kind.shape == "table"]),
        ("A figure of the paper", [kind for kind in paper if kind.shape == "figure"]),
        (
            "Ours beside the published numbers, and beside other choices",
            [kind for kind in KINDS.values() if kind.part != "paper"],
        ),
    ):
        lines += ["", f"{heading}, at scale {_FULL}"]
        for name in grid.artifacts(_FULL) if _FULL in grid.config.scales else ():
            artifact = grid.config.artifacts[name]
            if KINDS[artifact.kind] in kinds:
                lines += _entry(name, _title(grid, name), _cost(planner, name, _FULL).hours[device])
    lines += [
        "",
        "Beyond the paper, each at the scale that is named",
    ]
    for name in grid.config.artifacts:
        if _FULL not in grid.config.scales or name not in grid.artifacts(_FULL):
            homes = [scale for scale in grid.config.scales if name in grid.artifacts(scale)]
            for home in [scale for scale in homes if scale != "smoke"][:1]:
                what = f"{_title(grid, name)}; scale {home}"
                lines += _entry(name, what, _cost(planner, name, home).hours[device])
    lines += ["", "Files"]
    lines += _file("results/quick/tables/table4.csv", "one file, at any scale")
    lines += _file(
        "results/SCALE/figures/flow_over_training/VARIANT/DATASET/CONFIGURATION.pdf",
        "gradient flow by probe epoch and layer of one configuration, named as in "
        "results/SCALE/runs",
    )
    lines += ["", "Beside these"]
    lines += _entry("benchmark", "the engine's speed on this machine", None)
    lines += _entry("help", "this list", None)
    more = (
        "What targets share is trained once. gradflow plan TARGET tells a target's jobs, runs, "
        "hours and disk by study, snakemake -n TARGET what would run now."
    )
    lines += ["", *textwrap.wrap(more, COLUMNS)]
    return "\n".join(line.rstrip() for line in lines)


def _cost(planner: Planner, target: str, scale: str) -> Sum:
    try:
        return planner.total([target], scale)
    except TargetError:
        return Sum()


def _title(grid: Grid, name: str) -> str:
    datasets = (grid.config.studies[study].dataset for study in grid.studies(_FULL, name))
    title = grid.config.artifacts[name].title.replace(_REPEATED, "p-values, sparse > dense: ")
    return title.replace(
        "{dataset}", " and ".join(label("dataset", dataset) for dataset in dict.fromkeys(datasets))
    )


def _entry(name: str, what: str, hours: float | None) -> list[str]:
    room = COLUMNS - _NAME - _COST - 3
    first, *more = textwrap.wrap(what, room)
    cost = "" if hours is None else in_hours(3600 * hours) if hours else "no runs"
    head = f"  {name:<{_NAME}}{first:<{room}}{cost:>{_COST + 1}}"
    return [head, *(f"  {'':<{_NAME}}{line}" for line in more)]


def _file(path: str, what: str) -> Iterable[str]:
    return [f"  {path}", *(f"      {line}" for line in textwrap.wrap(what, COLUMNS - 6))]
