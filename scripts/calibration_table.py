"""Make the table of which initialisation fits the published means and spreads best, from study tables.

The CSV holds every initialisation, optimizer and architecture; HTML and LaTeX show a row an
initialisation.
"""

from gradflow.analysis.artifact_command import PUBLISHED, Request, table_command
from gradflow.paper.calibration import calibration_cells, calibration_page
from gradflow.paper.published import load_means


def make(request: Request):
    """Score every initialisation."""
    runs = request.runs_of_all_variants()
    cells = calibration_cells(
        runs, request.artifact, load_means(PUBLISHED), request.definition.get("variants")
    )
    return cells, calibration_page(cells, runs, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
