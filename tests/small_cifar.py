"""Small CIFAR archives in the authors' format, for the tests of the data layer."""

import dataclasses
import hashlib
import io
import itertools
import pickle
import tarfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from gradflow.data import cifar
from gradflow.study.datasets import SHAPES


class Python2Pickler(pickle._Pickler):
    """Writes as Python 2 did, protocol 2: byte strings as such, flags of a dtype as integers."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes

    def reducer_override(self, value):
        if isinstance(value, np.dtype):
            return np.dtype, (b"u1", 0, 1), (3, b"|", None, None, None, -1, -1, 0)
        if isinstance(value, np.ndarray):
            _, _, state = value.__reduce__()
            return np.empty(0).__reduce__()[0], (np.ndarray, (0,), b"b"), state
        return NotImplemented


def pickled(value: object) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def archive_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class SmallCifar:
    """A CIFAR of 10 + 4 images in the original format, whose checksums are made the expected ones.

    Change `batches`, then write: what is written is what is expected, until a test damages it.
    """

    def __init__(self, dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dataset, self.monkeypatch = dataset, monkeypatch
        self.files = cifar.CIFAR[dataset]
        shape = dataclasses.replace(SHAPES[dataset], train_images=10, test_images=4, sha256="")
        monkeypatch.setitem(SHAPES, dataset, shape)
        self.images = np.random.default_rng(0).integers(0, 256, (14, 3072), dtype=np.uint8)
        self.labels = [(7 * i) % SHAPES[dataset].classes for i in range(14)]
        starts = np.linspace(0, 10, len(self.files.train_md5) + 1).astype(int)
        ranges = [*itertools.pairwise(starts), (10, 14)]
        names = [*self.files.train_md5, *self.files.test_md5]
        self.batches = {
            name: self.batch(*between) for name, between in zip(names, ranges, strict=True)
        }
        (meta,) = self.files.meta_md5
        class_names = [f"class {i}".encode() for i in range(SHAPES[dataset].classes)]
        self.batches[meta] = pickled({self.files.names_key: class_names})

    @property
    def stored(self) -> tuple[np.ndarray, list[int]]:
        """Images [14, 3072] and labels in the order in which they are stored: by checksum, within
        each part.
        """

        def checksum(place: int) -> bytes:
            return hashlib.sha256(bytes([self.labels[place]]) + bytes(self.images[place])).digest()

        places = [*sorted(range(10), key=checksum), *sorted(range(10, 14), key=checksum)]
        return self.images[places], [self.labels[place] for place in places]

    def batch(self, start: int, stop: int) -> bytes:
        content = {b"data": self.images[start:stop], self.files.labels_key: self.labels[start:stop]}
        return pickled(
            content | {b"coarse_labels": [0] * (stop - start), b"batch_label": b"a batch"}
        )

    def expect(self, archive: bytes = b"") -> None:
        def md5(names: dict[str, str]) -> dict[str, str]:
            return {name: hashlib.md5(self.batches.get(name, b"")).hexdigest() for name in names}

        files = self.files
        expected = dataclasses.replace(
            files,
            archive_md5=hashlib.md5(archive).hexdigest(),
            train_md5=md5(files.train_md5),
            test_md5=md5(files.test_md5),
            meta_md5=md5(files.meta_md5),
        )
        self.monkeypatch.setitem(cifar.CIFAR, self.dataset, expected)

    def write_archive(self, folder: Path, extra: dict[str, bytes] | None = None) -> Path:
        members = {f"{self.files.folder}/{name}": content for name, content in self.batches.items()}
        archive = archive_of(members | (extra or {}))
        self.expect(archive)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.files.archive).write_bytes(archive)
        return folder / self.files.archive

    def write_folder(self, folder: Path) -> None:
        self.expect()
        folder.mkdir(parents=True)
        for name, content in self.batches.items():
            (folder / name).write_bytes(content)
