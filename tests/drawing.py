"""Draws an artifact with the workflow's own program, in this process."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from gradflow.study.kinds import KINDS

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "scripts" / "draw.py"
PACKAGE = ROOT / "src" / "gradflow"
CODE = {".py", ".pyc"}
_opened: set[Path] = set()


def _note(event: str, values: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(values[0], str) and values[0].startswith(str(PACKAGE)):
        _opened.add(Path(values[0]))


sys.addaudithook(_note)  # for good: there is no way to remove one


def draw(
    kind: str,
    artifact: dict[str, Any] | str,
    runs: Iterable[Path],
    path: Path,
    origins: Iterable[Path] = (),
) -> dict[str, Path]:
    """Draw an artifact of a kind; what it reads must be what its kind says, the rule's inputs.

    Args:
        kind: its name.
        artifact: its definition, as text where it is that of a plan.
        runs: study tables.
        path: of the files, without ending.
        origins: provenance tables.

    Returns:
        The files by ending.
    """
    text = artifact if isinstance(artifact, str) else json.dumps(artifact)
    files = {ending: path.with_name(f"{path.name}.{ending}") for ending in KINDS[kind].endings}
    words = ["draw.py", KINDS[kind].maker, "--artifact", text, "--runs", *map(str, runs)]
    words += ["--every-variant"] if KINDS[kind].runs == "every variant" else []
    words += ["--origins", *map(str, origins), "--files", *map(str, files.values())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        _opened.clear()
        assert runpy.run_path(str(PROGRAM))["main"]() == 0
    read = {path for path in _opened if path.is_file() and path.suffix not in CODE}
    assert read <= {PACKAGE / name for name in KINDS[kind].reads}, kind
    return files
