"""Fetching a data set, and damaging a file."""

import json
from pathlib import Path

import numpy as np
import pytest
from small_cifar import SmallCifar

from gradflow.data.store import DataError, fetch_dataset, load_dataset


def fetch(dataset: str, out: Path, folder: Path | None = None) -> tuple[Path, dict]:
    output, manifest = out / f"{dataset}.safetensors", out / f"{dataset}.json"
    fetch_dataset(dataset, output, manifest, folder)
    assert sorted(out.iterdir()) == [manifest, output]
    return output, json.loads(manifest.read_text())


def refusal(dataset: str, out: Path, folder: Path | None = None) -> str:
    """Fetch, which must fail; return the sentence after checking that nothing was left behind."""
    with pytest.raises(DataError) as caught:
        fetch_dataset(dataset, out / f"{dataset}.safetensors", out / f"{dataset}.json", folder)
    message = str(caught.value)
    assert message and "\n" not in message
    assert not out.exists() or not list(out.iterdir())
    return message


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def check_small(small: SmallCifar, path: Path, manifest: dict) -> None:
    loaded = load_dataset(path)
    pixels = np.concatenate([loaded.train_images.numpy(), loaded.test_images.numpy()])
    images, labels = small.stored
    assert images.tolist() != small.images.tolist()  # the source has another order
    assert np.array_equal(pixels.reshape(14, 3072), images)
    assert loaded.train_labels.tolist() + loaded.test_labels.tolist() == labels
    assert manifest["arrays_sha256"] == loaded.sha256
    assert loaded.mean.shape == loaded.std.shape == (3,)
    assert manifest["class_names"][:2] == ["class 0", "class 1"]
    assert set(manifest["source_sha256"]) == set(small.batches)
