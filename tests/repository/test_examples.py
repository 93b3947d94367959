"""The examples run as they stand, and what they print is what the library gives."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from notebooks import notebook_of
from project import ROOT, environment

from gradflow.study.job import Configuration, Settings
from gradflow.twins import tensor_data, train_twins

CELLS = [Configuration("any", "mlp", 1, 0, "relu", "adam", 0.01, "NR")]


def printed(name: str, tmp_path: Path) -> list[str]:
    """The lines that an example prints, run in an empty folder."""
    done = subprocess.run(
        [sys.executable, str(ROOT / f"examples/{name}.py")],
        cwd=tmp_path, env=environment(), text=True, capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr and not list(tmp_path.iterdir())
    return done.stdout.splitlines()


def test_every_example_is_here_and_in_the_docs() -> None:
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert names == {"masks", "gradient_flow", "comparison"} == set(NAMES)
    assert names == set(
        re.findall(r"python examples/(\w+)\.py", (ROOT / "docs/library.md").read_text())
    )


NAMES = sorted(path.stem for path in (ROOT / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_its_script(name: str) -> None:
    """Otherwise: python tests/notebooks.py."""
    script, notebook = (ROOT / f"examples/{name}.{end}" for end in ("py", "ipynb"))
    assert notebook.read_text(encoding="utf-8") == notebook_of(script.read_text(encoding="utf-8"))
    nbformat.validate(nbformat.read(notebook, as_version=4))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_in_its_folder(name: str, tmp_path: Path) -> None:
    """Cell after cell, in one namespace that has no file, as a kernel does."""
    run = (
        "import json, sys\n"
        "names = {'__name__': '__main__'}\n"
        "for cell in json.load(open(sys.argv[1], encoding='utf-8'))['cells']:\n"
        "    if cell['cell_type'] == 'code':\n"
        "        exec(compile(''.join(cell['source']), 'a cell', 'exec'), names)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", run, f"{name}.ipynb"],
        cwd=ROOT / "examples", env=environment(), text=True, capture_output=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == printed(name, tmp_path)


def test_masks(tmp_path: Path) -> None:
    first, _, *rows = printed("masks", tmp_path)
    assert first == "one layer at density 0.05: 3277 of 65536 weights are active"
    found = [row.split() for row in rows]
    # 64 inputs, four layers of the width, 10 classes
    assert [(int(width), int(active)) for width, active, *_ in found] == [
        (width, 64 * width + 3 * width**2 + 10 * width) for width in (26, 77, 128, 179, 230)
    ]
    live = [float(row[-1].rstrip("%")) for row in found]
    assert live == sorted(live) and live[0] < 90 and live[-1] == 100


@pytest.mark.slow
def test_gradient_flow(tmp_path: Path) -> None:
    rows = [
        [float(value) for value in line.split()] for line in printed("gradient_flow", tmp_path)[1:]
    ]
    assert [row[0] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[-1][1] < 0.3 * rows[0][1]  # it learns
    for _, _, norm, egf, *layers in rows:
        assert egf == pytest.approx(sum(layers) / 3, abs=2e-4)
        assert norm > sum(layer**2 for layer in layers) ** 0.5  # masked weights have gradients too


@pytest.mark.slow
def test_comparison(tmp_path: Path) -> None:
    first, _, _, *rows = printed("comparison", tmp_path)
    found = re.fullmatch(
        r"n = 15, median difference ([+-][\d.]+) points, p = (0\.\d+|1\.0+)", first
    )
    assert found
    assert [int(row.split()[0]) for row in rows] == [6, 18, 30, 42, 54]
    dense = [float(row.split()[1]) for row in rows]
    assert dense == sorted(dense) and dense[-1] > 50  # of 6 classes: chance is 17


def test_twins_are_paired_and_repeat() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(80, 3, generator=generator), torch.arange(80) % 2
    inputs[:, 0] += 2 * labels
    inputs[:, 2] = 5.0  # a constant feature
    data = tensor_data("two", inputs[:60], labels[:60], inputs[60:], labels[60:])
    options = {"max_width": 20, "epochs": 40, "seeds": (4, 5), "percents": (30, 50)}
    pairs, again = (train_twins(data, CELLS[0], **options) for _ in range(2))
    assert pairs.equals(again)
    assert sorted(zip(pairs["seed"], pairs["width_percent"], strict=True)) == [
        (4, 30),
        (4, 50),
        (5, 30),
        (5, 50),
    ]
    assert list(pairs["dataset"].unique()) == ["two"] and (pairs["test_accuracy_dense"] > 60).any()
    assert pairs[["mean_egf_l2_dense", "mean_egf_l2_sparse"]].gt(0).all(axis=None)


def test_mistakes_are_sentences() -> None:
    x, y = torch.zeros(4, 3), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"inputs of shape \(4, 3\) and \(4, 2\) do not fit"):
        tensor_data("bad", x, y, torch.zeros(4, 2), y)
    with pytest.raises(ValueError, match=r"4 inputs have labels of shape \(3,\)"):
        tensor_data("bad", x, y[:3], x, y)
    with pytest.raises(ValueError, match="whole numbers from 0"):
        tensor_data("bad", x, y - 1, x, y)
    data = tensor_data("good", x, y, x, y)
    with pytest.raises(ValueError, match="max_width: 9 is too narrow; 5 % of it must be"):
        train_twins(data, CELLS[0], max_width=9, epochs=1, percents=(5, 50))
    with pytest.raises(
        ValueError, match="a batch_size of 3 leaves a last minibatch of one image out of 4"
    ):
        train_twins(data, CELLS[0], max_width=20, epochs=1, settings=Settings(batch_size=3))
