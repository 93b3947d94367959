"""Reruns follow meaning: edits, and the rules that each may run again, to the letter.

`test_workflow_reruns` tells which jobs these are and runs them; here it is `snakemake -n` on a
finished project.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from project import ROOT, STUDY, Planned, Project, copy_of, new_project, tiny

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())
LINE = "\nUNUSED = 1\n"
NOTHING: set[str] = set()
TABLES = {"significance_table", "compare_p_values"}
FIGURES = {"plot_by_width", "plot_activations"}
PAGES = {"scorecard", "describe_runs"}  # of the scale as a whole
FROM_RUNS = {*TABLES, *PAGES, "plot_by_width"}
COLLECTED = {"collect_runs", *FROM_RUNS}
TRAINED = {"train_mlp", *COLLECTED}


@dataclass(frozen=True)
class Edit:
    """What a person does, and the rules with jobs to run after it."""

    what: str
    do: Callable[[Project], object]
    reruns: set[str]


def append(file: str, text: str) -> Callable[[Project], object]:
    def do(project: Project) -> None:
        path = project.folder / file
        path.write_text(path.read_text() + text)

    return do


def substitute(file: str, old: str, new: str) -> Callable[[Project], object]:
    def do(project: Project) -> None:
        path = project.folder / file
        text = path.read_text()
        assert old in text, f"{file} does not hold {old}"
        path.write_text(text.replace(old, new))

    return do


def config(edit: Callable[[dict[str, Any]], object]) -> Callable[[Project], object]:
    return lambda project: project.edit_config(edit)


def study(raw: dict[str, Any]) -> dict[str, Any]:
    return raw["scales"]["smoke"]["studies"][STUDY]


def touch_everything(project: Project) -> None:
    for path in project.files("src/**/*", "scripts/*.py", "rules/*", "Snakefile", "config.yaml"):
        path.touch()


def reformat_config(raw: dict[str, Any]) -> None:
    """Other order, other layout; comments are gone."""
    for key in list(raw)[::-1]:
        raw[key] = raw.pop(key)
    raw["scales"] = dict(reversed(raw["scales"].items()))


SOURCE = "src/gradflow"
EDITS = [
    Edit("touch every file", touch_everything, NOTHING),
    Edit("write config.yaml in another order and layout", config(reformat_config), NOTHING),
    Edit("a comment in config.yaml", append("config.yaml", "\n# why\n"), NOTHING),
    Edit("a comment in the engine", append(f"{SOURCE}/training/cohort.py", "\n# why\n"), NOTHING),
    Edit(
        "another line in the trainer",
        append(f"{SOURCE}/training/train_job.py", LINE),
        NOTHING,
    ),
    Edit("the script of training", append("scripts/train_mlp.py", LINE), NOTHING),
    Edit("the script that collects", append("scripts/collect_runs.py", LINE), COLLECTED),
    Edit("how logs are collected", append(f"{SOURCE}/analysis/collect.py", LINE), COLLECTED),
    Edit("threads", substitute("rules/train.smk", "threads: 1", "threads: 2"), NOTHING),
    Edit(
        "resources",
        substitute("rules/train.smk", "runtime=runtime_of(find_job())", "runtime=7"),
        NOTHING,
    ),
    Edit(
        "a profile",
        append("profiles/default/config.yaml", "\nlatency-wait: 1\nretries: 2\n"),
        NOTHING,
    ),
    Edit(
        "the spacing of a rule's command",
        substitute("rules/train.smk", 'TRAIN = " --job ', 'TRAIN = "   --job   '),
        NOTHING,
    ),
    Edit("a comment in a rule", append("rules/train.smk", "\n# why\n"), NOTHING),
    Edit("the lock of the environment", append("envs/requirements.txt", "\n# newer\n"), NOTHING),
    Edit("the conda environment", append("envs/gradflow.yaml", "\n# newer\n"), NOTHING),
    Edit(
        "weights are kept",
        config(lambda raw: raw["scales"]["smoke"].update(keep_weights=True)),
        NOTHING,
    ),
    Edit(
        "a study of other scales",
        config(lambda raw: raw["studies"]["cifar10_low"].update(epochs=7)),
        NOTHING,
    ),
    Edit(
        "a variant that no study names",
        config(lambda raw: raw["variants"].update(mine={"l2": 0.1})),
        NOTHING,
    ),
    Edit(
        "the data touched",
        lambda project: [path.touch() for path in project.files("results/data/*")],
        NOTHING,
    ),
    Edit(
        "a claim that no artifact here reads",
        append("src/gradflow/paper/claims/claims.yaml", "\n# why\n"),
        NOTHING,
    ),
    Edit("a label", append(f"{SOURCE}/study/labels.py", LINE), {*TABLES, *FIGURES, *PAGES}),
    Edit("a colour", append(f"{SOURCE}/analysis/figures.py", LINE), FIGURES),
    Edit(
        "how widths are drawn",
        append(f"{SOURCE}/analysis/figures_by_width.py", LINE),
        {"plot_by_width"},
    ),
    Edit("the program that draws", append("scripts/draw.py", LINE), {*TABLES, *FIGURES}),
    Edit(
        "the layout of tables",
        append(f"{SOURCE}/analysis/tables.py", LINE),
        {*TABLES, "scorecard"},
    ),
    Edit("a statistic", append(f"{SOURCE}/analysis/stats.py", LINE), {*TABLES, "scorecard"}),
    Edit("what a plan is", append(f"{SOURCE}/study/plan.py", LINE), COLLECTED),
    Edit("how plans are looked up", append(f"{SOURCE}/study/grid.py", LINE), {"scorecard"}),
    Edit("how durations are written", append(f"{SOURCE}/text.py", LINE), PAGES),
    Edit(
        "the page of provenance",
        append(f"{SOURCE}/report/provenance_page.py", LINE),
        {"describe_runs"},
    ),
    Edit("an activation", append(f"{SOURCE}/networks/activations.py", LINE), {"plot_activations"}),
    Edit("how data are read", append(f"{SOURCE}/data/store.py", LINE), NOTHING),
    Edit("the status", append(f"{SOURCE}/workflow/status_report.py", LINE), NOTHING),
    Edit("the list of kinds", append(f"{SOURCE}/study/kinds.py", LINE), PAGES),
    Edit(
        "a published number",
        append("src/gradflow/paper/published_numbers/pvalues.csv", "\n"),
        TABLES,
    ),
    Edit(
        "a table's title",
        config(lambda raw: raw["artifacts"]["table4"].update(title="Another")),
        {"significance_table", "scorecard"},
    ),
    Edit(
        "a figure's measures",
        config(lambda raw: raw["artifacts"]["figure15"].update(measures=["test_loss"])),
        {"plot_by_width"},
    ),
    Edit("a seed more", config(lambda raw: raw["scales"]["smoke"].update(seeds=[0, 1])), TRAINED),
    Edit("epochs", config(lambda raw: study(raw).update(epochs=2)), TRAINED),
    Edit(
        "a new configuration",
        config(lambda raw: study(raw)["blocks"][0]["optimizers"].append("sgd")),
        TRAINED,
    ),
    Edit("a setting", config(lambda raw: raw["variants"]["paper"].update(batch_size=64)), TRAINED),
    Edit(
        "a setting that is drawn too",
        config(lambda raw: raw["variants"]["paper"].update(prelu_slope=0.1)),
        TRAINED | {"plot_activations"},
    ),
    Edit(
        "a data set's width",
        config(lambda raw: raw["scales"]["smoke"].update(max_widths={"digits": 30})),
        TRAINED,
    ),
    Edit(
        "the engine's version",
        substitute(f"{SOURCE}/study/job.py", "\nENGINE_VERSION = ", "\nENGINE_VERSION = 1000 + "),
        TRAINED | {"plot_activations"},  # its settings are defined beside it
    ),
]


def four_artifacts(raw: dict[str, Any]) -> None:
    compared = {**raw["artifacts"]["comparison_p_values"], "studies": [STUDY]}
    tiny(raw)
    raw["artifacts"]["comparison_p_values"] = compared


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Planned]:
    """What `snakemake -n` says after each edit of a project of which everything is made."""
    folder = tmp_path_factory.mktemp("reruns")
    finished = new_project(folder / "finished", four_artifacts)
    finished.make("smoke")

    def plan(edit: Edit) -> Planned:
        project = copy_of(finished, folder / edit.what.replace(" ", "-").replace("'", ""))
        edit.do(project)
        planned = project.plan()
        shutil.rmtree(project.folder)
        return planned

    with ThreadPoolExecutor(2) as pool:
        return dict(zip((edit.what for edit in EDITS), pool.map(plan, EDITS), strict=True))


@pytest.mark.parametrize("edit", EDITS, ids=[edit.what for edit in EDITS])
def test_an_edit_runs_exactly(edit: Edit, plans: dict[str, Planned]) -> None:
    # the report reads all artifacts and the scorecard
    report = {"write_report"} if edit.reruns - {"describe_runs"} else NOTHING
    assert plans[edit.what].rules == edit.reruns | report


def with_wide_resnets(raw: dict[str, Any]) -> None:
    """One small Wide ResNet, dense, by random masks and by pruning, beside a small MLP."""
    tiny(raw)
    smoke = raw["scales"]["smoke"]
    block = {
        "depths": [10], "widen_factors": [1], "learning_rates": [0.1], "optimizers": ["adam"],
        "regularizations": ["BN"], "activations": ["relu"],
    }  # fmt: skip
    smoke["studies"]["wide_resnet_cifar100"] = {
        "epochs": 2,
        "densities": [50, 100],
        "blocks": [block],
    }
    raw["artifacts"]["figure5"] = figure_5 = SHIPPED["artifacts"]["figure5"]
    assert "magnitude" in figure_5["architectures"]


def test_what_follows_a_pretraining_is_trained_again_with_it(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", with_wide_resnets)
    project.make("smoke")
    assert not project.plan().counts
    for path in (project.results / "smoke" / "pretrained").rglob("*.*"):
        path.touch()
    assert not project.plan().counts
    project.edit_config(lambda raw: raw["variants"]["paper"].update(wide_resnet_l2=0.001))
    wide = {"pretrain_wide_resnet", "prune_and_finetune", "train_wide_resnet", "plot_by_density"}
    redrawn = {*TRAINED, "write_report"} - {"compare_p_values"}
    assert project.plan().rules == redrawn | wide


def test_edits_are_named_apart() -> None:
    assert len({edit.what for edit in EDITS}) == len(EDITS) >= 15
