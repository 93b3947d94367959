"""What docs/tutorial.md lists is put into a project, and its commands are run, with one seed and
two epochs.
"""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from project import ROOT, Project, environment, new_project

TUTORIAL = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
LISTINGS = re.findall(
    r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", TUTORIAL, flags=re.MULTILINE | re.DOTALL
)
COMMANDS = [
    line.split("#")[0].split()
    for line in re.findall(r"^ {4}(?=snakemake|pytest)(.*)$", TUTORIAL, flags=re.M)
]
TARGETS = list(dict.fromkeys(command[-1] for command in COMMANDS if command[0] == "snakemake"))


def merged(old: Any, new: Any) -> Any:
    """`old` with what `new` says of it; blocks of a list are matched by their place."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: merged(old.get(key), value) for key, value in new.items()}}
    if (
        isinstance(old, list)
        and isinstance(new, list)
        and all(isinstance(part, dict) for part in new)
    ):
        return [merged(*pair) for pair in zip(old, new, strict=False)] + old[len(new) :]
    return new


def tutorial(raw: dict[str, Any]) -> None:
    """The listed entries of config.yaml, cut down to a few jobs of a second."""
    for path, text in LISTINGS:
        if path == "config.yaml":
            raw |= merged(raw, yaml.safe_load(text))
    raw["scales"]["growing"] = copy.deepcopy(raw["scales"]["moving"])
    raw["scales"]["growing"]["settings"]["mask_update"] = "grow_by_gradient"
    raw["artifacts"] = {name: raw["artifacts"][name] for name in ("table4", "table_hardswish")}
    block = raw["studies"]["fashion_mnist_low"]["blocks"][0]
    assert block["optimizers"][-1] == "lion" and "DA" in block["regularizations"]
    block |= {"optimizers": ["adam", "lion"], "regularizations": ["BN"]}
    raw["scales"] = {
        name: raw["scales"][name] for name in ("paper", "quick", "on_bars", "moving", "growing")
    }
    for name, scale in raw["scales"].items():
        scale["studies"] = {study: scale["studies"][study] for study in ("fashion_mnist_low",
            "hardswish")
                            if study in scale["studies"]}  # fmt: skip
        scale |= {"seeds": [0], "max_widths": {"digits": 40, "bars": 40}}
        for study in scale["studies"].values():
            study |= {"epochs": 2}
            for own in study.get("blocks", []):
                own |= {"optimizers": ["adam"]}
        assert name == "paper" or scale["studies"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the tutorial's files and entries, in which its targets are made."""
    project = new_project(tmp_path_factory.mktemp("tutorial") / "project", tutorial)
    for path, text in LISTINGS:
        if path != "config.yaml":
            assert (project.folder / path).parent.is_dir() and not (project.folder / path).exists()
            (project.folder / path).write_text(text)
    project.make(*TARGETS, "results/growing/tables/table4.csv")
    return project


def cells(project: Project, path: str) -> pd.DataFrame:
    return pd.read_csv(project.results / path)


def sparse_logs(project: Project, scale: str) -> list[Path]:
    return sorted((project.results / scale / "runs").rglob("sparse-w*.parquet"))


@pytest.mark.slow
@pytest.mark.workflow
class TestTutorial:
    def test_the_optimizer_has_its_row_of_table_4(self, project: Project) -> None:
        table = cells(project, "quick/tables/table4.csv")
        assert list(table["optimizer"]) == ["adam", "lion"]
        lion = table[table["optimizer"] == "lion"].iloc[0]
        assert lion["n"] == 5 and 0 < lion["p_value"] <= 1
        assert ">lion<" in (project.results / "quick/tables/table4.html").read_text()

    def test_the_optimizer_passes_the_tests_of_every_optimizer(self, project: Project) -> None:
        (command,) = (command for command in COMMANDS if command[0] == "pytest")
        done = subprocess.run(
            [sys.executable, "-m", *command, "-q", "-p", "no:cacheprovider",
             "-o", f"pythonpath={project.folder / 'src'} {ROOT / 'tests'}"],
            cwd=ROOT, env={**environment(), "GRADFLOW_OWN": str(project.folder / "own")}, text=True,
            capture_output=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0 and " 3 passed" in f" {done.stdout.splitlines()[-1]}", (
            done.stdout
        )

    def test_the_activation_has_its_column(self, project: Project) -> None:
        table = cells(project, "quick/tables/table_hardswish.csv")
        assert list(table["activation"]) == ["relu", "hardswish"] and list(table["n"]) == [5, 5]
        assert table["p_value"].notna().all()

    def test_the_data_set_stands_in(self, project: Project) -> None:
        table = cells(project, "on_bars/tables/table4.csv")
        assert set(table["dataset"]) == {"bars"} and list(table["n"]) == [5, 5]
        assert '"classes": 16' in (project.results / "data/bars.json").read_text()

    @pytest.mark.parametrize(
        ("scale", "rule"), [("moving", "set"), ("growing", "grow_by_gradient")]
    )
    def test_the_rule_moves_masks_within_their_capacity(
        self, project: Project, scale: str, rule: str
    ) -> None:
        assert cells(project, f"{scale}/tables/table4.csv")["p_value"].notna().all()
        logs = sparse_logs(project, scale)
        assert len(logs) == 5
        changed = 0
        for log in logs:
            table = pq.read_table(log)
            assert f'"mask_update":"{rule}"'.encode() in table.schema.metadata[b"spec"]
            first, last = (row for row in table.to_pylist())
            dense = pq.read_table(log.with_name(log.name.replace("sparse", "dense"))).to_pylist()[
                -1
            ]
            assert first["active_weights"] == last["active_weights"] == dense["active_weights"]
            changed += first["live_weights"] != last["live_weights"]
        assert changed  # where some weights lie on no path, other masks have others


@pytest.mark.slow
@pytest.mark.workflow
@pytest.mark.parametrize(
    ("path", "text", "sentence"),
    [
        (
            "optimizers/adam.py",
            "",
            "own/optimizers/adam.py: the library has adam already; give the file",
        ),
        (
            "activations/Mish.py",
            "",
            "own/activations/Mish.py: a name has small letters, digits and",
        ),
        (
            "datasets/mine.py",
            "",
            "own/datasets/mine.py must define SHAPE; see README.md beside it",
        ),
    ],
)
def test_a_mistake_is_a_sentence(path: str, text: str, sentence: str, tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    (project.folder / "own" / path).write_text(text)
    code, output = project.snakemake("-n", "table4")
    assert code == 1 and sentence in output, output
    assert "Traceback" not in output
