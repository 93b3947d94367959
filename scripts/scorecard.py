"""Make the scorecard of a scale: claims, tables, coverage, and what was scaled down, as CSV and
HTML.

It reads the scale's study tables and the CSVs of its claims and comparisons with the published
numbers.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from gradflow.analysis.runs import RUN_KEY, StudyTableError, read_rows
from gradflow.analysis.tables import write_csv
from gradflow.report.scorecard import ScorecardPlan, scorecard_rows
from gradflow.report.scorecard_page import write_scorecard


def main() -> int:
    """Write both files; 1 and one sentence when an input is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--plan", required=True, help="what is planned, as JSON (scaling.scorecard_json)"
    )
    parser.add_argument(
        "--studies", nargs="*", default=[], type=Path, help="study tables (Parquet)"
    )
    parser.add_argument(
        "--tables", nargs="*", default=[], type=Path, help="CSVs of claims and comparisons"
    )
    parser.add_argument("--csv", required=True, type=Path)
    parser.add_argument("--html", required=True, type=Path)
    arguments = parser.parse_args()
    request = ScorecardPlan.from_json(arguments.plan)
    try:
        rows = scorecard_rows(request, arguments.studies, arguments.tables)
        distinct = len(read_rows(arguments.studies).drop_duplicates(RUN_KEY))
    except StudyTableError as error:
        error.path.unlink(missing_ok=True)  # nothing else would make Snakemake collect it again
        print(
            f"scorecard: {error}; it is removed, run the same command again to collect it anew",
            file=sys.stderr,
        )
        return 1
    except ValueError as error:
        print(f"scorecard: {error}", file=sys.stderr)
        return 1
    write_csv(arguments.csv, rows)
    write_scorecard(arguments.html, rows, request.scale, distinct)
    return 0


if __name__ == "__main__":
    sys.exit(main())
