"""Make a table of Wilcoxon signed-rank tests (Tables 3 to 6 of the paper) from study tables.

One cell compares the sparse with the dense runs of an optimizer and a regularization or activation.
The CSV holds every statistic of every cell; HTML and LaTeX show the p-values as the paper does, and
the paper's own in small print.
"""

from gradflow.analysis.artifact_command import PUBLISHED, Request, table_command
from gradflow.analysis.tables import significance_cells, significance_page
from gradflow.paper.published import load_p_values, with_published


def make(request: Request):
    """Test every cell."""
    runs = request.runs()
    cells = significance_cells(runs, request.artifact)
    cells = with_published(cells, load_p_values(PUBLISHED), request.artifact)
    return cells, significance_page(cells, runs, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
