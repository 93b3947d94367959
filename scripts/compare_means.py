"""Set every published mean test accuracy (the paper's earlier version) beside ours.

A mean without runs keeps its row, with ours empty.
"""

from gradflow.analysis.artifact_command import PUBLISHED, Request, table_command
from gradflow.paper.comparison import mean_page, mean_rows, read_runs
from gradflow.paper.published import load_means


def make(request: Request):
    """Compare mean by mean."""
    runs = read_runs(request.paths, request.artifact)
    rows = mean_rows(load_means(PUBLISHED), runs, request.artifact)
    return rows, mean_page(rows, runs, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
