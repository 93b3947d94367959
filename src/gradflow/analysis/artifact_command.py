"""What the scripts of tables and figures share: their arguments, their errors as one line, their files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gradflow.analysis.runs import Artifact, StudyTableError, read_rows, select, summarise_runs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from gradflow.analysis.tables import Page

WORKFLOW = Path(__file__).resolve().parents[3] / "workflow"  # the claims, the assumptions
PUBLISHED = WORKFLOW / "published"
Made = TypeVar("Made")


@dataclass(frozen=True)
class Request:
    """What a script was asked for."""

    artifact: Artifact
    definition: dict[str, Any]  # the artifact's whole entry in the config, resolved
    paths: list[Path]  # of study tables

    def runs(self) -> pd.DataFrame:
        """One row per run of the artifact (`runs.summarise_runs`)."""
        return summarise_runs(select(read_rows(self.paths), self.artifact))

    def runs_of_all_variants(self) -> pd.DataFrame:
        """One row per run of the study tables, whatever the artifact's variant."""
        return summarise_runs(read_rows(self.paths))


def table_command(
    description: str | None, make: Callable[[Request], tuple[pd.DataFrame, Page]]
) -> None:
    """Run a table's script: `make` returns the CSV's rows and the page of HTML and LaTeX."""
    from gradflow.analysis.tables import write_csv, write_html, write_latex

    request, files = _parse(description, "csv", "html", "tex")
    rows, page = _made(request, make)
    write_csv(files["csv"], rows)
    write_html(files["html"], page)
    write_latex(files["tex"], page)


def figure_command(description: str | None, draw: Callable[[Request], Figure]) -> None:
    """Run a figure's script."""
    from gradflow.analysis.figures import save_figure

    request, files = _parse(description, "pdf", "png")
    save_figure(_made(request, draw), files["pdf"], files["png"])


def _parse(description: str | None, *endings: str) -> tuple[Request, dict[str, Path]]:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--artifact", required=True, help="the artifact's entry in the config, resolved, as JSON"
    )
    parser.add_argument(
        "--runs",
        nargs="*",
        default=[],
        type=Path,
        help="study tables (Parquet), where it needs any",
    )
    for ending in endings:
        parser.add_argument(f"--{ending}", required=True, type=Path)
    arguments = parser.parse_args()
    request = Request(
        Artifact.from_json(arguments.artifact), json.loads(arguments.artifact), arguments.runs
    )
    return request, {ending: getattr(arguments, ending) for ending in endings}


def _made(request: Request, make: Callable[[Request], Made]) -> Made:
    try:
        return make(request)
    except StudyTableError as error:
        sys.exit(
            f"{Path(sys.argv[0]).stem}: {error}; run the same command again, which collects it anew"
        )
    except ValueError as error:
        sys.exit(f"{Path(sys.argv[0]).stem}: {error}")
