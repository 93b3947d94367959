"""Draw accuracy and gradient flow by dense width, dense against sparse (Figures 15 to 23 of the paper).

A grid of optimizers and regularizations or activations, a part for each measure, as PDF and PNG.
"""

from gradflow.analysis.artifact_command import Request, figure_command
from gradflow.analysis.figures_by_width import figure_by_width


def make(request: Request):
    """Draw."""
    return figure_by_width(request.runs(), request.artifact)


if __name__ == "__main__":
    figure_command(__doc__, make)
