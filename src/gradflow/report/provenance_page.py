"""The page of a scale's configuration, and of where its runs come from."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from gradflow.analysis.runs import about
from gradflow.pages import write_page
from gradflow.report.provenance import read_study
from gradflow.text import duration
from gradflow.training.run_log import LIBRARIES


def write_provenance(path: Path, folder: Path, studies: Sequence[str], config: str) -> None:
    """Write the page of a scale's configuration and runs.

    Args:
        path: of the page.
        folder: of the scale, with `provenance` or `studies`.
        studies: that it has.
        config: that they follow, as JSON (`scaling.config_json`).
    """
    rows = [_study(folder, study) for study in studies]
    versions: dict[str, list[str]] = {}
    for row in rows:
        if row.get("versions"):
            versions.setdefault(row["versions"], []).append(row["study"])
    text = yaml.safe_dump(json.loads(config), sort_keys=False, default_flow_style=None, width=100)
    write_page(
        path, "gradflow.report", "provenance.html", scale=folder.name, studies=rows, config=text,
        versions=versions,
        versions_differ=len(versions) > 1,
    )  # fmt: skip


def _study(folder: Path, study: str) -> dict[str, Any]:
    """What is known of a study's runs, as text."""
    plan, sources, missing = read_study(folder, study)
    if plan is None:
        return {"study": study, "missing": missing}
    rows = pd.DataFrame(sources)
    planned = sum(1 for _ in plan.runs())
    facts = {
        "study": study,
        "missing": missing,
        "data": about(pd.DataFrame({"dataset": [plan.configurations[0].dataset]}), plan.stands_for),
        "runs": f"{len(rows):,} of {planned:,}",
        "epochs": f"{plan.epochs:,}",
        "seeds": ", ".join(map(str, plan.seeds)),
        "variants": ", ".join(name for name, _ in plan.variants),
        "devices": "", "versions": "", "seconds": "",
    }  # fmt: skip
    if len(rows) and not missing:
        jobs = rows.assign(job=rows["log"].str.rpartition("/")[0]).drop_duplicates(
            ["job", "seconds"]
        )
        seconds = float(jobs["seconds"].sum())
        versions = ["engine " + _distinct(rows["engine_version"])] + [
            f"{library} {_distinct(rows[f'{library}_version'])}" for library in LIBRARIES
        ]
        facts |= {
            "devices": _distinct(rows["device"]),
            "versions": ", ".join(versions),
            "seconds": "" if math.isnan(seconds) else duration(seconds),
        }
    return facts


def _distinct(values: pd.Series[Any]) -> str:
    return " or ".join(str(value) for value in values.dropna().unique()) or "not known"
