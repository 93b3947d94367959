"""Jobs of a list, run without snakemake: the same logs however the time is cut, and finished runs
to snakemake.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cohorts import make_job, make_wide_resnet_job
from faults import share_kernels
from project import GRADFLOW, ROOT, Project, environment, new_project, tiny, wait_for

from gradflow.data.store import fetch_dataset
from gradflow.study.job import Job
from gradflow.training.heartbeat import record_path
from gradflow.training.run_log import read_log
from gradflow.workflow.job_list import (
    COMPLETE,
    FAILED,
    LEFT,
    commands_of,
    read_job_list,
    write_job_list,
)

STOPPED = 143


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A results folder with the digits and nothing else."""
    data = tmp_path / "machine" / "data"
    data.mkdir(parents=True)
    fetch_dataset("digits", data / "digits.safetensors", data / "digits.json")
    return data.parent


def small_job(seed: int = 0, epochs: int = 2, **changes: Any) -> Job:
    return make_job("adam", depth=1, seed=seed, epochs=epochs, batch_size=128, **changes)


def command(jobs: Sequence[Job], results: Path, *options: str) -> list[str]:
    path = results / "jobs.jsonl"
    write_job_list(path, jobs)
    words = [
        *GRADFLOW,
        "jobs",
        "--jobs",
        path,
        "--results",
        results,
        "--processes",
        "2",
        *options,
    ]
    return [str(word) for word in words]


def run(jobs: Sequence[Job], results: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        command(jobs, results, *options), env=environment(ROOT), text=True, timeout=300,
        check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


def rows(job: Job, results: Path) -> list[bytes]:
    """The job's logs as bytes, without the metadata, which tell seconds."""
    found = []
    for one in job.runs:
        table = read_log(
            results / job.log_path(one), job.only(one).to_json()
        ).replace_schema_metadata(None)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        found.append(sink.getvalue().to_pybytes())
    return found


def stopped_in_training(jobs: Sequence[Job], results: Path, number: signal.Signals) -> str:
    """Start the runner, send it a signal when its first two jobs train, and wait for its end."""
    process = subprocess.Popen(
        command(jobs, results), env=environment(ROOT), text=True, stdout=subprocess.PIPE
    )
    wait_for(lambda: all(record_path(results / job.state_path).exists() for job in jobs[:2]))
    children = running_jobs(process.pid)
    process.send_signal(number)
    output, _ = process.communicate(timeout=300)
    wait_for(lambda: not any(alive(child) for child in children))
    assert process.returncode == (STOPPED if number == signal.SIGTERM else -number)
    return output


@pytest.mark.slow
def test_a_split_run_equals_an_unsplit_one(machine: Path, tmp_path: Path) -> None:
    """Cut before anything began, then while it trains."""
    jobs = [small_job(seed, epochs=100) for seed in (0, 1)]
    whole = tmp_path / "whole"
    shutil.copytree(machine, whole)
    assert run(jobs, whole)[0] == COMPLETE
    share_kernels(whole, machine)

    assert run(jobs, machine, "--minutes", "0.0001")[0] == LEFT
    stopped_in_training(jobs, machine, signal.SIGTERM)
    code, output = run(jobs, machine)
    assert code == COMPLETE
    assert "2 of 2 jobs are done" in output
    logs = [path.read_text() for path in machine.glob("smoke/logs/**/*.log")]
    assert len(logs) == 2 and all("resumed at epoch" in text for text in logs)
    for job in jobs:
        assert rows(job, machine) == rows(job, whole)
    assert not list(machine.glob("smoke/state/**/*.safetensors"))


@pytest.mark.slow
def test_a_job_that_fails_leaves_the_others_to_finish(machine: Path) -> None:
    broken = small_job(seed=5, train_images=2000)
    code, output = run([broken, small_job()], machine)
    assert code == FAILED
    last = output.splitlines()
    assert (
        f"FAILED  {broken.key}: train_images is 2000, but digits has 1437 training images" in last
    )
    assert last[-1] == "1 of 2 jobs are done; 1 failed"
    assert rows(small_job(), machine)
    assert run([small_job()], machine) == (
        COMPLETE, "1 jobs, 1 of them finished before; 2 at a time\n1 of 1 jobs are done\n",
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_saves_a_checkpoint_of_every_running_job(
    machine: Path, number: signal.Signals
) -> None:
    """SIGKILL reaches the runner alone, and its jobs notice."""
    jobs = [small_job(seed, epochs=100_000) for seed in (0, 1, 2)]
    output = stopped_in_training(jobs, machine, number)
    assert len(list(machine.glob("smoke/state/**/seed[01]-*.safetensors"))) == 2
    if number == signal.SIGTERM:
        assert output.splitlines()[-1] == (
            "0 of 3 jobs are done; 3 left, of these 2 stopped in training; the same command goes on"
        )


def running_jobs(parent: int) -> list[int]:
    """The forks that train, by their open log files."""
    found = []
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        try:
            output = os.readlink(f"/proc/{child}/fd/1")
        except OSError:
            continue
        if output.endswith(".log"):
            found.append(int(child))
    return found


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_two_runners_of_one_list_train_each_job_once(machine: Path) -> None:
    jobs = [small_job(seed, epochs=20) for seed in (0, 1)]
    both = [
        subprocess.Popen(command(jobs, machine), env=environment(ROOT), stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [process.wait(300) for process in both] == [COMPLETE, COMPLETE]
    costs = (machine / "smoke" / "state" / "costs.jsonl").read_text().splitlines()
    assert len(costs) == 2  # a line a trained job


@pytest.mark.slow
def test_it_needs_torch_numpy_pyarrow_and_safetensors_alone(machine: Path, tmp_path: Path) -> None:
    """As on a machine without the workflow's other packages."""
    absent = (
        "pydantic",
        "yaml",
        "sklearn",
        "scipy",
        "matplotlib",
        "snakemake",
        "torchvision",
        "statsmodels",
    )
    start = tmp_path / "without.py"
    start.write_text(
        f"import runpy, sys\nsys.modules |= dict.fromkeys({absent!r})\n"
        "runpy.run_module('gradflow', run_name='__main__', alter_sys=True)\n"
    )
    _, _, _, *words = command([small_job()], machine)
    done = subprocess.run([sys.executable, start, *words], env=environment(ROOT), check=False,
                          text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    assert done.returncode == COMPLETE, done.stdout


def test_missing_data_and_broken_lists_are_a_sentence(tmp_path: Path) -> None:
    code, output = run([small_job()], tmp_path)
    assert (
        code == FAILED
        and output.count("\n") == 1
        and "snakemake results/data/digits.safetensors" in output
    )
    for text, sentence in (
        ("{}\n", "jobs.jsonl, line 1: not a job specification"),
        (None, "No such file"),
    ):
        path = tmp_path / "jobs.jsonl"
        path.unlink() if text is None else path.write_text(text)
        done = subprocess.run(
            [*GRADFLOW, "jobs", "--jobs", path],
            env=environment(ROOT),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == FAILED and done.stdout == "" and done.stderr.count("\n") == 1
        assert sentence in done.stderr


def test_the_commands_are_those_of_the_rules() -> None:
    scripts = {
        "train_mlp": make_job(),
        "train_wide_resnet": make_wide_resnet_job(architecture="sparse"),
        "pretrain_wide_resnet prune_and_finetune": make_wide_resnet_job(architecture="magnitude"),
    }
    for names, job in scripts.items():
        commands = list(commands_of(job, Path("results")))
        assert " ".join(name for name, _ in commands) == names
        assert commands[-1][1] == ["--job", job.to_json(), "--results", "results"]


@pytest.mark.slow
@pytest.mark.workflow
def test_snakemake_finds_the_logs_up_to_date(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", tiny)
    machine = tmp_path / "machine"
    project.make("results/data/digits.safetensors")
    shutil.copytree(project.results / "data", machine / "data")
    jobs = planned_jobs(project, tmp_path / "jobs.jsonl")
    assert len(jobs) == 1
    assert run(jobs, machine)[0] == COMPLETE

    shutil.copytree(machine / "smoke" / "runs", project.results / "smoke" / "runs")
    assert "train_mlp" not in project.plan().rules and project.plan().counts["collect_runs"] == 1
    project.make("smoke")
    assert not project.plan().jobs


def planned_jobs(project: Project, path: Path) -> list[Job]:
    """What plan.py writes."""
    plan = [*GRADFLOW, "plan", "smoke", "--scale", "smoke", "--jobs", path]
    subprocess.run(
        plan,
        cwd=project.folder,
        env=environment(project.folder),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return read_job_list(path)
