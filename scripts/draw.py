"""Draw one table or figure from study tables.

The maker is a function of the library, as `gradflow.study.kinds` names it for each kind:
`gradflow.analysis.tables:correlation_table`. A table is written as CSV, with every statistic, and
as HTML and LaTeX in the paper's arrangement; a figure as PDF and PNG.
"""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact, StudyTableError

# not imported by name: a table needs no matplotlib, and its rule none of the figures' modules
TABLES, FIGURES = "gradflow.analysis.tables", "gradflow.analysis.figures"


def main() -> int:
    """Draw; 1 and one sentence when an input is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("maker", metavar="MODULE:FUNCTION")
    parser.add_argument(
        "--artifact", required=True, help="its entry in the config, resolved (JSON)"
    )
    parser.add_argument("--runs", nargs="*", default=[], type=Path, help="study tables (Parquet)")
    parser.add_argument(
        "--origins", nargs="*", default=[], type=Path, help="their provenance tables, for a table"
    )
    parser.add_argument(
        "--every-variant", action="store_true", help="its kind takes runs of all variants"
    )
    parser.add_argument(
        "--files",
        nargs="+",
        required=True,
        type=Path,
        help="to write: CSV, HTML, LaTeX; or PDF, PNG",
    )
    arguments = parser.parse_args()
    artifact = Artifact.from_json(arguments.artifact)
    definition = json.loads(arguments.artifact)
    request = Request(
        artifact, definition, arguments.runs, arguments.origins, arguments.every_variant
    )
    module, _, function = arguments.maker.partition(":")
    try:
        made = getattr(import_module(module), function)(request)
    except StudyTableError as error:
        print(
            f"{function}: {error}; run the same command again, which collects it anew",
            file=sys.stderr,
        )
        return 1
    except ValueError as error:
        print(f"{function}: {error}", file=sys.stderr)
        return 1
    files = {path.suffix: path for path in arguments.files}
    if ".csv" in files:
        tables = import_module(TABLES)
        rows, page = tables.with_mixtures(request, *made) if request.origins else made
        tables.write_csv(files[".csv"], rows)
        tables.write_html(files[".html"], page)
        tables.write_latex(files[".tex"], page)
    else:
        import_module(FIGURES).save_figure(made, files[".pdf"], files[".png"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
