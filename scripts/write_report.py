"""Write the report of a scale, one page that stands alone, from what was made of the scale."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from gradflow.report.report_page import ReportPlan, write_report


def main() -> int:
    """Write the page; 1 and one sentence when an input is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--plan", required=True, help="the artifacts, as JSON (scaling.report_json)"
    )
    parser.add_argument("--folder", required=True, type=Path, help="the scale's results")
    parser.add_argument("--html", required=True, type=Path)
    arguments = parser.parse_args()
    try:
        write_report(arguments.html, ReportPlan.from_json(arguments.plan), arguments.folder)
    except ValueError as error:
        print(f"write_report: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
