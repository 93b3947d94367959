"""Make a table of Wilcoxon signed-rank tests (Tables 3 to 6 of the paper) from study tables.

One cell compares the sparse with the dense runs of an optimizer and a regularization or activation. The CSV holds
every statistic of every cell; HTML and LaTeX show the p-values as the paper does.
"""

from gradflow.artifact_command import Request, table_command
from gradflow.tables import significance_cells, significance_page


def make(request: Request):
    """Test every cell."""
    runs = request.runs()
    cells = significance_cells(runs, request.artifact)
    return cells, significance_page(cells, runs, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
