"""Which weights are active: the masks of same-capacity comparison (section 2.1) and of magnitude
pruning (4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor


def random_mask(shape: Sequence[int], active: int, generator: np.random.Generator) -> Tensor:
    """Draw a mask with exactly `active` ones, each place equally likely (appendix A.1).

    Returns:
        A bool tensor of `shape` on the CPU.

    Raises:
        ValueError: `active` exceeds the number of places.
    """
    places = int(np.prod(shape))
    if not 0 <= active <= places:
        raise ValueError(f"{active} active weights do not fit in a layer of {places}")
    mask = np.zeros(places, dtype=bool)
    mask[generator.choice(places, active, replace=False, shuffle=False)] = True
    return torch.from_numpy(mask.reshape(tuple(shape)))


def magnitude_mask(weight: Tensor, active: int) -> Tensor:
    """Keep exactly the `active` weights of largest magnitude (section 4.3); of equal ones, the
    first.

    Args:
        weight: one layer, any shape.
        active: how many to keep.

    Returns:
        A bool tensor of the shape and device of `weight`.

    Raises:
        ValueError: `active` exceeds the number of weights.
    """
    if not 0 <= active <= weight.numel():
        raise ValueError(f"{active} active weights do not fit in a layer of {weight.numel()}")
    # a stable sort, not topk, which breaks ties differently from device to device
    order = weight.abs().flatten().sort(descending=True, stable=True).indices
    mask = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
    mask[order[:active]] = True
    return mask.view(weight.shape)


def live_weights(
    linear_paths: Callable[[list[Tensor]], Tensor], masks: Sequence[Tensor]
) -> list[Tensor]:
    """Count the active weights which lie on some path from an input to an output.

    Args:
        linear_paths: the network with identity activations and all inputs one, as a function of its
            layers' weights; with masks for weights its outputs sum to the number of paths.
        masks: one tensor [K, ...] a layer.

    Returns:
        One int64 tensor [K] a layer.
    """
    with torch.enable_grad():
        ones = [mask.detach().to(torch.float64, copy=True).requires_grad_() for mask in masks]
        # the derivative by a weight is the number of paths through it; float64 holds 1e308 of them
        through = torch.autograd.grad(linear_paths(ones).sum(), ones)
    return [
        ((count > 0) & mask.bool()).flatten(1).sum(1)
        for count, mask in zip(through, masks, strict=True)
    ]
