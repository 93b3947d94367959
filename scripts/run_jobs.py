"""Train a list of jobs without snakemake, on a machine that is held for minutes.

Needs torch, numpy, pyarrow and safetensors. The list comes from `python scripts/plan.py TARGET
--jobs FILE`. When the time is over, running jobs save a checkpoint, and the same command goes on
from there. Logs lie as the workflow has
them: copied into its results/, they are finished runs.

Exit codes: 0 the list is complete; 1 a job failed (the others went on); 3 the time was over first;
143 stopped by SIGTERM or Ctrl-C.
"""

import argparse
import sys
import time
from pathlib import Path

BEGAN = time.monotonic()
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from gradflow.workflow.job_list import FAILED, JobRunner, read_job_list  # noqa: E402


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=Path, required=True, metavar="FILE", help="the job list")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="the results folder, data/ in it"
    )
    parser.add_argument(
        "--minutes", type=float, help="from the start of this command (default: until all is done)"
    )
    parser.add_argument(
        "--processes", type=int, help="jobs at a time (default: one a CPU core; with a GPU, one)"
    )
    arguments = parser.parse_args()
    if arguments.processes is not None and arguments.processes < 1:
        parser.error(f"--processes is {arguments.processes}; it must be at least 1")
    try:
        jobs = read_job_list(arguments.jobs)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return FAILED
    return JobRunner(jobs, arguments.results, arguments.minutes, arguments.processes, BEGAN).run()


if __name__ == "__main__":
    sys.exit(main())
