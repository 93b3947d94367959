"""What a scale leaves out of the full study: the differences between its plan and scale paper's,
study by study.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import json

from gradflow.study.grid import Grid
from gradflow.study.kinds import KINDS
from gradflow.study.reductions import FULL, facts

WHOLE_STUDY = "whole study"


def scaled_down(grid: Grid, scale: str, full: Grid) -> list[dict[str, str]]:
    """The differences of a scale's plan from the full one.

    Args:
        grid: that has the scale.
        scale: its name.
        full: that has scale paper.

    Returns:
        A row per study and property that differ: `study`, `what`, `here` and `paper`, as text.
    """
    if FULL not in full.config.scales:
        return []
    rows = []
    here = grid.config.scales[scale].studies
    for study in full.config.scales[FULL].studies:
        theirs = facts(full.plan(FULL, study))
        if study not in here:
            rows.append(
                {
                    "study": study,
                    "what": WHOLE_STUDY,
                    "here": "left out",
                    "paper": f"{theirs['runs']} runs",
                }
            )
            continue
        ours = facts(grid.plan(scale, study))
        rows += [
            {"study": study, "what": what, "here": ours[what], "paper": theirs[what]}
            for what in theirs
            if ours[what] != theirs[what]
        ]
    return rows


def scorecard_json(grid: Grid, scale: str, full: Grid) -> str:
    """What the scorecard's script is told of the plan, as canonical JSON."""
    artifacts = {
        name: grid.config.artifacts[name].kind
        for name in grid.artifacts(scale)
        if grid.config.artifacts[name].studies
    }
    return json.dumps(
        {
            "scale": scale,
            "scaled_down": scaled_down(grid, scale, full),
            "kinds": artifacts,
            "planned": {
                study: sum(1 for _ in grid.plan(scale, study).runs())
                for study in grid.config.scales[scale].studies
            },
            "artifacts": {
                name: {**json.loads(grid.artifact_json(scale, name)), "configurations": []}
                for name, kind in artifacts.items()
                if KINDS[kind].compared_in
            },
        },
        sort_keys=True,
    )


def report_json(grid: Grid, scale: str) -> str:
    """What the report's script is told: the artifacts in their order, as JSON."""
    artifacts = {}
    for name in grid.artifacts(scale):
        entry = json.loads(grid.artifact_json(scale, name))
        # the kinds that list their configurations have said so in their tables
        artifacts[name] = entry | {"kind": grid.config.artifacts[name].kind, "configurations": []}
    return json.dumps({"scale": scale, "artifacts": artifacts})


def config_json(grid: Grid, scale: str) -> str:
    """The configuration that a scale's runs follow, without what is only drawn from them, as
    canonical JSON.
    """
    whole = grid.config.model_dump(exclude_none=True)
    of_scale = whole["scales"][scale]
    del of_scale["keep_weights"]  # no part of what a run is
    here = grid.config.scales[scale].studies
    plans = [grid.plan(scale, study) for study in here]
    variants = {variant for plan in plans for variant, _ in plan.variants} | {FULL}
    datasets = {configuration.dataset for plan in plans for configuration in plan.configurations}
    return json.dumps(
        {
            "percents": whole["percents"],
            "datasets": {name: whole["datasets"][name] for name in datasets},
            "variants": {name: whole["variants"][name] for name in variants},
            "studies": {name: whole["studies"][name] for name in here},
            "scales": {scale: of_scale},
        },
        sort_keys=True,
    )
