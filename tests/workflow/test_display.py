"""What of Snakemake's log a run shows, by options; its end; and the logger plugin between the
two.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from project import ROOT
from snakemake.logging import ColorizingTextHandler, DefaultFormatter
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.tests import TestLogHandlerBase

from gradflow.study.config_file import read_config
from gradflow.study.grid import Grid
from gradflow.workflow import display as module
from gradflow.workflow.display import Display
from gradflow.workflow.events import Events
from gradflow.workflow.progress import Progress, Step
from gradflow.workflow.run_end import Run, last_lines, page_to_open, scorecard_lines
from snakemake_logger_plugin_gradflow import LogHandler


class TestPlugin(TestLogHandlerBase):
    """The interface's own tests."""

    __test__ = True

    def get_log_handler_cls(self) -> type[LogHandler]:
        return LogHandler

    def get_log_handler_settings(self) -> None:
        return None


def record(event: str | None = None, text: str = "", level: int = logging.INFO, **said: object):
    made = logging.LogRecord("snakemake", level, "", 0, text, (), None)
    made.__dict__.update(said)
    if event is not None:
        made.event = event
    return made


def job_info(number: int):
    return record(
        "job_info", jobid=number, rule_name="train_mlp", rule_msg=None, local=True,
        is_checkpoint=False, input=[],
        output=[], log=[], benchmark=None, reason="", wildcards={}, priority=0, threads=1,
        resources={},
    )  # fmt: skip


STATS = record("run_info", "Job stats:")
STARTED = record("workflow_started")
CHATTER = [
    record(text="Select jobs to execute..."),
    record("resources_info", "Provided cores: 2"),
    record("progress", "1 of 2 steps", done=1, total=2),
]


class Shown:
    """A display with what it shows."""

    def __init__(
        self,
        capsys: pytest.CaptureFixture[str],
        quiet: Sequence[Quietness],
        end: Sequence[str] = (),
    ):
        self.stream, self.events, self.capsys = io.StringIO(), Events(), capsys
        plain = ColorizingTextHandler(stream=self.stream, formatter=DefaultFormatter(quiet))
        settings = SimpleNamespace(quiet=quiet, dryrun=False, stdout=False)
        self.display = Display(settings, plain, self.events, lambda _: True, lambda: end)

    def of(self, *records: logging.LogRecord) -> list[str]:
        """The lines shown of these, Snakemake's and ours."""
        for one in records:
            self.display.handle(one)
        shown = self.stream.getvalue() + self.capsys.readouterr().err
        return [line for line in shown.splitlines() if line]


def test_quiet_about_rules_is_a_line_a_job(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown(capsys, [Quietness.RULES, Quietness.PROGRESS])
    steps = {1: Step("paper/digits/first"), 2: Step("table4")}
    shown.display.start(Progress(steps, {1: [], 2: [1]}, shown.events, Path(), 1))
    ends = [record("job_finished", job_id=number) for number in steps]
    lines = shown.of(STARTED, *CHATTER, STATS, STATS, job_info(1), *ends)
    assert lines[0] == "Job stats:" and len(lines) == 3  # once, though a dry run has it twice
    assert [line.partition("] ")[2] for line in lines[1:]] == [
        "1 of 2  paper/digits/first",
        "2 of 2  table4",
    ]


def test_of_many_jobs_there_is_a_line_of_some(capsys: pytest.CaptureFixture[str]) -> None:
    shown, number = Shown(capsys, [Quietness.RULES, Quietness.PROGRESS]), 22_000
    steps = dict.fromkeys(range(number), Step("job"))
    shown.display.start(Progress(steps, {}, shown.events, Path(), 1))
    lines = shown.of(STARTED, *(record("job_finished", job_id=one) for one in range(number)))
    assert module.JOB_LINES <= len(lines) <= module.JOB_LINES + 2
    assert "22,000 of 22,000" in lines[-1]


def test_a_failed_job_is_told_in_two_lines_and_with_the_end_of_its_log(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = tmp_path / "job.log"
    log.write_text("\n".join(f"line {number}" for number in range(50)))
    shown = Shown(capsys, [Quietness.RULES])
    failed = record(
        "job_error", level=logging.ERROR, jobid=1, rule_name="train_mlp", log=[str(log)]
    )
    words = record(
        "error",
        "RuleException:\nCalledProcessError in file",
        logging.ERROR,
        exception="RuleException",
    )
    last = record("error", "WorkflowError:\nAt least one job did not complete", logging.ERROR)
    other = record("error", "WorkflowError:\nNo space left", logging.ERROR)
    lines = shown.of(STARTED, words, failed, last, other)
    assert lines[:2] == ["WorkflowError:", "No space left"]
    assert lines[2:4] == ["Failed: train_mlp: line 49", f"    log: {log}"]
    assert [line.strip() for line in lines[4:]] == [f"line {number}" for number in range(30, 49)]


def test_otherwise_snakemakes_own_account_stands(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Shown(capsys, [Quietness.HOST]).of(STARTED, *CHATTER, job_info(1))
    assert "localrule train_mlp:" in lines and "Select jobs to execute..." in lines


@pytest.mark.parametrize(
    ("records", "quiet", "wanted"),
    [
        ([STATS], [Quietness.RULES], True),
        ([record(text="Nothing to be done (all is there).")], [Quietness.RULES], True),
        ([record(level=logging.ERROR, text="no such rule")], [Quietness.RULES], False),
        ([STATS], [Quietness.ALL], False),
        ([STATS, record(text="Terminating processes on user request")], [Quietness.ALL], True),
    ],
)
def test_the_end_is_told_of_a_run_that_was_planned(
    capsys: pytest.CaptureFixture[str], records: list[logging.LogRecord], quiet: list[Quietness],
    wanted: bool
) -> None:  # fmt: skip
    shown = Shown(capsys, quiet, ["The end."])
    shown.of(STARTED, *records)
    shown.display.close()
    shown.display.close()
    assert capsys.readouterr().err == ("\nThe end.\n" if wanted else "")


# --- the last lines -------------------------------------------------------------------------------


def finished(*numbers: int) -> Events:
    events = Events()
    for number in numbers:
        events.note(record("job_finished", job_id=number))
    return events


def scorecard(folder: Path, verdicts: Sequence[str], finished_runs: int) -> Path:
    path = folder / "quick" / "scorecard.csv"
    path.parent.mkdir()
    rows = [f"claim,{verdict},," for verdict in verdicts] + [f"study,,{finished_runs},630"]
    path.write_text("\n".join(["part,verdict,finished,planned", *rows]))
    return path


def test_the_end_names_what_was_made_and_the_page_to_open(tmp_path: Path) -> None:
    job = next(iter(Grid(read_config(ROOT / "config.yaml")).jobs("quick").values()))
    path = scorecard(tmp_path, ["true by construction", "agrees", "agrees", *["not run"] * 19], 630)
    page = path.with_suffix(".html")
    page.touch()
    steps = {1: Step("one", job=job), 2: Step("table4", artifact="table4", files=("a.csv",))}
    run = Run([str(path), str(page)], steps, {1: [], 2: [1]})
    assert last_lines(run, finished(1, 2), 83.0) == [
        "Finished in 83 s: 1 training job, table4.",
        f"  open     {page}",
        "  verdict  22 claims: 2 agreeing on stand-in data, 1 true by construction",
        "  missing  19 claims need runs that scale quick does not have",
    ]
    idle = last_lines(Run(run.asked), finished(), 0.0)
    assert idle == last_lines(run, finished(1, 2), 83.0)[1:]
    assert last_lines(run, finished(1), 83.0)[0].startswith("Stopped before the end. ")
    dry = last_lines(Run([], steps, device="cuda", dry=True), finished(), 0.0)
    assert dry[0].startswith("2 jobs would run, 1 of them training: ")


def test_the_end_tells_what_is_missing(tmp_path: Path) -> None:
    path = scorecard(tmp_path, ["inconclusive"], 600)
    assert scorecard_lines(path)[1] == "  missing  30 of 630 runs"
    assert scorecard_lines(path.with_name("none.csv")) == []


@pytest.mark.parametrize(
    ("files", "opened"),
    [
        (["a.csv", "a.html", "a.tex"], "a.html"),
        (["b.pdf", "b.png"], "b.png"),
        (["a.html", "scorecard.html", "report.html"], "report.html"),
        (["x.tex"], ""),
    ],
)
def test_the_page_to_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], opened: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in files:
        Path(file).touch()
    assert page_to_open([*files, "not/there.html"]) == opened
