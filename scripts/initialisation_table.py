"""Make the table of whether the initialisation decides which twin is better, from study tables.

The CSV holds a row per configuration and initialisation, with every statistic.
"""

from gradflow.analysis.artifact_command import Request, table_command
from gradflow.analysis.initialisation_table import initialisation_cells, initialisation_page


def make(request: Request):
    """Test under every initialisation."""
    runs = request.runs_of_all_variants()
    cells = initialisation_cells(runs, request.artifact, request.definition["variants"])
    return cells, initialisation_page(cells, runs, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
