"""One table a study from its run logs, each checked against the specification it should have been written for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gradflow.files import replacing
from gradflow.grid import Plan
from gradflow.runlog import SCHEMA, STUDY_SCHEMA, RunLogError, read_log


def collect_runs(plan: Plan, results: Path, output: Path, partial: bool) -> list[str]:
    """Concatenate the logs of a study.

    Args:
        plan: the study at its scale.
        results: the results folder.
        output: the table to write; its metadata holds the plan and the number of runs.
        partial: leave out runs whose logs are missing or wrong.

    Returns:
        What is wrong with the runs left out, a sentence each.

    Raises:
        RunLogError: a log is missing or wrong, and `partial` is not set.
    """
    wrong: list[str] = []
    tables = list(_tables(plan, results, wrong))
    if wrong and not partial:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise RunLogError(f"{wrong[0]}{more}")
    metadata = {"plan": plan.to_json(), "runs": str(len(tables)), "planned_runs": str(len(tables) + len(wrong))}
    table = pa.concat_tables([SCHEMA.empty_table(), *tables])
    for name, value in (("stands_for", plan.stands_for), ("study", plan.study)):
        table = table.add_column(0, name, pa.repeat(value, table.num_rows))
    table = table.combine_chunks().cast(STUDY_SCHEMA).replace_schema_metadata(metadata)
    with replacing(output) as aside:
        pq.write_table(table, aside, compression="zstd")
    return wrong


def _tables(plan: Plan, results: Path, wrong: list[str]) -> Iterator[pa.Table]:
    for job, run in plan.runs():
        try:
            yield read_log(results / job.log_path(run), job.only(run).to_json()).replace_schema_metadata(None)
        except RunLogError as error:
            wrong.append(str(error))
