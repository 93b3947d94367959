"""Check the paper's claims against study tables, and those about its own numbers against these.

The CSV holds a row per claim of workflow/claims.yaml: verdict, statistic, effect, n and explanation. A claim whose
runs are missing is inconclusive.
"""

import argparse
from pathlib import Path

from gradflow.claim_evidence import summarise_with_probes
from gradflow.claims import check_published, claim_cells, claims_page, load_claims
from gradflow.runs import Artifact, read_rows, select
from gradflow.tables import write_csv, write_html, write_latex

WORKFLOW = Path(__file__).resolve().parents[1] / "workflow"

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--artifact", required=True, help="the artifact's entry in the config, resolved, as JSON")
parser.add_argument("--runs", required=True, nargs="+", type=Path, help="study tables (Parquet)")
parser.add_argument("--csv", required=True, type=Path)
parser.add_argument("--html", required=True, type=Path)
parser.add_argument("--tex", required=True, type=Path)


def main() -> None:
    """Read, check, write."""
    arguments = parser.parse_args()
    artifact = Artifact.from_json(arguments.artifact)
    try:
        runs = summarise_with_probes(select(read_rows(arguments.runs), artifact))
        claims = load_claims(WORKFLOW / "claims.yaml")
        cells = claim_cells(claims, runs, artifact, check_published(WORKFLOW / "published"))
    except ValueError as error:
        raise SystemExit(f"check_claims: {error}") from None
    page = claims_page(cells, runs, artifact)
    write_csv(arguments.csv, cells)
    write_html(arguments.html, page)
    write_latex(arguments.tex, page)


if __name__ == "__main__":
    main()
