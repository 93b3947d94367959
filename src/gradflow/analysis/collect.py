"""One table a study from its run logs, each checked against the specification it should have been
written for.

Beside it a table of the runs' provenance: devices, versions and seconds, which outlives the logs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradflow.analysis.collected import Collected, Source, keep_collected, stamp_of
from gradflow.files import checksum_path, replacing
from gradflow.study.job import Job, Run
from gradflow.study.plan import Plan, runs_digest
from gradflow.training.displaced import displace_log
from gradflow.training.run_log import (
    PROVENANCE_SCHEMA,
    SCHEMA,
    STUDY_SCHEMA,
    RunLogError,
    WrongLogError,
    read_log,
)


def collect_runs(
    plan: Plan,
    results: Path,
    output: Path,
    provenance: Path,
    partial: bool,
    kept: Path | None = None,
) -> list[str]:
    """Concatenate the logs of a study.

    Args:
        plan: the study at its scale.
        results: the results folder.
        output: the study's table (`runlog.STUDY_SCHEMA`); its metadata holds the plan and the
            number of runs.
        provenance: the table of a row per run (`runlog.PROVENANCE_SCHEMA`), with the same metadata.
        partial: leave out runs whose logs are missing or wrong.
        kept: a folder with what the last collection kept (`collected`): logs that are as they were
            are not read again. None: all are read, and nothing is kept.

    Returns:
        What is wrong with the runs left out, a sentence each.

    Raises:
        RunLogError: a log is missing or wrong, and `partial` is not set. Wrong logs are moved
            aside then, so that the same command makes them again.
    """
    wrong: list[str] = []
    sources: list[dict[str, Any]] = []
    logs: list[Source] = []
    before = Collected(kept, plan.study) if kept else None
    tables = list(_tables(plan, results, before, wrong, sources, logs, move=not partial))
    if wrong and not partial:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise RunLogError(f"{wrong[0]}{more}; run the same command again")
    metadata = {
        "plan": plan.to_json(),
        "runs": str(len(tables)),
        "planned_runs": str(len(tables) + len(wrong)),
        # by which `workflow.missing` knows whether these are the runs that are planned and there
        "runs_sha256": runs_digest(source["spec"] for source in sources),
    }
    _write(pa.Table.from_pylist(sources, schema=PROVENANCE_SCHEMA), provenance, metadata)
    table = pa.concat_tables([SCHEMA.empty_table(), *tables])
    for name, value in (("stands_for", plan.stands_for), ("study", plan.study)):
        table = table.add_column(0, name, pa.repeat(value, table.num_rows))
    digest = _write(table.combine_chunks().cast(STUDY_SCHEMA), output, metadata)
    with replacing(checksum_path(output)) as aside:
        aside.write_text(f"{digest}  {output.name}\n")
    output.with_name(f"{output.name}.sha256").unlink(missing_ok=True)  # the first version's
    if kept:
        keep_collected(kept, plan.study, output, provenance, logs)
    return wrong


def compact_table(path: Path) -> None:
    """Write a study's table in half the bytes: values of single layers in single precision, and
    packed as tightly as can be.

    Everything that tables and figures are made of keeps its value.
    """
    with pq.ParquetFile(path) as file:
        table = file.read()
    for index, column in enumerate(table.schema):
        if pa.types.is_list(column.type) and pa.types.is_floating(column.type.value_type):
            cells = table.column(index).combine_chunks()
            single = cells.values.cast(pa.float32(), safe=False).cast(column.type.value_type)
            offsets = cells.offsets.cast(pa.int32())
            lists = pa.ListArray.from_arrays(offsets, single, mask=cells.is_null())
            table = table.set_column(index, column, lists.cast(column.type))
    floats = [_leaf(column) for column in table.schema if _is_float(column.type)]
    others = [_leaf(column) for column in table.schema if not _is_float(column.type)]
    with replacing(path) as aside:
        pq.write_table(
            table,
            aside,
            compression="zstd",
            compression_level=19,
            use_dictionary=others,
            use_byte_stream_split=floats,
        )
        digest = hashlib.sha256(aside.read_bytes()).hexdigest()
    with replacing(checksum_path(path)) as aside:
        aside.write_text(f"{digest}  {path.name}\n")


def _is_float(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind.value_type if pa.types.is_list(kind) else kind)


def _leaf(column: pa.Field) -> str:
    """How Parquet calls a column's values."""
    return f"{column.name}.list.element" if pa.types.is_list(column.type) else column.name


def _write(table: pa.Table, path: Path, metadata: dict[str, str]) -> str:
    """Write a table and return its checksum."""
    with replacing(path) as aside:
        pq.write_table(table.replace_schema_metadata(metadata), aside, compression="zstd")
        return hashlib.sha256(aside.read_bytes()).hexdigest()


def _tables(
    plan: Plan,
    results: Path,
    before: Collected | None,
    wrong: list[str],
    sources: list[dict[str, Any]],
    logs: list[Source],
    move: bool,
) -> Iterator[pa.Table]:
    for job, run in plan.runs():
        log, spec = job.log_path(run), job.only(run).to_json()
        path = results / log
        stamp = stamp_of(path)  # before it is read: what changes while it is read has another one
        found = before.find(log, stamp, spec) if before else None
        if found is None:
            try:
                table = read_log(path, spec)
            except WrongLogError as error:
                wrong.append(displace_log(job, run, results) if move else str(error))
                continue
            except RunLogError as error:
                wrong.append(str(error))
                continue
            found = table.replace_schema_metadata(None), _said(table.schema.metadata)
        rows, said = found
        sources.append({**said, **run_row(plan, job, run)})
        logs.append(Source(log, stamp or [], rows.num_rows))
        yield rows


def _said(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """What a log's metadata say, in columns of `runlog.PROVENANCE_SCHEMA`."""
    said = {name.decode(): value.decode() for name, value in metadata.items()}
    return {
        **said,
        "engine_version": int(said["engine_version"]) if "engine_version" in said else None,
        "seconds": float(said["seconds"]) if "seconds" in said else None,
    }


def run_row(plan: Plan, job: Job, run: Run) -> dict[str, Any]:
    """What the plan alone says of a run, in columns of `runlog.PROVENANCE_SCHEMA`."""
    mlp = job.configuration.model == "mlp"
    return {
        "study": plan.study,
        "stands_for": plan.stands_for,
        "scale": job.scale,
        "variant": job.variant,
        "dataset": job.configuration.dataset,
        "configuration": job.configuration.name,
        "architecture": run.architecture,
        "width_percent": run.percent if mlp else None,
        "density_percent": None if mlp else run.percent,
        "seed": job.seed,
        "log": job.log_path(run),
        "spec": job.only(run).to_json(),
    }
