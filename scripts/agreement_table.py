"""Say how far our p-values agree with the published ones, by table and as a whole.

Beside the agreement stand its base rate, Cohen's kappa, and the ceiling that a bootstrap of our own
pairs reaches.
"""

from gradflow.analysis.artifact_command import PUBLISHED, Request, table_command
from gradflow.paper.agreement import agreement_page, agreement_rows
from gradflow.paper.comparison import read_runs
from gradflow.paper.published import distinct_p_values, load_p_values


def make(request: Request):
    """Count the agreement table by table."""
    runs = read_runs(request.paths, request.artifact)
    rows = agreement_rows(distinct_p_values(load_p_values(PUBLISHED)), runs)
    return rows, agreement_page(rows, runs, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
