"""The report's page of made-up results: it stands alone, its links lead somewhere, it is fit for
any reader.
"""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browser import needs_browser, visit
from drawing import draw
from matplotlib.figure import Figure
from study_tables import make_study_table, write_study_table

from gradflow.paper.claims.verdicts import COLUMNS as CLAIM_COLUMNS
from gradflow.paper.claims.verdicts import load_claims
from gradflow.paper.wording import COLOURS
from gradflow.report.places import places
from gradflow.report.report_page import DECIDED, ReportPlan, write_report
from gradflow.report.scorecard import COLUMNS

STUDY = "fashion_mnist_low"
VERDICTS = list(COLOURS)
BASE: dict[str, Any] = {
    "variant": "paper", "studies": [STUDY], "where": {"stands_for": ["fashion_mnist"]},
    "seeds": [1, 2, 3],
    "percents": [10, 30, 50, 70, 90], "columns": "regularization",
    "reduced": {"fashion_mnist": "5 of 500 epochs"},
}  # fmt: skip
PLAN = ReportPlan(
    "made_up",
    {
        "table4": BASE | {"name": "table4", "title": "Table <four>", "kind": "significance_table"},
        "figure15": BASE | {"name": "figure15", "title": "EGF_2 by width", "kind": "plot_by_width"},
        "figure14": BASE
        | {"name": "figure14", "title": "Functions", "kind": "plot_activations", "studies": []},
        "claims": BASE | {"name": "claims", "title": "Claims", "kind": "check_claims"},
    },
)


class Page(HTMLParser):
    """The elements of a page, each its name and attributes, in their order."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = text
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def all(self, tag: str, key: str) -> list[str]:
        """An attribute of all elements of a name that have it."""
        return [of[key] or "" for name, of in self.elements if name == tag and key in of]


def made_up_claims() -> pd.DataFrame:
    """The paper's claims, with each kind of verdict in turn."""
    rows = []
    for number, claim in enumerate(load_claims()):
        verdict = VERDICTS[number % len(VERDICTS)]
        rows.append(
            dict.fromkeys(CLAIM_COLUMNS, "")
            | {"id": claim.id, "claim": claim.claim, "where": claim.where, "verdict": verdict}
            | {"said": verdict, "explanation": "It is so.", "statistic": "a test", "n": 15}
        )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a scale with a table of the paper, two figures and its claims."""
    folder = tmp_path_factory.mktemp("report")
    for name in ("studies", "tables", "figures"):
        (folder / name).mkdir()
    rows = make_study_table(("adagrad", "adam", "momentum"), ("NR", "BN", "DA_L2_SC_BN"))
    rows = rows.assign(stands_for="fashion_mnist", study=STUDY)
    few = (rows["optimizer"] == "adagrad") & (rows["regularization"] == "NR") & (rows["seed"] == 3)
    rows = rows[~few]
    # sparse networks win where in the paper they do not
    better = (rows["optimizer"] == "adam") & (rows["regularization"] == "DA_L2_SC_BN")
    rows.loc[better & (rows["architecture"] == "sparse"), "test_accuracy"] += 20
    study = write_study_table(folder / "studies" / f"{STUDY}.parquet", rows)
    draw("significance_table", PLAN.artifacts["table4"], [study], folder / "tables" / "table4")
    for name in ("figure14", "figure15"):
        for ending in ("png", "pdf"):
            Figure(figsize=(5.5, 2)).savefig(folder / "figures" / f"{name}.{ending}", dpi=200)
    made_up_claims().to_csv(folder / "tables" / "claims.csv", index=False)
    for ending in ("html", "tex"):
        text = "<main><table></table></main>" if ending == "html" else ""
        (folder / "tables" / f"claims.{ending}").write_text(text)
    (folder / "provenance.html").touch()
    runs = {"finished": 90, "planned": 90}
    lines = [
        {"part": "table", "name": "table4", "verdict": "inconclusive",
         "said": "inconclusive (5 of 500 epochs)"} | runs,
        {"part": "study", "name": STUDY} | runs,
        {"part": "scaled down", "name": STUDY, "measure": "epochs", "ours": "5", "theirs": "500"},
    ]  # fmt: skip
    pd.DataFrame(lines, columns=COLUMNS).to_csv(folder / "scorecard.csv", index=False)
    write_report(folder / "report.html", PLAN, folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_it_stands_alone(page: Page) -> None:
    assert "http:" not in page.text and "https:" not in page.text and "@import" not in page.text
    assert "url(" not in page.text and not page.all("link", "href")
    sources = [of["src"] or "" for _, of in page.elements if "src" in of]
    assert len(sources) == 2 and all(source.startswith("data:image/png;") for source in sources)


def test_every_link_leads_somewhere(page: Page, folder: Path) -> None:
    names = [of["id"] or "" for _, of in page.elements if "id" in of]
    assert len(names) == len(set(names))
    for link in page.all("a", "href"):
        if link.startswith("#"):
            assert link[1:] in names, link
        else:
            assert (folder / link).exists(), link


def test_claims_and_what_they_are_read_off_lead_to_each_other(page: Page) -> None:
    claims = {claim.id: claim.where for claim in load_claims()}
    assert {f"claim-{name}" for name in claims} <= {of.get("id") for _, of in page.elements}
    told = dict(
        zip(
            ["table4", "figure14"],
            ["also-cifar10-fmnist", "only-swish-negative-gradient"],
            strict=True,
        )
    )
    for artifact, claim in told.items():
        (near,) = [part for part in page.text.split('id="') if part.startswith(f"claim-{claim}")]
        assert f'href="#{artifact}"' in near
        (near,) = [part for part in page.text.split('id="') if part.startswith(f'{artifact}"')]
        assert f'href="#claim-{claim}"' in near
    # what this scale lacks is said, and no link
    assert "Tables 3a</a>" not in page.text and "Tables 3a" in page.text


def test_it_is_made_for_every_reader(page: Page) -> None:
    assert page.all("html", "lang") == ["en"] and "<title>" in page.text
    assert "viewport" in page.all("meta", "name")
    assert all(page.all("img", "alt")) and len(page.all("img", "alt")) == 2
    headings = [of for tag, of in page.elements if tag == "th"]
    assert len(headings) > 20 and all("scope" in of for of in headings)
    assert "Table &lt;four&gt;" in page.text and "EGF₂ by width" in page.text


def test_the_verdicts_come_first_each_kind_by_its_mark(page: Page) -> None:
    strip = page.text[page.text.index('id="all-verdicts"') : page.text.index('class="first"')]
    counts = made_up_claims()["verdict"].value_counts()
    for verdict in VERDICTS:
        assert f"<b>{counts[verdict]}</b> {verdict}" in strip
    assert strip.count('href="#claim-') == len(load_claims())
    order = [part.split('"')[0] for part in page.text.split('<li id="claim-')[1:]]
    kinds = made_up_claims().set_index("id")["verdict"]
    ranks = [0 if kinds[one] in DECIDED else 2 if kinds[one] == "not run" else 1 for one in order]
    assert ranks == sorted(ranks) and len(order) == len(kinds)
    assert f"{counts['not run']} need runs that this scale does not have" in page.text


def test_the_main_table_has_an_arrow_where_the_decision_differs(page: Page, folder: Path) -> None:
    cells = pd.read_csv(folder / "tables" / "table4.csv")
    both = cells.dropna(subset=["p_value", "published"])
    ups = int(((both["p_value"] > 0.05) & (both["published"] <= 0.05)).sum())
    downs = int(((both["p_value"] <= 0.05) & (both["published"] > 0.05)).sum())
    assert ups and downs and ups + downs < len(both)
    main = page.text[page.text.index('class="pair"') : page.text.index('class="lead')]
    assert main.count(">↑</b>") == ups and main.count(">↓</b>") == downs
    assert f"{ups + downs} of {len(both)} cells" in main
    assert main.count("<small>n = 10</small>") == 1 and "(n=" not in main
    for value in (*both["p_value"], *both["published"]):
        assert f"{value:.3f}" in main


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("Table 1", [("Table 1", ["table1"])]),
        (
            "Section 4.1.1, Tables 3a and 3b",
            [("Section 4.1.1, ", []), ("Tables 3a", ["table3a"]), (" and ", []), ("3b", [])],
        ),
        ("Figure 2", [("Figure 2", ["figure2a", "figure2c"])]),
        (
            "Figures "
            "3, 20 and 22", [(
            "Figures "
            "3", []), (", ", []), ("20", ["figure20"]), (" and ", []), ("22", [])]),
        ("a test of our own", [("a test of our own", [])]),
    ],
)  # fmt: skip
def test_places(where: str, expected: list[tuple[str, list[str]]]) -> None:
    shown = ["table1", "table3a", "figure2a", "figure2c", "figure20"]
    assert [(part.text, list(part.artifacts)) for part in places(where, shown)] == expected


LOOK = """
await pause();
const closed = [...document.querySelectorAll('details')].filter(one => !one.open);
const folded = closed.filter(one => one.querySelector('li')).pop();
const inside = folded.querySelector('li').id;
location.hash = inside; await pause(); await pause();
const page = getComputedStyle(document.body);
const cells = [...document.querySelectorAll('td[style*=background]')];
return {wide: document.documentElement.scrollWidth - innerWidth, width: innerWidth,
        opened: folded.open, page: page.backgroundColor, text: page.color,
        cells: cells.map(one => getComputedStyle(one).color)};
"""


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(390, False), (768, True), (1280, False)])
def test_it_fits_narrow_and_dark_windows(
    folder: Path, width: int, dark: bool, tmp_path: Path
) -> None:
    switches = ["--blink-settings=preferredColorScheme=0"] if dark else []
    found = visit(folder / "report.html", LOOK, tmp_path, f"{width},900", *switches)
    assert found.problems == [] and found.asked == set()
    assert found.told["width"] <= max(width, 500) and found.told["wide"] <= 0
    assert found.told["opened"]
    light = found.told["page"] == "rgb(255, 255, 255)"
    assert light != dark and (found.told["text"] == "rgb(27, 29, 31)") != dark
    assert set(found.told["cells"]) == {"rgb(0, 0, 0)"}  # on light colours in either scheme
