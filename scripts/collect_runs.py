"""Collect the run logs of one study into one table, and where they come from into another."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from gradflow.analysis.collect import collect_runs
from gradflow.study.plan import Plan
from gradflow.training.run_log import RunLogError
from gradflow.workflow.attempts import recorded


def main() -> int:
    """Parse, collect, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--plan",
        required=True,
        help="the study at its scale as JSON (gradflow.study.plan.Plan.to_json)",
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="the results folder")
    parser.add_argument(
        "--output", type=Path, required=True, help="the study's table to write (Parquet)"
    )
    parser.add_argument(
        "--provenance", type=Path, required=True, help="the table of devices, versions and seconds"
    )
    parser.add_argument(
        "--partial", action="store_true", help="leave out runs that are not finished"
    )
    arguments = parser.parse_args()
    plan = Plan.from_json(arguments.plan).as_fetched(arguments.results)
    try:
        wrong = collect_runs(
            plan,
            arguments.results,
            arguments.output,
            arguments.provenance,
            arguments.partial,
            arguments.results / plan.scale / "collected",
        )
    except RunLogError as error:
        print(error, file=sys.stderr)
        return 1
    if wrong:
        print(f"{plan.study}: {len(wrong)} runs are not finished and left out", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(recorded(main))
