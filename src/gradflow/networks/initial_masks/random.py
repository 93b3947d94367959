"""Random places, as many in each layer as the dense twin has weights (section 2.1, appendix A.1):
the paper's.
"""

from torch import Tensor

from gradflow.networks.masks import random_mask
from gradflow.networks.pruning import Start


def masks(start: Start) -> list[Tensor]:
    """Each place equally likely."""
    return [
        random_mask(weight.shape, active, start.stream("mask", layer))
        for layer, (weight, active) in enumerate(zip(start.weights, start.active, strict=True))
    ]
