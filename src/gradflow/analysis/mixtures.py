"""Names what of a table's runs was not made alike: by several devices, versions, or kernels of one
network.

The numbers of a run hang on these in their last bits, and training carries last bits far. Which
made a run stands in the provenance tables beside the study tables (`run_log.PROVENANCE_SCHEMA`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from gradflow.analysis.request import Request
from gradflow.analysis.runs import RUN_KEY, SHARED, read_rows, select
from gradflow.training.run_log import LIBRARIES

# what all runs of a table have in common, where nothing is mixed, by the word for it
ALIKE = {
    "device": "device",
    "engine_version": "engine",
    "threads": "threads",
    **{f"{library}_version": library for library in LIBRARIES},
}
# what differs between networks by right, and is the same for one network at any seed
OF_A_NETWORK = {"step": "step", "kernels": "kernels"}
NETWORK = [column for column in RUN_KEY if column != "seed"]
# by which a row of a table tells its runs
TELLING = [*RUN_KEY, *SHARED]


def read_origins(paths: Sequence[Path]) -> pd.DataFrame:
    """What made each run, a row a run: `RUN_KEY`, and the columns of ALIKE and OF_A_NETWORK.

    Args:
        paths: of provenance tables; runs that several studies share make one row. What one that was
            kept long ago does not tell is missing.
    """
    wanted = [*RUN_KEY, *ALIKE, *OF_A_NETWORK]
    tables = [
        pq.read_table(path, partitioning=None).to_pandas().reindex(columns=wanted) for path in paths
    ]
    if not tables:
        return pd.DataFrame(columns=wanted)
    return pd.concat(tables, ignore_index=True).drop_duplicates(RUN_KEY, ignore_index=True)


def mixture(origins: pd.DataFrame) -> str:
    """What of some runs is not alike, as the end of a sentence; empty where nothing is mixed.

    Args:
        origins: rows of `read_origins`. What is not known of a run is no difference.
    """
    found = []
    for column, word in ALIKE.items():
        counts = origins[column].dropna().astype(str).value_counts(sort=False)
        if len(counts) > 1:
            values = " and ".join(f"{value} ({count:,} runs)" for value, count in counts.items())
            found.append(f"{word}: {values}")
    for column, word in OF_A_NETWORK.items():
        kinds = origins.groupby(NETWORK, dropna=False, sort=False)[column].nunique()
        if several := int((kinds > 1).sum()):
            found.append(
                f"{word}: another from seed to seed in {several:,} of {len(kinds):,} networks"
            )
    return "; ".join(found)


def mixtures(request: Request, cells: pd.DataFrame) -> tuple[str, list[str]]:
    """`mixture` of all runs of a table, and of those behind each of its rows.

    Args:
        request: what the table was made for, with its provenance tables.
        cells: the table. A row's runs are those that have its values in the columns that tables of
            runs have, too; a value that no run has tells none apart.
    """
    origins = read_origins(request.origins)
    if not mixture(origins):  # nearly always: no study table need be read for it
        return "", [""] * len(cells)
    rows = read_rows(request.paths)
    if not request.every_variant:
        rows = select(rows, request.artifact)
    runs = rows.drop_duplicates(RUN_KEY)[TELLING].merge(origins, on=RUN_KEY, how="inner")
    return mixture(runs), _of_rows(cells, runs)


def _of_rows(cells: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    known = {column: set(runs[column].dropna()) for column in TELLING if column in cells}

    def of(cell: dict[Any, Any]) -> str:
        behind = pd.Series(True, index=runs.index)
        for column, values in known.items():
            if cell[column] in values:
                behind &= runs[column] == cell[column]
        return mixture(runs[behind])

    return [of(cell) for cell in cells.to_dict("records")]
