"""The workflow from elsewhere: another working directory, another's Snakefile, results on another
disk.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from project import GRADFLOW, ROOT, SNAKEMAKE, TABLE, Project, environment, new_project, tiny

from gradflow.study.config_file import config_path

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
RUNS = "results/smoke/runs/paper/digits/mlp1-relu-adam-lr0.001-NR/seed0"
FIGURE = "results/smoke/figures/figure14.png"  # of no runs


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "somewhere" / "project", tiny)


def run(folder: Path, *words: str | Path) -> str:
    """Run a snakemake, which must succeed, in a folder; what it prints."""
    done = subprocess.run(
        [SNAKEMAKE, *words], cwd=folder, env=environment(), text=True, timeout=600, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_directory_of_its_own(project: Project, tmp_path: Path) -> None:
    """As on a cluster: the clone at home, results on scratch."""
    scratch = tmp_path / "scratch" / "me"
    output = run(project.folder, "--directory", scratch, TABLE)
    assert f"open     {TABLE}" in output
    assert (scratch / TABLE).exists() and (scratch / RUNS / "dense-w10.parquet").exists()
    assert not project.results.exists() and not (project.folder / ".snakemake").exists()
    assert "Nothing to be done" in run(project.folder, "--directory", scratch, "-n", TABLE)
    status = subprocess.run(
        [*GRADFLOW, "status", "smoke"], cwd=scratch, env=environment(project.folder), text=True,
        capture_output=True,
        check=True,
    )  # fmt: skip
    assert "All runs are finished." in status.stdout


def test_its_snakefile_from_another_folder(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(elsewhere, "-s", "../somewhere/project/Snakefile", FIGURE)
    assert (elsewhere / FIGURE).exists() and not project.results.exists()
    assert "Nothing to be done" in run(elsewhere, "-n", "-s", project.folder / "Snakefile", FIGURE)


def test_a_configuration_of_the_folder_comes_first(project: Project, tmp_path: Path) -> None:
    raw = project.config()
    raw["scales"]["mine"] = raw["scales"].pop("smoke")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    output = run(tmp_path, "-s", project.folder / "Snakefile", "-n", "mine")
    assert "train_mlp " in output


@pytest.mark.parametrize("place", ["absolute", "relative"])
def test_a_config_file_of_another_folder(project: Project, tmp_path: Path, place: str) -> None:
    """It extends config.yaml, and a relative path is that of the shell."""
    more = tmp_path / "more.yaml"
    more.write_text("scales: {smoke: {seeds: [0, 7]}}\n")
    path = more if place == "absolute" else Path("../../more.yaml")
    directory = tmp_path / "scratch"
    output = run(project.folder, "--directory", directory, "--configfile", path, "-n", "smoke")
    assert "train_mlp                 2" in output


def test_results_on_another_disk_by_a_link(project: Project, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    project.results.symlink_to(disk)
    project.make(TABLE)
    assert (disk / TABLE.removeprefix("results/")).exists()
    assert not project.plan(TABLE).jobs


OUTER = """
configfile: "outer.yaml"

module gradflow:
    snakefile: "../somewhere/project/Snakefile"
    config: config["gradflow"]

use rule * from gradflow as gradflow_*

rule ours:
    default_target: True
    input: "results/smoke/tables/table4.csv"
    output: "ours.txt"
    shell: "head -1 {input} > {output}"
"""


def test_a_module_of_another_workflow(project: Project, tmp_path: Path) -> None:
    """Its settings are the other workflow's, which has a configuration, rules and a --config of its
    own.
    """
    outer = tmp_path / "outer"
    outer.mkdir()
    (outer / "Snakefile").write_text(OUTER)
    ours: dict[str, Any] = {"gradflow": {"scales": {"smoke": {"seeds": [3]}}}, "samples": ["a"]}
    (outer / "outer.yaml").write_text(yaml.safe_dump(ours))
    output = run(outer, "--cores", "2", "--config", "other=1")
    assert "gradflow_train_mlp" in output
    assert (outer / "ours.txt").read_text().startswith("artifact,")
    assert [path.name for path in (outer / RUNS).parent.iterdir()] == ["seed3"]
    assert "Nothing to be done" in run(outer, "-n", "--cores", "2")
    assert not project.results.exists()


def test_a_module_as_it_is(project: Project, tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(
        'module gradflow:\n    snakefile: "somewhere/project/Snakefile"\n\nuse rule * from '
        "gradflow\n"
    )
    run(tmp_path, "--cores", "1", FIGURE)
    assert (tmp_path / FIGURE).exists()


def test_where_there_is_no_configuration_it_is_the_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert config_path() == ROOT / "config.yaml"
    (tmp_path / "config.yaml").touch()
    assert config_path() == Path("config.yaml")
