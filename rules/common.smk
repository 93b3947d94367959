# The lock on the results folder, and what the rules look up.
import json
import os
import re
import shlex
import sys
from functools import cache
from pathlib import Path


from gradflow.study import own
from gradflow.study.content import as_planned
from gradflow.study.cost import CostModel, planned_device
from gradflow.study.memory import memory_mb
from gradflow.study.datasets import SHAPES
from gradflow.study.kinds import KINDS
from gradflow.study.names import bundle_target, artifact_groups, report_target
from gradflow.workflow import slurm_watch, warm
from gradflow.workflow.commands import load_scripts_and_kernels
from gradflow.workflow.draw import load_libraries
from gradflow.workflow.mistakes import (
    FORCED_TRAINING,
    Answers,
    MistakeError,
    check_settings,
)
from gradflow.workflow.after_failure import (
    draw_what_is_there,
    forget_failures,
    partial_command,
    same_settings,
)
from gradflow.workflow.attempts import JOB
from gradflow.report.reference import NAME as REFERENCE
from gradflow.report.reference import KEEP, ReferenceError, kept_scales, read_reference
from gradflow.workflow.imported_files import imported_files
from gradflow.workflow.display import show_run
from gradflow.workflow.events import Events
from gradflow.workflow.progress import Progress, Step
from gradflow.workflow.run_end import Run, last_lines
from gradflow.workflow.lock import HELD, take_results_lock
from gradflow.workflow.missing import study_state, unfinished_runs

EVENTS, PROGRESS = Events(), []
if SNAKEMAKE.is_main and not IS_MODULE:
    DISPLAY = show_run(
        SNAKEMAKE, EVENTS, Answers(GRID).answer, lambda: last_lines_of_this_run()
    )
LOCK = take_results_lock(SNAKEMAKE.is_main, Path("results"))
if LOCK is not None:
    try:
        check_settings(SNAKEMAKE.cores, SNAKEMAKE.jobs, SNAKEMAKE.runs_here)
    except MistakeError as error:
        sys.exit(str(error))
COSTS = CostModel.of_results(Path("results"))
DEVICE = planned_device(elsewhere=not SNAKEMAKE.runs_here)
# what profiles/gpu says of this machine's GPUs, for the trainer; a resource, so that it never trains anything again
slots = SNAKEMAKE.resource("slots_per_gpu")
if slots is not None:
    os.environ.setdefault("GRADFLOW_GPU_SLOTS", str(slots))
HERE = Path(os.path.relpath(PROJECT))
SCRIPTS = HERE / "scripts"
FOLDERS = (HERE / "src", HERE)  # of packages
ENVIRONMENT = "../envs/gradflow.yaml"  # used with --software-deployment-method conda; otherwise snakemake's own
INTERPRETER = "python" if SNAKEMAKE.uses_conda else shlex.quote(sys.executable)
# each job knows its rule and its log, beside which it leaves a record when it fails


def python(rule=""):
    """The beginning of a rule's shell command, with the job's name for its record; see `workflow.attempts`."""
    source = shlex.quote(str(HERE / "src"))
    return f"PYTHONPATH={source} {JOB}={rule}:{{log:q}} {INTERPRETER}"


# runs a script in a fork of the drawing server
DRAW = f"{python()} -P -m gradflow.workflow.draw"


def run_script(name):
    """The beginning of a shell command; scripts are no inputs of what they train."""
    return f"{python(name)} {shlex.quote(str(SCRIPTS / name))}.py"


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


def settings_of_this_snakemake():
    """The options by which another one sees the same configuration, as a part of a shell command."""
    files = [] if IS_MODULE else SNAKEMAKE.config_files
    values = MODULE_CONFIG if IS_MODULE else SNAKEMAKE.config
    text = shlex.join(same_settings(files, values))
    return text.replace("{", "{{").replace("}", "}}")


def find_job(*run):
    """How to look up a rule's job; for a Wide ResNet `run` names the run, with wildcards."""

    def job(wildcards):
        parts = ("{variant}", "{dataset}", "{configuration}", "seed{seed}", *run)
        key = "/".join(part.format(**wildcards) for part in parts)
        found = GRID.jobs(wildcards.scale).get(key)
        if found is None:
            raise WorkflowError(
                f"No study of scale {wildcards.scale} trains {key}; see studies in config.yaml."
            )
        return found

    return job


def content_of(wildcards):
    """What a data set is known by: its checksum, or the user's own file that reads it."""
    name = wildcards.dataset
    return SHAPES[name].sha256 or own.fingerprint("datasets", name)


def manifest_of(wildcards):
    """A data set's manifest: that of a user's own trains again when it is made again.

    Snakemake does not look at the specifications of jobs behind one that it runs.
    """
    path = f"results/data/{wildcards.dataset}.json"
    return path if wildcards.dataset in own.names("datasets") else ancient(path)


def job_of(*run):
    """The specification of a rule's job."""
    find = find_job(*run)
    return lambda wildcards: as_planned(find(wildcards)).to_json()


def find_pretraining(wildcards):
    """The dense network that a magnitude-pruned one starts from: the same at every density."""
    found = GRID.pretraining(
        wildcards.scale,
        "{variant}/{dataset}/{configuration}/seed{seed}".format(**wildcards),
    )
    if found is None:
        raise WorkflowError(
            f"No study of scale {wildcards.scale} prunes {wildcards.configuration}; see config.yaml."
        )
    return found


def pretraining_of(wildcards):
    """The specification of that network."""
    return as_planned(find_pretraining(wildcards)).to_json()


def runtime_of(find, pretraining=False):
    """Minutes to ask a cluster for, from the cost model. Resources never retrain, whatever they become."""
    return lambda wildcards: COSTS.runtime(find(wildcards), DEVICE, pretraining)


def memory_of(find):
    """Memory to ask a cluster for, from the cost model."""
    return lambda wildcards: memory_mb(find(wildcards), DEVICE)


@cache
def force_unfinished(scale, study):
    """Let Snakemake make what `missing` says a study lacks, whatever its own records say, and print why.

    Of the studies that the targets need alone: Snakemake asks for a study's logs while it puts its jobs together.
    """
    if SNAKEMAKE.is_main:
        lacking = study_state(GRID.plan(scale, study), Path("results"), CONFIG.partial)
        table = f"results/{scale}/studies/{study}.parquet"
        unfinished = [] if CONFIG.partial else lacking.unfinished
        SNAKEMAKE.force([f"results/{path}" for path in unfinished])
        if lacking.stale:
            SNAKEMAKE.force([table])
            if os.path.exists(table):
                print(
                    f"{table} {lacking.stale}; it is collected again", file=sys.stderr
                )


@cache
def training_targets():
    """The logs that are targets themselves; and a sentence where training is forced."""
    if SNAKEMAKE.forces(TRAINERS):
        print(FORCED_TRAINING, file=sys.stderr)
    targets = SNAKEMAKE.targets
    return {os.path.normpath(target) for target in targets if "/runs/" in target}


def force_target(find):
    """An input function without files: a log that is a target itself is made as config.yaml has it now."""

    def force_stale(wildcards):
        if SNAKEMAKE.is_main and training_targets():
            job = find(wildcards)
            logs = {
                f"results/{job.log_path(run)}"
                for run in unfinished_runs(job, Path("results"))
            }
            SNAKEMAKE.force(logs & training_targets())
        return []

    return force_stale


def logs_of(wildcards):
    """All logs of a study; in partial mode those that exist."""
    force_unfinished(wildcards.scale, wildcards.study)
    logs = [f"results/{path}" for path in GRID.logs(wildcards.scale, wildcards.study)]
    return [path for path in logs if os.path.exists(path)] if CONFIG.partial else logs


def trained(model):
    """A wildcard constraint: the configurations of this model. A misspelt one has no rule."""
    return one_of(map(re.escape, GRID.configurations(model))) or "(?!)"


def artifacts_of(kind):
    """A wildcard constraint: the artifacts of a kind."""
    artifacts = CONFIG.artifacts.items()
    return one_of(name for name, one in artifacts if one.kind == kind.name) or "(?!)"


# Artifacts are drawn of a scale, or of the results of a scale that are kept in results/reference. Nothing else takes the
# latter's name, so that no training can be planned for it.
KEPT = {scale: f"{REFERENCE}/{scale}" for scale in kept_scales(Path("results"))}
DRAWN = one_of([*CONFIG.scales, *KEPT.values()])


@cache
def kept(scale):
    """The kept results of a scale, read only when they are asked for."""
    try:
        return read_reference(Path("results"), scale, CONFIG)
    except ReferenceError as error:
        raise WorkflowError(str(error))


def drawn_from(folder):
    """The grid and the scale of what lies in a folder of results/."""
    scale = folder.removeprefix(f"{REFERENCE}/")
    return (GRID, folder) if scale == folder else (kept(scale).grid, scale)


def kept_files(*scales):
    """All that is drawn of kept scales."""
    if not scales:
        raise WorkflowError(
            f"results/{REFERENCE} holds no results; keep those of a scale with: {KEEP}"
        )
    return [
        path
        for scale in scales
        for path in artifact_files(KEPT[scale]) + scale_pages(KEPT[scale])
    ]


def files_of(folder, artifact):
    grid, scale = drawn_from(folder)
    if artifact not in grid.artifacts(scale):
        return []
    kind = KINDS[CONFIG.artifacts[artifact].kind]
    path = f"results/{folder}/{kind.folder}/{artifact}"
    return [f"{path}.{ending}" for ending in kind.endings]


def artifact_files(folder):
    grid, scale = drawn_from(folder)
    return [
        path
        for artifact in grid.artifacts(scale)
        for path in files_of(folder, artifact)
    ]


def scale_pages(folder):
    """What is made of a scale as a whole, beside its artifacts."""
    return [*bundled_pages(folder), f"results/{folder}/report.html"]


def bundled_pages(folder):
    """Those of them that Snakemake's report has."""
    return [
        f"results/{folder}/{name}"
        for name in ("scorecard.csv", "scorecard.html", "provenance.html")
    ]


def study_tables(wildcards):
    """The run tables that an artifact is drawn from."""
    if KINDS[CONFIG.artifacts[wildcards.artifact].kind].runs == "none":
        return []
    grid, scale = drawn_from(wildcards.scale)
    studies = grid.studies(scale, wildcards.artifact)
    return [f"results/{wildcards.scale}/studies/{study}.parquet" for study in studies]


def provenance_tables(wildcards):
    """What made the runs of these, for tables, which name mixtures; kept results may not tell it."""
    folder = f"results/{wildcards.scale}/provenance"
    paths = [f"{folder}/{Path(table).name}" for table in study_tables(wildcards)]
    kept_ones = wildcards.scale in KEPT.values()
    return [path for path in paths if not kept_ones or os.path.exists(path)]


def artifact_json(wildcards):
    """An artifact's definition at a scale, with what was planned for it."""
    grid, scale = drawn_from(wildcards.scale)
    return grid.artifact_json(scale, wildcards.artifact)


def templates(*names):
    """Templates of the library's report."""
    return [str(HERE / "src/gradflow/report/templates" / name) for name in names]


def modules_of(script, *modules):
    """The library's files that a script runs, as inputs; `modules` are those that it is told by name."""
    path = SCRIPTS / f"{script}.py"
    return [
        file for file in imported_files(FOLDERS, path, *modules) if file != str(path)
    ]
