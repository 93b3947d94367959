"""What a study's collection keeps for the next one: a new log does not read all the others again.

Hard links to the two tables that were made, and beside them each log's size and times when it was
read. A log whose size and times are those still stands in the table as it was read; any other one,
a copied or touched one too, is read and checked again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradflow.files import replacing
from gradflow.training import run_log
from gradflow.training.run_log import SCHEMA

Stamp = list[int]  # size, time of content and time of change in ns


@dataclass(frozen=True)
class Source:
    """A log of a collected study."""

    log: str  # path below the results folder
    stamp: Stamp
    rows: int


def stamp_of(path: Path) -> Stamp | None:
    """A log's size and times; None where there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns]


class Collected:
    """The last collection of a study; empty where there was none, or another version made it.

    Args:
        folder: in which it was kept.
        study: the study's name.
    """

    def __init__(self, folder: Path, study: str):
        self._places: dict[str, tuple[Stamp, int, int]] = {}  # stamp, first row, source's place
        self._sources: list[dict[str, Any]] = []
        with suppress(OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            said = json.loads((folder / f"{study}.json").read_text())
            if said["made_by"] != _version():
                return
            table = _read(folder / f"{study}.table", said["table"])
            sources = _read(folder / f"{study}.provenance", said["provenance"]).to_pylist()
            counts = [int(rows) for _, _, rows in said["logs"]]
            if (len(sources), table.num_rows) != (len(counts), sum(counts)):
                return
            first = 0
            for place, (log, stamp, rows) in enumerate(said["logs"]):
                self._places[log] = (stamp, first, place)
                first += rows
            self._counts = counts
            self._table = table.select(SCHEMA.names).cast(SCHEMA)
            self._sources = sources

    def find(
        self, log: str, stamp: Stamp | None, spec: str
    ) -> tuple[pa.Table, dict[str, Any]] | None:
        """A log's rows and its row of provenance; None where it has to be read.

        Args:
            log: its path below the results folder.
            stamp: what it is known by now.
            spec: that it should have been written for.
        """
        known = self._places.get(log)
        if not self._sources or stamp is None or known is None or known[0] != stamp:
            return None
        _, first, place = known
        source = self._sources[place]
        if source["log"] != log or source["spec"] != spec:
            return None
        return self._table.slice(first, self._counts[place]), source


def keep_collected(
    folder: Path, study: str, table: Path, provenance: Path, sources: Sequence[Source]
) -> None:
    """Keep a collection for the next one; a file system without hard links does without.

    Args:
        folder: to keep it in.
        study: the study's name.
        table: that was made.
        provenance: likewise.
        sources: the logs in the order of both tables.
    """
    logs = [[source.log, source.stamp, source.rows] for source in sources]
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        # without this the tables mean nothing: it goes first and comes last
        (folder / f"{study}.json").unlink(missing_ok=True)
        digests = {}
        for name, path in (("table", table), ("provenance", provenance)):
            kept = folder / f"{study}.{name}"
            kept.unlink(missing_ok=True)
            os.link(path, kept)
            digests[name] = _digest(kept.read_bytes())
        with replacing(folder / f"{study}.json") as aside:
            aside.write_text(json.dumps({"made_by": _version(), **digests, "logs": logs}))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path, digest: str) -> pa.Table:
    """Read a table that is still what was kept.

    The file is the study's own, so that damage to one is damage to both.
    """
    content = path.read_bytes()
    if _digest(content) != digest:
        raise ValueError(f"{path} is damaged")
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        return file.read().replace_schema_metadata(None)


@cache
def _version() -> str:
    """Of the code that reads logs."""
    code = Path(__file__).read_bytes() + Path(str(run_log.__file__)).read_bytes()
    return hashlib.sha256(code).hexdigest()
