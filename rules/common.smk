# The checked configuration, the lock on the results folder, and what the rules look up.
import json
import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from gradflow.config import ConfigError, load_config
from gradflow.grid import Grid
from gradflow.partial import make_partial_artifacts
from gradflow.workflow_lock import take_results_lock

try:
    CONFIG = load_config(config)
    GRID = Grid(CONFIG)
    GRID.check()
except (ConfigError, ValueError) as error:
    sys.exit(f"The configuration is wrong; nothing was started.\n{error}")

LOCK = take_results_lock(workflow.is_main_process, Path("results"))
HERE = Path(os.path.relpath(workflow.basedir))
PYTHON = f"PYTHONPATH={shlex.quote(str(HERE / 'src'))} {shlex.quote(sys.executable)}"
SCRIPTS = HERE / "scripts"
SOURCES = HERE / "src" / "gradflow"
TABLES = ("correlation_table", "significance_table")


# only names of the configuration: a misspelt path must not plan a training
def one_of(names):
    return "|".join(sorted(names))


wildcard_constraints:
    scale=one_of(CONFIG.scales),
    study=one_of(CONFIG.studies),
    variant=one_of(CONFIG.variants),
    dataset=one_of(CONFIG.datasets),
    seed=r"\d+",
    density=r"\d+",


def artifacts_of(*kinds):
    """A wildcard constraint: the artifacts of these kinds."""
    return one_of(name for name, artifact in CONFIG.artifacts.items() if artifact.kind in kinds) or "(?!)"


def files_of(scale, artifact):
    if artifact not in GRID.artifacts(scale):
        return []
    table = CONFIG.artifacts[artifact].kind in TABLES
    folder, endings = ("tables", ("csv", "html", "tex")) if table else ("figures", ("pdf", "png"))
    return [f"results/{scale}/{folder}/{artifact}.{ending}" for ending in endings]


def artifact_files(scale):
    return [path for artifact in GRID.artifacts(scale) for path in files_of(scale, artifact)]


def study_tables(wildcards):
    """The run tables that an artifact is drawn from."""
    studies = CONFIG.artifacts[wildcards.artifact].studies
    return [f"results/{wildcards.scale}/studies/{study}.parquet" for study in studies]


def artifact_json(wildcards):
    """An artifact's definition, with what was planned for it."""
    definition = CONFIG.artifacts[wildcards.artifact]
    plans = [GRID.plan(wildcards.scale, study) for study in definition.studies]
    return json.dumps(
        {
            **definition.model_dump(),
            "name": wildcards.artifact,
            "scale": wildcards.scale,
            "seeds": sorted({seed for plan in plans for seed in plan.seeds}),
            "percents": sorted({percent for plan in plans for percent in plan.percents}),
        },
        sort_keys=True,
    )


def sources(*modules):
    """Library modules as inputs: an edit redraws what is made with them, touching them does not."""
    return [str(SOURCES / f"{module}.py") for module in modules]


def finish_what_is_there(log):
    """After a failure: every table and figure from the runs that exist, then which jobs failed and why."""
    if not CONFIG.partial:
        make_partial_artifacts(Path(log[0]))
