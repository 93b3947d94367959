"""Draw accuracy and gradient flow by dense width, dense against sparse (Figures 15 to 23 of the paper).

A grid of optimizers and regularizations or activations, a part for each measure, as PDF and PNG.
"""

import argparse
from pathlib import Path

from gradflow.figures import save_figure
from gradflow.figures_by_width import figure_by_width
from gradflow.runs import Artifact, read_rows, select, summarise_runs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--artifact", required=True, help="the artifact's entry in the config, resolved, as JSON")
parser.add_argument("--runs", required=True, nargs="+", type=Path, help="study tables (Parquet)")
parser.add_argument("--pdf", required=True, type=Path)
parser.add_argument("--png", required=True, type=Path)


def main() -> None:
    """Read, draw, write."""
    arguments = parser.parse_args()
    artifact = Artifact.from_json(arguments.artifact)
    try:
        runs = summarise_runs(select(read_rows(arguments.runs), artifact))
        figure = figure_by_width(runs, artifact)
    except ValueError as error:
        raise SystemExit(f"plot_by_width: {error}") from None
    save_figure(figure, arguments.pdf, arguments.png)


if __name__ == "__main__":
    main()
