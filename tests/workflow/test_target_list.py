"""`snakemake help`: every target, in the paper's order, with what it makes and costs, at 80
columns.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from project import ROOT, new_project

from gradflow.study.config_file import read_config
from gradflow.study.grid import Grid
from gradflow.workflow.planning import Planner, TargetError
from gradflow.workflow.target_list import target_list


@pytest.mark.slow
def test_every_target_is_listed_with_its_cost(tmp_path: Path) -> None:
    grid = Grid(read_config(ROOT / "config.yaml"))
    text = target_list(grid, tmp_path, "cuda")
    assert max(map(len, text.splitlines())) <= 80
    names = re.findall(r"^  (\w+) +\S", text, flags=re.MULTILINE)
    assert len(names) == len(set(names))
    for kind in ("table", "figure"):  # in the order of config.yaml, which is the paper's
        in_config = [name for name in grid.config.artifacts if name.startswith(kind)]
        assert [name for name in names if name.startswith(kind)] == in_config
    assert set(grid.config.artifacts) | set(grid.config.scales) <= set(names)
    places = [
        names.index(name)
        for name in ("table1", "table3a", "table6b", "figure2a", "figure24", "claims")
    ]
    assert places == sorted(places)
    hours = Planner(grid, tmp_path).total(["table4"], "paper").hours["cuda"]
    assert re.search(
        rf"^  table4 .* {hours:,.{0 if hours >= 10 else 1}f} h$", text, flags=re.MULTILINE
    )
    assert re.search(r"^  figure14 .* no runs$", text, flags=re.MULTILINE)
    cpu = target_list(grid, tmp_path, "cpu")
    assert "one CPU core" in cpu and cpu != text


@pytest.mark.slow
@pytest.mark.workflow
def test_snakemake_help_prints_it_alone_and_runs_nothing(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    output = project.make("help")
    assert "  table4 " in output and "Job stats" not in output and "Traceback" not in output
    assert not project.results.exists()


def test_reports_and_flow_can_be_planned_too(tmp_path: Path) -> None:
    planner = Planner(Grid(read_config(ROOT / "config.yaml")), tmp_path)
    whole = planner.total(["quick"], "paper").runs
    assert planner.total(["report_quick"], "paper").runs == whole
    assert planner.total(["results/quick/report.html"], "paper").runs == whole
    flow = "results/quick/figures/flow_over_training/paper/digits/{}.pdf"
    assert planner.total([flow.format("mlp4-relu-adam-lr0.001-BN")], "paper").runs == 630
    with pytest.raises(TargetError, match="no study of scale quick trains this configuration"):
        planner.total([flow.format("mlp4-relu-adam-lr0.001-BX")], "paper")
