"""CIFAR from copies of encoded images: the same bytes are stored as from the authors' files, or one
sentence says why not.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from small_cifar import SmallCifar

from gradflow.data import encoded_images
from gradflow.data import store as data
from gradflow.data.content import image_digests
from gradflow.data.encoded_images import authors_digests, class_names
from gradflow.data.store import DataError, fetch_dataset, load_dataset
from gradflow.study.datasets import SHAPES

Parts = dict[str, tuple[np.ndarray, list[int]]]  # images [N, 3, 32, 32] and labels of each split
Write = Callable[[str, Parts, Path, str], None]


def encode(image: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, kind, **options)
    return buffer.getvalue()


def write_parquet(dataset: str, parts: Parts, folder: Path, kind: str = "PNG") -> None:
    """The hub's layout, the training images in two shards."""
    label = "fine_label" if dataset == "cifar100" else "label"
    (folder / dataset).mkdir(parents=True)
    for split, (images, labels) in parts.items():
        places = np.array_split(np.arange(len(labels)), 2 if split == "train" else 1)
        for shard, chosen in enumerate(places):
            cells = [{"bytes": encode(images[place], kind), "path": None} for place in chosen]
            columns = {"img": pa.array(cells), label: pa.array([labels[k] for k in chosen])}
            if dataset == "cifar100":
                columns["coarse_label"] = pa.array([0] * len(chosen))
            name = f"{split}-{shard:05}-of-{len(places):05}.parquet"
            pq.write_table(pa.table(columns), folder / dataset / name)


def members(dataset: str, parts: Parts, kind: str) -> dict[str, bytes]:
    classes = class_names(dataset)
    return {
        f"{split}/{classes[label]}/{place:05}.{kind.lower()}": encode(images[place], kind)
        for split, (images, labels) in parts.items()
        for place, label in enumerate(labels)
    }


def write_folder(dataset: str, parts: Parts, folder: Path, kind: str = "PNG") -> None:
    for name, content in members(dataset, parts, kind).items():
        path = folder / dataset / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_zip(dataset: str, parts: Parts, folder: Path, kind: str = "PNG") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{dataset}.zip", "w") as archive:
        archive.writestr("README.md", "a copy")
        for name, content in members(dataset, parts, kind).items():
            archive.writestr(f"a folder/{name}", content)


WRITERS = [write_parquet, write_folder, write_zip]


def parts_of(small: SmallCifar) -> Parts:
    """In another order than the authors'."""
    images = small.images.reshape(-1, 3, 32, 32)
    train, test = np.random.default_rng(1).permutation(10), np.arange(13, 9, -1)
    return {
        split: (images[places].copy(), [small.labels[place] for place in places])
        for split, places in (("train", train), ("test", test))
    }


@pytest.fixture(params=["cifar10", "cifar100"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SmallCifar:
    small = SmallCifar(request.param, monkeypatch)
    images, labels = small.images, np.array(small.labels)
    digests = [digest[:4] for digest in image_digests(images, labels)]
    authors = {"train": Counter(digests[:10]), "test": Counter(digests[10:])}
    monkeypatch.setattr(encoded_images, "authors_digests", lambda _: authors)
    monkeypatch.setattr(data, "download", lambda *_: pytest.fail("downloaded"))
    return small


def fetch(dataset: str, folder: Path, out: Path) -> tuple[bytes, dict]:
    output = out / f"{dataset}.safetensors"
    fetch_dataset(dataset, output, output.with_suffix(".json"), folder)
    return output.read_bytes(), json.loads(output.with_suffix(".json").read_text())


def refusal(small: SmallCifar, parts: Parts, tmp_path: Path, write: Write = write_zip) -> str:
    write(small.dataset, parts, tmp_path / "copy", "PNG")
    with pytest.raises(DataError) as caught:
        fetch(small.dataset, tmp_path / "copy", tmp_path / "out")
    message = str(caught.value)
    assert "\n" not in message and str(tmp_path / "copy") in message and "GRADFLOW_DATA" in message
    return message


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("write", WRITERS)
def test_every_container_is_stored_as_the_authors_files_are(
    write: Write, kind: str, small: SmallCifar, tmp_path: Path
) -> None:
    small.write_archive(tmp_path / "authors")
    write(small.dataset, parts_of(small), tmp_path / "copy", kind)
    authors, _ = fetch(small.dataset, tmp_path / "authors", tmp_path / "one")
    copy, manifest = fetch(small.dataset, tmp_path / "copy", tmp_path / "two")
    assert copy == authors
    assert str(tmp_path / "copy") in manifest["source"]
    assert manifest["class_names"] == class_names(small.dataset)
    # the authors' own files go before a copy beside them
    write(small.dataset, parts_of(small), tmp_path / "authors", kind)
    assert set(
        fetch(small.dataset, tmp_path / "authors", tmp_path / "three")[1]["source_sha256"]
    ) == set(small.batches)


@pytest.mark.parametrize("small", ["cifar100"], indirect=True)
def test_shards_of_the_other_data_set_are_passed_over(small: SmallCifar, tmp_path: Path) -> None:
    write_parquet(small.dataset, parts_of(small), tmp_path, "PNG")
    (tmp_path / small.dataset).rename(tmp_path / "data")  # a folder that both may lie in
    assert fetch(small.dataset, tmp_path, tmp_path / "out")[1]["counts"] == {"train": 10, "test": 4}
    assert data._read_place("cifar10", data._local_places("cifar10", tmp_path)[0]) is None


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_a_checksum_of_every_image_is_kept(dataset: str) -> None:
    theirs = authors_digests(dataset)
    assert {split: digests.total() for split, digests in theirs.items()} == {
        "train": 50_000,
        "test": 10_000,
    }


@pytest.mark.parametrize("write", WRITERS)
def test_jpeg_copies_are_counted(write: Write, small: SmallCifar, tmp_path: Path) -> None:
    write(small.dataset, parts_of(small), tmp_path / "copy", "JPEG")
    with pytest.raises(DataError, match=r"holds JPEG copies \(14 of 14 images\).*lossless"):
        fetch(small.dataset, tmp_path / "copy", tmp_path / "out")


def test_lossy_pixels_in_a_lossless_file_are_counted(small: SmallCifar, tmp_path: Path) -> None:
    parts = parts_of(small)
    parts["train"][0][[2, 5], 0, 0, 0] ^= 1
    message = refusal(small, parts, tmp_path)
    assert "of its 10 train images 2 are not the authors', in pixels or label" in message
    assert "2 of the authors' are missing" in message and "test" not in message.split("copy")[1]


def test_missing_and_doubled_images_are_counted(small: SmallCifar, tmp_path: Path) -> None:
    parts = parts_of(small)
    images, labels = parts["train"]
    images[3], labels[3] = images[4], labels[4]
    images, labels = parts["test"]
    parts["test"] = images[:3], labels[:3]
    message = refusal(small, parts, tmp_path)
    assert "of its 10 train images 1 stand there once too often, 1 of the authors' are" in message
    assert "of its 3 test images 1 of the authors' are missing" in message


def test_wrong_labels_are_counted(small: SmallCifar, tmp_path: Path) -> None:
    parts = parts_of(small)
    labels = parts["train"][1]
    labels[0], labels[1] = labels[1], labels[0]
    assert "2 are not the authors', in pixels or label" in refusal(small, parts, tmp_path)


def test_swapped_splits_are_named(small: SmallCifar, tmp_path: Path) -> None:
    parts = parts_of(small)
    message = refusal(small, {"train": parts["test"], "test": parts["train"]}, tmp_path)
    assert "has the splits swapped: 4 of its training images are test images" in message


@pytest.mark.parametrize("small", ["cifar100"], indirect=True)
def test_coarse_labels_are_named(small: SmallCifar, tmp_path: Path) -> None:
    parts = {
        split: (images, [label % 20 for label in labels])
        for split, (images, labels) in parts_of(small).items()
    }
    assert "20 coarse labels of cifar100 on its 14 images" in refusal(small, parts, tmp_path)


def test_images_of_another_shape_are_counted(small: SmallCifar, tmp_path: Path) -> None:
    parts = parts_of(small)
    parts["test"] = parts["test"][0][:, :, :16], parts["test"][1]
    message = refusal(small, parts, tmp_path, write_folder)
    assert "holds 4 test images that are not 32x32 in RGB (32x16 in mode RGB)" in message


def test_what_is_no_container_is_a_sentence(small: SmallCifar, tmp_path: Path) -> None:
    path = tmp_path / f"{small.dataset}.zip"
    path.write_bytes(b"PK but no zip")
    with pytest.raises(DataError, match="is no readable zip file"):
        fetch(small.dataset, tmp_path, tmp_path / "out")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_000.webp", b"sheet")
    with pytest.raises(DataError, match="holds no images in folders train/CLASS and test/CLASS"):
        fetch(small.dataset, tmp_path, tmp_path / "out")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train/teapot/1.png", b"image")
    with pytest.raises(DataError, match="a folder train/teapot, which is no class of"):
        fetch(small.dataset, tmp_path, tmp_path / "out")
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="is no readable Parquet file"):
        fetch(small.dataset, tmp_path, tmp_path / "out")
    pq.write_table(pa.table({"pixels": [1], "label": [2]}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match="has the columns pixels, label, not one of img or image"):
        fetch(small.dataset, tmp_path, tmp_path / "out")


# --- the real ones, where GRADFLOW_DATA has them --------------------------------------------------

PUBLISHED = {
    "cifar10": ((0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784)),
    "cifar100": ((0.50707516, 0.48654887, 0.44091784), (0.26733429, 0.25643846, 0.27615047)),
}


@pytest.mark.slow
@pytest.mark.parametrize("dataset", list(PUBLISHED))
def test_the_real_data_set(dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> str:
        raise DataError("no download in a test")

    monkeypatch.setattr(data, "download", nothing)
    folder = os.environ.get("GRADFLOW_DATA")
    try:
        content, manifest = fetch(dataset, Path(folder or tmp_path), tmp_path / "one")
    except DataError as error:
        if "was not found" not in str(error):
            raise
        pytest.skip(f"GRADFLOW_DATA names no folder with {dataset}")
    assert manifest["arrays_sha256"] == SHAPES[dataset].sha256
    stored = load_dataset(tmp_path / "one" / f"{dataset}.safetensors")
    classes = SHAPES[dataset].classes
    assert torch.bincount(stored.train_labels).tolist() == [50_000 // classes] * classes
    assert torch.bincount(stored.test_labels).tolist() == [10_000 // classes] * classes
    mean, std = PUBLISHED[dataset]
    assert (stored.mean / 255).tolist() == pytest.approx(mean, abs=5e-9)
    assert (stored.std / 255).tolist() == pytest.approx(std, abs=5e-9)
    parts = {
        "train": (stored.train_images.numpy(), stored.train_labels.tolist()),
        "test": (stored.test_images.numpy(), stored.test_labels.tolist()),
    }
    for write, kind in ((write_parquet, "PNG"), (write_folder, "BMP")):
        copy = tmp_path / write.__name__
        write(dataset, parts, copy, kind)
        assert fetch(dataset, copy, copy / "out")[0] == content
