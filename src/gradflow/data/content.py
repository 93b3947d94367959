"""What a data set holds, whatever its container and order: the canonical order, and the checksum of
the arrays.

Free of torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


def image_digests(images: Bytes, labels: Bytes) -> list[bytes]:
    """The SHA-256 of each image with its label: one byte of label, then the pixels in the order [C,
    H, W].
    """
    return [
        hashlib.sha256(bytes([label]) + image.tobytes()).digest()
        for image, label in zip(images, labels.tolist(), strict=True)
    ]


def canonical_order(images: Bytes, labels: Bytes) -> list[int]:
    """The order by `image_digests`.

    It depends on what a data set holds and on nothing else, so every source of the same images
    stores the same bytes. Sorting by label or pixels would do that too, but minibatches of the
    gradient probe are taken in stored order, and each would then hold a single class.
    """
    digests = image_digests(images, labels)
    return sorted(range(len(digests)), key=digests.__getitem__)


def arrays_sha256(arrays: Iterable[npt.NDArray[Any]]) -> str:
    """The SHA-256 of arrays one after the other, without the container that they are stored in."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
