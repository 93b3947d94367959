"""The archive of a release: everything in one file, checked by programs that are not ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy
import pytest

from gradflow.report.archive import project_files, write_archive

NAME = "gradflow-9.9.9"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name in ("src/a.py", "docs/b.md", ".venv/c", "src/__pycache__/d.pyc", "results/quick/e"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (folder / "run.py").write_text("#!/bin/sh\n")
    (folder / "run.py").chmod(0o755)
    return folder


def test_what_is_the_projects_own(project: Path) -> None:
    names = [path.relative_to(project).as_posix() for path in project_files(project)]
    assert names == ["docs/b.md", "run.py", "src/a.py"]


def test_the_archive_passes_its_checks_wherever_the_results_lie(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere" / "results").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    drawn = Path("results/table.csv")
    drawn.write_text("1\n")
    target = Path(f"results/{NAME}.zip")
    write_archive(target, project, [*project_files(project), drawn])
    assert sorted(path.name for path in Path("results").iterdir()) == [
        f"{NAME}.zip", f"{NAME}.zip.sha256", "table.csv",
    ]  # fmt: skip
    subprocess.run(["sha256sum", "--check", f"{NAME}.zip.sha256"], cwd="results", check=True)
    with zipfile.ZipFile(target) as zipped:
        assert zipped.testzip() is None
        zipped.extractall(tmp_path / "unpacked")
        modes = {info.filename: info.external_attr >> 16 for info in zipped.infolist()}
    folder = tmp_path / "unpacked" / NAME
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "docs/b.md", "run.py", "src/a.py", "results/table.csv", "environment.json", "SHA256SUMS",
    }  # fmt: skip
    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == names - {"SHA256SUMS"}
    assert modes[f"{NAME}/run.py"] & 0o100 and not modes[f"{NAME}/src/a.py"] & 0o111
    said = json.loads((folder / "environment.json").read_text())
    assert said["packages"]["numpy"] == numpy.__version__


def test_the_same_files_give_the_same_bytes(project: Path, tmp_path: Path) -> None:
    packed = []
    for place, age in (("a", 10), ("b", 1_700_000_000)):
        copy = shutil.copytree(project, tmp_path / place)
        for path in project_files(copy):
            os.utime(path, (age, age))
        target = tmp_path / place / "results" / f"{NAME}.zip"
        write_archive(target, copy, reversed(project_files(copy)))
        packed.append(target.read_bytes())
    assert packed[0] == packed[1]
