"""The bar of a running workflow in a real pseudo-terminal, and its lines in a log."""

from __future__ import annotations

import logging
import os
import pty
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from project import (
    ROOT,
    SNAKEMAKE,
    STUDY,
    TABLE,
    Project,
    environment,
    new_project,
    plant_failure,
    tiny,
)

from gradflow.study.config_file import read_config
from gradflow.study.grid import Grid
from gradflow.training.heartbeat import ProgressRecord
from gradflow.workflow.events import Events
from gradflow.workflow.progress import Progress, Step

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
EPOCHS = 100


def event(name: str, **said: object) -> logging.LogRecord:
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, "", (), None)
    record.__dict__.update(event=name, **said)
    return record


def test_the_estimate_follows_the_records_of_running_jobs(tmp_path: Path) -> None:
    job = next(iter(Grid(read_config(ROOT / "config.yaml")).jobs("quick").values()))
    steps = {
        1: Step("training", 100.0, job),
        2: Step("table"),
        3: Step("other training", 97.0, job),
    }
    events = Events()
    progress = Progress(steps, {1: [], 2: [1], 3: []}, events, tmp_path, 1)
    assert progress.view().summary.startswith("0 of 3 jobs, about 3 min left")
    events.note(event("job_info", jobid=1))
    assert progress.view().jobs == ["      starting  training"]
    ProgressRecord(tmp_path / job.state_path).write(job.epochs / 2, 500.0)
    view = progress.view()
    assert view.share == pytest.approx(50 / 200)
    assert view.left == pytest.approx(500, rel=0.01)  # its own pace is slower than the model's
    epoch = f"epoch {job.epochs // 2 + 1}/{job.epochs}"
    assert view.jobs == [f"{epoch:>14}  training"]
    assert view.line == f"{view.summary}; 1 running; {epoch} of training"
    events.note(event("job_finished", job_id=1))
    events.note(event("job_info", jobid=2))
    events.note(event("job_error", jobid=2, rule_name="draw"))
    view = progress.view()
    assert view.running == [] and view.done == 1 and view.share == pytest.approx(0.5)
    for number in steps:
        events.note(event("job_finished", job_id=number))
    assert progress.view().summary == "3 of 3 jobs" and progress.view().left == 0


def test_what_is_drawn_next_needs_the_fewest_further_jobs(tmp_path: Path) -> None:
    """1 to 3 train, 4 collects 1 and 2, 5 collects 2 and 3; one table of 4, one of both, one of
    5.
    """
    names = {6: "first", 7: "both", 8: "second"}
    steps = {number: Step(str(number), artifact=names.get(number, "")) for number in range(1, 9)}
    needs = {1: [], 2: [], 3: [], 4: [1, 2], 5: [2, 3], 6: [4], 7: [4, 5], 8: [5]}
    events = Events()
    progress = Progress(steps, needs, events, tmp_path, 1)
    assert progress.view().drawn_next == "next: first, after 3 more jobs"
    for number in (3, 2):
        events.note(event("job_finished", job_id=number))
    assert progress.view().drawn_next == "next: second, after 1 more job"
    events.note(event("job_finished", job_id=5))
    assert progress.view().drawn_next == "next: second"
    events.note(event("job_finished", job_id=8))
    assert progress.view().drawn_next == "next: first, after 2 more jobs"
    for number in steps:
        events.note(event("job_finished", job_id=number))
    assert progress.view().drawn_next == ""


def slow(raw: dict[str, Any]) -> None:
    tiny(raw)
    raw["scales"]["smoke"]["studies"][STUDY]["epochs"] = EPOCHS
    raw["scales"]["smoke"]["studies"][STUDY]["blocks"][0]["optimizers"] = ["adam", "momentum"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two jobs of some seconds, of which one fails, with progress told more often."""
    project = new_project(tmp_path / "project", slow)
    plant_failure(project)
    for name, old, new in (
        ("workflow/display", "BAR_SECONDS = 1.0", "BAR_SECONDS = 0.1"),
        ("workflow/display", "LINE_SECONDS = 60.0", "LINE_SECONDS = 0.1"),
        ("training/heartbeat", "RECORD_SECONDS = 2.0", "RECORD_SECONDS = 0.1"),
    ):
        source = project.folder / "src" / "gradflow" / f"{name}.py"
        assert old in source.read_text()
        source.write_text(source.read_text().replace(old, new))
    return project


class Terminal:
    """A snakemake in a pseudo-terminal of 80 columns."""

    def __init__(self, project: Project, *arguments: str):
        self.process, self.end = pty.fork()
        if self.process == 0:
            os.chdir(project.folder)
            size = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
            os.execve(SNAKEMAKE, [str(SNAKEMAKE), *arguments], {**environment(), **size})
        self.shown = ""

    def read_until(self, wanted: str, seconds: float = 120) -> None:
        """Read what is shown until it holds the words; all of it when the words are empty."""
        end = time.monotonic() + seconds
        while not wanted or wanted not in self.shown:
            assert time.monotonic() < end, self.shown
            try:
                self.shown += os.read(self.end, 2**16).decode(errors="replace")
            except OSError:  # its end, on Linux
                assert not wanted, self.shown
                return

    def code(self) -> int:
        """Wait for its exit code."""
        self.read_until("")
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


@pytest.mark.workflow
@pytest.mark.slow
def test_a_bar_on_a_terminal(project: Project) -> None:
    terminal = Terminal(project, TABLE)
    assert terminal.code() == 1
    shown = ESCAPE.sub("", terminal.shown)
    assert re.search(r"━━ +\d of 4 jobs, about \d+ (s|min) left, until \d\d:\d\d\r\n", shown)
    assert re.search(rf" epoch \d+/{EPOCHS}  paper/digits/mlp1-relu-adam-lr0.001-NR/seed0", shown)
    assert max(len(line) for line in re.split(r"[\r\n]+", shown) if "━" in line) <= 80
    # blocks are left out, failures are not, and are told in two lines
    log = "results/smoke/logs/paper/digits/mlp1-relu-momentum-lr0.001-NR/seed0.log"
    assert "Failed: train_mlp: planted failure\r\n" in shown and f"{log}\r\n" in shown
    for words in (
        "rule train_mlp",
        "Finished jobid",
        "Cannot restore",
        "Exception",
        "WorkflowError",
    ):
        assert words not in shown
    after = shown[shown.index("Some jobs failed") :]
    assert "━" not in after and "1 failed job; everything else is finished and kept:" in after
    assert terminal.shown.rindex("\x1b[?25h") > terminal.shown.rindex(
        "\x1b[?25l"
    )  # the cursor is there again


@pytest.mark.workflow
@pytest.mark.slow
def test_ctrl_c_takes_the_bar_away_and_says_how_to_go_on(project: Project) -> None:
    project.edit_config(lambda raw: raw["scales"]["smoke"]["studies"][STUDY].update(epochs=3000))
    terminal = Terminal(project, TABLE)
    terminal.read_until("/3000")  # it trains
    os.write(terminal.end, b"\x03")
    assert terminal.code() == 1
    shown = ESCAPE.sub("", terminal.shown)
    after = shown[shown.index("Stopped: train_mlp: stopped in epoch") :]
    assert re.search(
        r"Interrupted. Finished runs are kept \(\d of 4 jobs are finished\).\r\nThe same command "
        r"goes on",
        after,
    )
    assert "Traceback" not in shown and "━" not in after[after.index("Interrupted") :]


@pytest.mark.workflow
@pytest.mark.slow
def test_plain_lines_in_a_log(project: Project) -> None:
    done = subprocess.run(
        [SNAKEMAKE, TABLE],
        cwd=project.folder,
        env=environment(),
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == "" and "\x1b" not in done.stderr
    line = (
        r"^\[\d\d:\d\d:\d\d\] \d of 4 jobs, about \d+ (s|min) left, until \d\d:\d\d; \d running"
        rf"; epoch \d+/{EPOCHS} of paper/digits/mlp1-relu-adam-lr0.001-NR/seed0$"
    )
    assert re.search(line, done.stderr, flags=re.MULTILINE)
    # a line a job that ends, and the end of a failed one's log
    assert re.search(
        r"^\[\d\d:\d\d:\d\d\] 1 of 4  fetch_dataset digits$", done.stderr, flags=re.MULTILINE
    )
    assert "Failed: train_mlp: planted failure\n" in done.stderr
    assert "rule train_mlp" not in done.stderr
    own = re.sub(r"^\[.*\n", "", done.stderr, flags=re.MULTILINE)
    assert len(own.splitlines()) < 35 and max(map(len, own.splitlines())) < 160


@pytest.mark.workflow
@pytest.mark.slow
def test_snakemakes_own_account_of_jobs_is_there_on_demand(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", tiny)
    output = project.make(TABLE, "--quiet", "host")
    assert "rule train_mlp:" in output and "3 of 3 steps (100%) done" in output
    assert re.search(
        r"\n\nFinished in \d+ s: 1 training job, 2 other files\.\n  open "
        r"+results/smoke/studies/fashion_mnist_low.parquet\n$",
        output,
    )
