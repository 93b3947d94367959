"""A job that fails leaves the rest to finish, and every artifact is made from the runs that exist."""

from __future__ import annotations

import os
import signal
import time

import pandas as pd
import pytest
from project import STUDY, Project, new_project, tiny, wait_for

from gradflow.partial import failures, with_partial

pytestmark = pytest.mark.workflow

PLACE = "def load_job_data(job: Job, results: Path) -> ImageData:\n"
PLANTED = '    if job.configuration.optimizer == "momentum":\n        raise ValueError("planted failure")\n'


def two_configurations(raw) -> None:
    tiny(raw)
    raw["scales"]["smoke"]["studies"][STUDY]["blocks"][0]["optimizers"] = ["adam", "momentum"]


def pairs(project: Project) -> dict[str, int]:
    cells = pd.read_csv(project.results / "smoke" / "tables" / "table4.csv", keep_default_na=False)
    return dict(zip(cells.optimizer, cells.n, strict=True))


def test_partial_artifacts_after_a_failure_and_the_rest_after_the_fix(tmp_path):
    project = new_project(tmp_path / "project", two_configurations)
    source = project.folder / "src" / "gradflow" / "training.py"
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
    assert planned.rules == {"train_mlp", "collect_runs", "significance_table", "plot_by_width"}
    project.make("smoke")
    assert pairs(project) == {"adam": 5, "momentum": 5}
    assert not project.plan().jobs


def test_partial_mode_by_hand_trains_nothing(tmp_path):
    project = new_project(tmp_path / "project", tiny)
    project.make("smoke", "--config", "partial=true")
    assert not (project.results / "smoke" / "runs").exists()
    assert not (project.results / "data").exists()
    assert (project.results / "smoke" / "figures" / "figure15.png").exists()
    assert "train_mlp" in project.plan().counts


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(tmp_path):
    def long_job(raw):
        tiny(raw)
        raw["scales"]["smoke"]["studies"][STUDY]["epochs"] = 3000
        raw["artifacts"] = {"table4": raw["artifacts"]["table4"]}

    project = new_project(tmp_path / "project", long_job)
    state = project.results / "smoke" / "state" / "paper" / "digits" / "mlp1-relu-adam-lr0.001-NR"
    output = tmp_path / "output"
    with output.open("w") as file, project.running("smoke", stdout=file, stderr=file) as process:
        wait_for(lambda: (state / "seed0.lock").exists())
        time.sleep(2)  # some epochs
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) != 0
    text = output.read_text()
    assert "Interrupted. Finished runs are kept" in text
    assert "Traceback" not in text and "Making every table" not in text
    assert (state / "seed0.json").exists()
    with project.running("smoke"):
        job_log = project.results / "smoke" / "logs" / "paper" / "digits" / "mlp1-relu-adam-lr0.001-NR" / "seed0.log"
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


def test_partial_joins_the_settings_of_the_command_line():
    assert with_partial(["quick"]) == ["quick", "--config", "partial=true"]
    assert with_partial(["quick", "--config", "a=1"]) == ["quick", "--config", "partial=true", "a=1"]
