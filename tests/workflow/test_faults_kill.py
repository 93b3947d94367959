"""Processes killed at any moment: what they had done is kept, and the same command ends at the same
bits.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from faults import (
    EPOCHS,
    Trainer,
    job_of,
    leftovers,
    one_table,
    rows_of,
    share_kernels,
    signal_all,
    state_of,
    trainers,
    waiting,
    with_data,
)
from project import SNAKEMAKE, STUDY, Project, copy_of, environment, new_project, wait_for

from gradflow.study.job import Job

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


@dataclass(frozen=True)
class Whole:
    """A job that nobody disturbed."""

    job: Job
    logs: dict[str, str]
    seconds: float  # that it took


@pytest.fixture(scope="module")
def whole(undisturbed: Project, warm: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A job that nobody disturbs, forked by the warm trainer."""
    job = job_of(undisturbed, EPOCHS)
    for _ in range(2):  # with the first the trainer imports
        results = with_data(undisturbed, tmp_path_factory.mktemp("whole") / "results")
        began = time.monotonic()
        assert warm.run(job, results)[0] == 0
        seconds = time.monotonic() - began
    return Whole(job, logs(results, job), seconds)


def logs(results: Path, job: Job) -> dict[str, str]:
    return {job.run_name(run): rows_of(results / job.log_path(run)) for run in job.runs}


def disturb(
    trainer: Trainer,
    undisturbed: Project,
    whole: Whole,
    folder: Path,
    moments: list[float],
    *signals: signal.Signals,
) -> list[tuple[int, str]]:
    """Start a job again and again and stop it so many seconds later; what each attempt came to.

    Of every two attempts one is stopped only when there is a checkpoint. Whenever the job was
    finished before, it is compared with the undisturbed one, another folder is begun, and the
    moments to come are earlier: the machine is faster than when they were chosen.
    """
    attempts, results, pace = [], None, 1.0
    for attempt, moment in enumerate(moments):
        results = results or with_data(undisturbed, folder / f"results{attempt}")
        process = trainer.start(whole.job, results)
        if attempt % 2:
            state = results / whole.job.state_path
            wait_for(lambda: state.exists() or process.poll() is not None)  # noqa: B023
        time.sleep(pace * (moment / 4 if attempt % 2 else moment))
        process.send_signal(signals[attempt // 2 % len(signals)])
        _, said = process.communicate(timeout=300)
        attempts.append((process.returncode, said))
        if process.returncode == 0:
            assert logs(results, whole.job) == whole.logs
            assert leftovers(results) == []
            results, pace = None, 0.7 * pace
    if results is not None:
        assert trainer.run(whole.job, results)[0] == 0
        assert logs(results, whole.job) == whole.logs
        assert leftovers(results) == []
    return attempts


def random_moments(count: int, earliest: float, latest: float) -> list[float]:
    chance = random.Random(0)
    return [chance.uniform(earliest, latest) for _ in range(count)]


def test_a_trainer_killed_at_twenty_moments(
    warm: Trainer, undisturbed: Project, whole: Whole, tmp_path: Path
) -> None:
    moments = random_moments(20, 0, whole.seconds)
    attempts = disturb(warm, undisturbed, whole, tmp_path, moments, signal.SIGKILL)
    assert sum(code == -signal.SIGKILL for code, _ in attempts) >= 5
    # what it had done was kept: a job killed at such moments would else hardly ever finish
    assert sum("resumed at epoch" in said for _, said in attempts) >= 3


@pytest.fixture(scope="module")
def seconds_alone(
    undisturbed: Project, whole: Whole, tmp_path_factory: pytest.TempPathFactory
) -> float:
    """How long the job takes when it imports torch itself; it ends at the same logs."""
    results = with_data(undisturbed, tmp_path_factory.mktemp("alone") / "results")
    began = time.monotonic()
    assert Trainer().run(whole.job, results)[0] == 0
    assert logs(results, whole.job) == whole.logs
    return time.monotonic() - began


def test_a_trainer_of_its_own_killed_from_import_to_end(
    undisturbed: Project, whole: Whole, seconds_alone: float, tmp_path: Path
) -> None:
    moments = random_moments(4, 0, seconds_alone)
    attempts = disturb(Trainer(), undisturbed, whole, tmp_path, moments, signal.SIGKILL)
    assert any(code == -signal.SIGKILL for code, _ in attempts)


@pytest.mark.parametrize("forked", [True, False], ids=["warm", "cold"])
def test_a_trainer_asked_to_stop_keeps_a_checkpoint(
    forked: bool,
    warm: Trainer,
    undisturbed: Project,
    whole: Whole,
    seconds_alone: float,
    tmp_path: Path,
) -> None:
    trainer = warm if forked else Trainer()
    # Python itself, before the script's first line, answers Ctrl-C with a traceback
    moments = (
        random_moments(8, 0.3, whole.seconds)
        if forked
        else random_moments(4, seconds_alone / 4, seconds_alone)
    )
    attempts = disturb(
        trainer, undisturbed, whole, tmp_path, moments, signal.SIGTERM, signal.SIGINT, signal.SIGHUP
    )
    # before training began or after its end there is nothing to say
    stops = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    silent = {0, *(-number for number in stops), *(128 + number for number in stops)}
    for code, said in attempts:
        last = said.splitlines()[-1:]
        if last and "the same command goes on from there" in last[0]:
            assert code == 143
        else:
            assert code in silent, said
            assert all(line.startswith("resumed at epoch") for line in last)
    # one that imports for most of its life may be met by none of its signals while it trains
    assert not forked or any("the same command goes on from there" in said for _, said in attempts)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_script_stopped_while_it_imports_says_nothing(
    undisturbed: Project, whole: Whole, tmp_path: Path, number
) -> None:
    results = with_data(undisturbed, tmp_path / "results")
    process = Trainer().start(whole.job, results)
    wait_for(lambda: "torch" in Path(f"/proc/{process.pid}/maps").read_text())
    process.send_signal(number)
    assert process.communicate(timeout=300)[1] == ""
    assert process.returncode == -number
    assert not (results / "smoke").exists()


def test_killed_before_any_file_is_put_in_its_place(
    warm: Trainer, undisturbed: Project, tmp_path: Path
) -> None:
    # a checkpoint at each of its three steps
    job = replace(job_of(undisturbed, epochs=1, batch_size=500), percents=(10, 90))
    whole = with_data(undisturbed, tmp_path / "whole")
    assert warm.run(job, whole, seconds=0)[0] == 0
    expected = logs(whole, job)
    for place in range(1, 100):
        results = with_data(undisturbed, tmp_path / f"results{place}")
        code, _ = warm.run(job, results, seconds=0, die_at=place)
        if code == 0:
            break
        published = [run for run in job.runs if (results / job.log_path(run)).exists()]
        assert all(
            rows_of(results / job.log_path(run)) == expected[job.run_name(run)] for run in published
        )
        assert warm.run(job, results, seconds=0)[0] == 0
        assert logs(results, job) == expected
        assert leftovers(results) == []
        shutil.rmtree(results)
    assert place > 9  # two files a checkpoint, and four logs


def test_never_two_trainers_on_one_cohort(
    warm: Trainer, undisturbed: Project, whole: Whole, tmp_path: Path
) -> None:
    results = with_data(undisturbed, tmp_path / "results")
    state = results / whole.job.state_path
    first = Trainer().start(whole.job, results)
    wait_for(state.exists)
    first.send_signal(signal.SIGSTOP)  # it holds the lock, however slow this machine is
    others = []
    for count in (1, 2):
        others.append(warm.start(whole.job, results))
        wait_for(lambda: waiting(state.with_suffix(".lock")) == count)  # noqa: B023
    first.kill()  # one goes on from its checkpoint, and the other finds the work done
    first.communicate()
    said = [process.communicate(timeout=300)[1] for process in others]
    assert [process.returncode for process in others] == [0, 0], said
    assert sum("resumed at epoch" in words for words in said) == 1
    assert logs(results, whole.job) == whole.logs
    assert len((results / "smoke" / "state" / "costs.jsonl").read_text().splitlines()) == 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of two jobs of some seconds, with checkpoints all the time, of which everything is
    made.
    """
    project = new_project(tmp_path_factory.mktemp("finished") / "project", one_table)
    project.edit_config(
        lambda raw: raw["scales"]["smoke"]["studies"][STUDY].update(epochs=40, seeds=[0, 1])
    )
    source = project.folder / "src" / "gradflow" / "training" / "train_job.py"
    often = source.read_text() + "\nCHECKPOINT_SECONDS, CHECKPOINT_SHARE = 0.1, 1e9\n"
    assert often.count("CHECKPOINT_SECONDS") > 2 and often.count("CHECKPOINT_SHARE") > 2
    source.write_text(often)
    project.make("smoke")
    return project


def test_snakemake_killed_with_and_without_its_trainers(finished: Project, tmp_path: Path) -> None:
    """At twenty moments: at ten its trainers live on, at ten they are killed with it."""
    expected = state_of(finished.results)
    project = copy_of(finished, tmp_path / "project")
    begin_anew(project, finished)
    said, killed = tmp_path / "output", 0
    for attempt, moment in enumerate(random_moments(20, 0, 2)):
        with said.open("w") as output:
            process = subprocess.Popen(
                [SNAKEMAKE, "smoke", "--quiet", "host"], cwd=project.folder, env=environment(),
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        # every fifth is killed at snakemake's own start, the others when jobs are under way
        if attempt % 5:
            wait_for(lambda: "rule train_mlp:" in said.read_text() or process.poll() is not None)  # noqa: B023
        time.sleep(moment)
        process.kill()
        ended = process.wait()
        killed += ended == -signal.SIGKILL
        if attempt % 2:
            signal_all(trainers(project), signal.SIGKILL)
        text = said.read_text()
        assert not re.search("Another snakemake|LockException|unlock|Traceback", text), text
        assert (
            state_of(project.results).items() <= expected.items()
        )  # nothing half-written, nothing else
        if ended == 0:
            assert state_of(project.results) == expected
            begin_anew(project, finished)
    project.make("smoke")
    assert killed >= 10
    assert state_of(project.results) == expected
    assert leftovers(project.results) == []
    assert not project.plan().counts


def test_killed_while_data_were_fetched(finished: Project, tmp_path: Path) -> None:
    """A data file that Snakemake has marked as unfinished hides nothing of what is missing."""
    project = copy_of(finished, tmp_path / "project")
    shutil.rmtree(project.results / "smoke")
    expected = project.plan().counts
    for name in ("digits.safetensors", "digits.json"):
        mark = urlsafe_b64encode(f"results/data/{name}".encode()).decode()
        (project.folder / ".snakemake/incomplete" / mark).write_text('{"external_jobid": null}')
    project.make("smoke")
    assert "train_mlp" in expected and "fetch_dataset" not in expected
    assert state_of(project.results) == state_of(finished.results)


def begin_anew(project: Project, finished: Project) -> None:
    signal_all(trainers(project), signal.SIGKILL)
    shutil.rmtree(project.results)
    project.results.mkdir()
    share_kernels(finished.results, project.results)
    shutil.rmtree(project.folder / ".snakemake")
