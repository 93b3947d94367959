"""From a table or figure, or one of its cells, to the runs behind it: their logs, specifications,
devices and seconds.

The provenance tables that collecting leaves beside the study tables tell it, whether the logs still
exist or not.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradflow.analysis.collect import run_row
from gradflow.study import labels
from gradflow.study.config import ArtifactEntry, Config
from gradflow.study.kinds import KINDS
from gradflow.study.plan import Plan
from gradflow.text import nearest
from gradflow.training.run_log import PROVENANCE_SCHEMA, RUN_COLUMNS

# What a run can be chosen by, beside the columns of the provenance table.
CHOICES = (*RUN_COLUMNS, "study", "stands_for", "model", "hidden_layers", "learning_rate",
           "optimizer",
           "regularization", "activation", "device", "device_type")  # fmt: skip


class ProvenanceError(ValueError):
    """There is no such table, figure, cell or study; the message is one sentence."""


@dataclass(frozen=True)
class Source:
    """A run behind an artifact: a row of `runlog.PROVENANCE_SCHEMA`, empty where nothing tells."""

    row: dict[str, Any]

    @property
    def spec(self) -> dict[str, Any]:
        """The run's specification."""
        return json.loads(self.row["spec"])

    def value(self, column: str) -> Any:
        """What a column of run tables, one of `CHOICES`, has for this run."""
        if column in self.row:
            return self.row[column]
        configuration = self.spec["configuration"]
        return configuration["depth"] if column == "hidden_layers" else configuration[column]


@dataclass(frozen=True)
class Provenance:
    """What is behind an artifact or some of its cells."""

    path: Path
    artifact: ArtifactEntry
    sources: list[Source]  # each run once, though studies share it
    planned: int | None  # runs of the studies' plans that match; None without any study table
    missing: list[str]  # what could not be told, a sentence each
    ignored: list[str]  # columns of the table that tell no runs apart

    @property
    def results(self) -> Path:
        """The folder below which logs lie."""
        return self.path.parents[2]


def find_provenance(config: Config, path: Path, where: dict[str, str]) -> Provenance:
    """Find the runs behind a table or figure.

    Args:
        config: where the artifact is defined.
        path: of the table or figure, below its scale's folder: `results/quick/tables/table4.csv`.
        where: columns of run tables with the value, as a name or as tables print it, that a cell
            stands for.

    Raises:
        ProvenanceError: there is no such file, artifact, column or value.
    """
    name = path.stem
    if path.parent.name not in ("tables", "figures") or len(path.parents) < 3:
        raise ProvenanceError(
            f"{path}: not a table or figure; take a file such as results/quick/tables/table4.csv"
        )
    if name not in config.artifacts:
        raise ProvenanceError(
            f"{path}: there is no artifact {name}{nearest(name, config.artifacts)}"
        )
    if not path.exists():
        near = nearest(path.name, (other.name for other in path.parent.glob("*.*")))
        raise ProvenanceError(
            f"{path}: the file does not exist{near or f'; make it with: snakemake {path}'}"
        )
    artifact, folder = config.artifacts[name], path.parents[1]
    scale = config.scales.get(folder.name)
    missing: list[str] = []
    rows: dict[str, Source] = {}
    plans: list[Plan] = []
    for study in artifact.studies:
        plan, found, sentence = read_study(folder, study)
        if plan is not None:
            plans.append(plan)
            for row in found:
                rows.setdefault(row["log"], Source(row))
        if sentence and (scale is None or study in scale.studies):
            missing.append(sentence)
    ignored = sorted(set(where) & _columns(path) - set(CHOICES))
    cell = {column: value for column, value in where.items() if column not in ignored}
    for column in cell:
        if column not in CHOICES:
            raise ProvenanceError(
                f"--where {column}: runs have no such column{nearest(column, CHOICES)}"
            )
    sources = [source for source in rows.values() if _in_artifact(source, artifact)]
    planned = [source for source in _planned(plans) if _in_artifact(source, artifact)]
    for column, value in cell.items():
        valid = sorted({str(source.value(column)) for source in [*sources, *planned]})
        sources = [source for source in sources if matches(column, source.value(column), value)]
        planned = [source for source in planned if matches(column, source.value(column), value)]
        if valid and not sources and not planned:
            raise ProvenanceError(
                f"--where {column}={value}: {path.name} has no such runs{nearest(value, valid)}"
            )
    return Provenance(path, artifact, sources, len(planned) if plans else None, missing, ignored)


def read_study(folder: Path, study: str) -> tuple[Plan | None, list[dict[str, Any]], str]:
    """The plan of a study's tables, a row per run, and what is missing as a sentence.

    Args:
        folder: of the scale.
        study: its name.
    """
    provenance, table = (
        folder / "provenance" / f"{study}.parquet",
        folder / "studies" / f"{study}.parquet",
    )
    again = f"make it with: snakemake {provenance}"
    path = provenance if provenance.exists() else table
    if not path.exists():
        return None, [], f"There is no table of study {study}: {table} does not exist."
    try:
        found = pq.read_table(
            path, columns=None if path == provenance else list(RUN_COLUMNS), partitioning=None
        )
        plan = Plan.from_json(pq.read_schema(path).metadata[b"plan"].decode())
        if path == provenance:
            return plan, found.cast(PROVENANCE_SCHEMA).to_pylist(), ""
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return None, [], f"{path} is damaged or of another version; remove it, and {again}"
    there = {tuple(row.values()) for row in found.to_pylist()}
    rows = [
        row for row in planned_rows(plan) if tuple(row[column] for column in RUN_COLUMNS) in there
    ]
    return plan, rows, f"Study {study} has no table of devices, versions and seconds; {again}"


def planned_rows(plan: Plan) -> Iterable[dict[str, Any]]:
    """What a study's plan alone says of its runs: their identity, log and specification."""
    empty = dict.fromkeys(PROVENANCE_SCHEMA.names)
    for job, run in plan.runs():
        yield empty | run_row(plan, job, run)


def _planned(plans: list[Plan]) -> list[Source]:
    return list({row["log"]: Source(row) for plan in plans for row in planned_rows(plan)}.values())


def _in_artifact(source: Source, artifact: ArtifactEntry) -> bool:
    """Whether an artifact is drawn from a run: as `runs.select` and the scripts choose."""
    kind = KINDS[artifact.kind]
    if kind.runs != "every variant" and source.value("variant") != artifact.variant:
        return False
    if kind.chooses_architectures and source.value("architecture") not in artifact.architectures:
        return False
    return all(
        source.value(column) in (wanted if isinstance(wanted, list) else [wanted])
        for column, wanted in artifact.where.items()
    )


def matches(column: str, found: Any, wanted: str) -> bool:
    """Whether a run's value is the one that a person wrote, as a name, a number or as tables print
    it.
    """
    if isinstance(found, int | float):
        try:
            return float(wanted) == found
        except ValueError:
            return False
    if found is None:
        return False
    shown = labels.label("dataset" if column == "stands_for" else column, found)
    return _plain(wanted) in (_plain(found), _plain(shown))


def _plain(text: str) -> str:
    return " ".join(text.replace("_", " ").lower().split())


def _columns(path: Path) -> set[str]:
    """The columns of a table's CSV."""
    try:
        with open(path.with_suffix(".csv"), newline="", encoding="utf-8") as file:
            return set(next(csv.reader(file), []))
    except OSError:
        return set()
