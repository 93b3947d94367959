"""CIFAR-10 and CIFAR-100 as their authors publish them, pickled batches in a tar.gz archive, or as
copies.

Nothing is unpickled before its checksum was verified, and then only plain values and arrays are
admitted. Archives are read in memory and never extracted, so no member can be written outside a
folder, whatever its name.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gradflow.data.content import canonical_order
from gradflow.data.encoded_images import read_encoded
from gradflow.data.sources import (
    DataError,
    Original,
    Place,
    as_images,
    checked,
    first_file,
    one_line,
    read_bytes,
    sha256,
    verify,
)


@dataclass(frozen=True)
class CifarFiles:
    """What the authors' archive holds, and the md5 checksums that torchvision has of it."""

    archive: str
    archive_md5: str
    folder: str  # in the archive, and of the extracted files
    train_md5: dict[str, str]
    test_md5: dict[str, str]
    meta_md5: dict[str, str]
    labels_key: bytes
    names_key: bytes
    folders: tuple[str, ...]  # in which the archive or the extracted folder may lie

    @property
    def md5(self) -> dict[str, str]:
        """The checksum of every file that is read."""
        return self.train_md5 | self.test_md5 | self.meta_md5


CIFAR = {
    "cifar10": CifarFiles(
        archive="cifar-10-python.tar.gz",
        archive_md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        train_md5={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        test_md5={"test_batch": "40351d587109b95175f43aff81a1287e"},
        meta_md5={"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
        labels_key=b"labels",
        names_key=b"label_names",
        folders=("cifar10", "CIFAR10", "."),
    ),
    "cifar100": CifarFiles(
        archive="cifar-100-python.tar.gz",
        archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        train_md5={"train": "16019d7e3df5f24257cddd939b257f8d"},
        test_md5={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        meta_md5={"meta": "7973b15100ade9c7d40fb424638fde48"},
        labels_key=b"fine_labels",
        names_key=b"fine_label_names",
        folders=("cifar100", "CIFAR100", "."),
    ),
}


def read_cifar(dataset: str, place: Place) -> Original | None:
    """Read CIFAR-10 or CIFAR-100 (fine labels), or return None where the place holds nothing of it.

    The authors' archive goes first, then their extracted folder, then copies as encoded images;
    see `encoded_images`. Whatever the source, the order is the same.
    """
    original = _read_batches(dataset, place) or read_encoded(dataset, place)
    return None if original is None else in_canonical_order(original)


def _read_batches(dataset: str, place: Place) -> Original | None:
    """Read the authors' archive, or the folder extracted from it, which the user may also name
    itself.
    """
    files = CIFAR[dataset]
    folders = [place.folder / name for name in files.folders]
    archive = first_file(*(folder / files.archive for folder in folders))
    if archive is not None:
        where, contents = archive, _archive_contents(archive, files, place)
    else:
        extracted = [folder / files.folder for folder in folders]
        if place.folder.name == files.folder:
            extracted.append(place.folder)
        existing = [folder for folder in extracted if folder.is_dir()]
        if not existing:
            return None
        where = existing[0]
        present = [name for name in files.md5 if (where / name).is_file()]
        contents = {name: read_bytes(where / name, place.remedy) for name in present}

    batches: dict[str, Any] = {}
    content_sha256: dict[str, str] = {}
    for name, md5 in files.md5.items():
        if name not in contents:
            raise DataError(f"{where} lacks {name}, md5 {md5}; {place.remedy}")
        verify("md5", contents[name], md5, f"{name} in {where}", place.remedy)
        content_sha256[name] = sha256(contents[name])
        batches[name] = _unpickle(contents.pop(name), f"{name} in {where}", place)
    try:
        train, test = (
            (
                np.concatenate([batches[name][b"data"] for name in names]),
                np.concatenate(
                    [np.asarray(batches[name][files.labels_key], np.uint8) for name in names]
                ),
            )
            for names in (files.train_md5, files.test_md5)
        )
        class_names = [
            name.decode() for meta in files.meta_md5 for name in batches[meta][files.names_key]
        ]
        original = Original(
            as_images(dataset, train[0]),
            train[1],
            as_images(dataset, test[0]),
            test[1],
            class_names,
            content_sha256,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{where} is not laid out as {dataset} is ({one_line(error)}); {place.remedy}"
        ) from error
    return checked(dataset, original, where, place)


def in_canonical_order(original: Original) -> Original:
    """The same images in the order that every source of them is stored in."""
    train = canonical_order(original.train_images, original.train_labels)
    test = canonical_order(original.test_images, original.test_labels)
    return replace(
        original,
        train_images=original.train_images[train],
        train_labels=original.train_labels[train],
        test_images=original.test_images[test],
        test_labels=original.test_labels[test],
    )


def _archive_contents(path: Path, files: CifarFiles, place: Place) -> dict[str, bytes]:
    """Return the archive's files by name, after its checksum was verified; other members are passed
    over.
    """
    packed = read_bytes(path, place.remedy)
    verify("md5", packed, files.archive_md5, str(path), place.remedy)
    wanted = {f"{files.folder}/{name}": name for name in files.md5}
    contents = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
            for member in archive:
                if (
                    member.isreg()
                    and member.name in wanted
                    and (file := archive.extractfile(member))
                ):
                    contents[wanted[member.name]] = file.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(
            f"{path} is not a readable tar.gz archive ({one_line(error)}); {place.remedy}"
        ) from error
    return contents


class _ArrayUnpickler(pickle.Unpickler):
    """Admits plain containers, numbers, byte strings and NumPy arrays: all that the batches
    hold.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return stand-ins for the three names by which NumPy pickles an array, and refuse every
        other.
        """
        if (module, name) in {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        }:
            return lambda kind, shape, typecode: np.empty(
                0, np.uint8
            )  # whose all the pickled state replaces
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == (
            "numpy",
            "dtype",
        ):  # Python 2 pickled the flags as integers, which NumPy deprecates
            return lambda code, align, copy: np.dtype(code, align=bool(align), copy=bool(copy))
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _unpickle(content: bytes, what: str, place: Place) -> Any:
    try:
        return _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a pickle can fail in almost any way
        raise DataError(
            f"{what} is refused as a pickle ({one_line(error)}); {place.remedy}"
        ) from error
