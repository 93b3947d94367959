"""Results that are kept: made of finished runs, and every artifact drawn from them without
training.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from project import GRADFLOW, ROOT, STUDY, Project, environment, new_project
from study_tables import make_table_of_plan, write_study_table

from gradflow.report.reference import ReferenceError, kept_scales, read_reference
from gradflow.study.config_checks import load_config
from gradflow.study.grid import Grid

STUDIES = (STUDY, "fashion_mnist_initialisation")
AGAIN = "fashion_mnist_second_look"
KEPT = ROOT / "results" / "reference"
# what drawing needs none of
MAKING = {
    "fetch_dataset", "train_mlp", "train_wide_resnet", "pretrain_wide_resnet", "prune_and_finetune",
    "collect_runs",
}  # fmt: skip
FASHION_MNIST = {
    "table1", "table2", "table4", "figure15", "comparison_p_values", "comparison_correlations",
    "agreement", "effects",
    "claims", "initialisations",
}  # fmt: skip


def keep(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GRADFLOW, "keep", *arguments], cwd=project.folder, env=environment(project.folder),
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def small(raw: dict[str, Any]) -> None:
    """Scale smoke with two small MLPs of each of the two studies, one seed, two epochs."""
    block = {
        "depths": [1],
        "learning_rates": [0.001],
        "optimizers": ["adam"],
        "activations": ["relu"],
    }
    low = {"epochs": 2, "blocks": [{**block, "regularizations": ["NR", "BN"]}]}
    other = {
        "epochs": 2,
        "blocks": [{**block, "regularizations": ["NR"]}],
        "variants": ["paper", "active_fan_in"],
    }
    raw["studies"][AGAIN] = {**raw["studies"][STUDY], "second_look": True}
    again = {**low, "blocks": other["blocks"], "seeds": [1]}
    raw["scales"]["smoke"]["studies"] = {STUDY: low, STUDIES[1]: other, AGAIN: again}
    raw["artifacts"] = {
        name: raw["artifacts"][name] for name in ("table1", "table4", "initialisations")
    }


@pytest.mark.workflow
@pytest.mark.slow
def test_finished_runs_are_kept_and_give_the_same_tables(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", small)
    code, output = project.snakemake("reference")
    assert code != 0 and "results/reference holds no results; keep those of a scale with:" in output
    project.make("smoke")
    tables = sorted((project.results / "smoke" / "tables").iterdir())
    assert len(tables) == 9
    next(project.results.glob("smoke/runs/active_fan_in/**/sparse-w10.parquet")).unlink()
    for log in project.results.glob("smoke/runs/**/seed1/*.parquet"):
        log.unlink()
    done = keep(project, "smoke", STUDY)
    assert done.returncode == 0, done.stderr
    folder = project.results / "reference" / "smoke"
    assert {path.name for path in (folder / "studies").iterdir()} == {
        f"{STUDY}.parquet",
        f"_{STUDY}.parquet.sha256",
    }
    assert [path.name for path in (folder / "provenance").iterdir()] == [f"{STUDY}.parquet"]
    done = keep(project, "smoke")
    assert "incomplete: active_fan_in/mlp1-relu-adam-lr0.001-NR: 4 of 5 pairs" in done.stdout
    assert (folder / "config.yaml").read_bytes() == (project.folder / "config.yaml").read_bytes()
    kept = json.loads((folder / "provenance.json").read_text())
    # two configurations in `paper`, one of them shared, one in `active_fan_in`, and one of the
    # second look, of ten runs each
    assert [
        kept[name] for name in ("planned_runs", "finished_runs", "planned_jobs", "finished_jobs")
    ] == [40, 29, 4, 2]
    # a second look is known of before any of its networks is trained
    assert [study["finished_runs"] for study in kept["studies"].values()] == [20, 19, 0]
    assert (folder / "studies" / f"{AGAIN}.parquet").exists()
    assert sum(device["finished_runs"] for device in kept["devices"].values()) == 29
    assert kept["job_hours"] > 0 and kept["studies"][STUDY]["incomplete_cells"] == []
    ours = {
        path.name: path.read_bytes()
        for path in tables
        if not path.name.startswith("initialisations")
    }

    # as on a fresh clone, where config.yaml has moved on, too
    for path in ("smoke", "data"):
        shutil.rmtree(project.results / path)
    project.edit_config(lambda raw: raw["scales"]["smoke"].update(seeds=[7]))
    assert project.plan("reference").rules.isdisjoint(MAKING)
    project.make("reference")
    assert {
        path.name: path.read_bytes() for path in (folder / "tables").iterdir() if path.name in ours
    } == ours
    cells = pd.read_csv(folder / "tables" / "initialisations.csv")
    assert list(zip(cells["initialisation"], cells["n"], strict=True)) == [
        ("shared_dense_fan_in", 5), ("active_fan_in", 4),
    ]  # fmt: skip
    assert not (project.results / "smoke").exists() and not project.plan("reference").jobs


@pytest.mark.workflow
@pytest.mark.slow
@pytest.mark.parametrize("source", ["miniature", "committed"])
def test_one_command_draws_every_fashion_mnist_artifact(source: str, tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    folder = project.results / "reference"
    if source == "committed":
        if not kept_scales(KEPT.parent):
            pytest.skip("results/reference holds nothing yet")
        folder = folder / "fashion_mnist_reduced"  # the smallest that is kept
        shutil.copytree(
            KEPT / folder.name, folder, ignore=shutil.ignore_patterns("tables", "figures", "logs")
        )
    else:
        folder = folder / "smoke"
        make_miniature(folder, project)
    assert project.plan("reference").rules.isdisjoint(MAKING)
    project.make("reference")
    made = {path.stem for path in (*folder.glob("tables/*.csv"), *folder.glob("figures/*.png"))}
    assert made >= FASHION_MNIST
    assert not (project.results / "data").exists()


def make_miniature(folder: Path, project: Project) -> None:
    """What keep_reference writes, of made-up runs of the two studies at scale smoke."""
    grid = Grid(load_config(project.config()))
    (folder / "studies").mkdir(parents=True)
    for study in STUDIES:
        write_study_table(
            folder / "studies" / f"{study}.parquet", make_table_of_plan(grid.plan("smoke", study))
        )
    shutil.copy(project.folder / "config.yaml", folder)
    (folder / "provenance.json").write_text(
        json.dumps({"scale": "smoke", "studies": dict.fromkeys(STUDIES)})
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["smok"],
            "there is no scale smok; there are paper, overnight, bridge, fashion_mnist_reduced, "
            "pilot, quick, ",
        ),
        (["quick", "cifar10_low"], "scale quick has no study cifar10_low; it has"),
        (["quick"], "no run of scale quick is finished in results"),
    ],
)
def test_what_cannot_be_kept_is_a_sentence_and_leaves_all_as_it_was(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    project = new_project(tmp_path / "project")
    make_miniature(project.results / "reference" / "smoke", project)
    before = there(project.results)
    done = keep(project, *arguments)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and sentence in done.stderr
    assert there(project.results) == before


def there(results: Path) -> list[Path]:
    """All that lies in a folder but locks, which stay empty where they are."""
    return sorted(path for path in results.rglob("*") if path.suffix != ".lock")


def test_a_kept_configuration_that_no_longer_fits_is_a_sentence(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    folder = project.results / "reference" / "smoke"
    make_miniature(folder, project)
    current = load_config(project.config())
    assert set(read_reference(project.results, "smoke", current).artifacts()) >= FASHION_MNIST
    (folder / "config.yaml").write_text("percents: [10]\n")
    with pytest.raises(
        ReferenceError, match=r"cannot be read by this version .*keep the results anew"
    ):
        read_reference(project.results, "smoke", current)
