"""The largest initial weights of each layer, within the layer densities of Erdős-Rényi-Kernel
(ERK).
"""

from torch import Tensor

from gradflow.networks.pruning import Start, erk_counts, largest_by_layer


def masks(start: Start) -> list[Tensor]:
    """By |theta|; small layers are denser."""
    counts = erk_counts([tuple(w.shape) for w in start.weights], start.active)
    return largest_by_layer([weight.abs() for weight in start.weights], counts)
