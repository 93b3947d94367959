"""Draw the activation functions and their derivatives (Figure 14 of the paper), as PDF and PNG.

The learning ones (PReLU, SReLU) are drawn at their initial parameters. No run is needed.
"""

from gradflow.analysis.artifact_command import Request, figure_command
from gradflow.analysis.figures import figure_of_activations
from gradflow.networks.activations import functions_at_start
from gradflow.study.job import Settings


def make(request: Request):
    """Draw."""
    functions = functions_at_start(Settings.from_plain(request.definition["settings"]))
    return figure_of_activations(functions, request.artifact.title)


if __name__ == "__main__":
    figure_command(__doc__, make)
