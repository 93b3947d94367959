"""Rules that move the active weights while a network trains, by their names in config.yaml.

The paper's masks stay as they were drawn (`mask_update: fixed`). Every rule keeps each layer's
number of active weights, so that the comparison with the dense twin stays one of the same capacity.
The folder `own` adds rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from gradflow.networks.pruning import largest_by_layer
from gradflow.study import own
from gradflow.study.job import LIBRARY_MASK_UPDATES, Job
from gradflow.study.own import own_file
from gradflow.study.streams import stream
from gradflow.training.contracts import ruled_masks
from gradflow.training.stack import MaskUpdate, Stack, forget_gradients, gradient


def sparse_evolutionary_training(stack: Stack, steps: int, job: Job) -> list[Tensor]:
    """SET (Mocanu et al., 2018): drop the active weights of smallest magnitude, activate as many at
    random.

    The setting `mask_update_fraction` is the share of a layer's active weights that is dropped.
    Places are drawn from all that are free then, those just dropped included; one that is drawn
    again keeps its weight, any other starts at zero.

    Returns:
        One tensor [K, ...] a layer.
    """
    key = (job.configuration.dataset, job.seed)
    return [
        torch.stack(
            [
                _evolve(
                    weight,
                    mask,
                    job.settings.mask_update_fraction,
                    stream(*key, run.percent, "set", layer, steps),
                )
                for run, weight, mask in zip(stack.runs, weights, masks, strict=True)
            ]
        )
        for layer, (weights, masks) in enumerate(zip(stack.layers, stack.masks or [], strict=True))
    ]


def _evolve(
    weight: Tensor, mask: Tensor, fraction: float, generator: np.random.Generator
) -> Tensor:
    active = mask.flatten().nonzero().flatten()
    dropped = int(fraction * len(active))
    # a stable sort breaks ties alike on every device
    order = weight.detach().flatten()[active].abs().sort(descending=True, stable=True).indices
    evolved = torch.zeros_like(mask).flatten()
    evolved[active[order[: len(active) - dropped]]] = 1
    free = (evolved == 0).nonzero().flatten()
    drawn = generator.choice(len(free), dropped, replace=False, shuffle=False)
    evolved[free[torch.from_numpy(drawn).to(free.device)]] = 1
    return evolved.view(mask.shape)


def rigl(stack: Stack, steps: int, job: Job, steps_per_epoch: int) -> list[Tensor]:
    """RigL (Evci et al., 2020): drop the active weights of smallest magnitude, activate where the
    gradient is largest.

    The share of a layer's active weights that is dropped falls from `mask_update_fraction` to zero
    along half a cosine, over the first three quarters of the training. A place that was just
    dropped may be taken again and keeps its weight; any other starts at zero.

    Returns:
        One tensor [K, ...] a layer.
    """
    end = 0.75 * job.epochs * steps_per_epoch
    share = 0.5 * (1 + math.cos(math.pi * min(1.0, steps / end)))
    fraction = job.settings.mask_update_fraction * share
    return [
        torch.stack(
            [
                _grow(weight, slope, mask, fraction)
                for weight, slope, mask in zip(layer, gradient(layer), masks, strict=True)
            ]
        )
        for layer, masks in zip(stack.layers, stack.masks or [], strict=True)
    ]


def _grow(weight: Tensor, slope: Tensor, mask: Tensor, fraction: float) -> Tensor:
    active = int(mask.sum())
    dropped = int(fraction * active)
    # masked places come last: magnitudes are not negative
    magnitude = weight.detach().abs().masked_fill(mask == 0, -1.0)
    (kept,) = largest_by_layer([magnitude], [active - dropped])
    (grown,) = largest_by_layer([slope.abs().masked_fill(kept, -1.0)], [dropped])
    return (kept | grown).to(mask.dtype)


RULES: dict[str, Callable[..., Sequence[Tensor] | None]] = {
    "set": sparse_evolutionary_training,
    "rigl": rigl,
}


def mask_update_of(job: Job, steps_per_epoch: int) -> MaskUpdate | None:
    """What the job's settings say of its masks; None where they are fixed."""
    name = job.settings.mask_update
    if name == "fixed":
        return None
    rule = RULES[name] if name in RULES else own.load("mask_updates", name, "update").update
    place = (
        "gradflow.training.mask_updates" if name in RULES else str(own_file("mask_updates", name))
    )

    def update(stack: Stack, steps: int) -> Sequence[Tensor] | None:
        if not steps:
            return None  # before the first step nothing is learned
        arguments = (steps, job, steps_per_epoch) if rule is rigl else (steps, job)
        return ruled_masks(place, rule, stack, *arguments)

    return MaskUpdate(update, every=job.settings.mask_update_interval * steps_per_epoch)


def rehearse(job: Job, stacks: Sequence[Stack]) -> None:
    """Call a rule of one's own before training, on gradients that are noise, and leave the stacks
    as they were.

    Raises:
        contracts.ContractError: the rule does not do what it promises.
    """
    name = job.settings.mask_update
    if name in LIBRARY_MASK_UPDATES:
        return
    rule = own.load("mask_updates", name, "update").update
    generator = torch.Generator().manual_seed(0)
    for stack in stacks:
        if stack.masks is not None:
            for layer in stack.layers:
                noise = torch.randn(layer.shape, generator=generator)
                layer.grad = noise.to(layer.device, layer.dtype)
            ruled_masks(str(own_file("mask_updates", name)), rule, stack, 1, job, twice=True)
            forget_gradients(stack.network)
