"""Every choice of the paper's reader is listed, holds a real setting or says why not, and shows
what is in force.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from drawing import draw

from gradflow.paper.assumptions import ASSUMPTIONS
from gradflow.study.config_checks import load_config
from gradflow.study.grid import Grid
from gradflow.study.job import Settings

ROOT = Path(__file__).parents[2]
ENTRIES: list[dict[str, Any]] = yaml.safe_load(ASSUMPTIONS.read_text(encoding="utf-8"))
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
SETTINGS = dataclasses.asdict(Settings())
FIELDS = {"choice", "status", "setting", "default", "alternatives", "evidence"}

# settings that are no row of the list
EXPLAINED = {
    "l2": "stated in section 3.2",
    **dict.fromkeys(
        ("initial_mask", "mask_update", "mask_update_interval", "mask_update_fraction"),
        "fixed in section 2.1; for other methods",
    ),
    **dict.fromkeys(
        ("label_smoothing", "l1", "dropout", "gradient_clip", "warmup_epochs"),
        "none in section 3; for studies of one's own",
    ),
}


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def at(path: str) -> list[Any]:
    """The values of config.yaml at a dotted path, in which * is any name."""
    found: list[Any] = [CONFIG]
    for part in path.split("."):
        found = [
            value for one in found for key, value in one.items() if fnmatch.fnmatchcase(key, part)
        ]
    return found


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["choice"])
def test_a_row_is_whole_and_true(entry: dict[str, Any]) -> None:
    assert set(entry) - {"fixed"} == FIELDS
    assert entry["status"] in ("settled", "open")
    assert entry["evidence"].endswith(".") and entry["evidence"].count(". ") == 0
    assert ("fixed" in entry) == ("fixed" in entry["setting"]), "what is fixed needs a reason"
    assert list(entry["default"]) == entry["setting"]
    assert all(isinstance(text, str) for text in entry["alternatives"])
    if set(entry["setting"]) != {"fixed"}:
        assert entry["alternatives"]
    for name, default in entry["default"].items():
        if name in SETTINGS:
            assert plain(SETTINGS[name]) == default == CONFIG["variants"]["paper"][name]
        elif name not in ("analysis", "fixed"):
            values = at(name)
            assert values, f"config.yaml has no {name}"
            if not isinstance(default, str):
                assert values == [default]


def test_choices_are_told_apart() -> None:
    choices = [entry["choice"] for entry in ENTRIES]
    assert len(set(choices)) == len(choices)


def test_every_setting_is_listed_or_explained() -> None:
    listed = {name for entry in ENTRIES for name in entry["setting"]}
    assert set(SETTINGS) == (listed & set(SETTINGS)) | set(EXPLAINED)
    assert not listed & set(EXPLAINED)


def test_every_alternative_that_a_study_trains_is_of_a_listed_setting() -> None:
    listed = {name for entry in ENTRIES if entry["status"] == "open" for name in entry["setting"]}
    changed = {
        name
        for variant, settings in CONFIG["variants"].items()
        if variant != "paper"
        for name in settings
    }
    assert changed <= listed | set(EXPLAINED)


def test_what_the_paper_settles_comes_first() -> None:
    of_this_project = ("Training images", "Arithmetic")  # its readers need not choose them
    statuses = [entry["status"] for entry in ENTRIES if entry["choice"] not in of_this_project]
    assert statuses == ["settled"] * 8 + ["open"] * 30


def make_table(tmp_path: Path, artifact: dict[str, Any]) -> pd.DataFrame:
    draw("list_assumptions", artifact, [], tmp_path / "table")
    return pd.read_csv(tmp_path / "table.csv", keep_default_na=False)


def test_the_table_shows_what_is_in_force(tmp_path: Path) -> None:
    settings = {**SETTINGS, "batch_size": 100, "srelu_left": [0.1, 0.3]}
    artifact = {
        "name": "assumptions",
        "title": "Choices <made up>",
        "variant": "batch_100",
        "settings": settings,
    }
    table = make_table(tmp_path, artifact).set_index("choice")
    assert list(table.index) == [entry["choice"] for entry in ENTRIES]
    assert table.loc["MLP batch size", "value"] == "100"
    assert table.loc["Dense widths", "value"] == "10, 30, 50, 70, 90"
    assert table.loc["SReLU", "value"].startswith(
        "srelu_left: 0.1, 0.3; srelu_right: 1, 1; one set"
    )
    assert set(table.index[table["changed"]]) == {
        "MLP batch size",
        "SReLU",
        "Wide ResNet optimizer",
    }
    page = (tmp_path / "table.html").read_text(encoding="utf-8")
    assert "Choices &lt;made up&gt;" in page and page.count("<tr>") == len(ENTRIES) + 1
    latex = (tmp_path / "table.tex").read_text(encoding="utf-8")
    assert r"batch\_\allowbreak size" in latex and r"\begin{longtable}" in latex


def test_settings_that_follow_the_scale_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = json.loads(Grid(load_config(CONFIG)).artifact_json("smoke", "assumptions"))
    table = make_table(tmp_path, artifact).set_index("choice")
    assert "probe_images: 128" in table.loc["Gradient probe", "value"]
