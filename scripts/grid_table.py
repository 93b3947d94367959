"""Make the table of network configurations (Table 2 of the paper) from the plans of its studies; no run is needed.

The CSV holds every variant with the number of its configurations; HTML and LaTeX list them as the paper does.
"""

import argparse
from pathlib import Path

from gradflow.overviews import grid_cells, grid_page
from gradflow.runs import Artifact
from gradflow.tables import write_csv, write_html, write_latex

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--artifact", required=True, help="the artifact's entry in the config, resolved, as JSON")
parser.add_argument("--runs", nargs="*", help="no run tables: the configurations are in the artifact's entry")
parser.add_argument("--csv", required=True, type=Path)
parser.add_argument("--html", required=True, type=Path)
parser.add_argument("--tex", required=True, type=Path)


def main() -> None:
    """List, write."""
    arguments = parser.parse_args()
    artifact = Artifact.from_json(arguments.artifact)
    cells = grid_cells(artifact)
    page = grid_page(cells, artifact)
    write_csv(arguments.csv, cells)
    write_html(arguments.html, page)
    write_latex(arguments.tex, page)


if __name__ == "__main__":
    main()
