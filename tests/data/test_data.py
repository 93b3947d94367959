"""Data sets of any source: checked, stored, and read again as they were."""

import dataclasses
import gzip
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cohorts import make_job
from fetching import check_small, fetch, flip, refusal
from small_cifar import SmallCifar

from gradflow.data import cifar, sources
from gradflow.data import store as data
from gradflow.data.store import DataError, fetch_dataset, load_dataset
from gradflow.study.datasets import SHAPES
from gradflow.training.train_job import load_job_data

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_dataset.py"


# --- digits ---------------------------------------------------------------------------------------


def test_digits_are_split_by_class_and_always_alike(out: Path) -> None:
    path, manifest = fetch("digits", out)
    first = path.read_bytes()
    fetch("digits", out)
    assert path.read_bytes() == first
    assert manifest["sha256"] == hashlib.sha256(first).hexdigest()
    assert manifest["counts"] == {"train": 1437, "test": 360}
    assert manifest["arrays"]["train_images"] == {"dtype": "uint8", "shape": [1437, 1, 8, 8]}

    digits = load_dataset(path)
    assert (digits.name, digits.classes) == ("digits", 10)
    assert digits.train_images.dtype == torch.uint8 and digits.train_images.shape == (1437, 1, 8, 8)
    assert digits.test_labels.dtype == torch.int64 and digits.test_images.shape == (360, 1, 8, 8)
    assert int(digits.train_images.max()) == 16
    shares = torch.bincount(digits.test_labels) / torch.bincount(
        torch.cat([digits.train_labels, digits.test_labels])
    )
    assert (shares - 360 / 1797).abs().max() < 0.005
    pixels = digits.train_images.double()
    torch.testing.assert_close(digits.mean, pixels.mean((0, 2, 3)), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        digits.std, pixels.std((0, 2, 3), unbiased=False), rtol=1e-12, atol=0
    )


def test_digits_split_otherwise_are_refused(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(SHAPES["digits"], sha256="0" * 64)
    monkeypatch.setitem(SHAPES, "digits", other)
    assert "scikit-learn" in refusal("digits", out)


# --- Fashion-MNIST --------------------------------------------------------------------------------


@pytest.mark.skipif(
    not sources.DEBIAN_FASHION_MNIST.is_dir(),
    reason="Debian's package dataset-fashion-mnist is not installed",
)
def test_fashion_mnist_of_the_debian_package(out: Path) -> None:
    path, manifest = fetch("fashion_mnist", out)
    assert "dataset-fashion-mnist" in manifest["source"]
    assert manifest["source_sha256"] == sources.FASHION_MNIST_SHA256
    fashion = load_dataset(path)
    assert fashion.train_images.shape == (60_000, 1, 28, 28)
    assert torch.bincount(fashion.train_labels).tolist() == [6_000] * 10
    assert torch.bincount(fashion.test_labels).tolist() == [1_000] * 10
    # The values that everybody uses for this data set.
    assert float(fashion.mean) / 255 == pytest.approx(0.2860, abs=5e-5)
    assert float(fashion.std) / 255 == pytest.approx(0.3530, abs=5e-5)


@pytest.fixture
def small_fashion(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """Take away the Debian package; make a Fashion-MNIST of 20 + 10 images the true one; return its
    IDX files.
    """
    shape = dataclasses.replace(SHAPES["fashion_mnist"], train_images=20, test_images=10, sha256="")
    monkeypatch.setitem(SHAPES, "fashion_mnist", shape)
    monkeypatch.setattr(data, "DEBIAN_FASHION_MNIST", tmp_path / "no-package")
    random = np.random.default_rng(0)
    files = {}
    for prefix, count in (("train", 20), ("t10k", 10)):
        header = np.array([2051, count, 28, 28], ">i4").tobytes()
        files[f"{prefix}-images-idx3-ubyte"] = header + random.bytes(count * 784)
        header = np.array([2049, count], ">i4").tobytes()
        files[f"{prefix}-labels-idx1-ubyte"] = header + bytes(i % 10 for i in range(count))
    for name, content in files.items():
        monkeypatch.setitem(sources.FASHION_MNIST_SHA256, name, hashlib.sha256(content).hexdigest())
    return files


def write_gz(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))


@pytest.mark.parametrize("layout", ["fashion-mnist", "FashionMNIST/raw", "."])
def test_fashion_mnist_of_the_users_folder(
    layout: str, out: Path, tmp_path: Path, small_fashion: dict[str, bytes]
) -> None:
    write_gz(tmp_path / "mine" / layout, small_fashion)
    path, manifest = fetch("fashion_mnist", out, tmp_path / "mine")
    assert str(tmp_path / "mine") in manifest["source"]
    fashion = load_dataset(path)
    assert fashion.train_images.numpy().tobytes() == small_fashion["train-images-idx3-ubyte"][16:]
    assert fashion.test_labels.tolist() == list(range(10))


def test_fashion_mnist_uncompressed(
    out: Path, tmp_path: Path, small_fashion: dict[str, bytes]
) -> None:
    for name, content in small_fashion.items():
        (tmp_path / name).write_bytes(content)
    fetch("fashion_mnist", out, tmp_path)


NAME = "t10k-images-idx3-ubyte"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path, content: path.write_bytes(path.read_bytes()[:-100]), "cannot be read"),
        (
            lambda path, content: path.write_bytes(b""),
            "holds 0 bytes of content where 7856 are expected",
        ),
        (lambda path, content: path.write_bytes(b"no gzip"), "cannot be read"),
        (
            lambda path, content: flip(path, 200),
            "cannot be read",
        ),  # gzip's own checksum, or its structure
        (lambda path, content: path.write_bytes(gzip.compress(content[:-1] + b"\0")), "has sha256"),
        (lambda path, content: path.write_bytes(gzip.compress(content[:-784])), "holds 7072 bytes"),
        (
            lambda path, content: path.write_bytes(gzip.compress(content + b"\0")),
            "more than 7856 bytes",
        ),
        (lambda path, content: path.unlink(), "lacks"),
    ],
)
def test_a_damaged_fashion_mnist_is_a_sentence(
    damage, said: str, out: Path, tmp_path: Path, small_fashion: dict[str, bytes]
) -> None:
    write_gz(tmp_path / "mine", small_fashion)
    damage(tmp_path / "mine" / f"{NAME}.gz", small_fashion[NAME])
    message = refusal("fashion_mnist", out, tmp_path / "mine")
    assert said in message and f"{NAME}.gz" in message and "GRADFLOW_DATA" in message


def test_a_missing_data_set_names_every_place_tried(
    out: Path, tmp_path: Path, small_fashion: dict[str, bytes]
) -> None:
    message = refusal("fashion_mnist", out, tmp_path)
    for place in (
        str(tmp_path),
        "no-package",
        "http://example.invalid",
        "set GRADFLOW_DATA",
        "dataset-fashion-mnist",
    ):
        assert place in message
    assert "does not exist" in refusal("fashion_mnist", out, tmp_path / "misspelt")


# --- download -------------------------------------------------------------------------------------


def test_a_download_is_read_and_its_folder_removed(
    small: SmallCifar, out: Path, mine: Path
) -> None:
    archive = small.write_archive(mine).read_bytes()

    def download(dataset: str, folder: Path) -> str:
        (folder / small.files.archive).write_bytes(archive)
        return "http://example.org"

    small.monkeypatch.setattr(data, "download", download)
    path, manifest = fetch(small.dataset, out)
    assert manifest["source"] == "downloaded from http://example.org"
    check_small(small, path, manifest)


@pytest.mark.parametrize("dataset", ["fashion_mnist", "cifar10", "cifar100"])
def test_torchvision_is_asked_for_files_with_our_checksums(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    from torchvision.datasets import utils

    asked = []

    def record(url: str, root: str, md5: str) -> None:
        asked.append((url.rsplit("/", 1)[1], md5))
        assert socket.getdefaulttimeout() == data.STALL_SECONDS

    monkeypatch.undo()  # of `no_network`
    monkeypatch.setattr(utils, "download_url", record)
    data.download(dataset, tmp_path)
    if dataset == "fashion_mnist":
        assert [name for name, _ in asked] == [
            f"{name}.gz" for name in sources.FASHION_MNIST_SHA256
        ]
    else:
        assert asked == [(cifar.CIFAR[dataset].archive, cifar.CIFAR[dataset].archive_md5)]
    assert socket.getdefaulttimeout() is None

    def fail(url: str, root: str, md5: str) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(utils, "download_url", fail)
    with pytest.raises(DataError, match=r"^the download from http.* failed \(timed out\)$"):
        data.download(dataset, tmp_path)


# --- reading and the script -----------------------------------------------------------------------


def test_flipped_bits_and_lost_files_are_named_on_reading(
    small: SmallCifar, out: Path, mine: Path
) -> None:
    small.write_archive(mine)
    path, _ = fetch(small.dataset, out, mine)
    flip(path, -10)
    with pytest.raises(DataError, match=rf"{path} has sha256 .* run the same command again"):
        load_dataset(path)
    path.unlink()
    with pytest.raises(DataError, match=f"{path} cannot be read"):
        load_dataset(path)
    path.with_suffix(".json").write_text('{"dataset": ')
    with pytest.raises(DataError, match="is no manifest of a data set"):
        load_dataset(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        load_dataset(path)


def test_a_result_that_cannot_be_written_is_a_sentence(
    small: SmallCifar, tmp_path: Path, mine: Path
) -> None:
    small.write_archive(mine)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be read or written"):
        fetch(small.dataset, tmp_path / "file", mine)


def test_the_script_fails_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"truncated")
    command = [
        sys.executable,
        SCRIPT,
        "cifar10",
        "--output",
        tmp_path / "o.safetensors",
        "--manifest",
        tmp_path / "o.json",
    ]
    environment = os.environ | {
        "GRADFLOW_DATA": str(tmp_path),
        "PYTHONPATH": str(SCRIPT.parents[1] / "src"),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "c58f30108f718f92721af3b95e74349a" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-python.tar.gz"]


def test_the_script_writes_both_files(small: SmallCifar, out: Path, mine: Path) -> None:
    small.write_archive(mine)
    specification = importlib.util.spec_from_file_location("fetch_dataset", SCRIPT)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    path = out / f"{small.dataset}.safetensors"
    arguments = [
        small.dataset,
        "--output",
        path,
        "--manifest",
        path.with_suffix(".json"),
        "--folder",
        mine,
    ]
    assert script.main([str(argument) for argument in arguments]) == 0
    assert load_dataset(path).name == small.dataset


def test_fetching_needs_no_torch() -> None:
    code = "import sys, gradflow.data.store; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1] / "src")}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )


def test_other_data_do_not_pass_for_the_named(tmp_path: Path) -> None:
    path = tmp_path / "data" / "digits.safetensors"
    fetch_dataset("digits", path, path.with_suffix(".json"))
    job = make_job("sgd", image_side=4, train_images=100)
    named = dataclasses.replace(job, data=SHAPES["digits"].sha256)
    data = load_job_data(named, tmp_path)
    assert data.train_images.shape == (100, 1, 4, 4) and data.test_images.shape == (360, 1, 4, 4)
    assert torch.equal(data.mean, load_dataset(path).averaged(4).mean)
    other = dataclasses.replace(job, data="0" * 64)
    with pytest.raises(DataError, match=r"holds arrays of sha256 28d636f2.* where 0000.*again"):
        load_job_data(other, tmp_path)
    assert not path.exists()
