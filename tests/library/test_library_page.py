"""docs/library.md: every block runs, and every name of the page is in the library."""

from __future__ import annotations

import re
from pathlib import Path

import gradflow

PAGE = (Path(__file__).parents[2] / "docs/library.md").read_text(encoding="utf-8")


def test_every_block_runs() -> None:
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        exec(compile(block, "docs/library.md", "exec"), names)
    assert set(names["snip"]) == set(names["egf"]) == {"0.weight", "2.weight"}
    table = names["table"]
    assert table.groupby("architecture").size().to_dict() == {"dense": 2, "sparse": 2}
    assert table["active_weights"].nunique() == 1


def test_every_function_is_on_the_page() -> None:
    for name in ("measure", "masks", "methods", "compare", "compare_modules", "tensor_data"):
        assert f"gradflow.{name}(" in PAGE and name in gradflow.__all__
