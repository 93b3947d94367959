"""The data sets as training reads them: one uint8 safetensors file each, and beside it a manifest
that vouches for it.

`fetch_dataset` makes the two files and needs no torch; `load_dataset` reads them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from gradflow.data.cifar import CIFAR, read_cifar
from gradflow.data.content import arrays_sha256
from gradflow.data.sources import (
    DEBIAN_FASHION_MNIST,
    FASHION_MNIST_SHA256,
    DataError,
    Original,
    Place,
    one_line,
    read_arrays,
    read_bytes,
    read_digits,
    read_fashion_mnist,
    sha256,
)
from gradflow.files import replacing
from gradflow.study import own
from gradflow.study.datasets import SHAPES
from gradflow.study.job import Settings
from gradflow.study.streams import stream

if TYPE_CHECKING:
    import torch

__all__ = ["DamagedDataError", "DataError", "ImageData", "fetch_dataset", "load_dataset"]

STALL_SECONDS = 20.0  # a download that moves nothing for this long has failed
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


class DamagedDataError(DataError):
    """The files are there and are not what was fetched; the message is one sentence."""


@dataclass(frozen=True)
class ImageData:
    """A data set on the CPU; `mean` and `std` are in the images' own units (0 to 255; digits 0 to
    16).
    """

    name: str
    classes: int
    train_images: torch.Tensor  # [N, C, H, W] uint8
    train_labels: torch.Tensor  # [N] int64
    test_images: torch.Tensor
    test_labels: torch.Tensor
    mean: torch.Tensor  # [C] float64, over the training images
    std: torch.Tensor  # [C] float64, likewise, of the population (divided by the count)
    sha256: str = ""  # of the stored arrays, in the order of ARRAYS; empty for data in memory

    def as_used(self, settings: Settings) -> ImageData:
        """The same data set with the images, and in the size, that settings say."""
        side, count = settings.image_side, settings.train_images
        data = self if side == "original" else self.averaged(side)
        return data if count == "all" else data.subset(count)

    def averaged(self, side: int) -> ImageData:
        """The same data set with images of `side` pixels: each is the mean over its area, rounded
        half up.

        Where the side does not divide the images' own, pixels at a border count by the share of
        them that lies within. `mean` and `std` are those of the averaged training images.

        Raises:
            ValueError: the images have fewer pixels than that, are not square, or are no bytes.
        """
        height, width = self.train_images.shape[-2:]
        if height != width or not 1 <= side <= height or self.train_images.element_size() > 1:
            raise ValueError(
                f"image_side is {side}, but {self.name} has images of {height}x{width} pixels of "
                f"type {str(self.train_images.dtype).removeprefix('torch.')}; only square ones of "
                "bytes are averaged, and down"
            )
        train_images = _area_means(self.train_images, side)
        mean, std = _mean_and_std(train_images)
        return replace(
            self,
            train_images=train_images,
            test_images=_area_means(self.test_images, side),
            mean=mean,
            std=std,
        )

    def subset(self, count: int) -> ImageData:
        """The same data set with `count` of its training images, in their order there, for every
        run the same.

        Each class has its share of them, to within one image: of Fashion-MNIST, 10,000 are 1,000 of
        each. A smaller subset lies within a larger one. The test images stay, and so do `mean` and
        `std`, which are the data set's.

        Raises:
            ValueError: the data set has fewer training images.
        """
        import torch

        images = len(self.train_images)
        if count > images:
            raise ValueError(
                f"train_images is {count}, but {self.name} has {images} training images"
            )
        labels = self.train_labels.numpy()
        shuffled = stream(self.name, "subset").permutation(images)
        place = np.empty(images)  # of an image within its class, as a share of the class
        for label in range(self.classes):
            own = shuffled[labels[shuffled] == label]
            place[own] = (np.arange(len(own)) + 0.5) / max(1, len(own))
        chosen = shuffled[np.argsort(place[shuffled], kind="stable")[:count]]
        kept = torch.from_numpy(np.sort(chosen))
        return replace(
            self, train_images=self.train_images[kept], train_labels=self.train_labels[kept]
        )


def load_dataset(path: Path) -> ImageData:
    """Read the data set at `path` (`{dataset}.safetensors`) after checking it against its manifest
    (`{dataset}.json`).

    Raises DataError when either is missing, and DamagedDataError when the data's sha256 is not the
    manifest's or the manifest is no such data set's.
    """
    import torch
    from safetensors.torch import load

    path = Path(path)
    manifest_path = path.with_suffix(".json")
    again = "run the same command again, which fetches the data set anew"
    try:
        manifest = json.loads(manifest_path.read_bytes())
        name, expected = str(manifest["dataset"]), str(manifest["sha256"])
        classes, identity = int(manifest["classes"]), str(manifest["arrays_sha256"])
    except OSError as error:
        raise DataError(
            f"the manifest {manifest_path} cannot be read ({error.strerror}); {again}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedDataError(f"{manifest_path} is no manifest of a data set; {again}") from error
    if name != path.stem or name not in SHAPES or classes != SHAPES[name].classes:
        raise DamagedDataError(
            f"{manifest_path} is the manifest of {name} with {classes} classes; {again}"
        )
    # Read once: the bytes that were checked are the bytes that are used.
    content = read_bytes(path, again)
    if (actual := sha256(content)) != expected:
        raise DamagedDataError(
            f"{path} has sha256 {actual} where its manifest says {expected}; {again}"
        )
    arrays = load(content)
    mean, std = _mean_and_std(arrays["train_images"])
    return ImageData(
        name=name,
        classes=classes,
        train_images=arrays["train_images"],
        train_labels=arrays["train_labels"].to(torch.int64),
        test_images=arrays["test_images"],
        test_labels=arrays["test_labels"].to(torch.int64),
        mean=mean,
        std=std,
        sha256=identity,
    )


def _area_means(images: torch.Tensor, side: int) -> torch.Tensor:
    """Return [N, C, side, side] uint8 of [N, C, S, S] uint8: exact, since every intermediate value
    is a whole number.

    With S side-ths of a pixel as the unit of length, an image is S * side long, a pixel `side` and
    an averaged pixel S; their overlaps are the weights. Sums stay below 2^53 for any image.
    """
    import torch

    original = images.shape[-1]
    pixels = torch.arange(original, dtype=torch.float64) * side
    averaged = torch.arange(side, dtype=torch.float64)[:, None] * original
    overlaps = torch.minimum(pixels + side, averaged + original) - torch.maximum(pixels, averaged)
    weights = overlaps.clamp(min=0)  # [side, S]
    pieces = [
        (weights @ piece.double() @ weights.T + original**2 / 2).div(original**2).floor().byte()
        for piece in images.split(1024)
    ]
    return torch.cat(pieces)


def _mean_and_std(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation by channel, exact: 256 possible values make it integer
    arithmetic.
    """
    import torch

    values = torch.arange(256)
    means, stds = [], []
    for channel in images.unbind(1):
        histogram = torch.zeros(256, dtype=torch.int64)
        for start in range(0, len(channel), 4096):  # bincount works on a wider copy: keep it small
            histogram += torch.bincount(channel[start : start + 4096].flatten(), minlength=256)
        count = int(histogram.sum())
        total, squares = int((histogram * values).sum()), int((histogram * values**2).sum())
        means.append(total / count)
        stds.append(((count * squares - total**2) / count**2) ** 0.5)
    return torch.tensor(means, dtype=torch.float64), torch.tensor(stds, dtype=torch.float64)


def fetch_dataset(dataset: str, output: Path, manifest: Path, folder: Path | None = None) -> None:
    """Write the data set to `output` (safetensors, see ARRAYS) and its `manifest` (JSON), each
    whole or not at all.

    Sources, in this order: `folder`, Debian's package (Fashion-MNIST), a download. A source that
    lacks the data set is passed over; one that holds it damaged is an error, so that nobody trains
    on files other than those named. Raises DataError.
    """
    if dataset not in SHAPES:
        raise DataError(f"there is no data set {dataset!r}; choose one of {', '.join(SHAPES)}")
    output, manifest = Path(output), Path(manifest)
    try:
        original, source = _read_first_source(dataset, output.parent, folder)
        _write(dataset, original, source, output, manifest)
    except OSError as error:
        raise DataError(
            f"{error.filename or output} cannot be read or written ({error.strerror}); check its "
            "permissions and the space on its disk"
        ) from error


def _write(dataset: str, original: Original, source: str, output: Path, manifest: Path) -> None:
    from safetensors.numpy import load, save

    arrays = {name: np.ascontiguousarray(getattr(original, name)) for name in ARRAYS}
    shape, identity = SHAPES[dataset], arrays_sha256(arrays.values())
    if shape.sha256 not in ("", identity):
        raise DataError(
            f"{source} holds other images or labels than {dataset}: their sha256 is {identity} "
            f"where {shape.sha256} is expected; {_advice(dataset)}"
        )
    content = save(arrays)
    stored = load(content)
    for name in ARRAYS:
        if not np.array_equal(stored[name], getattr(original, name)):
            raise DataError(f"the {name} of {dataset} would not be stored as they were read")
    description = {
        "dataset": dataset,
        "sha256": sha256(content),
        "bytes": len(content),
        "arrays_sha256": identity,
        "counts": {"train": shape.train_images, "test": shape.test_images},
        "classes": shape.classes,
        "class_names": original.class_names,
        "arrays": {
            name: {"dtype": str(array.dtype), "shape": array.shape}
            for name, array in arrays.items()
        },
        "source": source,
        "source_sha256": original.content_sha256,
    }
    with replacing(output) as aside:
        aside.write_bytes(content)
    with replacing(manifest) as aside:  # last: a manifest vouches for data that is there
        aside.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _read_first_source(dataset: str, beside: Path, folder: Path | None) -> tuple[Original, str]:
    """Return the data set from the first source that has it, and the source in words."""
    if dataset == "digits":
        return read_digits(), "scikit-learn's load_digits, split by class with random_state=0"
    if dataset in own.names("datasets"):
        return read_arrays(dataset, folder), str(own.own_file("datasets", dataset))
    tried = []
    for place in _local_places(dataset, folder):
        if original := _read_place(dataset, place):
            return original, f"{place.words} ({place.folder})"
        tried.append(f"{place.words} ({place.folder}) does not hold it")
    beside.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{dataset}-download-", dir=beside) as temporary:
        place = Place(Path(temporary), "the download", "run the same command again")
        try:
            address = download(dataset, place.folder)
        except DataError as error:
            raise DataError(
                f"{dataset} was not found: {'; '.join([*tried, str(error)])}; {_advice(dataset)}"
            ) from error
        if original := _read_place(dataset, place):
            return original, f"downloaded from {address}"
    raise DataError(f"the download from {address} brought no file of {dataset}; {_advice(dataset)}")


def _local_places(dataset: str, folder: Path | None) -> list[Place]:
    places = []
    if folder is not None:
        if not folder.is_dir():
            raise DataError(
                f"the folder {folder}, named by --folder or GRADFLOW_DATA, does not exist; "
                "correct the name"
            )
        remedy = "replace it there, or name another folder by --folder or GRADFLOW_DATA"
        places.append(Place(folder, "the folder named by --folder or GRADFLOW_DATA", remedy))
    if dataset == "fashion_mnist":
        remedy = (
            "reinstall the package dataset-fashion-mnist, or name a folder by --folder or "
            "GRADFLOW_DATA"
        )
        places.append(Place(DEBIAN_FASHION_MNIST, "Debian's package dataset-fashion-mnist", remedy))
    return places


def _read_place(dataset: str, place: Place) -> Original | None:
    return read_fashion_mnist(place) if dataset == "fashion_mnist" else read_cifar(dataset, place)


def _advice(dataset: str) -> str:
    """Say what to do when no source has the data set."""
    if dataset == "fashion_mnist":
        files = ", ".join(f"{name}.gz" for name in FASHION_MNIST_SHA256)
        return (
            "install Debian's package dataset-fashion-mnist, or set GRADFLOW_DATA to a folder "
            f"that holds {files}"
        )
    return (
        f"set GRADFLOW_DATA to a folder that holds {CIFAR[dataset].archive}, or a lossless copy "
        "of it: Parquet files or images by split and class"
    )


def download(dataset: str, folder: Path) -> str:
    """Download the data set's original files into `folder` by torchvision, with its checksums;
    return the address.

    Raises DataError when there is no connection, none within STALL_SECONDS, or a checksum differs.
    """
    from torchvision import datasets  # seconds to import, and seldom needed

    if dataset == "fashion_mnist":
        base = datasets.FashionMNIST.mirrors[0]
        files = [(f"{base}{name}", md5) for name, md5 in datasets.FashionMNIST.resources]
    else:
        source = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[dataset]
        base = source.url
        files = [(source.url, source.tgz_md5)]
    try:
        with _socket_timeout(STALL_SECONDS):
            for url, md5 in files:
                datasets.utils.download_url(url, str(folder), md5=md5)
    except (OSError, RuntimeError, HTTPException) as error:
        reason = one_line(getattr(error, "reason", error))  # a URLError wraps it
        raise DataError(f"the download from {url}, md5 {md5}, failed ({reason})") from error
    return str(base)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Bound every wait of the block's connections: torchvision sets no timeout of its own."""
    import socket

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
