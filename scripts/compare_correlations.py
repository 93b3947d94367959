"""Set every published correlation (Table 1 of the paper) beside ours and beside its nulls.

A correlation without runs keeps its row, with ours empty.
"""

import argparse
from pathlib import Path

from gradflow.comparison import read_runs
from gradflow.nulls import correlation_comparison_page, correlation_rows
from gradflow.published import load_correlations
from gradflow.runs import Artifact
from gradflow.tables import write_csv, write_html, write_latex

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--artifact", required=True, help="the artifact's entry in the config, resolved, as JSON")
parser.add_argument("--runs", required=True, nargs="+", type=Path, help="study tables (Parquet)")
parser.add_argument(
    "--published",
    type=Path,
    default=Path(__file__).resolve().parents[1] / "workflow" / "published",
    help="the folder of the published numbers",
)
parser.add_argument("--csv", required=True, type=Path)
parser.add_argument("--html", required=True, type=Path)
parser.add_argument("--tex", required=True, type=Path)


def main() -> None:
    """Read, compare, write."""
    arguments = parser.parse_args()
    artifact = Artifact.from_json(arguments.artifact)
    try:
        runs = read_runs(arguments.runs, artifact)
        rows = correlation_rows(load_correlations(arguments.published), runs, artifact)
    except ValueError as error:
        raise SystemExit(f"compare_correlations: {error}") from None
    page = correlation_comparison_page(rows, runs, artifact)
    write_csv(arguments.csv, rows)
    write_html(arguments.html, page)
    write_latex(arguments.tex, page)


if __name__ == "__main__":
    main()
