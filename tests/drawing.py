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

PROGRAM = Path(__file__).parents[1] / "scripts" / "draw.py"


def draw(
    kind: str,
    artifact: dict[str, Any] | str,
    runs: Iterable[Path],
    path: Path,
    origins: Iterable[Path] = (),
) -> dict[str, Path]:
    """Draw an artifact of a kind.

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
        assert runpy.run_path(str(PROGRAM))["main"]() == 0
    return files
