"""The profiles: each is made of options that Snakemake has, adds up to a plan, and none trains
anything again.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yte
from project import ROOT, Project, new_project, tiny

PROFILES = sorted((ROOT / "profiles").glob("*/config.yaml"))
NAMES = [path.parent.name for path in PROFILES]
# what an executor's own options begin with, and the package that has them
EXECUTORS = {
    "slurm": "snakemake_executor_plugin_slurm",
    "cluster-generic": "snakemake_executor_plugin_cluster_generic",
}
BACKGROUND = ROOT / "tests" / "cluster" / "background.sh"


def read(path: Path) -> dict[str, object]:
    """A profile as Snakemake reads it."""
    with path.open() as file:
        return yte.process_yaml(file, require_use_yte=True)


def installed(executor: str | None) -> bool:
    return executor is None or importlib.util.find_spec(EXECUTORS[executor]) is not None


def needs(executor: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not installed(executor),
        reason=f"an extra: uv pip install --require-hashes -r envs/{executor}.txt",
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of which everything is made."""
    project = new_project(tmp_path_factory.mktemp("finished") / "project", tiny)
    project.make("smoke")
    return project


def options() -> set[str]:
    """The long options of the snakemake that is installed, executors included."""
    from snakemake.cli import get_argument_parser

    return {
        option.removeprefix("--")
        for action in get_argument_parser()._actions
        for option in action.option_strings
        if option.startswith("--")
    }


def test_there_is_one_for_each_place() -> None:
    assert NAMES == ["cluster-generic", "default", "gpu", "slurm"]


@pytest.mark.parametrize("path", PROFILES, ids=NAMES)
def test_every_key_is_an_option(path: Path) -> None:
    profile = read(path)
    missing = EXECUTORS if not installed(profile.get("executor")) else ()
    unknown = {
        key for key in profile if not key.startswith(tuple(f"{name}-" for name in missing))
    } - options()
    assert not unknown


@pytest.mark.parametrize("path", PROFILES, ids=NAMES)
def test_every_setting_that_is_commented_out_is_an_option_too(path: Path) -> None:
    """A person takes the number sign away; what is under it must be YAML of that place."""
    lines = path.read_text().splitlines()
    keys = [
        match[1]
        for line in lines
        if (match := re.match(r"# ([a-z-]+):(?: |$)", line)) and "  " not in line[:3]
    ]
    own = tuple(f"{name}-" for name in EXECUTORS if not installed(name))
    assert {key for key in keys if not key.startswith(own)} <= options()


@pytest.mark.parametrize("path", PROFILES, ids=NAMES)
def test_none_sets_what_default_sets(path: Path) -> None:
    """Snakemake lets the default one win, so such a line would say what is not so."""
    default = read(ROOT / "profiles/default/config.yaml")
    if path.parent.name != "default":
        assert not set(read(path)) & set(default)


def test_the_science_names_no_runtime_setting() -> None:
    words = set(re.findall(r"\w+", re.sub(r"#.*", "", (ROOT / "config.yaml").read_text())))
    assert not words & {
        "gpu",
        "gpus",
        "gpu_slots",
        "partition",
        "account",
        "runtime",
        "mem_mb",
        "cores",
        "jobs",
        "slurm",
    }


@pytest.mark.slow
@pytest.mark.workflow
@pytest.mark.parametrize(
    "profile", ["gpu", *(pytest.param(executor, marks=needs(executor)) for executor in EXECUTORS)]
)
def test_the_whole_of_smoke_is_planned_and_a_finished_project_stays_finished(
    finished: Project, profile: str
) -> None:
    code, output = finished.snakemake("-n", "smoke", "--profile", f"profiles/{profile}")
    assert code == 0, output
    assert "Nothing to be done" in output
    code, output = finished.snakemake("-n", "quick", "--profile", f"profiles/{profile}")
    assert code == 0, output
    assert re.search(r"^train_mlp +63$", output, flags=re.MULTILINE), output


@pytest.mark.slow
@pytest.mark.workflow
def test_a_misspelt_profile_is_refused_in_a_line(finished: Project) -> None:
    code, output = finished.snakemake("-n", "smoke", "--profile", "profiles/gpus")
    assert code != 0
    assert (
        "Error: profile directory given (profiles/gpus), but no profile.yaml (or config.yaml) found"
        in output
    )
    assert "Traceback" not in output


@pytest.mark.slow
@pytest.mark.workflow
def test_slots_of_the_gpu_profile_reach_the_trainer_and_bound_the_jobs(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", tiny)
    profile = project.folder / "profiles/gpu/config.yaml"
    profile.write_text(profile.read_text().replace("slots_per_gpu: 1", "slots_per_gpu: 3"))
    # the trainer says what it was given, in place of training
    (project.folder / "scripts/train_mlp.py").write_text(
        "import os, sys\nsys.exit('slots per GPU: ' + os.environ['GRADFLOW_GPU_SLOTS'])\n"
    )
    code, output = project.snakemake("smoke", "--profile", "profiles/gpu", "--quiet", "host")
    assert code != 0
    assert "slots per GPU: 3" in output
    assert "gpu_slots=1" in output  # of the training job; profiles/gpu says how many there are


@pytest.mark.slow
@pytest.mark.workflow
@needs("cluster-generic")
def test_any_scheduler_that_takes_a_script_makes_everything(tmp_path: Path) -> None:
    project = new_project(tmp_path / "a project", tiny)
    code, output = project.snakemake(
        "smoke", "--profile", "profiles/cluster-generic", "--latency-wait", "10", "--quiet", "host",
        "--cluster-generic-submit-cmd",
            f"{BACKGROUND} -l "
            "mem={resources.mem_mb}mb,walltime={resources.runtime}",
    )  # fmt: skip
    assert code == 0, output
    assert len(re.findall("Submitted job .* with external jobid '\\d+'", output)) == 1, (
        output
    )  # training alone
    assert "Nothing to be done" in project.make("-n", "smoke")
