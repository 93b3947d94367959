"""Draw accuracy and gradient flow by density (Figures 4, 5 and 24 of the paper).

A panel an optimizer and a line a configuration of the Wide ResNet, a part for each measure, as PDF
and PNG.
"""

from gradflow.analysis.artifact_command import Request, figure_command
from gradflow.analysis.figures import figure_by_density


def make(request: Request):
    """Draw."""
    return figure_by_density(request.runs(), request.artifact)


if __name__ == "__main__":
    figure_command(__doc__, make)
