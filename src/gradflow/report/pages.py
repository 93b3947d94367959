"""The report's own pages as HTML: the scorecard, and the configuration and provenance of the runs.

Their templates are in templates/; each page stands alone, and the report holds the scorecard
as its first page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from gradflow.analysis.levels import levels_sentence
from gradflow.analysis.runs import about
from gradflow.files import replacing
from gradflow.paper.verdict_rules import FAR, NEAR
from gradflow.paper.wording import COLOURS, MARKS
from gradflow.report.provenance import read_study
from gradflow.report.scaling import WHOLE_STUDY
from gradflow.report.scorecard import CLAIM, SCALED, STUDY, TABLE, title_of
from gradflow.text import duration
from gradflow.training.run_log import LIBRARIES


def write_scorecard(path: Path, rows: pd.DataFrame, scale: str, runs: int) -> None:
    """Write the scorecard's page.

    Args:
        path: of the page.
        rows: as `scorecard.scorecard_rows` gives them.
        scale: whose it is.
        runs: distinct finished ones, to tell whether studies share some.
    """
    parts = {part: _records(rows[rows["part"] == part]) for part in (CLAIM, TABLE, STUDY, SCALED)}
    for row in parts[TABLE]:
        row["label"] = title_of(row["name"])
    finished, planned = (
        sum(row[column] for row in parts[STUDY]) for column in ("finished", "planned")
    )
    counts = {
        verdict: count
        for verdict in COLOURS
        if (count := sum(row["verdict"] == verdict for row in parts[CLAIM]))
    }
    _write(
        path, "scorecard.html", scale=scale, finished=f"{finished:,}", planned=f"{planned:,}", shared=runs < finished,
        counts=counts, claims=parts[CLAIM], tables=parts[TABLE], studies=parts[STUDY], scaled=_grouped(parts[SCALED]),
        verdict_cell=_verdict_cell, near=f"{100 * NEAR:g}", far=f"{100 * FAR:g}", levels=levels_sentence(),
    )  # fmt: skip


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
    _write(
        path, "provenance.html", scale=folder.name, studies=rows, config=text, versions=versions,
        versions_differ=len(versions) > 1,
    )  # fmt: skip


def _write(path: Path, template: str, **values: Any) -> None:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gradflow.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    with replacing(path) as aside:
        aside.write_text(environment.get_template(template).render(**values), encoding="utf-8")


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(key): None if pd.isna(value) else value for key, value in row.items()}
        for row in rows.to_dict("records")
    ]


def _grouped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Studies that differ in the same way as one row; the properties in their first order."""
    order = list(dict.fromkeys(row["measure"] for row in rows))
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in sorted(rows, key=lambda row: order.index(row["measure"])):
        whole = row["measure"] == WHOLE_STUDY
        key = (row["measure"], row["ours"], "" if whole else row["theirs"])
        found.setdefault(key, []).append(
            f"{row['name']} ({row['theirs']})" if whole else row["name"]
        )
    return [
        {"measure": what, "ours": here, "theirs": full, "name": ", ".join(names)}
        for (what, here, full), names in found.items()
    ]


def _verdict_cell(row: dict[str, Any]) -> Markup:
    """Word, mark and colour, so that no reader needs the colour."""
    verdict = row["verdict"]
    decided = " decided" if verdict in ("reproduced", "contradicted") else ""
    return Markup('<td class="verdict{}" style="background-color: {}">{} {}</td>').format(
        decided, COLOURS[verdict], MARKS["html"][verdict], row["said"]
    )


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
