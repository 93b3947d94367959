"""SNIP (Lee et al., 2019): the weights whose removal changes the loss most, to first order."""

from torch import Tensor

from gradflow.networks.pruning import Start, largest_of_all


def masks(start: Start) -> list[Tensor]:
    """By |theta dL/dtheta|, of all layers together."""
    gradients = start.gradients(start.weights)
    scores = [(w * g).abs() for w, g in zip(start.weights, gradients, strict=True)]
    return largest_of_all(scores, start.active)
