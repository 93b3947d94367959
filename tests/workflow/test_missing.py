"""After any sequence of edits, losses and reverts, status, plan and tables agree, and one command
mends it all.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from faults import state_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from project import STUDY, TABLE, Project, copy_of

from gradflow.analysis.collect import collect_runs
from gradflow.study.config_checks import load_config
from gradflow.study.config_file import read_config
from gradflow.study.grid import Grid
from gradflow.study.job import Job, Run
from gradflow.training import train_job as training
from gradflow.training.checkpoint import Progress
from gradflow.training.run_log import read_log
from gradflow.workflow.missing import State, study_state
from gradflow.workflow.planning import Planner
from gradflow.workflow.status import scale_status

SHIPPED = read_config(Path(__file__).parents[2] / "config.yaml").model_dump()
DEVICE = torch.device("cpu")


DIGEST = re.compile(rb"(runs_sha256.{1,4}?)[0-9a-f]{64}", flags=re.DOTALL)


def configuration(epochs: int, seeds: list[int], l2: float) -> Grid:
    """One small MLP; what else is edited changes its runs."""
    raw = json.loads(json.dumps(SHIPPED))
    low = raw["studies"][STUDY]
    block = {**low["blocks"][0], "depths": [1], "optimizers": ["adam"], "regularizations": ["NR"]}
    smoke = raw["scales"]["smoke"]
    smoke.update(seeds=seeds, studies={STUDY: {"epochs": epochs, "blocks": [block]}})
    raw["scales"] = {"smoke": smoke}
    raw["percents"] = [50, 100]
    raw["artifacts"] = {"table4": {"kind": "significance_table", "title": "T", "studies": [STUDY]}}
    raw["variants"]["paper"]["l2"] = l2
    return Grid(load_config(raw))


def pretend(job: Job, missing: list[Run], results: Path, *_: Any) -> Progress:
    """Training, but for its time: rows that the specification alone decides."""
    rows = {
        run: [
            {"seed": job.seed, "epochs": job.epochs, "epoch": 0, "step": 1, "l2": job.settings.l2,
             "architecture": run.architecture, "width_percent": run.percent, "diverged": False,
             "total_weights": [9], "active_weights": [9]}
        ]
        for run in missing
    }  # fmt: skip
    return Progress(
        job.to_json(), job.epochs, 0, job.epochs, 1.0, rows, made_by=[{"device": "a CPU"}]
    )


def command(grid: Grid, results: Path) -> None:
    """What one snakemake does: train what is not finished, then collect what is not current."""
    plan = grid.plan("smoke", STUDY)
    lacking = study_state(plan, results)
    folder = results / "smoke"
    with contextlib.redirect_stderr(io.StringIO()):
        for job in plan.jobs():
            if {job.log_path(run) for run in job.runs} & set(lacking.unfinished):
                training.train_job(job, results, DEVICE)
        if lacking.stale or lacking.unfinished:
            table = folder / "studies" / f"{STUDY}.parquet"
            collect_runs(plan, results, table, folder / "provenance" / table.name, partial=False)


class Results(RuleBasedStateMachine):
    """A results folder, what a person does to it and to config.yaml, and what must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="results-"))
        self.results = self.folder / "results"
        self.epochs, self.seeds, self.l2 = 1, [0], 1e-4
        self.finished: dict[bytes, str] = {}  # logs that were finished, and never deleted by hand
        self.before, training._train = training._train, pretend
        self.results.mkdir()

    def teardown(self) -> None:
        training._train = self.before
        shutil.rmtree(self.folder)

    @property
    def grid(self) -> Grid:
        return configuration(self.epochs, self.seeds, self.l2)

    @property
    def logs(self) -> list[Path]:
        return sorted((self.results / "smoke" / "runs").rglob("*.parquet"))

    @property
    def table(self) -> Path:
        return self.results / "smoke" / "studies" / f"{STUDY}.parquet"

    @rule(epochs=st.sampled_from([1, 2]))
    def edit_epochs(self, epochs: int) -> None:
        self.epochs = epochs

    @rule(seeds=st.sampled_from([[0], [1], [0, 1]]))
    def edit_seeds(self, seeds: list[int]) -> None:
        self.seeds = seeds

    @rule(l2=st.sampled_from([1e-4, 2e-4]))
    def edit_setting(self, l2: float) -> None:
        self.l2 = l2

    @rule(which=st.integers(0, 7), cut=st.sampled_from([0, 5, 400]), flip=st.booleans())
    def damage_log(self, which: int, cut: int, flip: bool) -> None:
        if self.logs:
            log = self.logs[which % len(self.logs)]
            content = log.read_bytes()
            self.finished.pop(content, None)
            log.write_bytes(
                content[:cut] if cut and not flip else content[: len(content) - cut - 1]
            )

    @rule(which=st.integers(0, 7))
    def delete_log(self, which: int) -> None:
        if self.logs:
            log = self.logs[which % len(self.logs)]
            self.finished.pop(log.read_bytes(), None)
            log.unlink()

    @precondition(lambda self: self.table.exists())
    @rule(how=st.sampled_from(["delete", "cut", "flip", "checksum", "old"]))
    def damage_table(self, how: str) -> None:
        content = self.table.read_bytes()
        checksum = self.table.with_name(f"_{self.table.name}.sha256")
        if how == "delete":
            self.table.unlink()
        elif how == "cut":
            self.table.write_bytes(content[:-9])
        elif how == "flip":
            half = len(content) // 2
            self.table.write_bytes(
                content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
            )
        elif how == "checksum":
            checksum.write_text("0  nothing\n")
        else:  # of an earlier version: no checksum, and its runs' digest not in its metadata
            checksum.unlink(missing_ok=True)
            self.table.write_bytes(DIGEST.sub(rb"\1" + 64 * b"0", content))

    @rule(partial=st.booleans())
    def make(self, partial: bool) -> None:
        """One command; or partial mode alone, after a failure."""
        if partial:
            plan = self.grid.plan("smoke", STUDY)
            sources = self.results / "smoke" / "provenance" / self.table.name
            collect_runs(plan, self.results, self.table, sources, partial=True)
            return
        command(self.grid, self.results)
        lacking = study_state(self.grid.plan("smoke", STUDY), self.results)
        assert (lacking.unfinished, lacking.stale) == ([], "")
        fresh = self.folder / "fresh"
        command(self.grid, fresh)
        assert (
            self.table.read_bytes() == (fresh / self.table.relative_to(self.results)).read_bytes()
        )
        for job in self.grid.jobs("smoke").values():
            for run in job.runs:
                ours, theirs = (folder / job.log_path(run) for folder in (self.results, fresh))
                assert read_log(ours).equals(read_log(theirs))
        shutil.rmtree(fresh)
        for log in self.logs:
            self.finished[log.read_bytes()] = log.name

    @invariant()
    def all_say_the_same(self) -> None:
        grid = self.grid
        status = scale_status(grid, self.results, "smoke")
        lacking = study_state(grid.plan("smoke", STUDY), self.results)
        undone = [path for path, state in status.runs.items() if state is not State.DONE]
        assert sorted(undone) == sorted(lacking.unfinished)
        finished = Planner(grid, self.results).total(["smoke"], "smoke").finished
        assert finished == sum(job.state is State.DONE for job in status.jobs)
        if not lacking.stale:  # a current table has all runs
            assert undone == []

    @invariant()
    def no_finished_run_is_lost(self) -> None:
        kept = {path.read_bytes() for path in self.results.rglob("*.parquet")}
        assert set(self.finished) <= kept


TestResults = pytest.mark.slow(Results.TestCase)
TestResults.settings = settings(max_examples=25, stateful_step_count=12)


# --- the same by the real snakemake ---------------------------------------------------------------


def edit(epochs: int, seeds: list[int]) -> Any:
    def change(raw: dict[str, Any]) -> None:
        raw["scales"]["smoke"].update(seeds=seeds)
        raw["scales"]["smoke"]["studies"][STUDY]["epochs"] = epochs

    return change


def disturb(project: Project, chance: random.Random) -> str:
    """Do one of the things that a person does, drawn by chance."""
    logs = sorted((project.results / "smoke" / "runs").rglob("*.parquet"))
    match chance.choice(["edit", "edit", "log", "cut", "table", "records", "data", "drawn"]):
        case "edit":
            epochs, seeds = chance.choice([1, 2]), chance.choice([[0], [1]])
            project.edit_config(edit(epochs, seeds))
            return f"{epochs} epochs, seeds {seeds}"
        case "log" if logs:
            chance.choice(logs).unlink()
            return "a log is deleted"
        case "cut" if logs:
            log = chance.choice(logs)
            log.write_bytes(log.read_bytes()[:-30])
            return "a log is cut"
        case "table":
            (project.folder / TABLE).unlink(missing_ok=True)
            return "the study's table is deleted"
        case "data":
            shutil.rmtree(project.results / "data", ignore_errors=True)
            return "the data are deleted"
        case "drawn":
            shutil.rmtree(project.results / "smoke" / "tables", ignore_errors=True)
            return "the tables are deleted"
    shutil.rmtree(project.folder / ".snakemake", ignore_errors=True)
    return "snakemake's records are lost"


@pytest.mark.slow
@pytest.mark.workflow
@pytest.mark.parametrize("seed", range(2))
def test_one_command_restores_the_undisturbed(
    undisturbed: Project, tmp_path: Path, seed: int
) -> None:
    project, chance = copy_of(undisturbed, tmp_path / "project"), random.Random(seed)
    done = []
    for _ in range(2):
        done += [disturb(project, chance) for _ in range(3)]
        grid = Grid(read_config(project.folder / "config.yaml"))
        left = [
            job.job
            for job in scale_status(grid, project.results, "smoke").jobs
            if job.state is not State.DONE
        ]
        planned = project.plan().of("train_mlp")
        assert {f"seed{one['seed']}" for one in planned} >= {f"seed{job.seed}" for job in left}, (
            done
        )
        project.make("smoke")
        assert not project.plan().counts, done
        assert all(
            job.state is State.DONE for job in scale_status(grid, project.results, "smoke").jobs
        )
    (project.folder / "config.yaml").write_bytes((undisturbed.folder / "config.yaml").read_bytes())
    project.make("smoke")
    ours, theirs = state_of(project.results), state_of(undisturbed.results)
    for name in theirs.keys() - ours.keys():  # deleted data are fetched once a job needs them
        assert name.startswith("data/"), (name, done)
    assert {name: theirs[name] for name in ours if name in theirs} == {
        name: ours[name] for name in ours if name in theirs
    }, done
    assert not project.plan().counts, done
