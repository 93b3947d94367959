"""What docs/extending.md lists is put into a project, and drawn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from project import ROOT, new_project, tiny

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
LISTINGS = dict(
    re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
)
(DIFF,) = re.findall(r"^```diff\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
REGISTRY = "src/gradflow/study/kinds.py"


def with_artifacts(raw: dict[str, Any]) -> None:
    tiny(raw)
    raw["artifacts"] |= yaml.safe_load(LISTINGS["config.yaml"])["artifacts"]


@pytest.mark.workflow
@pytest.mark.slow
def test_a_kind_is_a_file_and_a_line(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", with_artifacts)
    for path, text in LISTINGS.items():
        if path != "config.yaml":
            (project.folder / path).write_text(text)
    first, *added = DIFF.splitlines()
    lines = [line.removeprefix("+") for line in added]
    registry = project.folder / REGISTRY
    anchor = first.strip()
    assert registry.read_text().count(f"\n{anchor}\n") == 1 and len(lines) == 2
    registry.write_text(registry.read_text().replace(anchor, "\n".join([anchor, *lines])))
    files = ["results/smoke/tables/ranges.csv", "results/smoke/figures/losses.png"]
    project.make(*files)
    table = pd.read_csv(project.folder / files[0])
    assert (
        list(table.columns) == ["optimizer", "min", "max", "mixture"]
        and (table["min"] <= table["max"]).all()
    )
    assert (project.folder / files[1]).stat().st_size > 5_000
    assert "lowest and highest accuracy" in project.make("help").lower()
