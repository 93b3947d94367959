"""Digits and Fashion-MNIST as their authors publish them, and what every reader of originals
shares.

Free of torch. `cifar` has the other two data sets; `data` tries the places in order.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gradflow.data.content import Bytes, arrays_sha256
from gradflow.study import own
from gradflow.study.datasets import SHAPES


class DataError(Exception):
    """A data set is missing or is not what it should be; the message is one sentence that says what
    to do.
    """


@dataclass(frozen=True)
class Place:
    """A folder in which a data set may lie."""

    folder: Path
    words: str  # what the folder is, for the manifest
    remedy: str  # what to do about a bad file in it, for error messages


@dataclass(frozen=True)
class Original:
    """A data set as read from its source: images [N, C, H, W] as uint8, and labels [N]; see
    `label_type`.
    """

    train_images: Bytes
    train_labels: npt.NDArray[np.unsignedinteger[Any]]
    test_images: Bytes
    test_labels: npt.NDArray[np.unsignedinteger[Any]]
    class_names: list[str]
    content_sha256: dict[str, str]  # by source file, of its uncompressed content


def one_line(error: object) -> str:
    """Return the error's text without line breaks, or its type where it has none."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def sha256(content: bytes) -> str:
    """Return the SHA-256 checksum in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def verify(algorithm: str, content: bytes, expected: str, what: str, remedy: str) -> None:
    """Raise DataError, naming `what` and the remedy, unless the content has the expected
    checksum.
    """
    actual = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
    if actual != expected:
        raise DataError(f"{what} has {algorithm} {actual} where {expected} is expected; {remedy}")


def read_bytes(path: Path, remedy: str) -> bytes:
    """Return the file's content, or raise DataError with the remedy."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); {remedy}") from error


def first_file(*paths: Path) -> Path | None:
    """Return the first of the paths that is a file."""
    return next((path for path in paths if path.is_file()), None)


def as_images(dataset: str, pixels: Bytes) -> Bytes:
    """View the data set's pixels, of any shape, as [N, C, H, W]."""
    shape = SHAPES[dataset]
    return pixels.reshape(-1, *shape.image)


def checked(dataset: str, original: Original, where: Path, place: Place) -> Original:
    """Return the data set if counts, types and labels are what `datasets.SHAPES` says."""
    shape = SHAPES[dataset]
    for part, images, labels, count in (
        ("training", original.train_images, original.train_labels, shape.train_images),
        ("test", original.test_images, original.test_labels, shape.test_images),
    ):
        if len(images) != count or len(labels) != count:
            raise DataError(
                f"{where} holds {len(images)} {part} images and {len(labels)} labels where "
                f"{count} of each are expected; {place.remedy}"
            )
        if images.dtype != np.uint8:
            raise DataError(
                f"{where} holds {part} images of type {images.dtype}, not uint8; {place.remedy}"
            )
        if count and int(labels.max()) >= shape.classes:
            raise DataError(
                f"{where} holds the {part} label {labels.max()} where {shape.classes} classes are "
                f"expected; {place.remedy}"
            )
    return original


def read_arrays(dataset: str, folder: Path | None) -> Original:
    """Read a data set of the folder `own` by its own file, from `folder` or from wherever that
    knows.

    Raises DataError where its arrays are not what its `SHAPE` says.
    """
    file = own.own_file("datasets", dataset)
    place = Place(file.parent, "own", f"correct its SHAPE or its read in {file}")
    shape, module = SHAPES[dataset], own.load("datasets", dataset, "SHAPE", "read")
    try:
        read = module.read(folder)
    except Exception as error:
        raise DataError(
            f"{file}: its read fails with {type(error).__name__}: {one_line(error)}; correct it"
        ) from error
    parts = ("training images", "training labels", "test images", "test labels")
    if not isinstance(read, tuple | list) or len(read) != len(parts):
        count = len(read) if isinstance(read, tuple | list) else 1
        raise DataError(
            f"{file} reads {count} array{'s' if count > 1 else ''} where four are expected "
            f"({', '.join(parts)}); {place.remedy}"
        )
    train_images, train_labels, test_images, test_labels = (np.asarray(part) for part in read)
    for images, labels in ((train_images, train_labels), (test_images, test_labels)):
        if images.shape[1:] != shape.image:
            raise DataError(
                f"{file} reads images of shape {images.shape[1:]} where its SHAPE says "
                f"{shape.image}; {place.remedy}"
            )
        if len(images) == 0:
            raise DataError(
                f"{file} reads no training or no test images; a comparison needs both; "
                f"{place.remedy}"
            )
        if labels.ndim != 1:
            better = "labels[:, 0]" if labels.shape[1:] == (1,) else "labels.argmax(1)"
            raise DataError(
                f"{file} reads labels of shape {labels.shape}, not one an image; for one-hot "
                f"labels or columns take {better} or the like; {place.remedy}"
            )
        if not np.isin(labels, np.arange(shape.classes)).all():
            raise DataError(
                f"{file} reads labels other than 0 to {shape.classes - 1}; {place.remedy}"
            )
    # a channel of one value everywhere has no standard deviation to divide by
    axes = (0, 2, 3)
    for channel in np.flatnonzero(train_images.min(axes) == train_images.max(axes)):
        raise DataError(
            f"{file}: channel {channel} of the training images is {train_images[0, channel, 0, 0]} "
            f"everywhere, which cannot be normalised; leave it out, or {place.remedy}"
        )
    kind = label_type(shape.classes)
    original = Original(
        train_images,
        train_labels.astype(kind),
        test_images,
        test_labels.astype(kind),
        class_names=[str(label) for label in range(shape.classes)],
        content_sha256={
            "training images": sha256(train_images.tobytes()),
            "test images": sha256(test_images.tobytes()),
        },
    )
    return checked(dataset, original, file, place)


def label_type(classes: int) -> type[np.unsignedinteger[Any]]:
    """The smallest type that holds every label."""
    return np.uint8 if classes <= 256 else np.uint16 if classes <= 65536 else np.uint32


def read_digits() -> Original:
    """Split scikit-learn's digits (values 0 to 16, kept) into 1437 training and 360 test images, by
    class.

    Raises DataError where another scikit-learn makes another split: results would not be
    comparable.
    """
    import sklearn
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    shape = SHAPES["digits"]
    flat, labels = (part.astype(np.uint8) for part in load_digits(return_X_y=True))
    images = flat.reshape(-1, *shape.image)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=shape.test_images, stratify=labels, random_state=0
    )
    digest = arrays_sha256((train_images, train_labels, test_images, test_labels))
    if digest != shape.sha256:
        raise DataError(
            f"scikit-learn {sklearn.__version__} splits its digits into sha256 {digest} where "
            f"{shape.sha256} is expected; install the versions named in envs/requirements.txt"
        )
    content = {
        "load_digits images": sha256(images.tobytes()),
        "load_digits labels": sha256(labels.tobytes()),
    }
    names = [str(digit) for digit in range(shape.classes)]
    return Original(train_images, train_labels, test_images, test_labels, names, content)


DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

# Of the uncompressed files: Debian compresses them again, so that checksums of the .gz files differ
# by source.
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
FASHION_MNIST_CLASSES = [
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
]

# The folder itself comes last: MNIST's files bear the same names and may lie there.
FASHION_MNIST_FOLDERS = ("fashion-mnist", "fashion_mnist", "FashionMNIST/raw", ".")


def read_fashion_mnist(place: Place) -> Original | None:
    """Read the four IDX files, compressed or not, or return None where the place holds none of
    them.
    """
    for folder in (place.folder / name for name in FASHION_MNIST_FOLDERS):
        found = {
            name: first_file(folder / f"{name}.gz", folder / name) for name in FASHION_MNIST_SHA256
        }
        if any(found.values()):
            break
    else:
        return None
    shape = SHAPES["fashion_mnist"]
    parts = []
    for name, path in found.items():
        if path is None:
            raise DataError(
                f"{folder} lacks {name}.gz beside Fashion-MNIST's other files; {place.remedy}"
            )
        count = shape.train_images if name.startswith("train") else shape.test_images
        header, item = (16, shape.inputs) if "images" in name else (8, 1)
        content = _read_idx(path, name, header + count * item, place)
        parts.append(np.frombuffer(content, np.uint8, offset=header))
    train_images, train_labels, test_images, test_labels = parts
    return checked(
        "fashion_mnist",
        Original(
            as_images("fashion_mnist", train_images),
            train_labels,
            as_images("fashion_mnist", test_images),
            test_labels,
            FASHION_MNIST_CLASSES,
            dict(FASHION_MNIST_SHA256),
        ),
        folder,
        place,
    )


def _read_idx(path: Path, name: str, size: int, place: Place) -> bytes:
    """Return the file's uncompressed content, verified. Its header needs no parsing: the checksum
    covers it.
    """
    try:
        opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            content: bytes = file.read(
                size + 1
            )  # a byte more shows excess without expanding a whole bomb
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read ({one_line(error)}) where {size} bytes of content are "
            f"expected; {place.remedy}"
        ) from error
    if len(content) != size:
        held = f"more than {size}" if len(content) > size else str(len(content))
        raise DataError(
            f"{path} holds {held} bytes of content where {size} are expected; {place.remedy}"
        )
    verify("sha256", content, FASHION_MNIST_SHA256[name], str(path), place.remedy)
    return content
