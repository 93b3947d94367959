"""CIFAR-10 and CIFAR-100 as encoded images: the Parquet files of the hub's copies, or images by
split and class.

These containers have no checksum that everybody shares, so they are accepted by what they hold:
every image with its label must be one of the authors', as often as theirs. `fingerprints/` has the
first four bytes of the SHA-256 of each (`content.image_digests`), training images first.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gradflow.data.content import Bytes, image_digests
from gradflow.data.sources import DataError, Original, Place, one_line, read_bytes, sha256
from gradflow.study.datasets import SHAPES

SPLITS = ("train", "test")
PREFIX = 4  # bytes of a checksum that are kept of each of the authors' images
COARSE_CLASSES = 20  # of CIFAR-100
IMAGE_COLUMNS, LABEL_COLUMNS = ("img", "image"), ("label", "labels")
ENDINGS = {".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff", ".jpg", ".jpeg"}
FOLDERS = {
    "cifar10": ("cifar10", "CIFAR10", "cifar-10", "CIFAR-10"),
    "cifar100": ("cifar100", "CIFAR100", "cifar-100", "CIFAR-100"),
}
CLASSES = {  # in the order of their labels
    "cifar10": "airplane automobile bird cat deer dog frog horse ship truck",
    "cifar100": """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
        butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach
        couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster
        house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
        motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
        pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road
        rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
        sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip
        turtle wardrobe whale willow_tree wolf woman worm""",
}


def class_names(dataset: str) -> list[str]:
    """The classes by their label."""
    return CLASSES[dataset].split()


@dataclass(frozen=True)
class Encoded:
    """What a container holds: each split's encoded images and labels, and the checksums of its
    files.
    """

    where: Path
    images: dict[str, list[bytes]]
    labels: dict[str, list[int]]
    content_sha256: dict[str, str]


def read_encoded(dataset: str, place: Place) -> Original | None:
    """Read CIFAR-10 or CIFAR-100 (fine labels) from encoded images, or return None where the place
    has none.

    Raises:
        DataError: they are not the authors' images with their labels; the sentence says what is
            wrong, and of how many.
    """
    for find in (_parquet, _folder, _zip):
        if found := find(dataset, place):
            break
    else:
        return None
    arrays: dict[str, tuple[Bytes, Bytes]] = {}
    _refuse_lossy(found, place)
    for split in SPLITS:
        labels = found.labels[split]
        if wrong := [label for label in labels if not 0 <= label < SHAPES[dataset].classes]:
            raise DataError(
                f"{found.where} has {len(wrong)} {split} images with a label other than 0 to "
                f"{SHAPES[dataset].classes - 1}, {wrong[0]} for one; {place.remedy}"
            )
        images = _decoded(dataset, split, found, place)
        arrays[split] = images, np.array(labels, np.uint8)
    _refuse_others(dataset, arrays, found.where, place)
    return Original(*arrays["train"], *arrays["test"], class_names(dataset), found.content_sha256)


# --- containers -----------------------------------------------------------------------------------


def _parquet(dataset: str, place: Place) -> Encoded | None:
    """Shards named after their split, or in a folder named after it:
    `train-00000-of-00001.parquet`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    patterns = [f"{name}/**/*.parquet" for name in FOLDERS[dataset]]
    patterns += ["*.parquet", "data/*.parquet", *(f"{split}/*.parquet" for split in SPLITS)]
    for pattern in patterns:
        shards = {
            split: [
                path
                for path in sorted(place.folder.glob(pattern))
                if _split_of(path.relative_to(place.folder)) == split
            ]
            for split in SPLITS
        }
        if any(shards.values()):
            break
    else:
        return None
    where = next(path for paths in shards.values() for path in paths).parent
    images: dict[str, list[bytes]] = {split: [] for split in SPLITS}
    labels: dict[str, list[int]] = {split: [] for split in SPLITS}
    checksums = {}
    for split in SPLITS:
        for path in shards[split]:
            content = read_bytes(path, place.remedy)
            checksums[path.name if path.parent == where else str(path)] = sha256(content)
            try:
                table = pq.read_table(pa.BufferReader(content))
            except (pa.ArrowException, OSError, ValueError) as error:
                raise DataError(
                    f"{path} is no readable Parquet file ({one_line(error)}); {place.remedy}"
                ) from error
            columns = table.column_names
            image = next((name for name in IMAGE_COLUMNS if name in columns), None)
            label = next((n for n in _label_columns(dataset) if n in columns), None)
            if image is None or label is None:
                if image and dataset == "cifar10" and "fine_label" in columns:
                    return None  # CIFAR-100's, in a folder that both share
                raise DataError(
                    f"{path} has the columns {', '.join(columns)}, not one of "
                    f"{' or '.join(IMAGE_COLUMNS)} and one of "
                    f"{' or '.join(_label_columns(dataset))}; {place.remedy}"
                )
            for cell in table.column(image).to_pylist():
                encoded = cell.get("bytes") if isinstance(cell, dict) else cell
                if not isinstance(encoded, bytes):
                    raise DataError(
                        f"{path} holds no encoded images in its column {image}; {place.remedy}"
                    )
                images[split].append(encoded)
            labels[split] += [
                -1 if value is None else value for value in table.column(label).to_pylist()
            ]
    return Encoded(where, images, labels, checksums)


def _label_columns(dataset: str) -> tuple[str, ...]:
    return ("fine_label", "fine_labels", *LABEL_COLUMNS) if dataset == "cifar100" else LABEL_COLUMNS


def _split_of(path: Path) -> str | None:
    """The split that a shard's name or a folder above it begins with."""
    for part in (path.name, *reversed(path.parts[:-1])):
        if named := re.match(r"(train|test)(?![A-Za-z])", part):
            return named[1]
    return None


def _folder(dataset: str, place: Place) -> Encoded | None:
    """Images in folders `train/CLASS` and `test/CLASS`, the class by its name or number."""
    for name in (*FOLDERS[dataset], "."):
        folder = place.folder / name
        if all((folder / split).is_dir() for split in SPLITS):
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            members = ((PurePosixPath(path.relative_to(folder).as_posix()), path) for path in paths)
            read = ((name, read_bytes(path, place.remedy)) for name, path in members)
            found = _by_class(dataset, folder, read, {}, place)
            if any(found.images.values()):
                return found
    return None


def _zip(dataset: str, place: Place) -> Encoded | None:
    """The same folders in a zip file that is named after the data set."""
    paths = (place.folder / f"{name}.zip" for name in FOLDERS[dataset])
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None
    content = read_bytes(path, place.remedy)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = (
                (PurePosixPath(info.filename), archive.read(info))
                for info in archive.infolist()
                if not info.is_dir() and PurePosixPath(info.filename).suffix.lower() in ENDINGS
            )
            found = _by_class(dataset, path, members, {path.name: sha256(content)}, place)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{path} is no readable zip file ({one_line(error)}); {place.remedy}"
        ) from error
    if not any(found.images.values()):
        raise DataError(
            f"{path} holds no images in folders train/CLASS and test/CLASS; {place.remedy}"
        )
    return found


def _by_class(
    dataset: str,
    where: Path,
    members: Iterator[tuple[PurePosixPath, bytes]],
    content_sha256: dict[str, str],
    place: Place,
) -> Encoded:
    classes = {name: label for label, name in enumerate(class_names(dataset))}
    images: dict[str, list[bytes]] = {split: [] for split in SPLITS}
    labels: dict[str, list[int]] = {split: [] for split in SPLITS}
    for name, content in members:
        split = next((part for part in name.parts[:-2] if part in SPLITS), None)
        if split is None or name.suffix.lower() not in ENDINGS:
            continue
        folder = name.parts[name.parts.index(split) + 1]
        label = classes.get(folder.lower().replace(" ", "_").replace("-", "_"))
        if label is None and folder.isdecimal():
            label = int(folder)
        if label is None:
            raise DataError(
                f"{where} has a folder {split}/{folder}, which is no class of {dataset}; name the "
                f"folders after the classes ({class_names(dataset)[0]}, ...) or their numbers, or "
                f"{place.remedy}"
            )
        images[split].append(content)
        labels[split].append(label)
    return Encoded(where, images, labels, content_sha256)


# --- what they hold -------------------------------------------------------------------------------


def _refuse_lossy(found: Encoded, place: Place) -> None:
    every = [image for split in SPLITS for image in found.images[split]]
    lossy = sum(image.startswith(b"\xff\xd8\xff") for image in every)
    if lossy:
        raise DataError(
            f"{found.where} holds JPEG copies ({lossy} of {len(every)} images), whose pixels are "
            f"not the authors'; take lossless ones, or {place.remedy}"
        )


def _decoded(dataset: str, split: str, found: Encoded, place: Place) -> Bytes:
    """Return a split's images, [N, C, H, W]."""
    from PIL import Image

    shape = SHAPES[dataset]
    pixels = np.empty((len(found.images[split]), *shape.image), np.uint8)
    wrong = []
    for index, content in enumerate(found.images[split]):
        try:
            with Image.open(io.BytesIO(content)) as image:
                image.load()
                mode, size = image.mode, image.size
                pixel: Any = np.asarray(image)
        except Exception as error:  # a decoder can fail in almost any way
            wrong.append(f"cannot be decoded: {one_line(error)}")
            continue
        if mode != "RGB" or size != (shape.width, shape.height):
            wrong.append(f"{size[0]}x{size[1]} in mode {mode}")
            continue
        pixels[index] = pixel.transpose(2, 0, 1)
    if wrong:
        raise DataError(
            f"{found.where} holds {len(wrong)} {split} images that are not "
            f"{shape.width}x{shape.height} in RGB ({wrong[0]}); {place.remedy}"
        )
    return pixels


def authors_digests(dataset: str) -> dict[str, Counter[bytes]]:
    """The first bytes of the checksum of each of the authors' images with its label, by split."""
    content = files("gradflow.data").joinpath("fingerprints", f"{dataset}.bin").read_bytes()
    digests = [content[start : start + PREFIX] for start in range(0, len(content), PREFIX)]
    train = SHAPES[dataset].train_images
    return {"train": Counter(digests[:train]), "test": Counter(digests[train:])}


def _refuse_others(
    dataset: str, arrays: dict[str, tuple[Bytes, Bytes]], where: Path, place: Place
) -> None:
    theirs = authors_digests(dataset)
    ours = {
        split: Counter(digest[:PREFIX] for digest in image_digests(*arrays[split]))
        for split in SPLITS
    }
    if ours == theirs:
        return
    largest = max((int(labels.max()) for _, labels in arrays.values() if len(labels)), default=0)
    if dataset == "cifar100" and largest < COARSE_CLASSES:
        count = sum(map(Counter.total, ours.values()))
        raise DataError(
            f"{where} has the {COARSE_CLASSES} coarse labels of {dataset} on its {count} images "
            f"where the 100 fine ones are needed; {place.remedy}"
        )
    swapped = [
        (ours[split] & theirs[other]).total() for split, other in (SPLITS, tuple(reversed(SPLITS)))
    ]
    if swapped[0] + swapped[1] > sum((ours[split] & theirs[split]).total() for split in SPLITS):
        raise DataError(
            f"{where} has the splits swapped: {swapped[0]} of its training images are test images "
            f"of {dataset}, and {swapped[1]} of its test images training images; {place.remedy}"
        )
    wrong = [sentence for split in SPLITS if (sentence := _differences(split, ours, theirs))]
    raise DataError(f"{where} does not hold {dataset}: {'; '.join(wrong)}; {place.remedy}")


def _differences(
    split: str, ours: dict[str, Counter[bytes]], theirs: dict[str, Counter[bytes]]
) -> str:
    """What a split has too many or too few of, in words; empty where it is the authors'."""
    mine, authors = ours[split], theirs[split]
    surplus, missing = mine - authors, authors - mine
    doubled = sum(count for digest, count in surplus.items() if digest in authors)
    parts = [
        f"{count} {what}"
        for count, what in (
            (surplus.total() - doubled, "are not the authors', in pixels or label"),
            (doubled, "stand there once too often"),
            (missing.total(), "of the authors' are missing"),
        )
        if count
    ]
    return f"of its {mine.total()} {split} images {', '.join(parts)}" if parts else ""
