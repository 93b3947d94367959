"""A job that fails leaves the rest to finish, and every artifact is made from the runs that
exist.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from project import STUDY, Project, new_project, plant_failure, tiny, wait_for
from snakemake.cli import get_argument_parser, parse_config

from gradflow.study.config_file import typed
from gradflow.workflow.after_failure import partial_command
from gradflow.workflow.attempts import record_path
from gradflow.workflow.events import Events
from gradflow.workflow.internals import Asked

pytestmark = pytest.mark.workflow


def two_configurations(raw) -> None:
    tiny(raw)
    raw["scales"]["smoke"]["studies"][STUDY]["blocks"][0]["optimizers"] = ["adam", "momentum"]


def pairs(project: Project) -> dict[str, int]:
    cells = pd.read_csv(project.results / "smoke" / "tables" / "table4.csv", keep_default_na=False)
    return dict(zip(cells.optimizer, cells.n, strict=True))


@pytest.mark.slow
def test_partial_artifacts_after_a_failure_and_the_rest_after_the_fix(tmp_path):
    project = new_project(tmp_path / "project", two_configurations)
    mend = plant_failure(project)

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

    mend()
    planned = project.plan()
    assert planned.counts["train_mlp"] == 1
    assert planned.of("train_mlp")[0]["configuration"] == "mlp1-relu-momentum-lr0.001-NR"
    pages = {"scorecard", "describe_runs", "write_report"}
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
        assert process.wait(300) != 0
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        ("--quiet", "rules", "--", "smoke"),
        ("--config=partial=false", "--quiet=all", "--", "smoke"),
        ("--configfile", "more.yaml", "-C", "percents=[10, 30, 50, 70, 90]", "--", "smoke"),
        ("smoke", "-R", "train_mlp", "significance_table", "--quiet", "all"),
    ],
    ids=" ".join,
)
def test_the_last_lines_are_true_for_any_command_line(tmp_path, line):
    def one_table(raw):
        two_configurations(raw)
        raw["artifacts"] = {"table4": raw["artifacts"]["table4"]}

    project = new_project(tmp_path / "project", one_table)
    (project.folder / "more.yaml").write_text("artifacts: {table4: {title: Of a second file}}\n")
    plant_failure(project)
    code, output = project.snakemake(*line)
    assert code != 0 and "Traceback" not in output, output
    last = output[output.index("Some jobs failed") :]
    assert "Not all of them could be made" not in last
    assert "1 failed job; everything else is finished and kept:" in last
    assert "train_mlp: planted failure\n" in last and "momentum" in last
    assert pairs(project) == {"adam": 5, "momentum": 0}
    page = (project.results / "smoke" / "tables" / "table4.html").read_text()
    assert ("Of a second file" in page) == ("more.yaml" in line)
    assert ("Finished runs are kept whatever is forced" in output) == ("-R" in line)


@pytest.mark.slow
def test_sigterm_to_snakemake_says_what_is_kept(tmp_path):
    def long_jobs(raw):
        two_configurations(raw)
        raw["scales"]["smoke"]["studies"][STUDY]["epochs"] = 60
        raw["artifacts"] = {"table4": raw["artifacts"]["table4"]}

    project = new_project(tmp_path / "project", long_jobs)
    state = project.results / "smoke" / "state" / "paper" / "digits"
    output = tmp_path / "output"
    with (
        output.open("w") as file,
        project.running(
            "smoke", "--cores", "1", "--quiet", "all", stdout=file, stderr=file
        ) as process,
    ):
        wait_for(lambda: list(state.glob("*/seed0.progress")))
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(300) != 0
    text = output.read_text()
    assert "Stopped before the end. Finished runs are kept (2 of " in text
    assert "failed" not in text and "Traceback" not in text


# --- the command line of partial mode, by snakemake's own parser ----------------------------------

TARGETS = st.sampled_from(
    [
        "smoke",
        "table4",
        "results/smoke/tables/table4.csv",
        "results/smoke/runs/a.parquet",
        "train_mlp",
    ]
)
SETTINGS = st.dictionaries(
    st.sampled_from(["some", "seeds", "scales", "partial"]),
    st.one_of(
        st.integers(0, 9),
        st.booleans(),
        st.sampled_from(["a b", "x=y", "it's", '{"smoke": {"seeds": [3, 4]}}', "[1, 2]", "-3"]),
    ),
    max_size=3,
)


def is_trained(target: str) -> bool:
    return target.startswith("train_") or "/runs/" in target


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command line of snakemake: options in the ways that there are, targets before or behind
    `--`.
    """
    targets = draw(st.lists(TARGETS, max_size=3, unique=True))
    options: list[list[str]] = []
    if settings := draw(SETTINGS):
        pairs = [f"{key}={value}" for key, value in settings.items()]
        name = draw(st.sampled_from(["--config", "-C"]))
        options.append(
            [f"--config={pairs[0]}"] if len(pairs) == 1 and draw(st.booleans()) else [name, *pairs]
        )
    if files := draw(st.lists(st.sampled_from(["a.yaml", "b c.yaml"]), max_size=2, unique=True)):
        name = draw(st.sampled_from(["--configfile", "--configfiles"]))
        options.append([name, *files])
    options += draw(
        st.lists(
            st.sampled_from(
                [["--quiet", "rules"], ["--quiet=all"], ["-q"], ["-R", "train_mlp"], ["-k"],
                 ["--until", "collect_runs"], ["--forceall"], ["--cores", "3"], ["-p"]]
            ),
            max_size=3, unique_by=lambda option: option[0][:3],
        )
    )  # fmt: skip
    options = draw(st.permutations(options))
    words = [word for option in options for word in option]
    takes_several = options and len(options[-1]) > 1
    if draw(st.booleans()) and not (options and options[0][0] == "--"):
        return [*targets, *words]
    return [*words, "--", *targets] if targets or takes_several else words


@settings(max_examples=300)
@given(command_lines())
def test_partial_mode_is_asked_for_the_same(words: list[str]) -> None:
    parser = get_argument_parser()
    said = parser.parse_args(words)
    asked = Asked(
        targets=list(said.targets or ()),
        until=sorted(said.until or ()),
        omit_from=[],
        config_files=said.configfile,
        config=parse_config(said.config),
        snakefile=Path("Snakefile"),
        cores=2,
    )
    command = partial_command(asked, is_trained)
    wanted = [target for target in asked.targets if not is_trained(target)]
    if command is None:
        assert asked.targets and not wanted
        return
    again = parser.parse_args(command[3:])
    assert sorted(again.targets) == sorted(wanted)
    assert again.configfile == said.configfile
    assert sorted(again.until or ()) == asked.until
    assert typed(parse_config(again.config)) == typed({**asked.config, "partial": True})
    assert not again.forcerun and not again.forceall and again.cores == 2


# --- what failed, from snakemake's events and the records of jobs ---------------------------------


def event(name: str, **said: object) -> logging.LogRecord:
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, said.pop("msg", ""), (), None)
    record.__dict__.update(event=name, **said)
    return record


def error(number: int, rule: str, log: Path, indent: bool = False) -> logging.LogRecord:
    return event("job_error", jobid=number, rule_name=rule, log=[str(log)], indent=indent)


def test_a_job_that_was_tried_again_and_finished_has_not_failed(tmp_path):
    events = Events()
    for record in (error(3, "train_mlp", tmp_path / "a"), event("job_finished", job_id=3)):
        events.note(record)
    assert events.failures() == []
    events.note(error(3, "train_mlp", tmp_path / "a"))
    events.note(error(3, "train_mlp", tmp_path / "a"))
    assert len(events.failures()) == 1


def test_failures_of_a_group_are_those_that_left_a_record(tmp_path):
    momentum, adam = tmp_path / "momentum.log", tmp_path / "adam.log"
    events = Events()
    for number, log in enumerate((momentum, adam)):
        log.write_text("planted failure\n" if log is momentum else "resumed at epoch 1 of 2\n")
        events.note(error(number, "train_mlp", log, indent=True))
    assert len(events.failures()) == 2  # nothing tells them apart
    record_path(momentum).write_text(json.dumps({"rule": "train_mlp", "code": 1}))
    assert [str(failure) for failure in events.failures()] == [
        f"train_mlp: planted failure\n    log: {momentum}"
    ]


@pytest.mark.parametrize(
    ("finished", "failed", "left"),
    [([], [1], 2), ([1, 2], [3], 1), ([1], [2], 1), ([1, 2, 3], [], 1), ([], [], 4)],
)
def test_what_did_not_run_is_counted(tmp_path, finished, failed, left):
    """1 and 2 train, 3 trains for nobody, 4 collects 1 and 2."""
    events = Events()
    for number in finished:
        events.note(event("job_finished", job_id=number))
    for number in failed:
        events.note(error(number, "train_mlp", tmp_path / str(number)))
    assert events.left_out({1: [], 2: [], 3: [], 4: [1, 2]}) == left
