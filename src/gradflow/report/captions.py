"""What the report says of each artifact: its title, how many runs, of how many epochs, on which
data and device.

Asked while Snakemake writes the report, so that no caption is an input of anything: a new wording
redraws nothing. pandas is imported then and not before, because Snakemake imports this module at
every start.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gradflow.study.grid import Grid
from gradflow.study.kinds import KINDS

if TYPE_CHECKING:
    import pandas as pd

    from gradflow.analysis.runs import Artifact

# Snakemake sorts categories and labels as text, hence the numbers; the first of two ways to show a
# result is chosen.
PAGE, DATA = "page", "table as CSV"
IMAGE, PRINT = "image", "pdf"
SCORECARD = "1 Scorecard"
PAPER_TABLES = "2 Tables of the paper"
PAPER_FIGURES = "3 Figures of the paper"
PUBLISHED = "4 Published numbers and claims"
OPEN = "5 What the paper leaves open"
RUNS = "6 Configuration and provenance"
TRAINING = "7 Gradient flow over training"


def category(kind: str) -> str:
    """Where an artifact of a kind stands in the report."""
    one = KINDS[kind]
    if one.part == "paper":
        return PAPER_TABLES if one.shape == "table" else PAPER_FIGURES
    return PUBLISHED if one.part == "comparison" else OPEN


def label(name: str) -> str:
    """An artifact's name as the report lists it: `Table 03a`, so that it stands before `Table
    10`.
    """
    numbered = re.fullmatch(r"(table|figure)(\d+)([a-z]*)", name)
    if numbered:
        return f"{numbered[1].capitalize()} {int(numbered[2]):02d}{numbered[3]}"
    return "Table of means" if name == "means" else name.replace("_", " ").capitalize()


def caption(grid: Grid, scale: str, folder: Path, name: str) -> str:
    """An artifact's caption as reStructuredText.

    Args:
        grid: of the configuration that its runs were planned with.
        scale: of the grid.
        folder: with `studies` and `provenance`: results/SCALE, or results/reference.
        name: the artifact's.
    """
    from gradflow.analysis.runs import Artifact, extent

    artifact = Artifact.from_json(grid.artifact_json(scale, name))
    kind = grid.config.artifacts[name].kind
    paragraphs = [f"**{escape(artifact.title)}**"]
    if KINDS[kind].runs == "none":
        paragraphs.append("Made without runs: there is no n, no epoch and no device to state.")
    else:
        runs = finished_runs(_studies(folder, tuple(artifact.studies)), artifact, kind)
        paragraphs += [
            escape(extent(runs, artifact)),
            escape(_planned(artifact)),
            escape(trained_on(folder, runs)),
        ]
    return "\n\n".join(filter(None, paragraphs))


def finished_runs(rows: pd.DataFrame, artifact: Artifact, kind: str) -> pd.DataFrame:
    """The finished ones of an artifact's planned runs, a row each.

    Args:
        rows: study tables.
        artifact: whose `planned_runs` count the same.
        kind: of the artifact.
    """
    from gradflow.analysis.runs import RUN_KEY, select

    if KINDS[kind].runs == "every variant":
        chosen = rows[rows["study"].isin(artifact.studies)]
    else:
        chosen = select(rows, artifact)
    return chosen[chosen["architecture"].isin(artifact.architectures)].drop_duplicates(RUN_KEY)


def escape(text: str) -> str:
    """Plain text as reStructuredText."""
    return re.sub(r"([\\*`|_<>])", r"\\\1", text)


def _planned(artifact: Artifact) -> str:
    seeds = ", ".join(map(str, artifact.seeds))
    many = "seeds" if len(artifact.seeds) > 1 else "seed"
    return (
        f"Planned: {len(artifact.seeds)} {many} ({seeds}), {len(artifact.percents)} dense widths "
        "or densities."
    )


def trained_on(folder: Path, runs: pd.DataFrame) -> str:
    """Where the runs were trained, by their logs' own word."""
    from gradflow.training.run_log import RUN_COLUMNS

    if runs.empty:
        return ""
    sources = _provenance(folder, tuple(sorted(set(runs["study"]))))
    key = list(RUN_COLUMNS)
    found = runs[key].merge(sources.drop_duplicates(key), on=key, how="left")
    counts = found["device"].fillna("a device that is not recorded").value_counts()
    return (
        "Trained on "
        + "; ".join(f"{device} ({count:,} runs)" for device, count in counts.items())
        + "."
    )


@cache
def _studies(folder: Path, studies: tuple[str, ...]) -> pd.DataFrame:
    from gradflow.analysis.runs import read_rows

    paths = [folder / "studies" / f"{study}.parquet" for study in studies]
    return read_rows(path for path in paths if path.exists())


@cache
def _provenance(folder: Path, studies: tuple[str, ...]) -> pd.DataFrame:
    """The provenance tables of some studies in one."""
    import pandas as pd

    from gradflow.training.run_log import PROVENANCE_SCHEMA

    paths = [folder / "provenance" / f"{study}.parquet" for study in studies]
    tables = [pd.read_parquet(path) for path in paths if path.exists()]
    return pd.concat(tables) if tables else PROVENANCE_SCHEMA.empty_table().to_pandas()
