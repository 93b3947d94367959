"""A user's own files: found by their names, part of a run's identity, and refused in sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cohorts import DEVICE, make_job

from gradflow.data.store import DataError, fetch_dataset, load_dataset
from gradflow.networks.activations import make_activation
from gradflow.study import own
from gradflow.study.content import as_fetched, as_planned
from gradflow.study.cost import CostModel
from gradflow.study.datasets import SHAPES, DatasetShape
from gradflow.study.job import Job, Settings, own_parts
from gradflow.study.memory import memory_mb
from gradflow.training.cohort import Cohort
from gradflow.training.optimizers import StackedOptimizer

Write = Callable[[str, str], None]

BARS = """
import numpy as np
def read(folder):
    images = np.arange(96, dtype=np.uint8).reshape(6, 1, 4, 4)
    labels, one = np.arange(6) % 2, np.ones((6, 1, 4, 4), np.uint8)
    return {}
SHAPE = None
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file of a user's own into another folder, for this test alone."""
    folder = tmp_path / "own"
    monkeypatch.setattr(own, "FOLDER", folder)

    def write(path: str, text: str) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)

    return write


def test_a_file_is_a_name(write: Write) -> None:
    assert own.names("optimizers") == ()
    write("optimizers/lion.py", "")
    write("optimizers/adam.py", "")
    assert own.names("optimizers") == ("adam", "lion")
    (sentence,) = own.mistakes("optimizers", ("sgd", "adam"))
    assert sentence.startswith(f"{own.FOLDER}/optimizers/adam.py: the library has adam already")


def test_what_is_missing_is_named(write: Write) -> None:
    with pytest.raises(ValueError, match=r"there is no file .*own/optimizers/absent\.py"):
        StackedOptimizer("absent", [], Settings())
    write("optimizers/half.py", "STATE = ()")
    with pytest.raises(
        ValueError, match=r"own/optimizers/half\.py must define update; see README\.md beside it"
    ):
        StackedOptimizer("half", [], Settings())
    write("activations/odd.py", "def make(networks, settings):\n    return abs")
    with pytest.raises(
        ValueError, match=r"activations/odd\.py: make returns <built-in function abs>, which is no"
    ):
        make_activation("odd", 2, Settings())


def test_a_read_that_fails_is_named(write: Write, tmp_path: Path, monkeypatch) -> None:
    write("datasets/mine.py", "SHAPE = None\ndef read(folder):\n    return folder / 'mine.npz'")
    monkeypatch.setitem(SHAPES, "mine", DatasetShape(1, 4, 2, 4, 2))
    with pytest.raises(DataError, match=r"own/datasets/mine\.py: its read fails with TypeError"):
        fetch_dataset("mine", tmp_path / "mine.safetensors", tmp_path / "mine.json")


def test_what_a_file_read_is_part_of_identity(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("datasets/mine.py", BARS.format("images[:4], labels[:4], images[4:], labels[4:]"))
    monkeypatch.setitem(SHAPES, "mine", DatasetShape(1, 4, 2, 4, 2))
    adam = make_job("adam", "BN")
    mine = replace(adam, configuration=replace(adam.configuration, dataset="mine"), data="")
    assert as_fetched(mine, tmp_path) == mine
    (tmp_path / "data").mkdir()
    output = tmp_path / "data" / "mine.safetensors"
    fetch_dataset("mine", output, output.with_suffix(".json"))
    fetched = as_fetched(mine, tmp_path)
    assert fetched.data == load_dataset(output).sha256 and len(fetched.data) == 64
    assert as_planned(fetched) == mine
    # of the paper's the content is known before
    known = replace(adam, data=SHAPES["digits"].sha256)
    assert as_fetched(known, tmp_path) == known == as_planned(known)


WIDE = """
import numpy as np
def read(folder):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (700, 2, 5, 9), dtype=np.uint8)
    labels = np.arange(700) % 300
    return images[:600], labels[:600], images[600:], labels[600:]
SHAPE = None
"""


def test_images_need_not_be_square_and_classes_not_fit_a_byte(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("datasets/mine.py", WIDE)
    shape = DatasetShape(2, (5, 9), classes=300, train_images=600, test_images=100)
    assert (shape.height, shape.width, shape.inputs) == (5, 9, 90)
    monkeypatch.setitem(SHAPES, "mine", shape)
    fetch_dataset("mine", tmp_path / "mine.safetensors", tmp_path / "mine.json")
    data = load_dataset(tmp_path / "mine.safetensors")
    assert data.train_labels.tolist() == [index % 300 for index in range(600)]
    assert data.train_images.shape == (600, 2, 5, 9)
    job = make_job("adam", "DA_BN", epochs=1, crop_padding=2)
    job = replace(job, configuration=replace(job.configuration, dataset="mine"))
    cohort = Cohort(job, data, DEVICE)
    assert cohort.train(1)
    assert all(not rows[-1]["diverged"] for rows in cohort.rows.values())
    assert memory_mb(job, "cpu") > 0


def test_a_cost_is_estimated_before_any_job() -> None:
    lion, adam = (make_job(name, "L2") for name in ("lion", "adam"))
    assert memory_mb(lion, "cpu") == memory_mb(adam, "cpu")
    # of an optimizer of one's own the step goes by autograd, which costs a few times the compiled
    # one
    cost = CostModel().seconds(lion, "cpu")
    assert CostModel().seconds(adam, "cpu") < cost < 10 * CostModel().seconds(adam, "cpu")


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
        (
            "images[:4], labels[:4, None], images[4:], labels[4:, None]",
            r"labels of shape \(4, 1\), not one an image; for one-hot labels or columns take "
            r"labels\[:, 0\]",
        ),
        (
            "images[:4], np.eye(2)[labels[:4]], images[4:], np.eye(2)[labels[4:]]",
            r"labels of shape \(4, 2\), not one an image; .* take labels.argmax\(1\)",
        ),
        ("images[:4], labels[:4] * 0.5, images[4:], labels[4:]", "reads labels other than 0 to 1"),
        ("images[:4], labels[:4], images[4:]", "reads 3 arrays where four are expected"),
        ("images", "reads 1 array where four are expected"),
        ("images[:4], labels[:4], images[:0], labels[:0]", "reads no training or no test images"),
        (
            "one[:4], labels[:4], images[4:], labels[4:]",
            "channel 0 of the training images is 1 everywhere, which cannot be normalised; leave "
            "it out",
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
        source = own.own_file("datasets", "mine")
        assert output.exists() and f'"source": "{source}"' in manifest.read_text()
    else:
        with pytest.raises(DataError, match=sentence) as caught:
            fetch_dataset("mine", output, manifest)
        assert str(caught.value).endswith(
            f"correct its SHAPE or its read in {own.own_file('datasets', 'mine')}"
        )
        assert not output.exists()


LION = """
STATE = ("average",)


def update(parameters, gradients, state, learning_rate, weight_decay):
    for parameter, gradient in zip(parameters, gradients):
        parameter.sub_(gradient.sign(), alpha=learning_rate)
"""
# the same to Python
SAID_OTHERWISE = [
    LION.replace("STATE", "# what it keeps\nSTATE"),
    f'"""Lion."""\n{LION}',
    LION.replace("weight_decay):\n", 'weight_decay):\n    """One step."""\n'),
    LION.replace('("average",)', '(\n    "average",\n)').replace(
        "(gradient.sign(), ", "( gradient.sign(),"
    ),
    LION.replace('"average"', "'average'"),
]
# and what is not
CHANGED = [
    LION.replace("sub_", "add_"),
    LION.replace("alpha=learning_rate", "alpha=2 * learning_rate"),
    LION.replace('"average"', '"mean"'),
    LION + "\nSCALE = 1\n",
]


def test_a_hash_of_what_a_file_says_to_python(write: Write) -> None:
    def fingerprint(text: str) -> str:
        write("optimizers/lion.py", text)
        return own.fingerprint("optimizers", "lion")

    first = fingerprint(LION)
    assert len(first) == 16 and int(first, 16) >= 0
    assert {fingerprint(text) for text in SAID_OTHERWISE} == {first}
    others = [fingerprint(text) for text in CHANGED]
    assert len({first, *others}) == len(CHANGED) + 1


def test_it_is_part_of_the_identity_of_the_runs_that_use_the_file(write: Write) -> None:
    write("optimizers/lion.py", LION)
    adam = make_job("adam", "BN")
    lion = replace(
        adam,
        configuration=replace(adam.configuration, optimizer="lion"),
        own=(("optimizers/lion", own.fingerprint("optimizers", "lion")),),
    )
    assert own_parts(adam.configuration, adam.settings) == []
    assert own_parts(lion.configuration, lion.settings) == ["optimizers/lion"]
    assert '"own"' not in adam.to_json()
    assert Job.from_json(lion.to_json()) == lion
    own.check(lion.own)
    write("optimizers/lion.py", CHANGED[0])
    with pytest.raises(ValueError, match=r"lion\.py was changed after the job was planned; run"):
        own.check(lion.own)
    own.own_file("optimizers", "lion").unlink()
    with pytest.raises(ValueError, match=r"lion\.py is not there; run the same command again"):
        own.check(lion.own)


def test_a_changed_file_is_imported_anew(write: Write) -> None:
    write("optimizers/mine.py", "STATE = ('a',)\ndef update(p, g, s, r, d): pass")
    assert own.load("optimizers", "mine").STATE == ("a",)
    write("optimizers/mine.py", "STATE = ('b',)\ndef update(p, g, s, r, d): pass")
    assert own.load("optimizers", "mine").STATE == ("b",)
