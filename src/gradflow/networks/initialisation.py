"""Initial weights of a layer: the distribution P_l of Equation 3, and what it takes for the
fan-in.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from gradflow.study.job import Settings


def initial_weight(
    shape: tuple[int, ...],
    mask: Tensor | None,
    dense_fan_in: int,
    max_fan_in: int,
    settings: Settings,
    generator: np.random.Generator,
) -> Tensor:
    """Draw the effective (masked) weight of one layer.

    Args:
        shape: [in, out] of a matrix, or [out, in, height, width] of a convolution.
        mask: bool tensor of that shape; None for a dense layer.
        dense_fan_in: fan-in of this layer in the dense twin.
        max_fan_in: fan-in of this layer in the sparse twin, masked places counted.
        settings: `initialisation` picks the fan-in, `init_distribution` and `init_gain` the rest.
        generator: the run's stream for this layer.

    Returns:
        A float32 tensor of `shape` on the CPU, zero where masked.
    """
    match settings.initialisation:
        case "shared_dense_fan_in":
            fan_in: float | Tensor = dense_fan_in
        case "shared_max_fan_in":
            fan_in = max_fan_in
        case "own_shape":
            fan_in = dense_fan_in if mask is None else max_fan_in
        case "active_fan_in":
            # each output unit by its own number of active inputs; a unit without any has no weight
            # to draw
            inputs = (0,) if len(shape) == 2 else (1, 2, 3)
            fan_in = dense_fan_in if mask is None else mask.sum(inputs, keepdim=True).clamp(min=1)
    gain = math.sqrt(2.0) if settings.init_gain == "relu" else 1.0
    if settings.init_distribution == "normal":
        draw = generator.standard_normal(shape, dtype=np.float32)
    else:  # of unit variance
        draw = (generator.random(shape, dtype=np.float32) * 2 - 1) * np.float32(math.sqrt(3.0))
    scale = gain / torch.sqrt(torch.as_tensor(fan_in, dtype=torch.float32))
    weight = torch.from_numpy(draw) * scale
    return weight if mask is None else weight * mask
