"""The targets that there are, and what to say of one that there is not: the nearest, by name or
along a path.

Free of torch and pandas. Nothing is listed before a target was found to be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from gradflow.study.grid import Grid
from gradflow.study.kinds import ENDINGS, KINDS
from gradflow.study.names import PAGES, artifact_groups, bundle_target, report_target
from gradflow.text import listed, nearest_name

FLOW = "figures/flow_over_training"


def rule_names(snakefile: Path) -> set[str]:
    """The names of the rules that are written out, in a Snakefile and in the files of rules/ beside
    it.
    """
    files = [snakefile, *(snakefile.parent / "rules").glob("*.smk")]
    rule = re.compile(r"^[ \t]*(?:rule|checkpoint)[ \t]+(\w+)[ \t]*:", re.MULTILINE)
    return {name for file in files for name in rule.findall(file.read_text(encoding="utf-8"))}


def target_names(grid: Grid, reference: str) -> list[str]:
    """The targets that are no files.

    Args:
        grid: of the configuration.
        reference: what the kept results are called.
    """
    scales, artifacts = list(grid.config.scales), list(grid.config.artifacts)
    groups = artifact_groups(artifacts)
    homes = dict.fromkeys(["paper", *scales, reference])
    reports = [named(scale) for named in (report_target, bundle_target) for scale in homes]
    return [
        "all",
        *scales,
        reference,
        *artifacts,
        *sorted(groups),
        *reports,
        "archive",
        "benchmark",
        "help",
    ]


def result_files(grid: Grid, scale: str) -> Iterator[str]:
    """The files that can be asked for of a scale."""
    for page in PAGES:
        yield f"results/{scale}/{page}"
    for name in grid.artifacts(scale):
        kind = KINDS[grid.config.artifacts[name].kind]
        yield from (f"results/{scale}/{kind.folder}/{name}.{end}" for end in kind.endings)
    for study in grid.config.scales[scale].studies:
        yield f"results/{scale}/studies/{study}.parquet"
    for job in grid.jobs(scale).values():
        yield from (f"results/{job.log_path(run)}" for run in job.runs)
        configuration = job.configuration
        folder = f"{job.variant}/{configuration.dataset}/{configuration.name}"
        flow = f"results/{scale}/{FLOW}/{folder}"
        yield from (f"{flow}.{ending}" for ending in ENDINGS["figures"])


def wrong_target(grid: Grid, reference: str, target: str) -> str:
    """One sentence on a target that nothing makes."""
    there_is_none = f"There is no target {target}"
    if not target.startswith(("results/", "./results/")):
        if target in grid.config.studies:
            scale = next(
                (name for name, chosen in grid.config.scales.items() if target in chosen.studies),
                "SCALE",
            )
            return (
                f"{there_is_none}; it is a study, and its runs are "
                f"results/{scale}/studies/{target}.parquet"
            )
        return there_is_none + _did_you_mean(nearest_name(target, target_names(grid, reference)))
    _, scale, *rest = target.removeprefix("./").split("/")
    scales = [*grid.config.scales, reference]
    if scale not in scales:
        near = nearest_name(scale, scales)
        return f"{there_is_none}: results/ has no scale {scale}" + _did_you_mean(
            near and "/".join(["results", near, *rest])
        )
    name = rest[-1].partition(".")[0] if rest else ""
    if scale == reference:
        return f"{there_is_none}: snakemake {reference} makes all that is kept there"
    if name in grid.config.artifacts and name not in grid.artifacts(scale):
        others = [other for other in grid.config.scales if name in grid.artifacts(other)]
        at = (
            f"; {listed('scale', others)} {'have' if len(others) > 1 else 'has'} it"
            if others
            else ""
        )
        return f"{there_is_none}: scale {scale} has no {name}{at}"
    files = list(result_files(grid, scale))
    elsewhere = next(
        (path for path in files if name in grid.artifacts(scale) and f"/{name}." in path), ""
    )
    near = elsewhere or _nearest_path(target.removeprefix("./"), files)
    if near == target:
        return f"{target} is made by training, which partial=true leaves out"
    return there_is_none + _did_you_mean(near)


def _nearest_path(path: str, paths: Iterable[str]) -> str:
    """Follow a path folder by folder, at each the nearest that there is; empty where there is
    none.
    """
    parts, left = path.split("/"), [other.split("/") for other in paths]
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        here = {
            other[depth]
            for other in left
            if len(other) > depth and (len(other) == depth + 1) == last
        }
        found = nearest_name(part, here)
        if not found:
            return ""
        parts[depth], left = (
            found,
            [other for other in left if len(other) > depth and other[depth] == found],
        )
    return "/".join(parts)


def _did_you_mean(name: str) -> str:
    return f"; did you mean {name}?" if name else "; snakemake help lists the targets"
