"""docs/reliability.md claims what is tested: each row names a test."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| .+ \| .+ \| `([\w/]+\.py)::(\w+)` \|$")


def test_each_row_names_its_test_and_none_stands_there_twice() -> None:
    text = (ROOT / "docs/reliability.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|") and "|---|" not in line]
    claims = [line for line in lines if not line.endswith("| what happens | test |")]
    rows = [match.groups() for line in claims if (match := ROW.match(line))]
    assert len(rows) == len(claims) >= 120
    assert len(rows) == len(set(rows))
    for file, name in rows:
        source = (ROOT / "tests" / file).read_text()
        assert re.search(rf"^\s*(def {name}\(|{name} = )", source, flags=re.MULTILINE), name
