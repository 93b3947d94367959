"""Draw the activation functions and their derivatives (Figure 14 of the paper), as PDF and PNG.

The learning ones (PReLU, SReLU) are drawn at their initial parameters. No run is needed.
"""

import argparse
from pathlib import Path

from gradflow.activations import ACTIVATION_FUNCTIONS
from gradflow.figures import figure_of_activations, save_figure
from gradflow.runs import Artifact

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--artifact", required=True, help="the artifact's entry in the config, resolved, as JSON")
parser.add_argument("--runs", nargs="*", help="no run tables: the functions are the library's")
parser.add_argument("--pdf", required=True, type=Path)
parser.add_argument("--png", required=True, type=Path)


def main() -> None:
    """Draw, write."""
    arguments = parser.parse_args()
    artifact = Artifact.from_json(arguments.artifact)
    save_figure(figure_of_activations(ACTIVATION_FUNCTIONS, artifact.title), arguments.pdf, arguments.png)


if __name__ == "__main__":
    main()
