"""The command `gradflow`: what a study would cost, how far it is, where its numbers come from.

    gradflow plan table3a
    gradflow status
    gradflow provenance results/quick/tables/table4.csv --where optimizer=adam

Reads config.yaml and results/ of the working directory; without the former, the project's own. Each
subcommand imports what it needs, so that `gradflow jobs` runs with torch, numpy, pyarrow and
safetensors alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from gradflow.text import first_paragraph, nearest

BEGAN = time.monotonic()


def main(words: list[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        words: of the command line, without the program's name; this process's unless given.

    Returns:
        The exit code: 0, or 1 after an error, which is told in one sentence. `jobs` has more.
    """
    arguments = _parser().parse_args(words)
    try:
        return int(arguments.run(arguments) or 0)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def plan(arguments: argparse.Namespace) -> None:
    """Print what targets would take before anything runs, by study: jobs, runs, hours and disk.

    A target is a scale, an artifact, a file or a study.
    """
    from gradflow.study.config import ConfigError
    from gradflow.study.config_file import config_path, read_config
    from gradflow.study.grid import Grid
    from gradflow.workflow.job_list import write_job_list
    from gradflow.workflow.planning import Planner

    config, scale = read_config(config_path(), *arguments.configfile), arguments.scale
    if scale not in config.scales:
        raise ConfigError(f"there is no scale {scale}{nearest(scale, config.scales)}")
    grid = Grid(config)
    grid.check()
    planner, targets = Planner(grid, arguments.results), arguments.targets or [scale]
    print(planner.report(targets, scale))
    if arguments.jobs:
        write_job_list(arguments.jobs, planner.jobs(targets, scale))


def status(arguments: argparse.Namespace) -> None:
    """Print how far a scale is: runs by study, jobs that run or failed, the time left.

    Nothing is written and no lock is taken, so it may be asked while snakemake runs.
    """
    from gradflow.study.config import ConfigError
    from gradflow.study.config_file import config_path, read_config
    from gradflow.study.grid import Grid
    from gradflow.workflow.status import scale_status, scales_with_results
    from gradflow.workflow.status_report import report

    grid, results = Grid(read_config(config_path(), *arguments.configfile)), arguments.results
    known, scale = grid.config.scales, arguments.scale
    if scale is not None and scale not in known:
        raise ConfigError(f"there is no scale {scale}{nearest(scale, known)}")
    scales = [scale] if scale else scales_with_results(grid, results)
    if not scales:
        raise ConfigError(f"{results} holds nothing of any scale yet; there are {', '.join(known)}")
    print("\n\n\n".join(report(scale_status(grid, results, each), results) for each in scales))


def provenance(arguments: argparse.Namespace) -> None:
    """Print the runs behind a table, a figure or a cell: logs, specification, versions, seconds.

    gradflow provenance results/quick/tables/table4.csv --where optimizer=adam regularization=BN
    """
    from gradflow.report.provenance import ProvenanceError, find_provenance
    from gradflow.report.provenance_report import report
    from gradflow.study.config_file import config_path, read_config

    where = {}
    for pair in arguments.where:
        column, equals, value = pair.partition("=")
        if not equals:
            raise ProvenanceError(f"--where {pair}: write COLUMN=VALUE, for example optimizer=adam")
        where[column] = value
    config = read_config(config_path(), *arguments.configfile)
    print(report(find_provenance(config, arguments.artifact, where), config))


def jobs(arguments: argparse.Namespace) -> int:
    """Train a list of jobs without snakemake, on a machine that is held for minutes.

    The list comes from `gradflow plan TARGET --jobs FILE`. When the time is over, running jobs save
    a checkpoint, and the same command goes on from there. Logs lie as the workflow has them: copied
    into its results/, they are finished runs.

    Exit codes: 0 the list is complete; 1 a job failed (the others went on); 3 the time was over
    first; 143 stopped by SIGTERM or Ctrl-C.
    """
    from gradflow.workflow.job_list import JobRunner, read_job_list

    if arguments.processes is not None and arguments.processes < 1:
        raise ValueError(f"--processes is {arguments.processes}; it must be at least 1")
    return JobRunner(
        read_job_list(arguments.jobs),
        arguments.results,
        arguments.minutes,
        arguments.processes,
        BEGAN,
    ).run()


def keep(arguments: argparse.Namespace) -> None:
    """Keep a scale's finished runs in results/reference, for the repository.

    Study tables, configuration and provenance; they replace what is kept there of the scale.
    `snakemake reference` makes every table and figure from them, without training.
    """
    from gradflow.report.reference import keep_reference
    from gradflow.study.config_file import config_path

    kept = keep_reference(
        arguments.configfile or config_path(),
        arguments.results,
        arguments.scale,
        arguments.studies or None,
    )
    for name, study in kept["studies"].items():
        runs = f"{study['finished_runs']} of {study['planned_runs']} runs"
        print(f"{name}: {runs} of {study['epochs']} epochs")
        for cell in study["incomplete_cells"]:
            pairs = f"{cell['pairs']} of {cell['planned_pairs']} pairs"
            print(f"  incomplete: {cell['variant']}/{cell['configuration']}: {pairs}")
    print(
        f"all, shared ones once: {kept['finished_runs']} of {kept['planned_runs']} runs, "
        f"{kept['job_hours']:.2f} hours of training processes, "
        f"{kept['study_tables_bytes'] / 1e6:.2f} MB"
    )


def unpack(arguments: argparse.Namespace) -> None:
    """Write the run logs of what is kept in results/reference, so that those runs are finished
    here.

    Snakemake and `gradflow jobs` then train what is left. Where the results folder keeps nothing,
    it is the project's own results/reference that is unpacked into it.
    """
    from gradflow.report.reference import NAME, ReferenceError, kept_scales
    from gradflow.report.unpack import unpack_reference
    from gradflow.study.config_file import config_path, read_config

    config, source = read_config(config_path(), *arguments.configfile), arguments.results
    if not kept_scales(source):
        source = config_path().parent / "results"
    kept = kept_scales(source)
    if not kept:
        raise ReferenceError(f"nothing is kept in {source / NAME}; `gradflow keep` does it")
    for scale in arguments.scales:
        if scale not in kept:
            raise ReferenceError(
                f"no scale {scale} is kept in {source / NAME}{nearest(scale, kept)}"
            )
    for scale in arguments.scales or kept:
        counts = unpack_reference(arguments.results, scale, config, source)
        print(
            f"{scale}: {counts.written} logs written, {counts.there} were there, {counts.other} "
            "are of another configuration, data set or engine version"
        )


def _parser() -> argparse.ArgumentParser:
    from gradflow import __version__

    parser = argparse.ArgumentParser(
        prog="gradflow", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"gradflow {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    found = {}
    for run in (plan, status, provenance, jobs, keep, unpack):
        text = run.__doc__ or ""
        command = commands.add_parser(
            run.__name__,
            help=first_paragraph(text),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(run=run)
        if run in (plan, status, provenance, unpack):
            command.add_argument(
                "--configfile",
                type=Path,
                nargs="+",
                default=[],
                metavar="FILE",
                help="extends config.yaml, as snakemake's option does",
            )
        if run is not provenance:
            command.add_argument(
                "--results", type=Path, default=Path("results"), help="default: results"
            )
        found[run.__name__] = command
    command = found["plan"]
    command.add_argument("targets", nargs="*", metavar="TARGET", help="default: the scale")
    command.add_argument("--scale", default="paper", help="of artifacts and studies; paper")
    command.add_argument(
        "--jobs", type=Path, metavar="FILE", help="also write the jobs, for `gradflow jobs`"
    )
    found["status"].add_argument(
        "scale", nargs="?", metavar="SCALE", help="default: each that has results"
    )
    command = found["provenance"]
    command.add_argument("artifact", type=Path, help="a table's or figure's file")
    command.add_argument(
        "--where", nargs="+", default=[], metavar="COLUMN=VALUE", help="the cell's place"
    )
    command = found["jobs"]
    command.add_argument("--jobs", type=Path, required=True, metavar="FILE", help="the job list")
    command.add_argument(
        "--minutes", type=float, help="from the start of this command (default: until all is done)"
    )
    command.add_argument(
        "--processes", type=int, help="jobs at a time (default: one a CPU core; with a GPU, one)"
    )
    command = found["keep"]
    command.add_argument("--configfile", type=Path, help="default: config.yaml")
    command.add_argument("scale", help="the scale's name")
    command.add_argument("studies", nargs="*", metavar="STUDY", help="default: those with runs")
    found["unpack"].add_argument(
        "scales", nargs="*", metavar="SCALE", help="default: all that are kept"
    )
    return parser
