"""What is kept in results/reference is whole at every moment: the one before, or the new one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pandas as pd
import pytest
from faults import job_of, one_table
from project import ROOT, Project, new_project

from gradflow.report import reference
from gradflow.report.reference import BEFORE, NAME, ReferenceError, keep_reference, read_reference
from gradflow.study.config_file import read_config
from gradflow.training.run_log import write_log


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with a finished job and something kept already."""
    project = new_project(tmp_path / "project", one_table)
    finish(project, 0)
    keep(project)
    return project


def finish(project: Project, step: int) -> None:
    """Write the logs of the only job."""
    job = job_of(
        project, project.config()["scales"]["smoke"]["studies"]["fashion_mnist_low"]["epochs"]
    )
    for run in job.runs:
        metadata = {"spec": job.only(run).to_json(), "device": "a CPU", "seconds": "1"}
        write_log(project.results / job.log_path(run), [{"seed": 0, "step": step}], metadata)


def keep(project: Project) -> None:
    keep_reference(project.folder / "config.yaml", project.results, "smoke")


def kept(project: Project) -> dict[str, bytes]:
    folder = project.results / NAME
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def asides(project: Project) -> list[str]:
    return [
        path.name for path in project.results.glob(f".{NAME}*") if not path.name.endswith(".lock")
    ]


@pytest.mark.parametrize("die_at", range(1, 10))
def test_killed_at_any_rename_one_of_the_two_is_kept_whole(project: Project, die_at: int) -> None:
    before = kept(project)
    finish(project, 7)
    process = os.fork()
    if process == 0:
        left = [die_at]

        def or_die(move):
            def moved(*paths):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                move(*paths)

            return moved

        os.rename, os.replace = or_die(os.rename), or_die(os.replace)
        keep(project)
        os._exit(0)
    os.waitpid(process, 0)
    read_reference(project.results, read_config(ROOT / "config.yaml"))  # whatever happened
    reference.restore_reference(project.results)
    assert kept(project) == before or b"7" in str(kept(project)).encode()
    keep(project)  # the same command
    after = kept(project)
    assert after != before and set(after) == set(before)
    assert asides(project) == []


def test_a_busy_folder_loses_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another's file cannot be removed: the new reference has its place all the same."""
    before = kept(project)
    finish(project, 7)
    monkeypatch.setattr(reference.shutil, "rmtree", lambda *_, **__: None)
    keep(project)
    assert kept(project) != before and set(kept(project)) == set(before)
    monkeypatch.undo()
    keep(project)
    assert asides(project) == []


def test_a_refused_keeping_leaves_what_was_kept(project: Project, monkeypatch) -> None:
    before = kept(project)
    monkeypatch.setattr(reference, "MOST_BYTES", 10)
    with pytest.raises(ReferenceError, match="more than"):
        keep(project)
    assert kept(project) == before and asides(project) == []


def test_a_reference_between_two_renames_is_read(project: Project) -> None:
    (project.results / NAME).rename(project.results / BEFORE)
    assert read_reference(project.results, read_config(ROOT / "config.yaml")).scale == "smoke"


def test_a_folder_of_study_tables_is_read_as_one(project: Project) -> None:
    """Checksums lie beside; readers of folders pass over names that begin with `_`."""
    folder = project.results / NAME / "studies"
    assert len(list(folder.glob("_*.sha256"))) == 1
    assert len(pd.read_parquet(folder)) == 10


def test_a_checksum_of_the_first_version_still_counts(project: Project) -> None:
    from gradflow.files import checksum_path, read_checksum

    [table] = (project.results / NAME / "studies").glob("*.parquet")
    new = checksum_path(table)
    text = read_checksum(table)
    new.rename(table.with_name(f"{table.name}.sha256"))
    assert read_checksum(table) == text
    table.with_name(f"{table.name}.sha256").unlink()
    assert read_checksum(table) is None
