"""Make a table of mean absolute Kendall correlations (Table 1 of the paper) from study tables.

One cell relates a measure of gradient flow to the final test loss or accuracy of the dense or the
sparse runs of a data set. The CSV holds every statistic of every cell; HTML and LaTeX show the
correlations as the paper does.
"""

from gradflow.analysis.artifact_command import Request, table_command
from gradflow.analysis.tables import correlation_cells, correlation_page


def make(request: Request):
    """Correlate each measure with each target."""
    runs = request.runs()
    cells = correlation_cells(runs, request.artifact)
    return cells, correlation_page(cells, runs, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
