"""Make the table of mean test accuracies (the paper's appendix E) from study tables.

One cell is the mean and standard deviation over the dense widths and seeds of an optimizer, a regularization and an
architecture. The CSV holds every one in a row of its own.
"""

import argparse
from pathlib import Path

from gradflow.overviews import mean_cells, mean_page
from gradflow.runs import Artifact, read_rows, select, summarise_runs
from gradflow.tables import write_csv, write_html, write_latex

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--artifact", required=True, help="the artifact's entry in the config, resolved, as JSON")
parser.add_argument("--runs", required=True, nargs="+", type=Path, help="study tables (Parquet)")
parser.add_argument("--csv", required=True, type=Path)
parser.add_argument("--html", required=True, type=Path)
parser.add_argument("--tex", required=True, type=Path)


def main() -> None:
    """Read, average, write."""
    arguments = parser.parse_args()
    artifact = Artifact.from_json(arguments.artifact)
    try:
        runs = summarise_runs(select(read_rows(arguments.runs), artifact))
        cells = mean_cells(runs, artifact)
    except ValueError as error:
        raise SystemExit(f"means_table: {error}") from None
    page = mean_page(cells, runs, artifact)
    write_csv(arguments.csv, cells)
    write_html(arguments.html, page)
    write_latex(arguments.tex, page)


if __name__ == "__main__":
    main()
