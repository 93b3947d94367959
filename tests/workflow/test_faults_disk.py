"""Disks that are full or cannot be written: a sentence, nothing half-written, and the same command
goes on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults import (
    Trainer,
    job_of,
    leftovers,
    one_table,
    rows_of,
    share_kernels,
    state_of,
    with_data,
)
from project import Project, new_project

from gradflow.study.job import Job

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

Mount = Callable[..., None]
ROWS = dict[str, str]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts until the test ends; permission bits would not bind root, in whose name the tests may
    run.
    """
    mounted: list[str] = []

    def do(folder: Path, *options: str) -> None:
        done = subprocess.run(
            ["mount", *options, str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
        mounted.append(str(folder))

    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root, to mount a small or read-only disk")
    yield do
    for folder in reversed(mounted):
        subprocess.run(["umount", "--lazy", folder], check=True)


def logs(results: Path, job: Job) -> ROWS:
    """The rows of the job's logs that there are."""
    logs = {job.run_name(run): results / job.log_path(run) for run in job.runs}
    return {name: rows_of(log) for name, log in logs.items() if log.exists()}


def fill(folder: Path, leave: int) -> Path:
    """Fill a disk but for some KiB."""
    status = os.statvfs(folder)
    ballast = folder / "ballast"
    ballast.write_bytes(b"x" * max(0, status.f_bavail * status.f_frsize - leave * 1024))
    return ballast


@pytest.fixture(scope="module")
def job(undisturbed: Project) -> Job:
    """A job of six steps, whose checkpoint has 290 KB and each of its ten logs 16 KB."""
    return job_of(undisturbed, epochs=3, batch_size=500)


@pytest.fixture(scope="module")
def whole(
    undisturbed: Project, warm: Trainer, job: Job, tmp_path_factory: pytest.TempPathFactory
) -> ROWS:
    """The job's logs."""
    results = with_data(undisturbed, tmp_path_factory.mktemp("whole") / "results")
    assert warm.run(job, results)[0] == 0
    return logs(results, job)


# seconds between checkpoints, KiB that are left, whether a checkpoint and how many logs are kept
ROOM = {
    "for nothing": (0.0, 0, False, 0),
    "for a part of a checkpoint": (0.0, 60, False, 0),
    "for one checkpoint": (0.0, 450, True, 0),
    "for a part of the rows": (1000.0, 24, False, 0),
    "for the rows and a log": (1000.0, 68, True, 1),
}


@pytest.mark.parametrize(("seconds", "leave", "kept", "published"), ROOM.values(), ids=ROOM)
def test_a_full_disk(
    undisturbed: Project, warm: Trainer, job: Job, whole: ROWS, tmp_path: Path, mount: Mount,
    seconds: float, leave: int, kept: bool, published: int,
) -> None:  # fmt: skip
    disk = tmp_path / "disk"
    disk.mkdir()
    mount(disk, "-t", "tmpfs", "-o", "size=20m", "tmpfs")
    with_data(undisturbed, disk)
    ballast = fill(disk, leave)
    code, said = warm.run(job, disk, seconds=seconds)
    assert code == 1, said
    assert "No space left on device" in said and "Traceback" not in said
    assert said.strip().count("\n") == 0
    assert not [name for name in leftovers(disk) if "/." in name], "something half-written stayed"
    assert (disk / job.state_path).exists() == kept
    done = logs(disk, job)
    assert len(done) == published and done.items() <= whole.items()
    ballast.unlink()
    code, said = warm.run(job, disk, seconds=seconds)
    assert code == 0, said
    assert ("resumed at epoch" in said) == (kept and not published)
    assert logs(disk, job) == whole
    assert leftovers(disk) == []


def test_a_results_folder_that_cannot_be_written(
    undisturbed: Project, tmp_path: Path, mount: Mount
) -> None:
    project = new_project(tmp_path / "my project", one_table)
    project.results.mkdir()
    mount(project.results, "-t", "tmpfs", "-o", "ro", "tmpfs")
    code, output = project.snakemake("smoke")
    assert code == 1
    assert "results/ cannot be written (Read-only file system); make it writable" in output
    assert "Traceback" not in output
    assert project.plan().counts["train_mlp"] == 1  # to look is allowed
    subprocess.run(["mount", "-o", "remount,rw", str(project.results)], check=True)
    share_kernels(undisturbed.results, project.results)
    project.make("smoke")
    assert state_of(project.results) == state_of(undisturbed.results)


def test_a_trainer_on_a_disk_that_cannot_be_written(
    undisturbed: Project, tmp_path: Path, mount: Mount
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    mount(results, "-t", "tmpfs", "-o", "ro", "tmpfs")
    code, said = Trainer().run(job_of(undisturbed, 1), results)
    assert code == 1
    assert "Read-only file system" in said and "Traceback" not in said
