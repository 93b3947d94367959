"""The bundle and the report: made by the real snakemake, opened in a browser, its numbers held
against the tables they come from.
"""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import needs_browser, visit
from project import STUDY, Project, new_project, tiny
from study_tables import make_table_of_plan

from gradflow.report import captions
from gradflow.report.provenance import planned_rows
from gradflow.report.reference import kept_data
from gradflow.study.config_checks import load_config
from gradflow.study.grid import Grid
from gradflow.training.run_log import PROVENANCE_SCHEMA, STUDY_SCHEMA

ARTIFACTS = (
    "table1", "table4", "figure15", "agreement", "claims", "comparison_correlations", "assumptions",
)  # fmt: skip
DEVICE = "a made-up device"
WALK = """
await pause();
const said = {first: {}, menu: {}, captions: {}, images: {}, pages: {}, frames: 0, cut: false};
for (const row of document.querySelectorAll('.scorecard tr[id]'))
  said.first[row.id] = [...row.cells].map(cell => cell.innerText);
said.text = document.querySelector('.scorecard')?.innerText ?? document.body.innerText;
said.wide = document.documentElement.scrollWidth > innerWidth;
for (const name of Object.keys(categories)) {
  [...document.querySelectorAll('a')].find(link => link.innerText.trim() === name).click();
  await pause();
  const lines = [...document.querySelectorAll('table.table-auto tbody tr')];
  said.menu[name] = lines.map(row => row.innerText.trim());
  app.setView({navbarMode: 'menu'}); await pause();
}
for (const [path, result] of Object.entries(results)) {
  said.captions[path] = new DOMParser().parseFromString(result.caption, 'text/html').body.innerText;
  if (result.mime_type === 'image/png') {
    app.setView({content: 'img', contentPath: result.data_uri}); await pause();
    const image = document.querySelector('img[src^="data:image/png"]');
    said.images[path] = image.naturalWidth; said.cut ||= image.getBoundingClientRect().top < 0;
  } else if (result.mime_type === 'text/html') {
    app.setView({content: 'html', contentPath: result.data_uri}); await pause();
    said.frames += document.querySelectorAll('iframe').length;
    const page = new DOMParser().parseFromString(atob(result.data_uri.split(',')[1]), 'text/html');
    said.pages[path] = page.querySelectorAll('tr').length;
  }
}
return said;
"""

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def some_artifacts(raw: dict[str, Any]) -> None:
    raw["artifacts"] = {name: raw["artifacts"][name] for name in ARTIFACTS}


def keep_made_up(project: Project) -> None:
    """Put made-up runs where results are kept, of which a tenth is missing: artifacts are drawn
    without training.
    """
    raw = project.config()
    folder = project.results / "reference" / "smoke"
    for name in ("studies", "provenance"):
        (folder / name).mkdir(parents=True)
    (folder / "config.yaml").write_text((project.folder / "config.yaml").read_text())
    (folder / "provenance.json").write_text(json.dumps({"scale": "smoke", "studies": [STUDY]}))
    plan = Grid(load_config(raw)).plan("smoke", STUDY)
    rows = make_table_of_plan(plan)
    rows = rows[~((rows["optimizer"] == "momentum") & (rows["width_percent"] == 90))]
    runs = len(rows) // rows["epoch"].nunique()
    said = {
        "plan": plan.to_json(),
        "runs": str(runs),
        "planned_runs": str(sum(1 for _ in plan.runs())),
    }
    table = pa.Table.from_pandas(
        rows, schema=STUDY_SCHEMA, preserve_index=False
    ).replace_schema_metadata(said)
    pq.write_table(table, folder / "studies" / f"{STUDY}.parquet")
    sources = [{**row, "device": DEVICE, "seconds": 1.0} for row in planned_rows(plan)]
    table = pa.Table.from_pylist(sources, schema=PROVENANCE_SCHEMA).replace_schema_metadata(said)
    pq.write_table(table, folder / "provenance" / f"{STUDY}.parquet")


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the report of made-up runs."""
    project = new_project(tmp_path_factory.mktemp("report") / "project", some_artifacts)
    keep_made_up(project)
    code, output = project.snakemake("bundle_reference", "report_reference")
    log = project.results / "reference" / "smoke" / "logs" / "bundle.log"
    assert code == 0, output + (log.read_text() if log.exists() else "")
    return project


def scorecard(project: Project) -> dict[str, dict[str, dict[str, str]]]:
    """The scorecard's rows by part and name."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    with open(project.results / "reference" / "smoke" / "scorecard.csv", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["part"], {})[row["name"]] = row
    return found


def test_the_scorecard_holds_the_numbers_of_the_tables(reported: Project) -> None:
    tables = reported.results / "reference" / "smoke" / "tables"
    parts = scorecard(reported)
    with open(tables / "claims.csv", newline="") as file:
        claims = list(csv.DictReader(file))
    assert [*parts["claim"]] == [claim["id"] for claim in claims] and len(claims) == 24
    for claim in claims:
        row = parts["claim"][claim["id"]]
        assert (row["verdict"], row["ours"], row["finished"]) == (
            claim["verdict"],
            claim["effect"],
            claim["n"],
        )
    agreement = pd.read_csv(tables / "agreement.csv").set_index(["table", "criterion"])
    theirs, row = agreement.loc[("4", "p <= 0.05")], parts["table"]["table4"]
    for column, other in (("ours", "yes_ours"), ("theirs", "yes_theirs"), ("agreeing", "agreeing"),
                          ("compared", "cells_ours"), ("published", "cells")):  # fmt: skip
        assert int(row[column]) == theirs[other], column
    assert float(row["expected"]) == pytest.approx(theirs["expected"])
    cells = pd.read_csv(tables / "table4.csv", keep_default_na=False, na_values=[""])
    assert (
        int(row["ours"]) == (cells["p_value"] <= 0.05).sum()
        and int(row["theirs"]) == (cells["published"] <= 0.05).sum()
    )
    columns = pd.read_csv(tables / "comparison_correlations.csv").drop_duplicates(
        ["dataset", "architecture", "target"]
    )
    assert int(parts["table"]["table1"]["agreeing"]) == columns["same_best"].eq(True).sum()
    # a fifth of momentum's runs is missing: 7 configurations of 2 networks
    study = parts["study"][STUDY]
    assert (study["finished"], study["planned"]) == ("196", "210")
    assert (row["finished"], row["planned"], row["verdict"]) == ("196", "210", "not run")
    rows = csv.DictReader((tables.parent / "scorecard.csv").read_text().splitlines())
    reduced = {row["measure"]: row for row in rows if row["name"] == STUDY}
    assert (reduced["epochs"]["ours"], reduced["epochs"]["theirs"]) == ("2", "500")
    assert (reduced["data set"]["ours"], reduced["data set"]["theirs"]) == (
        "Digits",
        "Fashion-MNIST",
    )


@needs_browser
def test_the_bundle_in_a_browser(reported: Project, tmp_path: Path) -> None:
    found = visit(reported.results / "reference" / "smoke" / "bundle.html", WALK, tmp_path)
    assert found.problems == []
    assert found.asked == set()
    said, parts = found.told, scorecard(reported)
    # each artifact is there, once as a page or image and once as data or for print, in the paper's
    # order
    grid = Grid(load_config(reported.config()))
    folder = "results/reference/smoke"
    for name in ARTIFACTS:
        if name.startswith("figure"):
            assert said["images"][f"{folder}/figures/{name}.png"] > 600
            files = [f"{folder}/figures/{name}.{ending}" for ending in ("png", "pdf")]
        else:
            assert said["pages"][f"{folder}/tables/{name}.html"] > 1
            files = [f"{folder}/tables/{name}.{ending}" for ending in ("html", "csv")]
        category = captions.category(grid.config.artifacts[name].kind)
        assert captions.label(name) in said["menu"][category]
        for file in files:
            assert grid.config.artifacts[name].title.split(":")[0][:20] in said["captions"][file]
    assert said["menu"]["2 Tables of the paper"] == ["Table 01", "Table 04"]
    assert said["frames"] == len(said["pages"])
    text = said["captions"][f"{folder}/tables/table4.csv"]
    assert "Fashion-MNIST (Digits stands in): 196 of 210 planned runs of 2 epochs." in text
    assert f"Trained on {DEVICE} (196 runs)." in text
    assert "Made without runs" in said["captions"][f"{folder}/tables/assumptions.html"]
    # the first page's numbers are those of the CSV
    assert not said["wide"] and not said["cut"]
    assert "196 of 210 planned runs are finished" in said["text"]
    for name, row in parts["claim"].items():
        shown = said["first"][f"claim-{name}"]
        assert (
            row["said"] in shown[1]
            and (row["ours"] or "–") in shown[2]
            and shown[4] == row["finished"]
        )
    shown, row = said["first"]["table-table4"], parts["table"]["table4"]
    assert [shown[3], shown[4], shown[7]] == [row["ours"], row["theirs"], "196 of 210"]
    assert shown[5].startswith(f"{row['agreeing']} of {row['compared']}")
    assert said["first"][f"study-{STUDY}"][1:] == ["196", "210"]


@needs_browser
def test_the_browser_tells_what_a_page_asks_for_and_does_wrong(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        "<html><head></head><body><img "
        "src='https://elsewhere.example/x.png'><script>console.error('planted');"
        "</script><script>missing()</script></body></html>"
    )
    found = visit(page, "await pause(); return 1 + 1;", tmp_path)
    assert found.told == 2 and found.asked == {"elsewhere.example"}
    assert any("planted" in problem for problem in found.problems)
    assert any("missing is not defined" in problem for problem in found.problems)


def test_the_report_has_all_that_the_scale_has(reported: Project) -> None:
    text = (reported.results / "reference" / "smoke" / "report.html").read_text()
    assert "196 of 210 planned runs" in text and f"Trained on {DEVICE} (196 runs)." in text
    for name in ARTIFACTS:
        assert f'id="{name}"' in text
    for name in scorecard(reported)["claim"]:
        assert f'id="claim-{name}"' in text
    assert reported.plan("report_reference").jobs == []


def test_captions_change_the_bundle_alone_and_nothing_is_missing_twice(reported: Project) -> None:
    assert not reported.plan("bundle_reference").jobs
    template = reported.folder / "src/gradflow/report/templates/artifact.rst"
    whole = template.read_text()
    template.write_text(whole + "\nMore to say.\n")
    try:
        assert reported.plan("bundle_reference").rules == {"write_bundle", "bundle_reference"}
        assert not reported.plan("reference").jobs
    finally:
        template.write_text(whole)


def test_the_report_of_a_partial_study(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", tiny)
    project.make("report_smoke", "bundle_smoke", "--config", "partial=true")
    for name in ("report", "bundle"):
        page = (project.results / "smoke" / f"{name}.html").read_text()
        assert "0 of 10 planned runs are finished" in page, name
    assert not (project.results / "smoke" / "runs").exists()


def test_the_archive_has_what_is_kept_and_drawn_and_the_project(reported: Project) -> None:
    reported.make("archive")
    (target,) = reported.results.glob("gradflow-*.zip")
    with zipfile.ZipFile(target) as packed:
        names = {name.partition("/")[2] for name in packed.namelist()}
    kept = reported.results / "reference" / "smoke"
    pages = [kept / "report.html", kept / "scorecard.csv", kept / "tables" / "table4.csv"]
    expected = [*pages, kept / "figures" / "figure15.pdf", *kept_data(reported.results, "smoke")]
    expected += reported.files("config.yaml", "envs/*.txt", "rules/*.smk", "src/gradflow/*.py")
    assert {path.relative_to(reported.folder).as_posix() for path in expected} <= names
    assert not [name for name in names if "/logs/" in name or "__pycache__" in name]
    assert not reported.plan("archive").jobs
    (reported.folder / "CHANGELOG.md").write_text("# Changes")
    assert reported.plan("archive").rules == {"archive"}
