"""Make the table of which conclusions change with a choice that the paper leaves open, from study tables.

The CSV holds every conclusion under every alternative; HTML and LaTeX show how many change, and which.
"""

import argparse
import json
from pathlib import Path

from gradflow.runs import Artifact, read_rows, summarise_runs
from gradflow.sensitivity import sensitivity_cells, sensitivity_page
from gradflow.tables import write_csv, write_html, write_latex

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--artifact", required=True, help="the artifact's entry in the config, resolved, as JSON")
parser.add_argument("--runs", required=True, nargs="+", type=Path, help="study tables (Parquet)")
parser.add_argument("--csv", required=True, type=Path)
parser.add_argument("--html", required=True, type=Path)
parser.add_argument("--tex", required=True, type=Path)


def main() -> None:
    """Read, compare, write."""
    arguments = parser.parse_args()
    artifact = Artifact.from_json(arguments.artifact)
    variants = json.loads(arguments.artifact).get("variants")
    try:
        runs = summarise_runs(read_rows(arguments.runs))  # of all variants
        cells = sensitivity_cells(runs, artifact, variants)
    except ValueError as error:
        raise SystemExit(f"sensitivity_table: {error}") from None
    page = sensitivity_page(cells, runs, artifact)
    write_csv(arguments.csv, cells)
    write_html(arguments.html, page)
    write_latex(arguments.tex, page)


if __name__ == "__main__":
    main()
