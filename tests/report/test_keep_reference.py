"""What is kept in results/reference is whole at every moment: the one before, or the new one."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from faults import job_of, one_table
from project import GRADFLOW, ROOT, Project, environment, new_project

from gradflow.report import reference
from gradflow.report.reference import (
    NAME,
    ReferenceError,
    folder_before,
    keep_reference,
    kept_folder,
    kept_scales,
    read_reference,
)
from gradflow.report.unpack import Unpacked, unpack_reference
from gradflow.study.config_file import read_config
from gradflow.study.job import Job
from gradflow.training.log_rows import log_identity, run_identity
from gradflow.training.run_log import DIGEST, LIBRARIES, read_log, write_log
from gradflow.workflow.job_list import JobRunner


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
    assert kept_scales(project.results) == ["smoke"]
    read_reference(project.results, "smoke", read_config(ROOT / "config.yaml"))  # whatever happened
    reference.restore_reference(project.results, "smoke")
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
    kept_folder(project.results, "smoke").rename(folder_before(project.results, "smoke"))
    assert kept_scales(project.results) == ["smoke"]
    assert read_reference(project.results, "smoke", read_config(ROOT / "config.yaml")).artifacts()


def test_a_folder_of_study_tables_is_read_as_one(project: Project) -> None:
    """Checksums lie beside; readers of folders pass over names that begin with `_`."""
    folder = kept_folder(project.results, "smoke") / "studies"
    assert len(list(folder.glob("_*.sha256"))) == 1
    assert len(pd.read_parquet(folder)) == 10


def test_a_study_without_a_run_leaves_no_trace(project: Project) -> None:
    def another(raw: dict[str, Any]) -> None:
        studies = raw["scales"]["smoke"]["studies"]
        studies["fashion_mnist_initialisation"] = {"epochs": 2}

    project.edit_config(another)
    keep(project)
    folder = kept_folder(project.results, "smoke")
    names = {path.name for kind in ("studies", "provenance") for path in (folder / kind).iterdir()}
    assert names == {"fashion_mnist_low.parquet", "_fashion_mnist_low.parquet.sha256"}


def test_a_checksum_of_the_first_version_still_counts(project: Project) -> None:
    from gradflow.files import checksum_path, read_checksum

    [table] = (kept_folder(project.results, "smoke") / "studies").glob("*.parquet")
    new = checksum_path(table)
    text = read_checksum(table)
    new.rename(table.with_name(f"{table.name}.sha256"))
    assert read_checksum(table) == text
    table.with_name(f"{table.name}.sha256").unlink()
    assert read_checksum(table) is None


# --- kept runs on another machine -----------------------------------------------------------------


def rewrite(project: Project) -> Job:
    """Logs with values of every kind, and where they were made."""
    epochs = project.config()["scales"]["smoke"]["studies"]["fashion_mnist_low"]["epochs"]
    job = job_of(project, epochs)
    for run in job.runs:
        rows = [
            {
                **log_identity(job),
                **run_identity(job, run),
                "epoch": epoch,
                "step": 3 * epoch,
                "test_loss": math.inf if epoch else 0.1,
                "egf_l1": 0.1 + epoch,
                "layer_egf_l1": [0.1, math.inf, 1e-20],
                "active_weights": [3, 4, 5],
                "diverged": epoch > 0,
                "collapsed": False,
            }
            for epoch in range(2)
        ]
        versions = {f"{library}_version": "1.2" for library in LIBRARIES}
        said = {"spec": job.only(run).to_json(), "engine_version": "1", "device": "a CPU"}
        said |= {"device_type": "cpu", "kernels": "a kernel", "seconds": "12.5", **versions}
        write_log(project.results / job.log_path(run), rows, said)
    return job


def test_kept_runs_are_unpacked_as_they_were(project: Project) -> None:
    job = rewrite(project)
    keep(project)
    said = json.loads((kept_folder(project.results, "smoke") / "provenance.json").read_text())
    assert said["kernels"] == {"a kernel": 10}
    logs = {run: project.results / job.log_path(run) for run in job.runs}
    before = {run: read_log(path) for run, path in logs.items()}
    shutil.rmtree(project.results / "smoke")
    config = read_config(project.folder / "config.yaml")
    assert unpack_reference(project.results, "smoke", config) == Unpacked(written=10)
    for run, path in logs.items():
        after = read_log(path, job.only(run).to_json())
        theirs = {
            key: value
            for key, value in before[run].schema.metadata.items()
            if key not in (DIGEST, b"ARROW:schema")
        }
        assert {key: after.schema.metadata[key] for key in theirs} == theirs
        for now, then in zip(after.to_pylist(), before[run].to_pylist(), strict=True):
            layers, others = now.pop("layer_egf_l1"), then.pop("layer_egf_l1")
            assert layers == [float(np.float32(value)) for value in others]
            assert now == then
    assert JobRunner([job], project.results, None, 1, 0.0)._unfinished() == []
    assert unpack_reference(project.results, "smoke", config) == Unpacked(there=10)


def test_runs_that_are_planned_otherwise_are_not_unpacked(project: Project) -> None:
    rewrite(project)
    keep(project)
    shutil.rmtree(project.results / "smoke")
    project.edit_config(lambda raw: raw["scales"]["smoke"]["settings"].update(probe_images=100))
    config = read_config(project.folder / "config.yaml")
    assert unpack_reference(project.results, "smoke", config) == Unpacked(other=10)
    assert not (project.results / "smoke").exists()


def test_scales_are_kept_side_by_side(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(kept_folder(project.results, "smoke"), kept_folder(project.results, "quick"))
    before = kept(project)
    finish(project, 7)
    keep(project)
    after = kept(project)
    assert kept_scales(project.results) == ["quick", "smoke"]
    changed = {name for name in after if after[name] != before[name]}
    assert changed and all(name.startswith("smoke/") for name in changed)
    size = sum(len(content) for name, content in after.items() if name.endswith(".parquet"))
    monkeypatch.setattr(reference, "MOST_BYTES", size - 1)
    with pytest.raises(ReferenceError, match="with the other scales', more than"):
        keep(project)


def test_a_folder_elsewhere_takes_what_the_project_keeps(project: Project, tmp_path: Path) -> None:
    rewrite(project)
    keep(project)

    def unpack(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [*GRADFLOW, "unpack", *words, "--results", str(tmp_path / "elsewhere")],
            cwd=project.folder, env=environment(project.folder), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    code, said = unpack("smok")
    assert code == 1
    assert said == f"no scale smok is kept in results/{NAME}; did you mean smoke?\n"
    code, said = unpack("smoke")
    assert code == 0 and said.startswith("smoke: 10 logs written, 0 were there, 0 are of another")
    assert len(list((tmp_path / "elsewhere").rglob("*.parquet"))) == 10
    shutil.rmtree(project.results / NAME)
    code, said = unpack()
    assert code == 1 and f"nothing is kept in results/{NAME}; " in said
