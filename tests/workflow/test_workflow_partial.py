"""A job that fails leaves the rest to finish, and every artifact is made from the runs that exist."""

from __future__ import annotations

import os
import signal

import pandas as pd
import pytest
from project import STUDY, Project, new_project, tiny, wait_for

from gradflow.workflow.after_failure import failures, with_partial

pytestmark = pytest.mark.workflow

PLACE = "def load_job_data(job: Job, results: Path) -> ImageData:\n"
PLANTED = '    if job.configuration.optimizer == "momentum":\n        raise ValueError("planted failure")\n'


def two_configurations(raw) -> None:
    tiny(raw)
    raw["scales"]["smoke"]["studies"][STUDY]["blocks"][0]["optimizers"] = ["adam", "momentum"]


def pairs(project: Project) -> dict[str, int]:
    cells = pd.read_csv(project.results / "smoke" / "tables" / "table4.csv", keep_default_na=False)
    return dict(zip(cells.optimizer, cells.n, strict=True))


@pytest.mark.slow
def test_partial_artifacts_after_a_failure_and_the_rest_after_the_fix(tmp_path):
    project = new_project(tmp_path / "project", two_configurations)
    source = project.folder / "src" / "gradflow" / "training" / "train_job.py"
    whole = source.read_text()
    assert PLACE in whole
    source.write_text(whole.replace(PLACE, PLACE + PLANTED))

    code, output = project.snakemake("smoke")
    assert code != 0
    assert "Traceback" not in output
    last = output[output.index("Some jobs failed") :]
    log = "results/smoke/logs/paper/digits/mlp1-relu-momentum-lr0.001-NR/seed0.log"
    assert "1 failed job; everything else is finished and kept:" in last
    assert f"train_mlp: planted failure\n    log: {log}" in last
    # the tables are there, and say how many pairs they are made of
    assert pairs(project) == {"adam": 5, "momentum": 0}
    assert (project.results / "smoke" / "figures" / "figure15.png").stat().st_size > 1000

    source.write_text(whole)
    planned = project.plan()
    assert planned.counts["train_mlp"] == 1
    assert planned.of("train_mlp")[0]["configuration"] == "mlp1-relu-momentum-lr0.001-NR"
    pages = {"scorecard", "describe_runs"}
    assert planned.rules == {
        "train_mlp",
        "collect_runs",
        "significance_table",
        "plot_by_width",
        *pages,
    }
    project.make("smoke")
    assert pairs(project) == {"adam": 5, "momentum": 5}
    assert not project.plan().jobs


@pytest.mark.slow
def test_partial_mode_by_hand_trains_nothing(tmp_path):
    project = new_project(tmp_path / "project", tiny)
    project.make("smoke", "--config", "partial=true")
    assert not (project.results / "smoke" / "runs").exists()
    assert not (project.results / "data").exists()
    assert (project.results / "smoke" / "figures" / "figure15.png").exists()
    assert "train_mlp" in project.plan().counts


@pytest.mark.slow
def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(tmp_path):
    def long_job(raw):
        tiny(raw)
        raw["scales"]["smoke"]["studies"][STUDY]["epochs"] = 3000
        raw["artifacts"] = {"table4": raw["artifacts"]["table4"]}

    project = new_project(tmp_path / "project", long_job)
    state = project.results / "smoke" / "state" / "paper" / "digits" / "mlp1-relu-adam-lr0.001-NR"
    output = tmp_path / "output"
    with output.open("w") as file, project.running("smoke", stdout=file, stderr=file) as process:
        wait_for(lambda: (state / "seed0.progress").exists())  # it trains
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) != 0
    text = output.read_text()
    assert "Interrupted. Finished runs are kept" in text
    assert "Traceback" not in text and "Making every table" not in text
    assert (state / "seed0.json").exists()
    with project.running("smoke"):
        job_log = (
            project.results
            / "smoke"
            / "logs"
            / "paper"
            / "digits"
            / "mlp1-relu-adam-lr0.001-NR"
            / "seed0.log"
        )
        wait_for(lambda: job_log.exists() and "resumed at epoch" in job_log.read_text())


def test_failures_are_read_from_snakemakes_log():
    text = (
        "Error in rule train_mlp:\n    message: None\n    jobid: 3\n    log: a/b.log (check log file(s) for error"
        " details)\n    shell:\n        x\n\nError in rule fetch_dataset:\n    jobid: 1\n    shell:\n        y\n"
        "Error in rule train_mlp:\n    message: None\n    jobid: 3\n    log: a/b.log (check log file(s) for error"
        " details)\n"
    )
    assert [(failure.rule, failure.log) for failure in failures(text)] == [
        ("train_mlp", "a/b.log"),
        ("fetch_dataset", ""),
    ]


GROUPED = """[Sat Nov 21 16:22:35 2026]
    message: Error in group t
    jobs:
        rule train_mlp:
            jobid: 5
            output: momentum.parquet (update), momentum2.parquet (update)
            log: momentum.log (check log file(s) for error details)
        rule train_mlp:
            jobid: 3
            output: adam.parquet (update)
            log: adam.log (check log file(s) for error details)
Logfile momentum.log:
================================================================================
planted failure
================================================================================
Logfile adam.log: empty file
    [Sat Nov 21 16:22:35 2026]
    Error in rule train_mlp:
        message: None
        jobid: 5
        input: digits.safetensors, digits.json
        output: momentum.parquet (update), momentum2.parquet (update)
        log: momentum.log (check log file(s) for error details)
        shell:
            python scripts/train_mlp.py
            (command exited with non-zero exit code)
    [Sat Nov 21 16:22:35 2026]
    Error in rule train_mlp:
        message: None
        jobid: 3
        input: digits.safetensors, digits.json
        output: adam.parquet (update)
        log: adam.log (check log file(s) for error details)
        shell:
            python scripts/train_mlp.py
            (command exited with non-zero exit code)
Cannot restore adam.parquet: no backup found.
"""


def test_failures_of_a_group_are_those_of_its_unfinished_jobs(tmp_path, monkeypatch):
    """The text is what Snakemake wrote of a real group through profiles/cluster-generic, paths shortened."""
    monkeypatch.chdir(tmp_path)
    assert [failure.log for failure in failures(GROUPED)] == ["momentum.log", "adam.log"]
    (tmp_path / "adam.log").write_text("resumed at epoch 1 of 2\n")
    (tmp_path / "adam.parquet").touch()
    assert [failure.log for failure in failures(GROUPED)] == ["momentum.log"]
    for name in ("momentum.parquet", "momentum2.parquet"):
        (tmp_path / name).touch()  # stale ones
    (tmp_path / "momentum.log").write_text("planted failure\n")
    assert [str(failure) for failure in failures(GROUPED)] == [
        "train_mlp: planted failure\n    log: momentum.log"
    ]
    (tmp_path / "momentum.log").write_text("")
    assert len(failures(GROUPED)) == 2  # nothing tells which


def test_partial_joins_the_settings_of_the_command_line():
    assert with_partial(["quick"]) == ["quick", "--config", "partial=true"]
    assert with_partial(["quick", "--config", "a=1"]) == [
        "quick",
        "--config",
        "partial=true",
        "a=1",
    ]
