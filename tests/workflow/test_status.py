"""The status of a scale, of made-up folders and of a real snakemake that is killed midway."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from project import (
    GRADFLOW,
    ROOT,
    STUDY,
    Project,
    environment,
    new_project,
    plant_failure,
    tiny,
    wait_for,
)

from gradflow.files import is_locked, lock
from gradflow.study.config_file import read_config
from gradflow.study.grid import Grid
from gradflow.text import duration
from gradflow.training.heartbeat import RECORD_SECONDS, ProgressRecord, read_position
from gradflow.training.run_log import write_log
from gradflow.workflow.attempts import JOB, KILLED, read_failure, record_path
from gradflow.workflow.events import Events
from gradflow.workflow.missing import State, log_state
from gradflow.workflow.status import scale_status
from gradflow.workflow.status_report import report
from gradflow.workflow.warm import TRAINER

LONG = "cifar10_low"
FOLDER = "paper/digits/mlp1-relu-{}-lr0.001-NR/seed0"


def status(project: Project, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [*GRADFLOW, "status", *arguments], cwd=project.folder, env=environment(project.folder),
        text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def counts(text: str) -> dict[str, list[int]]:
    """The table's rows: planned, then a count for each state."""
    rows = re.findall(r"^(\S.*?) {2,}((?:[\d,]+ *){6})$", text, flags=re.MULTILINE)
    return {name: [int(cell.replace(",", "")) for cell in cells.split()] for name, cells in rows}


def of(**states: int) -> list[int]:
    return [sum(states.values()), *(states.get(state, 0) for state in State)]


def two_studies(raw) -> None:
    """One job that ends at once, one that fails, and one that takes minutes."""
    long = raw["scales"]["smoke"]["studies"][LONG]
    block = raw["studies"][LONG]["blocks"][0]
    table = raw["artifacts"]["table5a"]
    tiny(raw)
    raw["scales"]["smoke"]["studies"][STUDY]["blocks"][0]["optimizers"] = ["adam", "momentum"]
    raw["scales"]["smoke"]["studies"][LONG] = {
        **long, "epochs": 3000,
        "blocks": [{**block, "depths": [1], "optimizers": ["sgd"], "regularizations": ["NR"]}],
    }  # fmt: skip
    raw["artifacts"] = {"table4": raw["artifacts"]["table4"], "table5a": table}


@pytest.mark.workflow
@pytest.mark.slow
def test_a_study_killed_midway(tmp_path):
    project = new_project(tmp_path / "project", two_studies)
    plant_failure(project)
    code, text = status(project)
    assert code == 1 and "holds nothing of any scale yet" in text

    smoke = project.results / "smoke"
    failed_log = smoke / "logs" / (FOLDER.format("momentum") + ".log")
    record = smoke / "state" / (FOLDER.format("sgd") + ".progress")
    finished = smoke / "runs" / FOLDER.format("adam")
    with project.running("smoke", "--cores", "3"):
        wait_for(lambda: len(list(finished.glob("[!.]*.parquet"))) == 10)
        wait_for(lambda: failed_log.exists() and "planted" in failed_log.read_text())
        wait_for(lambda: record.exists() and json.loads(record.read_text())["epochs_done"] > 1)
        wait_for(lambda: not is_locked(smoke / "state" / (FOLDER.format("adam") + ".lock")))
        code, text = status(project)
        assert code == 0
        assert max(map(len, text.splitlines())) <= 80 + len("results/smoke")
        assert counts(text) == {
            STUDY: of(done=10, failed=10),
            LONG: of(running=10),
            "total": of(done=10, running=10, failed=10),
        }
        assert re.search(
            rf"1 job running\n +epoch +left\n +[\d,]+/3,000 +\d+ \w+  {FOLDER.format('sgd')}\n",
            text,
        )
        assert (
            f"  {FOLDER.format('momentum')}\n    planted failure\n    log: "
            f"{failed_log.relative_to(project.folder)}" in text
        )
        assert re.search(
            r"2 jobs left, 1 running: about .* at this pace, until ", text.splitlines()[-1]
        )

    wait_for(lambda: not is_locked(smoke / "state" / (FOLDER.format("sgd") + ".lock")))
    before = snapshot(project.results)
    code, text = status(project, "smoke")
    assert snapshot(project.results) == before  # nothing is written
    assert counts(text)["total"] == of(done=10, failed=10, missing=10)
    assert "running\n" not in text and "nothing is running" in text.splitlines()[-1]

    def other_epochs(raw):
        raw["scales"]["smoke"]["studies"][STUDY]["epochs"] = 2

    project.edit_config(other_epochs)
    _, text = status(project, "smoke")
    assert counts(text)[STUDY] == of(stale=10, failed=10)
    assert (
        "10 logs of another specification" in text
        and f"results/smoke/runs/{FOLDER.format('adam')}/" in text
    )


def snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


@pytest.fixture
def grid(tmp_path):
    return Grid(read_config(new_project(tmp_path / "made_up", tiny).folder / "config.yaml"))


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    (folder / "smoke").mkdir(parents=True)
    return folder


def job_of(grid):
    (job,) = grid.jobs("smoke").values()
    return job


def fill(grid, results, runs=10):
    job = job_of(grid)
    for run in job.runs[:runs]:
        write_log(results / job.log_path(run), [{"seed": 0}], {"spec": job.only(run).to_json()})


def printed(grid, results, text):
    log = results / "smoke" / "logs" / f"{job_of(grid).key}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text)
    return log


def test_a_log_is_done_stale_or_missing(grid, results):
    job = job_of(grid)
    run, other = job.runs[:2]
    path, spec = results / job.log_path(run), job.only(run).to_json()
    assert log_state(path, spec) is State.MISSING
    write_log(path, [{"seed": 0}], {"spec": spec})
    assert log_state(path, spec) is State.DONE
    assert log_state(path, job.only(other).to_json()) is State.STALE
    whole = path.read_bytes()
    for damaged in (
        b"",
        b"PAR1",
        whole[:-20],
        whole[: len(whole) // 2],
        whole[-200:],
        whole + b"0",
    ):
        path.write_bytes(damaged)
        assert log_state(path, spec) is State.STALE
    long = {"spec": spec, "more": "x" * 100_000}  # a footer longer than what is read at first
    write_log(path, [{"seed": 0}], long)
    assert log_state(path, spec) is State.DONE


def test_a_trainer_that_holds_the_cohort_is_running(grid, results):
    fill(grid, results, runs=4)
    job = job_of(grid)
    state = results / job.state_path
    with lock(state.with_suffix(".lock")), ProgressRecord(state) as record:
        seen = scale_status(grid, results, "smoke")
        assert [job.position for job in seen.of(State.RUNNING)] == [None]
        assert "starting" in report(seen, results)
        record.write(0.25, 30.0)
        seen = scale_status(grid, results, "smoke")
        assert counts(report(seen, results))["total"] == of(done=4, running=6)
        assert seen.of(State.RUNNING)[0].left == pytest.approx(
            90.0
        )  # a quarter of one epoch in 30 s
        old = time.time() - 3600
        os.utime(record.path, (old, old))
        assert "no sign of life for 60 min" in report(scale_status(grid, results, "smoke"), results)
    assert not record.path.exists()
    assert counts(report(scale_status(grid, results, "smoke"), results))["total"] == of(
        done=4, missing=6
    )


@pytest.mark.parametrize(
    ("record", "text", "failure"),
    [
        (None, "a line that a library printed\n", ""),
        ({"code": 1}, "[Errno 28] No space left on device\n", "[Errno 28] No space left on device"),
        ({"code": 1},
            'Traceback:\n  File "x"\nRuntimeError: CUDA out of '
            'memory\n\n', "RuntimeError: CUDA out of memory"),
        ({"code": 1}, "", "no message"),
        ({"code": 137},
            "train_mlp: its "
            "process 7 was killed\n", "train_mlp: its process 7 was killed"),
        ({"code": -9}, "resumed at epoch 3 of 9\n", KILLED),
        ({}, "", ""),  # it still runs, or died with its snakemake
    ],
)  # fmt: skip
def test_the_record_of_a_job_tells_a_failure(grid, results, record, text, failure):
    fill(grid, results, runs=3)
    log = printed(grid, results, text)
    table_log = results / "smoke" / "logs" / "significance_table" / "table4.log"
    table_log.parent.mkdir(parents=True)
    table_log.write_text(text)
    if record is not None:
        record_path(log).write_text(json.dumps({"rule": "train_mlp", **record}))
        record_path(table_log).write_text(json.dumps({"rule": "significance_table", **record}))
    seen = scale_status(grid, results, "smoke")
    assert [job.failure for job in seen.jobs] == [failure]
    assert counts(report(seen, results))["total"] == of(
        done=3, **{"failed" if failure else "missing": 7}
    )
    assert (f"log: {log}" in report(seen, results)) == bool(failure)
    assert [(one.rule, one.message) for one in seen.others] == (
        [("significance_table", failure)] if failure else []
    )


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"rule": 1}', "\x00", '{"process": null}']
)
def test_a_broken_record_is_none(tmp_path, content):
    record_path(tmp_path / "a.log").write_text(content)
    assert read_failure(tmp_path / "a.log") is None


def job_error(number, rule, log):
    record = logging.LogRecord("snakemake", logging.ERROR, "", 0, "", (), None)
    record.__dict__.update(event="job_error", jobid=number, rule_name=rule, log=[str(log)])
    return record


WORK = """
import os, signal, sys, time
from gradflow.workflow.attempts import recorded
def work():
    print("begun", flush=True)
    {work}
sys.exit(recorded(work))
"""


@pytest.mark.parametrize(
    ("work", "send", "code", "message"),
    [
        ("return 0", None, 0, None),
        ("return 143", None, 143, None),
        ("return 1", None, 1, "said"),
        ("sys.exit('said')", None, 1, "said"),
        ("raise ValueError('said')", None, 1, "said"),
        ("sys.exit(0)", None, 0, None),
        ("os.kill(os.getpid(), signal.SIGKILL)", None, -9, KILLED),
        ("time.sleep(60)", signal.SIGTERM, -15, None),
        ("time.sleep(60)", signal.SIGHUP, -1, None),
        ("time.sleep(60)", signal.SIGKILL, -9, KILLED),
    ],
)
def test_what_a_job_leaves(tmp_path, work, send, code, message):
    log = tmp_path / "logs" / "a b:c.log"
    log.parent.mkdir()
    log.write_text("said\n")
    process = subprocess.Popen(
        [sys.executable, "-c", WORK.format(work=work)],
        env={"PYTHONPATH": str(ROOT / "src"), JOB: f"a_rule:{log}"},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    if send:
        process.send_signal(send)
    assert process.wait(300) == code
    events = Events()  # snakemake sees it fail
    if code and message:
        events.note(job_error(3, "a_rule", log))
    failure = read_failure(log)
    assert (failure and (failure.rule, failure.message)) == (message and ("a_rule", message))
    assert record_path(log).exists() == bool(message)


def test_a_finished_scale(grid, results):
    fill(grid, results)
    printed(grid, results, "some warning nobody knows\n")
    text = report(scale_status(grid, results, "smoke"), results)
    assert counts(text)["total"] == of(done=10)
    assert text.splitlines()[-1] == "All runs are finished."


def test_the_record_costs_no_training(tmp_path):
    state = tmp_path / "state" / "job.json"
    with ProgressRecord(state) as record:
        assert record.due()
        record.write(1.5, 2.0)
        assert not record.due()
        record._written -= RECORD_SECONDS
        assert record.due()
        position = read_position(state, "{}")
        assert position is not None and (position.epochs_done, position.seconds) == (1.5, 2.0)
        assert [path.name for path in state.parent.iterdir()] == ["job.progress"]
    assert list(state.parent.iterdir()) == []
    (tmp_path / "file").write_text("")
    with ProgressRecord(tmp_path / "file" / "job.json") as record:
        record.write(1.0, 1.0)  # nowhere to write, and no reason to stop


def test_a_checkpoint_of_another_specification_is_passed_over(tmp_path):
    state = tmp_path / "job.json"
    state.write_text(json.dumps({"spec": "a", "epoch": 3, "epochs": 9, "seconds": 4.0}))
    position = read_position(state, "a")
    assert position is not None and (position.epochs_done, position.seconds) == (3.0, 4.0)
    assert read_position(state, "b") is None
    state.write_text("{")
    assert read_position(state, "a") is None


def test_a_misspelt_scale_is_a_sentence():
    done = subprocess.run(
        [*GRADFLOW, "status", "quik"],
        cwd=ROOT,
        env=environment(ROOT),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "there is no scale quik; did you mean quick?\n"


def test_it_needs_neither_torch_nor_pandas():
    code = (
        "import sys, gradflow.workflow.status_report; print(sorted({'torch', 'pandas', 'pyarrow'} "
        "& set(sys.modules)))"
    )
    environment = {"PYTHONPATH": str(ROOT / "src"), TRAINER: ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_durations():
    assert [duration(seconds) for seconds in (3.2, 99, 100, 5940, 6000, 86400, 864_000)] == [
        "3 s", "99 s", "2 min", "99 min", "1.7 h", "24 h", "10 days",
    ]  # fmt: skip
