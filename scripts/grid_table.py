"""Make the table of network configurations (Table 2 of the paper) from the plans of its studies; no run is needed.

The CSV holds every variant with the number of its configurations; HTML and LaTeX list them as the
paper does.
"""

from gradflow.analysis.artifact_command import Request, table_command
from gradflow.analysis.grid_and_means import grid_cells, grid_page


def make(request: Request):
    """List the variants."""
    cells = grid_cells(request.artifact)
    return cells, grid_page(cells, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
