"""Make a table of mean absolute Kendall correlations (Table 1 of the paper) from study tables.

One cell relates a measure of gradient flow to the final test loss or accuracy of the dense or the sparse runs of a
data set. The CSV holds every statistic of every cell; HTML and LaTeX show the correlations as the paper does.
"""

import argparse
from pathlib import Path

from gradflow.runs import Artifact, read_rows, select, summarise_runs
from gradflow.tables import correlation_cells, correlation_page, write_csv, write_html, write_latex

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--artifact", required=True, help="the artifact's entry in the config, resolved, as JSON")
parser.add_argument("--runs", required=True, nargs="+", type=Path, help="study tables (Parquet)")
parser.add_argument("--csv", required=True, type=Path)
parser.add_argument("--html", required=True, type=Path)
parser.add_argument("--tex", required=True, type=Path)


def main() -> None:
    """Read, correlate, write."""
    arguments = parser.parse_args()
    artifact = Artifact.from_json(arguments.artifact)
    try:
        runs = summarise_runs(select(read_rows(arguments.runs), artifact))
        cells = correlation_cells(runs, artifact)
    except ValueError as error:
        raise SystemExit(f"correlation_table: {error}") from None
    page = correlation_page(cells, runs, artifact)
    write_csv(arguments.csv, cells)
    write_html(arguments.html, page)
    write_latex(arguments.tex, page)


if __name__ == "__main__":
    main()
