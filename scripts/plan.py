"""Print what targets would take before anything runs: configurations, jobs, runs, hours and disk, by study.

A target is what Snakemake takes, a scale, an artifact or a file, and besides a study: `python
scripts/plan.py table3a`.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from gradflow.study.config import ConfigError  # noqa: E402
from gradflow.study.config_file import read_config  # noqa: E402
from gradflow.study.plan import Grid  # noqa: E402
from gradflow.workflow.job_list import write_job_list  # noqa: E402
from gradflow.workflow.planning import Planner, TargetError  # noqa: E402


def main() -> int:
    """Print the plan; 1 and one sentence when the configuration or a target is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: the scale")
    parser.add_argument(
        "--scale", default="paper", help="of artifacts and studies (default: paper)"
    )
    parser.add_argument(
        "--configfile",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="extends config.yaml, as snakemake's option does",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        help="the results folder (default: results)",
    )
    parser.add_argument(
        "--jobs", type=Path, metavar="FILE", help="also write the jobs, for scripts/run_jobs.py"
    )
    arguments = parser.parse_args()
    try:
        config = read_config(ROOT / "config.yaml", *arguments.configfile)
        if arguments.scale not in config.scales:
            raise TargetError(
                f"there is no scale {arguments.scale}; there are {', '.join(config.scales)}"
            )
        grid = Grid(config)
        grid.check()
        planner, targets = Planner(grid, arguments.results), arguments.targets or [arguments.scale]
        print(planner.report(targets, arguments.scale))
        if arguments.jobs:
            write_job_list(arguments.jobs, planner.jobs(targets, arguments.scale))
    except (ConfigError, TargetError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
