"""Set every distinct published p-value (Tables 3 to 6 of the paper) beside ours.

The CSV holds every statistic of every cell; a cell without runs keeps its row, with ours empty.
"""

from gradflow.analysis.artifact_command import PUBLISHED, Request, table_command
from gradflow.paper.comparison import p_value_page, p_value_rows, read_runs
from gradflow.paper.published import distinct_p_values, load_p_values


def make(request: Request):
    """Compare cell by cell."""
    runs = read_runs(request.paths, request.artifact)
    rows = p_value_rows(distinct_p_values(load_p_values(PUBLISHED)), runs, request.artifact)
    return rows, p_value_page(rows, runs, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
