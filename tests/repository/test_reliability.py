"""docs/reliability.md claims what is tested: each row names a test, and how many cases it has."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\|.*\| (\d+) \| `([\w/]+\.py)::(\w+)` \|$")
ROWS = [
    (match[2], match[3], int(match[1]))
    for line in (ROOT / "docs/reliability.md").read_text().splitlines()
    if (match := ROW.match(line))
]


def test_each_row_names_its_test_and_none_stands_there_twice() -> None:
    text = (ROOT / "docs/reliability.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and "|--:|" not in line]
    headings = sum(line.endswith("| cases | test |") for line in rows)
    assert len(rows) == len(ROWS) + headings
    names = [f"{file}::{name}" for file, name, _ in ROWS]
    assert len(names) == len(set(names))
    for file, name, _ in ROWS:
        source = (ROOT / "tests" / file).read_text()
        assert re.search(rf"^\s*(def {name}\(|{name} = )", source, flags=re.MULTILINE), name


@pytest.mark.slow
def test_as_many_cases_as_it_says() -> None:
    files = sorted({f"tests/{file}" for file, _, _ in ROWS})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--all", "--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider", *files],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = Counter(
        tuple(line.removeprefix("tests/").split("[")[0].split("::")[:2])
        for line in done.stdout.splitlines()
        if "::" in line
    )
    assert {(file, name): found[file, name] for file, name, _ in ROWS} == {
        (file, name): cases for file, name, cases in ROWS
    }
    assert sum(cases for _, _, cases in ROWS) >= 120
