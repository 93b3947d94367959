"""The examples as notebooks: `python tests/notebooks.py` writes `examples/*.ipynb` from the scripts
beside them.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

EXAMPLES = Path(__file__).parents[1] / "examples"


def notebook_of(script: str) -> str:
    """The notebook of a script in the percent format, as JSON: a cell after each `# %%`."""
    cells = []
    for number, part in enumerate(re.split(r"^# %%", script, flags=re.MULTILINE)[1:]):
        kind, _, text = part.partition("\n")
        if kind.strip() == "[markdown]":
            text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
            cell = nbformat.v4.new_markdown_cell(text.strip())
        else:
            cell = nbformat.v4.new_code_cell(text.strip())
        cells.append({**cell, "id": f"cell-{number}"})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    return nbformat.writes(nbformat.from_dict(notebook)) + "\n"


if __name__ == "__main__":
    for path in EXAMPLES.glob("*.py"):
        path.with_suffix(".ipynb").write_text(
            notebook_of(path.read_text(encoding="utf-8")), encoding="utf-8"
        )
