"""The geometry of the networks: the shape of every layer, in forward order. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


def mlp_layer_shapes(
    inputs: int, width: int, hidden_layers: int, classes: int
) -> list[tuple[int, int]]:
    """Shapes [in, out] of the L = hidden_layers + 1 weight matrices of an MLP (Equations 10 to
    12).
    """
    return list(pairwise([inputs, *[width] * hidden_layers, classes]))


def capacity(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    """Number of weights of each layer: what the sparse twin must have active (Equation 2)."""
    return [math.prod(shape) for shape in shapes]


@dataclass(frozen=True)
class Layer:
    """One weight of a Wide ResNet.

    `role` is stem, shortcuts, classifier or blocks (see `wide_resnet_keep_dense`).
    """

    role: str
    shape: tuple[int, ...]  # [out, in, height, width] of a convolution, [in, out] of the classifier
    stride: int = 1

    @property
    def fan_in(self) -> int:
        """Inputs of one output unit."""
        return self.shape[0] if len(self.shape) == 2 else math.prod(self.shape[1:])


def wide_resnet_layers(depth: int, widen_factor: int, channels: int, classes: int) -> list[Layer]:
    """The stem, for each block its two convolutions and its shortcut if any, the classifier.

    Zagoruyko and Komodakis (2016).

    Raises:
        ValueError: the depth is not 6 n + 4.
    """
    blocks, remainder = divmod(depth - 4, 6)
    if remainder or blocks < 1:
        raise ValueError(f"a Wide ResNet's depth is 10, 16, 22, 28, ...; not {depth}")
    layers = [Layer("stem", (16, channels, 3, 3))]
    width = 16
    for group, stride in ((16, 1), (32, 2), (64, 2)):
        for block in range(blocks):
            out, step = group * widen_factor, stride if block == 0 else 1
            layers += [Layer("blocks", (out, width, 3, 3), step), Layer("blocks", (out, out, 3, 3))]
            if width != out or step != 1:
                layers.append(Layer("shortcuts", (out, width, 1, 1), step))
            width = out
    return [*layers, Layer("classifier", (width, classes))]
