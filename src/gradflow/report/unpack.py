"""Run logs from what is kept in results/reference, so that another machine finds those runs
finished.

Values of single layers are in single precision there, all others as they were logged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradflow.report.reference import SOURCES, STUDIES, kept_folder
from gradflow.study.config import Config
from gradflow.study.grid import Grid
from gradflow.training.run_log import LIBRARIES, RUN_COLUMNS, SCHEMA, write_log

SAID: tuple[str, ...] = (
    "spec",
    "engine_version",
    "device",
    "device_type",
    "step",
    "kernels",
    "threads",
    "seconds",
)
SAID += tuple(f"{library}_version" for library in LIBRARIES)


@dataclass
class Unpacked:
    """How many runs' logs were written, were there already, and are of no use here."""

    written: int = 0
    there: int = 0
    other: int = 0  # of another configuration, data set or engine version


def unpack_reference(
    results: Path, scale: str, config: Config, kept: Path | None = None
) -> Unpacked:
    """Write the logs of a kept scale's runs below the results folder; a log that is there is left
    alone.

    Args:
        results: the results folder.
        scale: the scale's name.
        config: today's. A run that it specifies otherwise is not written: it would be trained again
            at once.
        kept: the results folder in which the scale is kept; by default the same.
    """
    counts = Unpacked()
    if scale not in config.scales:
        wanted = {}
    else:
        jobs = Grid(config).jobs(scale).values()
        wanted = {job.log_path(run): job.only(run).to_json() for job in jobs for run in job.runs}
    done: set[str] = set()
    for source, rows in _runs(kept_folder(kept or results, scale)):
        path = source["log"]
        if path in done:  # studies share runs
            continue
        done.add(path)
        if wanted.get(path) != source["spec"]:
            counts.other += 1
        elif (results / path).exists():
            counts.there += 1
        else:
            said = {key: str(source[key]) for key in SAID if source.get(key) is not None}
            (results / path).parent.mkdir(parents=True, exist_ok=True)
            write_log(results / path, rows, said)
            counts.written += 1
    return counts


def _runs(folder: Path) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each kept run: its row of the provenance table, and the rows of its log in their order."""
    for path in sorted((folder / STUDIES).glob("*.parquet")):
        table = pq.ParquetFile(path).read().select(SCHEMA.names)
        sources = pq.ParquetFile(folder / SOURCES / path.name).read()
        rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for batch in table.combine_chunks().to_batches(max_chunksize=5000):
            for row in pa.Table.from_batches([batch]).to_pylist():
                rows.setdefault(tuple(row[name] for name in RUN_COLUMNS), []).append(row)
        for source in sources.to_pylist():
            yield source, rows[tuple(source[name] for name in RUN_COLUMNS)]
