"""How verdicts are said: with their data, their scale and the part of a table that they are
about.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradflow.analysis.levels import LEVEL, MARGINS, levels_sentence, significant
from gradflow.paper.claims.decision import VERDICTS, Verdict
from gradflow.paper.wording import COLOURS, MARKS, Data, brief, said, word
from gradflow.report.reference import read_reference
from gradflow.study.config_file import read_config
from gradflow.study.grid import Grid

ROOT = Path(__file__).parents[2]
REDUCED = {"cifar10": "40 of 1,000 epochs", "fashion_mnist": "6 of 500 epochs"}


@pytest.mark.parametrize(
    ("verdict", "data", "text"),
    [
        ("reproduced", Data({"cifar10": "cifar10"}), "reproduced"),
        ("reproduced", Data({"cifar10": "cifar10"}, REDUCED), "reproduced (40 of 1,000 epochs)"),
        ("reproduced", Data({"cifar10": "digits"}, REDUCED),
         "agrees on Digits (not the paper's data)"),
        ("contradicted", Data({"cifar10": "digits"}), "disagrees on Digits (not the paper's data)"),
        ("inconclusive", Data({"cifar10": "digits"}),
         "inconclusive, on Digits (not the paper's data)"),
        (
            "not decidable",
            Data({"fashion_mnist": "fashion_mnist"}, REDUCED, "4 of 12 columns"),
            "not decidable, 4 of 12 columns (6 of 500 epochs)",
        ),
        ("true by construction", Data({"cifar10": "digits"}, REDUCED), "true by construction"),
        ("not run", Data({}, REDUCED), "not run"),
    ],
)  # fmt: skip
def test_a_verdict_says_what_it_rests_on(verdict: Verdict, data: Data, text: str) -> None:
    assert said(verdict, data) == text


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("reproduced (40 of 1,000 epochs)", "reproduced (scaled down)"),
        (
            "not decidable, 4 of 12 columns (6 of 500 epochs)",
            "not decidable, 4 of 12 columns (scaled down)",
        ),
        ("agrees on Digits (not the paper's data)", "agrees on Digits (not the paper's data)"),
        ("reproduced", "reproduced"),
    ],
)
def test_a_brief_verdict_leaves_the_extent_to_the_page_s_head(text: str, short: str) -> None:
    assert brief(text) == short


def test_no_stand_in_gets_the_paper_s_verdict() -> None:
    words = {word(verdict, Data({"cifar10": "digits"})) for verdict in VERDICTS}
    assert not words & {"reproduced", "contradicted"}
    assert words | set(VERDICTS) == set(COLOURS)
    assert all(set(marks) == set(COLOURS) for marks in MARKS.values())


def test_what_a_scale_leaves_out_is_told_of_kept_results_too() -> None:
    config = read_config(ROOT / "config.yaml")
    grid = Grid(config)
    assert json.loads(grid.artifact_json("paper", "claims"))["reduced"] == {}
    told = json.loads(grid.artifact_json("fashion_mnist_reduced", "claims"))["reduced"]
    assert told == {"fashion_mnist": "6 of 500 epochs, 10,000 training images"}
    wide = json.loads(grid.artifact_json("overnight", "figure5"))["reduced"]["cifar100"]
    assert "WRN-10-1 for WRN-28-10" in wide
    assert "seeds" not in wide  # three, where the full study has one
    kept = read_reference(ROOT / "results", "fashion_mnist_reduced", config)
    assert json.loads(kept.grid.artifact_json(kept.scale, "claims"))["reduced"] == told


def test_the_level_is_inclusive_and_said() -> None:
    assert significant(LEVEL) and not significant(0.0501) and not significant(float("nan"))
    assert all(margin.about in levels_sentence() for margin in MARGINS.values())
    assert "at or below 0.05" in levels_sentence()
