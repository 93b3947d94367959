"""Draw the activation functions and their derivatives (Figure 14 of the paper), as PDF and PNG.

The learning ones (PReLU, SReLU) are drawn at their initial parameters. No run is needed.
"""

from gradflow.activations import ACTIVATION_FUNCTIONS
from gradflow.artifact_command import Request, figure_command
from gradflow.figures import figure_of_activations


def make(request: Request):
    """Draw."""
    return figure_of_activations(ACTIVATION_FUNCTIONS, request.artifact.title)


if __name__ == "__main__":
    figure_command(__doc__, make)
