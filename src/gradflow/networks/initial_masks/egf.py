"""EGF as a criterion (Tessera et al., 2021, section 2.2): keep what keeps effective gradient flow,
evenly by layer.

The paper suggests it and does not try it. A weight goes where its removal leaves EGF_2 highest, to
first order; a removed weight takes its own gradient out of the norm, and moves the others'.
"""

import torch
from torch import Tensor

from gradflow.networks.pruning import Start, largest_by_layer


def masks(start: Start) -> list[Tensor]:
    """By the derivative of EGF_2 with respect to the mask, within each layer."""
    ones = [torch.ones_like(weight).requires_grad_() for weight in start.weights]
    masked = [weight * one for weight, one in zip(start.weights, ones, strict=True)]
    gradients = start.gradients(masked, differentiable=True)
    norms = [(g * one).norm() for g, one in zip(gradients, ones, strict=True)]
    return largest_by_layer(torch.autograd.grad(torch.stack(norms).mean(), ones), start.active)
