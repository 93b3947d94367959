"""A scale's report: one page of HTML that stands alone, the verdicts first.

Its numbers are those of the files beside it: the scorecard, the claims, the tables and figures.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from PIL import Image

from gradflow.analysis.levels import levels_sentence
from gradflow.analysis.runs import RUN_KEY, Artifact, about, extent, read_rows
from gradflow.pages import write_page
from gradflow.paper.verdict_rules import FAR, NEAR
from gradflow.paper.wording import COLOURS, MARKS, brief
from gradflow.report import captions, main_table
from gradflow.report.places import Part, places
from gradflow.report.scorecard import SCALED, STUDY, TABLE, read_scorecard, read_table, title_of
from gradflow.report.scorecard_page import grouped, records
from gradflow.study import labels
from gradflow.study.kinds import KINDS

DECIDED = ("reproduced", "contradicted", "agrees", "disagrees", "true by construction")
NOT_RUN = "not run"
_PIXELS = 110  # of the page, an inch of a figure
_DOTS = 200  # of a PNG, likewise
_COLOURS = 96  # of an image on the page


@dataclass(frozen=True)
class ReportPlan:
    """What a report is made for."""

    scale: str
    artifacts: dict[str, dict[str, Any]]  # their entries, with `kind`, in the paper's order

    @classmethod
    def from_json(cls, text: str) -> ReportPlan:
        """Read what the rule passes."""
        return cls(**json.loads(text))


@dataclass
class Shown:
    """A table or figure on the page."""

    name: str
    label: str
    title: str
    is_figure: bool
    content: Markup  # a table's HTML; a figure's image as base64
    width: int = 0  # of a figure, in pixels of the page
    height: int = 0
    made_of: str = ""  # runs, epochs and data, in a sentence
    files: list[str] = field(default_factory=list)  # from the page's folder
    verdict: dict[str, Any] | None = None  # of the scorecard
    claims: list[dict[str, Any]] = field(default_factory=list)  # that are read off it

    @property
    def is_numbered(self) -> bool:
        """Whether the paper has it under a number."""
        return self.label[-1:].isdigit() or self.label[-2:-1].isdigit()

    @property
    def heading(self) -> str:
        """Its number in the paper and its title."""
        title = labels.plain_measures(self.title)
        return f"{self.label}. {title}" if self.is_numbered else title


def write_report(path: Path, plan: ReportPlan, folder: Path) -> None:
    """Write the report of what lies in a scale's folder.

    Args:
        path: of the page.
        plan: the scale and its artifacts.
        folder: with scorecard.csv, studies, provenance, tables and figures.

    Raises:
        ValueError: a file is missing or cannot be read; the message names it.
    """
    scorecard = read_scorecard(folder / "scorecard.csv")
    parts = {part: records(scorecard[scorecard["part"] == part]) for part in (TABLE, STUDY, SCALED)}
    studies = [folder / "studies" / f"{row['name']}.parquet" for row in parts[STUDY]]
    rows = read_rows(path for path in studies if path.exists())
    shown = {name: _shown(name, entry, folder, rows) for name, entry in plan.artifacts.items()}
    for row in parts[TABLE]:
        if row["name"] in shown:
            shown[row["name"]].verdict = row
    claims = _claims(plan, folder, shown)
    verdicts = [verdict for verdict in COLOURS if any(one["verdict"] == verdict for one in claims)]
    main = _main_table(plan, folder)
    write_page(
        path, "gradflow.report", "report.html", scale=plan.scale, data=_data(rows, plan),
        made_on=_made_on(folder, rows),
        finished=len(rows.drop_duplicates(RUN_KEY)),
        planned=sum(row["planned"] for row in parts[STUDY]),
        counted=sum(row["finished"] for row in parts[STUDY]),
        kinds=[(verdict,
                [one for one in claims if one["verdict"] == verdict]) for verdict in verdicts],
        claims=claims, decided=[one for one in claims if one["verdict"] in DECIDED],
        undecided=[one for one in claims if one["verdict"] not in (*DECIDED, NOT_RUN)],
        not_run=[one for one in claims if one["verdict"] == NOT_RUN],
        tables=[one for one in shown.values() if one.verdict], main=main,
        main_figure=_main_figure(plan, main), shown=shown, categories=_categories(plan),
        studies=[row | {"label": labels.study_label(row["name"])} for row in parts[STUDY]],
        scaled=grouped(parts[SCALED]), colours=COLOURS, marks=MARKS["html"], brief=brief,
        near=f"{100 * NEAR:g}", far=f"{100 * FAR:g}", levels=levels_sentence(),
    )  # fmt: skip


def _shown(name: str, entry: dict[str, Any], folder: Path, rows: pd.DataFrame) -> Shown:
    kind = KINDS[entry["kind"]]
    artifact = Artifact.from_json(json.dumps(entry))
    files = [f"{kind.folder}/{name}.{ending}" for ending in kind.endings]
    made_of = ""
    if kind.runs != "none":
        made_of = extent(captions.finished_runs(rows, artifact, kind.name), artifact)
    shown = Shown(
        name, title_of(name), artifact.title, kind.shape == "figure", Markup(), files=files,
        made_of=made_of
    )  # fmt: skip
    try:
        if shown.is_figure:
            with Image.open(folder / kind.folder / f"{name}.png") as image:
                shown.content = Markup(_encoded(image))
                shown.width, shown.height = (side * _PIXELS // _DOTS for side in image.size)
        else:
            page = (folder / kind.folder / f"{name}.html").read_text(encoding="utf-8")
            shown.content = Markup(page[page.index("<main>") + 6 : page.index("</main>")].strip())
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read ({error.strerror})") from None
    return shown


def _encoded(image: Image.Image) -> str:
    """An image for the page, in base64: with as many colours as a figure's lines and bands need."""
    buffer = io.BytesIO()
    few = image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    few.save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _claims(plan: ReportPlan, folder: Path, shown: dict[str, Shown]) -> list[dict[str, Any]]:
    """The claims with their places in the paper, each told to the tables and figures that it is
    read off.
    """
    tables = [name for name, entry in plan.artifacts.items() if entry["kind"] == "check_claims"]
    if not tables:
        return []
    claims = records(read_table(folder / "tables" / f"{tables[0]}.csv"))
    for claim in claims:
        claim["places"] = places(claim["where"] or "", shown)
        for name in _named(claim["places"]):
            shown[name].claims.append(claim)
    return claims


def _named(parts: list[Part]) -> list[str]:
    return list(dict.fromkeys(name for part in parts for name in part.artifacts))


def _main_table(plan: ReportPlan, folder: Path) -> main_table.MainTable | None:
    names = [
        name for name, entry in plan.artifacts.items() if entry["kind"] == "significance_table"
    ]
    tables = {name: read_table(folder / "tables" / f"{name}.csv") for name in names}
    tables = {name: cells for name, cells in tables.items() if "published" in cells}
    name = main_table.choose(tables)
    if not name:
        return None
    return main_table.main_table(name, tables[name], plan.artifacts[name]["columns"])


def _main_figure(plan: ReportPlan, main: main_table.MainTable | None) -> str:
    """The first figure by width of the main table's studies; else the first with runs; empty where
    there is none.
    """
    figures = {
        name: entry
        for name, entry in plan.artifacts.items()
        if KINDS[entry["kind"]].shape == "figure" and entry["studies"]
    }
    if main is not None:
        for name, entry in figures.items():
            if entry["studies"] == plan.artifacts[main.name]["studies"]:
                return name
    return next(iter(figures), "")


def _categories(plan: ReportPlan) -> list[tuple[str, list[str]]]:
    """The artifacts by where they stand in the report, in its order."""
    found: dict[str, list[str]] = {}
    for name, entry in plan.artifacts.items():
        found.setdefault(captions.category(entry["kind"]), []).append(name)
    return [(title.partition(" ")[2], names) for title, names in sorted(found.items())]


def _data(rows: pd.DataFrame, plan: ReportPlan) -> list[tuple[str, str]]:
    """The data sets, and what of the full study's runs on each the scale leaves out."""
    reduced: dict[str, str] = {}
    for entry in plan.artifacts.values():
        reduced |= entry.get("reduced", {})
    names = labels.in_order("dataset", rows["stands_for"])
    return [
        (about(rows[rows["stands_for"] == name], name), reduced.get(name, "")) for name in names
    ]


def _made_on(folder: Path, rows: pd.DataFrame) -> str:
    return captions.trained_on(folder, rows.drop_duplicates(RUN_KEY))
