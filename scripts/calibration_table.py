"""Make the table of which initialisation fits the published means and spreads best, from study tables.

The CSV holds every initialisation, optimizer and architecture; HTML and LaTeX show a row an initialisation.
"""

import argparse
import json
from pathlib import Path

from gradflow.calibration import calibration_cells, calibration_page
from gradflow.published import load_means
from gradflow.runs import Artifact, read_rows, summarise_runs
from gradflow.tables import write_csv, write_html, write_latex

PUBLISHED = Path(__file__).parents[1] / "workflow" / "published"

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--artifact", required=True, help="the artifact's entry in the config, resolved, as JSON")
parser.add_argument("--runs", required=True, nargs="+", type=Path, help="study tables (Parquet)")
parser.add_argument("--csv", required=True, type=Path)
parser.add_argument("--html", required=True, type=Path)
parser.add_argument("--tex", required=True, type=Path)


def main() -> None:
    """Read, score, write."""
    arguments = parser.parse_args()
    artifact = Artifact.from_json(arguments.artifact)
    variants = json.loads(arguments.artifact).get("variants")
    try:
        runs = summarise_runs(read_rows(arguments.runs))  # of all variants
        cells = calibration_cells(runs, artifact, load_means(PUBLISHED), variants)
    except ValueError as error:
        raise SystemExit(f"calibration_table: {error}") from None
    page = calibration_page(cells, runs, artifact)
    write_csv(arguments.csv, cells)
    write_html(arguments.html, page)
    write_latex(arguments.tex, page)


if __name__ == "__main__":
    main()
