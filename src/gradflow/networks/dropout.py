"""Dropout whose numbers are a function of the network, the image and the unit, and of nothing else.

torch's dropout draws from one generator: a network's numbers would depend on its company and on the
device, and a resumed job would need the generator's state. Here each number is a hash of a seed,
which the network's own stream draws for an epoch, and of the place in that epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BITS = 32
MASK = 2**BITS - 1
# apart by far more than the places of an epoch, so that layers do not share numbers; odd
STRIDE = 0x1E3779B1


@dataclass(frozen=True)
class Dropout:
    """Which units of which images are dropped in one step.

    `share` is dropped, and what stays is divided by 1 - `share`, as in `torch.nn.Dropout`. `seeds`
    [K], int64 below 2**32: one for each network and epoch. `places` [B]: of the images in the
    epoch's order.
    """

    share: float
    seeds: Tensor
    places: Tensor

    def __call__(self, layer: int, hidden: Tensor) -> Tensor:
        """Drop units of `hidden` [K, B, ...], the outputs of a layer; `layer` is its number."""
        units = torch.arange(hidden[0, 0].numel(), device=hidden.device)
        images = _mixed((self.places + (layer + 1) * STRIDE) & MASK)
        rows = _mixed(images ^ self.seeds[:, None])  # [K, B]
        numbers = _mixed((rows[..., None] + units * STRIDE) & MASK)
        kept = (numbers >= int(self.share * 2**BITS)).view(hidden.shape)
        return hidden * kept / (1 - self.share)


def _mixed(x: Tensor) -> Tensor:
    """A hash of 32 bits in int64; the constants, below 2**31 so that no product overflows, are of
    lowbias32's author.
    """
    x = x ^ (x >> 16)
    x = (x * 0x21F0AAAD) & MASK
    x = x ^ (x >> 15)
    x = (x * 0x735A2D97) & MASK
    return x ^ (x >> 15)
