"""Set every published correlation (Table 1 of the paper) beside ours and beside its nulls.

A correlation without runs keeps its row, with ours empty.
"""

from gradflow.analysis.artifact_command import PUBLISHED, Request, table_command
from gradflow.paper.comparison import read_runs
from gradflow.paper.permutation_null import correlation_comparison_page, correlation_rows
from gradflow.paper.published import load_correlations


def make(request: Request):
    """Compare value by value."""
    runs = read_runs(request.paths, request.artifact)
    rows = correlation_rows(load_correlations(PUBLISHED), runs, request.artifact)
    return rows, correlation_comparison_page(rows, runs, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
