"""Draw accuracy and gradient flow by density (Figures 4, 5 and 24 of the paper).

A panel an optimizer and a line a configuration of the Wide ResNet, a part for each measure, as PDF and PNG.
"""

import argparse
from pathlib import Path

from gradflow.figures import figure_by_density, save_figure
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
        figure = figure_by_density(runs, artifact)
    except ValueError as error:
        raise SystemExit(f"plot_by_density: {error}") from None
    save_figure(figure, arguments.pdf, arguments.png)


if __name__ == "__main__":
    main()
