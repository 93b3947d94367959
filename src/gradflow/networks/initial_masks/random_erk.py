"""Random places within the layer densities of Erdős-Rényi-Kernel (ERK; Mocanu et al., 2018; Evci et
al., 2020).
"""

from torch import Tensor

from gradflow.networks.masks import random_mask
from gradflow.networks.pruning import Start, erk_counts


def masks(start: Start) -> list[Tensor]:
    """Each place of a layer equally likely; small layers are denser."""
    counts = erk_counts([tuple(w.shape) for w in start.weights], start.active)
    return [
        random_mask(weight.shape, active, start.stream("mask", layer))
        for layer, (weight, active) in enumerate(zip(start.weights, counts, strict=True))
    ]
