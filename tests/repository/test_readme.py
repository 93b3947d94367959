"""README fits a screen or two, in short sentences, and leads to every page of docs/."""

from __future__ import annotations

import re

import pytest
from project import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
INDEX = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")


def sentences(page: str) -> list[list[str]]:
    """The words of each sentence of a page's prose; commands, tables, lists' marks and addresses
    are left out.
    """
    prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    prose = re.sub(r"^(?:    |#|\||!\[).*$", "\n", prose, flags=re.MULTILINE)
    prose = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", prose)
    found = []
    for paragraph in re.split(r"\n\s*\n|^- ", prose, flags=re.MULTILINE):
        found += re.split(r"(?<=[.:?!])\s+(?=[A-Z0-9*`\"])", " ".join(paragraph.split()))
    return [words for one in found if (words := re.findall(r"\S*\w\S*", one))]


def test_sentences_are_told_apart() -> None:
    page = (
        "# Title\n\nOne two. Three\nfour five?\n\n    command --option\n\n| a | b "
        "|\n\n[Six](seven.md) eight.\n"
    )
    assert [len(words) for words in sentences(page)] == [2, 3, 2]


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 120
    lengths = [len(words) for words in sentences(README)]
    assert len(lengths) > 20 and sum(lengths) / len(lengths) <= 16 and max(lengths) <= 40


def test_its_words_are_explained() -> None:
    glossary = README.partition("## Words")[2].partition("\n## ")[0]
    for word in (
        "twin", "cohort", "scale", "study", "variant", "stand-in", "probe epoch", "density",
        "collapsed", "EGF",
    ):  # fmt: skip
        assert f"| {word} |" in glossary
    for short in ("NR", "L2", "DA", "SC", "BN"):
        assert re.search(rf"\b{short}\b", glossary)


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_every_page_stands_in_the_index(page: str) -> None:
    assert f"]({page}" in INDEX or page == "README.md"
