"""Give the difference between sparse and dense accuracy by dense width, for every distinct published cell.

Each undecided cell has the number of seeds that would decide it.
"""

from gradflow.analysis.artifact_command import PUBLISHED, Request, table_command
from gradflow.paper.agreement import effect_page, effect_rows
from gradflow.paper.comparison import read_runs
from gradflow.paper.published import distinct_p_values, load_p_values


def make(request: Request):
    """Give every cell's effect by width."""
    runs = read_runs(request.paths, request.artifact)
    rows = effect_rows(distinct_p_values(load_p_values(PUBLISHED)), runs, request.artifact)
    return rows, effect_page(rows, runs, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
