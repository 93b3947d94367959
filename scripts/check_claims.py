"""Check the paper's claims against study tables, and those about its own numbers against these.

The CSV holds a row per claim of workflow/claims.yaml: verdict, statistic, effect, n and
explanation. A claim whose runs are missing is inconclusive.
"""

from gradflow.analysis.artifact_command import PUBLISHED, WORKFLOW, Request, table_command
from gradflow.analysis.runs import read_rows, select
from gradflow.paper.claims.evidence import summarise_with_probes
from gradflow.paper.claims.verdicts import check_published, claim_cells, claims_page, load_claims


def make(request: Request):
    """Decide every claim."""
    runs = summarise_with_probes(select(read_rows(request.paths), request.artifact))
    cells = claim_cells(
        load_claims(WORKFLOW / "claims.yaml"), runs, request.artifact, check_published(PUBLISHED)
    )
    return cells, claims_page(cells, runs, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
