"""An edit of a user's own file trains the runs that use it again, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from project import STUDY, Project, copy_of, new_project, tiny

from gradflow.training.run_log import read_log

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

LION = """
STATE = ()


def update(parameters, gradients, state, learning_rate, weight_decay):
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.sub_(gradient.sign(), alpha=learning_rate)
"""
BARS = """
from gradflow.study.datasets import DatasetShape

SHAPE = DatasetShape(channels=1, side=4, classes=4, train_images=400, test_images=80)


def read(folder):
    import numpy as np

    images = np.random.default_rng(0).integers(0, 200, (480, 1, 4, 4), dtype=np.uint8)
    labels = np.arange(480) % 4
    images[np.arange(480), 0, labels] += 40
    return images[:400], labels[:400], images[400:], labels[400:]
"""


def with_own_files(raw: dict[str, Any]) -> None:
    tiny(raw)
    smoke = raw["scales"]["smoke"]
    smoke["studies"][STUDY]["blocks"][0]["optimizers"] = ["adam", "lion"]
    smoke |= {"stand_ins": {"fashion_mnist": "bars"}, "max_widths": {"bars": 20}}
    raw["datasets"]["bars"] = {"crop_padding": 1, "flip": False}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = new_project(tmp_path_factory.mktemp("own") / "project", with_own_files)
    for path, text in (("optimizers/lion.py", LION), ("datasets/bars.py", BARS)):
        (project.folder / "own" / path).write_text(text)
    project.make("smoke")
    assert not project.plan().counts
    return project


def trained(project: Project) -> list[str]:
    """The configurations that would be trained."""
    return sorted(wildcards["configuration"] for wildcards in project.plan().of("train_mlp"))


@pytest.mark.parametrize(
    ("file", "old", "new", "configurations"),
    [
        ("optimizers/lion.py", "STATE", "# none\nSTATE", []),
        ("datasets/bars.py", "\nfrom", '"""Bars."""\n\nfrom', []),
        ("optimizers/lion.py", "alpha=learning_rate", "alpha=2 * learning_rate", ["lion"]),
        ("datasets/bars.py", "+= 40", "+= 50", ["adam", "lion"]),
    ],
)
def test_an_edit_trains_what_uses_the_file(
    file: str, old: str, new: str, configurations: list[str], finished: Project, tmp_path: Path
) -> None:
    project = copy_of(finished, tmp_path / "project")
    path = project.folder / "own" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert trained(project) == [f"mlp1-relu-{name}-lr0.001-NR" for name in configurations]
    assert ("fetch_dataset" in project.plan().rules) == (
        file == "datasets/bars.py" and bool(configurations)
    )


def test_the_same_command_brings_it_up_to_date(finished: Project, tmp_path: Path) -> None:
    project = copy_of(finished, tmp_path / "project")
    logs = sorted((project.results / "smoke" / "runs").rglob("*.parquet"))
    before = {log: log.read_bytes() for log in logs}
    path = project.folder / "own" / "optimizers" / "lion.py"
    path.write_text(LION.replace("alpha=learning_rate", "alpha=2 * learning_rate"))
    project.make("smoke")
    assert not project.plan().counts
    changed = {log.parts[-3].split("-")[2] for log in logs if log.read_bytes() != before[log]}
    assert changed == {"lion"}


def test_other_data_of_the_same_file_train_again(finished: Project, tmp_path: Path) -> None:
    """What `read` reads has changed, the file has not: fetched anew, it is other data."""
    project = copy_of(finished, tmp_path / "project")
    images = project.folder / "images.npy"
    numpy.save(images, numpy.zeros((480, 1, 4, 4), numpy.uint8))
    path = project.folder / "own" / "datasets" / "bars.py"
    path.write_text(BARS.replace("+= 40", f"+= 40\n    images ^= np.load({str(images)!r})"))
    project.make("smoke")
    assert not project.plan().counts
    manifest = project.results / "data" / "bars.json"
    before = manifest.read_text()
    project.make("--forcerun", "fetch_dataset", "--", "results/data/bars.json")
    assert manifest.read_text() == before and not project.plan().counts
    numpy.save(images, numpy.ones((480, 1, 4, 4), numpy.uint8))
    project.make("--forcerun", "fetch_dataset", "--", "results/data/bars.json")
    assert manifest.read_text() != before
    assert len(trained(project)) == 2
    project.make("smoke")
    assert not project.plan().counts
    logs = [*(project.results / "smoke" / "runs").rglob("*.parquet")]
    data = json.loads(manifest.read_text())["arrays_sha256"]
    assert {json.loads(read_log(log).schema.metadata[b"spec"])["data"] for log in logs} == {data}
