"""Files of gradflow.own: found by their names, and refused in sentences."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from plain import make_job

from gradflow import own
from gradflow.data.store import DataError, fetch_dataset
from gradflow.networks.activations import make_activation
from gradflow.study.cost import CostModel, memory_mb
from gradflow.study.datasets import SHAPES, DatasetShape
from gradflow.study.job import Settings
from gradflow.training.optimizers import StackedOptimizer

Write = Callable[[str, str], None]

BARS = """
import numpy as np
def read(folder):
    images, labels = np.zeros((6, 1, 4, 4), np.uint8), np.arange(6) % 2
    return {}
SHAPE = None
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file of gradflow.own in another folder, for this test alone."""
    monkeypatch.setattr(own, "FOLDER", tmp_path)

    def write(path: str, text: str) -> None:
        kind, file = path.split("/")
        (tmp_path / kind).mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
        monkeypatch.setattr(
            import_module(f"gradflow.own.{kind}"), "__path__", [str(tmp_path / kind)]
        )
        monkeypatch.delitem(
            sys.modules, f"gradflow.own.{kind}.{file.removesuffix('.py')}", raising=False
        )

    return write


def test_a_file_is_a_name(write: Write) -> None:
    assert own.names("optimizers") == ()
    write("optimizers/lion.py", "")
    write("optimizers/__init__.py", "")
    write("optimizers/adam.py", "")
    assert own.names("optimizers") == ("adam", "lion")
    (sentence,) = own.mistakes("optimizers", ("sgd", "adam"))
    assert sentence.startswith("src/gradflow/own/optimizers/adam.py: the library has adam already")


def test_what_is_missing_is_named(write: Write) -> None:
    with pytest.raises(
        ValueError, match=r"there is no file src/gradflow/own/optimizers/absent\.py"
    ):
        StackedOptimizer("absent", [], Settings())
    write("optimizers/half.py", "STATE = ()")
    with pytest.raises(
        ValueError, match=r"own/optimizers/half\.py must define update; see __init__\.py beside it"
    ):
        StackedOptimizer("half", [], Settings())
    write("activations/odd.py", "def make(networks, settings):\n    return abs")
    with pytest.raises(
        ValueError, match=r"activations/odd\.py: make returns <built-in function abs>, which is no"
    ):
        make_activation("odd", 2, Settings())


def test_a_cost_is_estimated_before_any_job() -> None:
    lion, adam = (make_job(name, "L2") for name in ("lion", "adam"))
    assert memory_mb(lion, "cpu") == memory_mb(adam, "cpu")
    assert 0 < CostModel().seconds(lion, "cpu") < 2 * CostModel().seconds(adam, "cpu")


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (
            "images[:4, :, :3], labels[:4], images[4:], labels[4:]",
            r"reads images of shape \(1, 3, 4\) where its SHAPE",
        ),
        ("images[:4], labels[:4] - 1, images[4:], labels[4:]", "reads labels other than 0 to 1"),
        (
            "images[:4], labels[:3], images[4:], labels[4:]",
            "holds 4 training images and 3 labels where 4",
        ),
        (
            "images[:4] / 255, labels[:4], images[4:], labels[4:]",
            "holds training images of type float64, not uint8",
        ),
        ("images[:4], labels[:4], images[4:], labels[4:]", None),
    ],
)
def test_a_data_set_is_what_it_says(
    returned: str,
    sentence: str | None,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("datasets/mine.py", BARS.format(returned))
    shape = DatasetShape(channels=1, side=4, classes=2, train_images=4, test_images=2)
    monkeypatch.setitem(SHAPES, "mine", shape)
    output, manifest = tmp_path / "mine.safetensors", tmp_path / "mine.json"
    if sentence is None:
        fetch_dataset("mine", output, manifest)
        assert (
            output.exists()
            and '"source": "src/gradflow/own/datasets/mine.py"' in manifest.read_text()
        )
    else:
        with pytest.raises(DataError, match=sentence) as caught:
            fetch_dataset("mine", output, manifest)
        assert str(caught.value).endswith(
            "correct its SHAPE or its read in src/gradflow/own/datasets/mine.py"
        )
        assert not output.exists()
