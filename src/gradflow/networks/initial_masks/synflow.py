"""SynFlow (Tanaka et al., 2020): the weights that carry most synaptic flow, pruned little by
little, without data.
"""

import torch
from torch import Tensor

from gradflow.networks.pruning import Start, largest_of_all

ROUNDS = 100


def masks(start: Start) -> list[Tensor]:
    """By |theta| times the flow through it in the linear network of |theta|, of all layers
    together.

    Densities fall exponentially over `ROUNDS` rounds; so no layer is emptied while another has more
    to give.
    """
    kept = [torch.ones_like(weight, dtype=torch.bool) for weight in start.weights]
    places, active = sum(weight.numel() for weight in start.weights), sum(start.active)
    for done in range(1, ROUNDS + 1):
        weights = [
            (w.abs() * mask).requires_grad_() for w, mask in zip(start.weights, kept, strict=True)
        ]
        flows = torch.autograd.grad(start.paths(weights), weights)
        scores = [
            (w.detach() * flow).masked_fill(~mask, -1.0)
            for w, flow, mask in zip(weights, flows, kept, strict=True)
        ]
        left = round(places * (active / places) ** (done / ROUNDS))
        kept = largest_of_all(scores, start.active, left if done < ROUNDS else None)
    return kept
