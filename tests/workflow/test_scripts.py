"""Each script says by itself what it takes, wherever it is started and whatever another Python left
behind.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from project import ROOT

SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", str(script), "--help"],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


MINE = """
scales:
  mine:
    seeds: [0]
    stand_ins: {fashion_mnist: digits}
    studies: {fashion_mnist_low: {epochs: 1}}
"""


@pytest.mark.parametrize(
    ("command", "said"), [("plan", "Plan of mine"), ("status", "Status of scale mine")]
)
def test_a_second_file_extends_the_configuration(command: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text(MINE)
    done = subprocess.run(
        [sys.executable, "-m", "gradflow", command, "mine", "--configfile", tmp_path / "more.yaml",
         "--results", tmp_path],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(said)
