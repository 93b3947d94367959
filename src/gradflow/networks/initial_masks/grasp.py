"""GraSP (Wang et al., 2020): the weights whose removal lowers the squared gradient norm most, to
first order.

Without the temperature of its authors' code.
"""

import torch
from torch import Tensor

from gradflow.networks.pruning import Start, largest_of_all


def masks(start: Start) -> list[Tensor]:
    """By theta H g, with the Hessian H and the gradient g, of all layers together."""
    weights = [weight.requires_grad_() for weight in start.copies()]
    gradients = start.gradients(weights, differentiable=True)
    # its derivative is H g
    squared = torch.stack([(g * g.detach()).sum() for g in gradients]).sum()
    products = torch.autograd.grad(squared, weights)
    scores = [w.detach() * hg for w, hg in zip(weights, products, strict=True)]
    return largest_of_all(scores, start.active)
