"""Make the table of which conclusions change with a choice that the paper leaves open, from study tables.

The CSV holds every conclusion under every alternative; HTML and LaTeX show how many change, and
which.
"""

from gradflow.analysis.artifact_command import Request, table_command
from gradflow.analysis.sensitivity import sensitivity_cells, sensitivity_page


def make(request: Request):
    """Conclude under every alternative."""
    runs = request.runs_of_all_variants()
    cells = sensitivity_cells(runs, request.artifact, request.definition.get("variants"))
    return cells, sensitivity_page(cells, runs, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
