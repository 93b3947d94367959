"""The scorecard as HTML: the report's first page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from gradflow.analysis.levels import levels_sentence
from gradflow.pages import write_page
from gradflow.paper.verdict_rules import FAR, NEAR
from gradflow.paper.wording import COLOURS, MARKS, brief
from gradflow.report.scaling import WHOLE_STUDY
from gradflow.report.scorecard import CLAIM, SCALED, STUDY, TABLE, title_of
from gradflow.study import labels


def write_scorecard(path: Path, rows: pd.DataFrame, scale: str, runs: int) -> None:
    """Write the scorecard's page.

    Args:
        path: of the page.
        rows: as `scorecard.scorecard_rows` gives them.
        scale: whose it is.
        runs: distinct finished ones, to tell whether studies share some.
    """
    parts = {part: records(rows[rows["part"] == part]) for part in (CLAIM, TABLE, STUDY, SCALED)}
    for row in parts[TABLE]:
        row["label"] = title_of(row["name"])
    for row in parts[STUDY]:
        row["label"] = labels.study_label(row["name"])
    finished, planned = (
        sum(row[column] for row in parts[STUDY]) for column in ("finished", "planned")
    )
    counts = {
        verdict: count
        for verdict in COLOURS
        if (count := sum(row["verdict"] == verdict for row in parts[CLAIM]))
    }
    write_page(
        path, "gradflow.report", "scorecard.html", scale=scale, finished=f"{finished:,}",
        planned=f"{planned:,}", shared=runs < finished,
        counts=counts, claims=parts[CLAIM], tables=parts[TABLE], studies=parts[STUDY],
        scaled=grouped(parts[SCALED]),
        verdict_cell=_verdict_cell, near=f"{100 * NEAR:g}", far=f"{100 * FAR:g}",
        levels=levels_sentence(),
    )  # fmt: skip


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries, None where a value is missing."""
    return [
        {str(key): None if pd.isna(value) else value for key, value in row.items()}
        for row in rows.to_dict("records")
    ]


def grouped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Studies that differ in the same way as one row; the properties in their first order."""
    order = list(dict.fromkeys(row["measure"] for row in rows))
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in sorted(rows, key=lambda row: order.index(row["measure"])):
        whole = row["measure"] == WHOLE_STUDY
        key = (row["measure"], row["ours"], "" if whole else row["theirs"])
        study = labels.study_label(row["name"])
        found.setdefault(key, []).append(f"{study} ({row['theirs']})" if whole else study)
    return [
        {"measure": what, "ours": here, "theirs": full, "name": ", ".join(names)}
        for (what, here, full), names in found.items()
    ]


def _verdict_cell(row: dict[str, Any]) -> Markup:
    """Word, mark and colour, so that no reader needs the colour."""
    verdict = row["verdict"]
    decided = " decided" if verdict in ("reproduced", "contradicted") else ""
    return Markup('<td class="verdict{}" style="background-color: {}">{} {}</td>').format(
        decided, COLOURS[verdict], MARKS["html"][verdict], brief(row["said"])
    )
