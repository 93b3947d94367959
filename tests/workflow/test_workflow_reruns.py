"""Reruns follow meaning, and nothing is lost: real snakemake runs over a project of one small
job.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from faults import share_kernels, signal_all, trainers
from project import ROOT, STUDY, TABLE, Project, copy_of, environment, new_project, tiny, wait_for

from gradflow.study.config_checks import load_config
from gradflow.study.grid import Grid
from gradflow.study.job import Job
from gradflow.training.heartbeat import record_path
from gradflow.training.run_log import read_log, write_log

pytestmark = pytest.mark.workflow

ADAM = "mlp1-relu-adam-lr0.001-NR"
PAGES = {"scorecard", "describe_runs", "write_report"}  # of the scale as a whole
DRAWN = {
    "significance_table",
    "plot_by_width",
    "plot_activations",
    *PAGES,
}  # of the tiny project's artifacts
FROM_RUNS = {"collect_runs", "significance_table", "plot_by_width", *PAGES}
SOURCES = ("src/**/*.py", "scripts/*.py")
RULES = ("rules/*.smk", "Snakefile")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of which everything is made; tests take copies."""
    project = new_project(tmp_path_factory.mktemp("finished") / "project", tiny)
    project.make("smoke")
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A finished project of the test's own."""
    return copy_of(finished, tmp_path / "project")


def study_of(raw: dict[str, Any]) -> dict[str, Any]:
    """The study of a tiny configuration."""
    return raw["scales"]["smoke"]["studies"][STUDY]


def runs_of(project: Project, configuration: str = ADAM, seed: int = 0) -> list[Path]:
    """The logs of a job that exist."""
    folder = project.results / "smoke" / "runs" / "paper" / "digits" / configuration / f"seed{seed}"
    return sorted(folder.glob("*.parquet"))


def trained(configuration: str = ADAM, seed: int = 0) -> list[dict[str, str]]:
    """What a dry-run names when this one job is to be trained."""
    where = {"scale": "smoke", "variant": "paper", "dataset": "digits"}
    return [{**where, "configuration": configuration, "seed": str(seed)}]


def append(files: list[Path], text: str) -> None:
    """Add a line to files."""
    for file in files:
        file.write_text(file.read_text() + text)


def substitute(file: Path, old: str, new: str) -> None:
    """Replace text that must be there."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


# --- what does not train --------------------------------------------------------------------------


def test_a_finished_project_has_nothing_to_do(project: Project) -> None:
    assert len(runs_of(project)) == 10
    assert not project.plan().counts
    assert "Nothing to be done" in project.make("smoke")


@pytest.mark.slow
def test_touching_every_file_runs_nothing(project: Project) -> None:
    for file in project.files(*SOURCES, *RULES, "config.yaml", "profiles/**/*.yaml"):
        file.touch()
    assert not project.plan().counts


@pytest.mark.slow
def test_a_comment_in_every_file_trains_nothing(project: Project) -> None:
    append(project.files(*SOURCES, *RULES, "config.yaml", "profiles/**/*.yaml"), "\n# a comment\n")
    assert project.plan().rules <= {"collect_runs", *DRAWN}


@pytest.mark.slow
def test_how_it_is_run_is_no_reason_to_run(project: Project) -> None:
    train = project.folder / "rules" / "train.smk"
    substitute(train, "threads: 1", "threads: 2")
    substitute(train, "mem_mb=memory_of(find_job())", "mem_mb=3000")
    substitute(
        project.folder / "profiles" / "default" / "config.yaml",
        "cores: all",
        "cores: 1\nlatency-wait: 1",
    )
    assert not project.plan().counts


@pytest.mark.slow
def test_without_snakemakes_records_nothing_is_trained(project: Project) -> None:
    shutil.rmtree(project.folder / ".snakemake")
    assert project.plan().rules <= {"collect_runs", *DRAWN}


# --- what does, and it alone ----------------------------------------------------------------------


def test_a_new_seed_trains_that_seed(project: Project) -> None:
    project.edit_config(lambda raw: raw["scales"]["smoke"].update(seeds=[0, 1]))
    plan = project.plan()
    assert plan.of("train_mlp") == trained(seed=1)
    assert plan.rules == {"train_mlp", *FROM_RUNS}


@pytest.mark.slow
def test_more_epochs_train_again(project: Project) -> None:
    project.edit_config(lambda raw: study_of(raw).update(epochs=2))
    plan = project.plan()
    assert plan.of("train_mlp") == trained()
    assert plan.rules == {"train_mlp", *FROM_RUNS}


@pytest.mark.slow
def test_another_setting_of_the_variant_trains_again(project: Project) -> None:
    project.edit_config(lambda raw: raw["variants"]["paper"].update(init_gain="linear"))
    assert project.plan().of("train_mlp") == trained()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (
            lambda project: append(
                project.files("src/gradflow/analysis/figures_by_width.py"), "\nprint('drawn')\n"
            ),
            "plot_by_width",
        ),
        (
            lambda project: project.edit_config(
                lambda raw: raw["artifacts"]["table4"].update(title="Another title")
            ),
            "significance_table",
        ),
    ],
    ids=["the module of a figure", "the title of a table"],
)
def test_a_change_of_one_artifact_makes_that_one(
    project: Project, change: Callable[[Project], object], rule: str
) -> None:
    change(project)
    plan = project.plan()
    assert plan.rules - {"scorecard", "write_report"} == {rule}  # which show titles
    assert plan.counts[rule] == 1


@pytest.mark.slow
def test_a_deleted_log_is_trained_again_and_the_others_are_kept(project: Project) -> None:
    lost, *others = runs_of(project)
    # not the time: Snakemake touches all outputs of a job that it ran
    before = {log: (log.stat().st_ino, log.read_bytes()) for log in others}
    spec = pq.read_schema(lost).metadata[b"spec"]
    lost.unlink()
    plan = project.plan(TABLE)
    assert plan.of("train_mlp") == trained()
    assert plan.rules == {"train_mlp", "collect_runs"}

    project.make(TABLE)
    assert {log: (log.stat().st_ino, log.read_bytes()) for log in others} == before
    assert pq.read_schema(lost).metadata[b"spec"] == spec
    assert project.plan().rules <= {
        "significance_table",
        "plot_by_width",
        *PAGES,
    }  # the same rows need no new table


@pytest.mark.slow
def test_a_new_configuration_trains_alone_and_may_diverge(project: Project) -> None:
    wild = "mlp4-relu-sgd-lr10-NR"

    def edit(raw: dict[str, Any]) -> None:
        block = study_of(raw)["blocks"][0]
        study_of(raw)["blocks"].append(
            {**block, "depths": [4], "optimizers": ["sgd"], "learning_rates": [10.0]}
        )

    project.edit_config(edit)
    plan = project.plan()
    assert plan.of("train_mlp") == trained(wild)
    assert plan.rules == {"train_mlp", *FROM_RUNS}

    project.make("smoke")
    ends = pd.concat(pq.read_table(log).to_pandas().tail(1) for log in runs_of(project, wild))
    assert len(ends) == 10
    assert ends["diverged"].any()
    diverged = ends[ends["diverged"]]
    assert (diverged["test_accuracy"] == 10.0).all()
    cells = pd.read_csv(project.results / "smoke" / "tables" / "table4.csv").set_index("optimizer")
    for architecture in ("dense", "sparse"):
        count = (diverged["architecture"] == architecture).sum()
        assert cells.loc["sgd", f"diverged_{architecture}"] == count
        assert cells.loc["adam", f"diverged_{architecture}"] == 0
    assert cells.loc["sgd", "n"] == 5


@pytest.mark.slow
def test_a_log_from_another_machine_is_named_by_its_table(project: Project) -> None:
    log = runs_of(project)[0]
    table = read_log(log)
    said = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    write_log(log, table.to_pylist(), {**said, "device": "another CPU"})
    before = (project.folder / TABLE).read_bytes()
    output = project.make("smoke")
    assert "train_mlp" not in output and (project.folder / TABLE).read_bytes() == before
    cells = pd.read_csv(project.results / "smoke" / "tables" / "table4.csv")
    [mixture] = cells["mixture"]
    assert "(9 runs)" in mixture and "another CPU (1 runs)" in mixture
    page = (project.results / "smoke" / "tables" / "table4.html").read_text()
    assert f"Not all runs were made alike. {mixture}." in page
    assert not project.plan().counts


# --- interruptions --------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_snakemake_at_a_time_and_a_killed_one_locks_nobody_out(project: Project) -> None:
    def long(raw: dict[str, Any]) -> None:
        raw["scales"]["smoke"]["seeds"] = [1]
        study_of(raw)["epochs"] = 600

    project.edit_config(long)
    state = project.results / "smoke" / "state" / "paper" / "digits" / ADAM / "seed1.lock"
    with project.running(TABLE) as first:
        wait_for(state.exists)
        frozen = trainers(project)  # so that the job outlasts what follows, however fast it is
        signal_all(frozen, signal.SIGSTOP)
        code, output = project.snakemake(TABLE)
        assert code == 1
        [line] = [
            line for line in output.splitlines() if "napshot" not in line and "profile" not in line
        ]
        assert line.startswith(f"Another snakemake (process {first.pid}) is running on results/")
        assert project.plan(TABLE).of("train_mlp") == trained(seed=1)

        assert runs_of(project, seed=1) == [], "the job was done before snakemake could be killed"
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert list((project.folder / ".snakemake" / "locks").iterdir())
        signal_all(frozen, signal.SIGCONT)

        output = project.make(
            TABLE
        )  # its trainer lives on; the new one waits for it, and trains nothing
        assert "unlock" not in output
    assert len(runs_of(project, seed=1)) == 10
    assert pq.read_table(project.folder / TABLE)["seed"].unique().to_pylist() == [1]
    assert not project.plan(TABLE).counts


def train(job: Job, results: Path) -> subprocess.Popen[str]:
    """Start the trainer's script as its rule does."""
    script = [sys.executable, str(ROOT / "scripts" / "train_mlp.py"), "--job", job.to_json()]
    return subprocess.Popen(
        [*script, "--results", str(results)],
        env={**environment(), "PYTHONPATH": str(ROOT / "src")}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_a_stopped_trainer_goes_on_to_the_same_numbers(finished: Project, tmp_path: Path) -> None:
    edited: dict[str, Any] = yaml.safe_load((finished.folder / "config.yaml").read_text())
    study_of(edited)["epochs"] = 100
    [job] = Grid(load_config(edited)).jobs("smoke").values()
    for name in ("whole", "stopped"):
        shutil.copytree(finished.results / "data", tmp_path / name / "data")
    whole = train(job, tmp_path / "whole")
    assert whole.wait() == 0

    results = tmp_path / "stopped"
    share_kernels(tmp_path / "whole", results)
    stopped = train(job, results)
    wait_for(record_path(results / job.state_path).exists)  # it trains
    stopped.send_signal(signal.SIGTERM)
    _, said = stopped.communicate()
    assert stopped.returncode == 143, said
    assert "the same command goes on from there" in said
    progress = json.loads((results / job.state_path).read_text())
    assert 0 <= progress["epoch"] < 100
    assert (results / job.state_path).with_name(progress["tensors"]).exists()
    assert not any((results / job.log_path(run)).exists() for run in job.runs)

    again = train(job, results)
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert f"resumed at epoch {progress['epoch']} of 100" in said
    assert not (results / job.state_path).exists()
    for run in job.runs:
        rows = [
            pq.read_table(tmp_path / name / job.log_path(run)).to_pylist()
            for name in ("whole", "stopped")
        ]
        assert repr(rows[0]) == repr(rows[1])  # as text, in which a NaN equals another
