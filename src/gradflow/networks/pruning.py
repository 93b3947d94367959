"""Pruning before training: what a method is given, and how scores become masks.

The methods are the files of `initial_masks`, and a user's own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from gradflow.data.store import ImageData
from gradflow.networks.contracts import ContractError, called
from gradflow.networks.initialisation import initial_weight
from gradflow.study import own
from gradflow.study.job import INITIAL_MASKS, LIBRARY_INITIAL_MASKS, Job, Settings
from gradflow.study.streams import stream
from gradflow.text import first_paragraph, nearest

IMAGES = 512  # training images that a method may look at, drawn for each run


@dataclass(frozen=True)
class Start:
    """A network before pruning: dense, at its initial weights, scaled by its own fan-in (He et al.,
    2015).
    """

    weights: list[Tensor]  # float64, one a layer
    active: list[int]  # how many each layer keeps in the dense twin; all of them: it stays whole
    loss: Callable[[Sequence[Tensor]], Tensor]  # mean over some training images, by the weights
    paths: Callable[[Sequence[Tensor]], Tensor]  # outputs summed, of the linear network on ones
    stream: Callable[..., np.random.Generator]  # the run's own random numbers, by purpose

    def copies(self) -> list[Tensor]:
        """The weights, to be changed."""
        return [weight.clone() for weight in self.weights]

    def gradients(self, weights: Sequence[Tensor], differentiable: bool = False) -> list[Tensor]:
        """Of the loss by weights, one tensor a layer; `differentiable`: they can be derived
        again.
        """
        by = [w if w.requires_grad else w.detach().clone().requires_grad_() for w in weights]
        return list(torch.autograd.grad(self.loss(by), by, create_graph=differentiable))


# --- scores to masks ------------------------------------------------------------------------------


def largest_by_layer(scores: Sequence[Tensor], active: Sequence[int]) -> list[Tensor]:
    """Keep the `active` largest scores of each layer; of equal ones the first. Bool, of the scores'
    shapes.
    """
    found = []
    for score, count in zip(scores, active, strict=True):
        # a stable sort, not topk, which breaks ties differently from device to device
        order = score.detach().flatten().sort(descending=True, stable=True).indices
        mask = torch.zeros(score.numel(), dtype=torch.bool, device=score.device)
        mask[order[:count]] = True
        found.append(mask.view(score.shape))
    return found


def largest_of_all(
    scores: Sequence[Tensor], active: Sequence[int], total: int | None = None
) -> list[Tensor]:
    """Keep the largest scores of all layers together, as many as `active` sums to, or `total`.

    A layer that is to stay whole does, and its weights count.
    """
    free = [i for i, s in enumerate(scores) if active[i] < s.numel()]
    whole = sum(s.numel() for i, s in enumerate(scores) if i not in free)
    count = (sum(active) if total is None else max(total, sum(active))) - whole
    masks = [torch.ones_like(score, dtype=torch.bool) for score in scores]
    if free:
        (mask,) = largest_by_layer([torch.cat([scores[i].flatten() for i in free])], [count])
        parts = mask.split([scores[i].numel() for i in free])
        for index, part in zip(free, parts, strict=True):
            masks[index] = part.view(scores[index].shape)
    return masks


def erk_counts(shapes: Sequence[tuple[int, ...]], active: Sequence[int]) -> list[int]:
    """Active weights of each layer by Erdős-Rényi-Kernel: density proportional to the sum of sides
    over their product.

    Args:
        shapes: [in, out] or [out, in, height, width].
        active: of each layer in the dense twin; their sum stays. A layer that is whole stays so.

    A layer whose density would exceed one is whole, and the others share the rest.
    """
    places = [int(np.prod(shape)) for shape in shapes]
    total, whole = sum(active), {i for i, count in enumerate(active) if count == places[i]}
    while True:
        rest = total - sum(places[i] for i in whole)
        sides = {i: sum(shape) for i, shape in enumerate(shapes) if i not in whole}
        # density_i = c sum_i / places_i, so that a layer has c sum_i weights
        exact = {i: rest * side / sum(sides.values()) for i, side in sides.items()}
        full = {i for i, count in exact.items() if count > places[i]}
        if not full:
            break
        whole |= full
    counts = [places[i] if i in whole else int(exact[i]) for i in range(len(shapes))]
    # what rounding left over goes where most was cut off
    order = sorted(exact, key=lambda i: exact[i] - int(exact[i]), reverse=True)
    for index in order[: total - sum(counts)]:
        counts[index] += 1
    return counts


# --- a run's masks --------------------------------------------------------------------------------


def initial_masks(
    job: Job,
    key: tuple[str | int, ...],
    shapes: Sequence[tuple[int, ...]],
    fan_ins: Sequence[int],
    active: Sequence[int],
    data: ImageData,
    build: Callable[[list[Tensor]], nn.Module],
) -> list[Tensor]:
    """The masks that one sparse run starts with, by the method that its settings name.

    Args:
        job: the run's.
        key: of its random streams.
        shapes: of the layers.
        fan_ins: of the layers, masked places counted.
        active: of each layer in the dense twin.
        data: a method may look at training images.
        build: makes the network, K = 1, from weights [1, ...].

    Raises:
        ContractError: a method of one's own does not return masks of that many weights in total.
    """
    name = job.settings.initial_mask
    settings = Settings(
        initialisation="own_shape",
        init_distribution=job.settings.init_distribution,
        init_gain=job.settings.init_gain,
    )
    weights = [
        initial_weight(
            shape, None, fan_in, fan_in, settings, stream(*key, "initialisation", "sparse", index)
        ).double()
        for index, (shape, fan_in) in enumerate(zip(shapes, fan_ins, strict=True))
    ]
    network = build([weight.unsqueeze(0) for weight in weights]).double().train()
    chosen = stream(*key, "initial mask").permutation(len(data.train_images))[:IMAGES]
    place = torch.from_numpy(np.sort(chosen))
    mean, std = (value.double().view(-1, 1, 1) for value in (data.mean, data.std))
    start = Start(
        weights=weights,
        active=list(active),
        loss=partial(
            _loss,
            network,
            (data.train_images[place].double() - mean) / std,
            data.train_labels[place],
        ),
        paths=partial(_paths, network),
        stream=partial(stream, *key),
    )
    return checked_masks(method_file(name), called(method_file(name), method(name), start), start)


def methods() -> dict[str, str]:
    """The methods by name, each with a sentence: which masks a network starts with
    (`initial_mask`).
    """
    found = {}
    for name in INITIAL_MASKS:
        found[name] = first_paragraph(sys.modules[method(name).__module__].__doc__)
    return found


def method(name: str) -> Callable[[Start], list[Tensor]]:
    """The `masks` function of a method, the library's or one of your own."""
    if name not in INITIAL_MASKS:
        raise ValueError(f"there is no method {name}{nearest(name, INITIAL_MASKS)}")
    if name in LIBRARY_INITIAL_MASKS:
        module: Any = import_module(f"gradflow.networks.initial_masks.{name}")
    else:
        module = own.load("initial_masks", name, "masks")
    found: Callable[[Start], list[Tensor]] = module.masks
    return found


def method_file(name: str) -> str:
    """Where a method is defined, for messages."""
    if name in LIBRARY_INITIAL_MASKS:
        return f"gradflow.networks.initial_masks.{name}"
    return str(own.own_file("initial_masks", name))


def _loss(network: nn.Module, images: Tensor, labels: Tensor, weights: Sequence[Tensor]) -> Tensor:
    stacked = {f"layers.{index}": weight.unsqueeze(0) for index, weight in enumerate(weights)}
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    logits = functional_call(network, {**stacked, **buffers}, (images.unsqueeze(0),))
    return F.cross_entropy(logits[0], labels)


def _paths(network: nn.Module, weights: Sequence[Tensor]) -> Tensor:
    linear: Any = network.linear_paths
    outputs: Tensor = linear([weight.unsqueeze(0) for weight in weights])
    return outputs.sum()


def checked_masks(place: str, masks: Any, start: Start) -> list[Tensor]:
    """The masks as bool, if they are some of the start's total capacity.

    Raises:
        ContractError: they are not; `place` is the method's file.
    """
    if not isinstance(masks, list | tuple) or [getattr(m, "shape", None) for m in masks] != [
        weight.shape for weight in start.weights
    ]:
        raise ContractError(
            f"{place}: masks must return a mask for each of the {len(start.weights)} layers, of "
            "its weight's shape"
        )
    if not all(((mask == 0) | (mask == 1)).all() for mask in masks):
        raise ContractError(f"{place}: masks returns other values than 0 and 1")
    kept, wanted = sum(int(mask.sum()) for mask in masks), sum(start.active)
    if kept != wanted:
        raise ContractError(
            f"{place}: masks keeps {kept} weights where the dense twin has {wanted}; keep as many "
            "in total"
        )
    return [mask.bool() for mask in masks]
