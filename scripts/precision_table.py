"""Make the table of what the arithmetic changes, from study tables.

The CSV holds a row per configuration and precision, with every statistic.
"""

from gradflow.analysis.artifact_command import Request, table_command
from gradflow.analysis.precision_table import precision_cells, precision_page


def make(request: Request):
    """Compare in every precision."""
    runs = request.runs_of_all_variants()
    cells = precision_cells(runs, request.artifact, request.definition["variants"])
    return cells, precision_page(cells, runs, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
