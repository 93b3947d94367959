"""Make the table of mean test accuracies (the paper's appendix E) from study tables.

One cell is the mean and standard deviation over the dense widths and seeds of an optimizer, a
regularization and an architecture. The CSV holds every one in a row of its own.
"""

from gradflow.analysis.artifact_command import Request, table_command
from gradflow.analysis.grid_and_means import mean_cells, mean_page


def make(request: Request):
    """Average every cell."""
    runs = request.runs()
    cells = mean_cells(runs, request.artifact)
    return cells, mean_page(cells, runs, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
