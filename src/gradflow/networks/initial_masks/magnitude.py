"""The largest initial weights of each layer, as many as the dense twin has."""

from torch import Tensor

from gradflow.networks.pruning import Start, largest_by_layer


def masks(start: Start) -> list[Tensor]:
    """By |theta|."""
    return largest_by_layer([weight.abs() for weight in start.weights], start.active)
