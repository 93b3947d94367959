"""Draw effective gradient flow by probe epoch and layer of one configuration, from the table of its
study.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from gradflow.analysis.figures import save_figure
from gradflow.analysis.flow_over_training import figure_of_flow, read_configuration


def main() -> int:
    """Draw; 1 and one sentence when the table is none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", required=True, type=Path, help="the study table (Parquet)")
    for name in ("variant", "dataset", "configuration"):
        parser.add_argument(f"--{name}", required=True, help="as in the paths of run logs")
    parser.add_argument("--layout", default="report", help="`figures` of config.yaml")
    parser.add_argument("--pdf", required=True, type=Path)
    parser.add_argument("--png", required=True, type=Path)
    arguments = parser.parse_args()
    try:
        rows = read_configuration(
            arguments.runs, arguments.variant, arguments.dataset, arguments.configuration
        )
    except ValueError as error:
        print(f"plot_flow_over_training: {error}", file=sys.stderr)
        return 1
    name = f"{arguments.dataset}, {arguments.configuration}"
    save_figure(figure_of_flow(rows, name, arguments.layout), arguments.pdf, arguments.png)
    return 0


if __name__ == "__main__":
    sys.exit(main())
