"""Masks for any torch module, and the same-capacity comparison of two modules of one's own (section
2.1).

For a notebook: `masks` chooses a module's masks by a method or at random, `compare_modules` trains
a dense and a masked module on the same minibatches.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.data.store import ImageData
from gradflow.effective_weights import EffectiveWeight, find_weights, given_weights
from gradflow.flow import measure_gradient_flow
from gradflow.networks.pruning import Start, checked_masks, method, method_file
from gradflow.study.streams import stream

Loss = Callable[[Tensor, Tensor], Tensor]
PROBE = 2000  # training images whose gradient flow is measured


def masks(
    module: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    density: float,
    method: str = "random",
    loss: Loss = F.cross_entropy,
    layers: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Choose which weights of a plain module stay, leaving the module and torch's random numbers as
    they were.

    The module runs in the mode it is in; in training mode dropout draws, the same for every look
    that a method takes.

    Args:
        module: at its initial weights.
        batches: pairs (inputs, targets) that a method may look at.
        density: share of each layer's weights that stays, or of all weights where the method
            weighs layers against each other; each layer counts at least one.
        method: one of `gradflow.methods()` that starts with masks.
        loss: mean loss of (outputs, targets).
        layers: by default all matrices and kernels but those of normalisation.
        seed: of what is random.

    Returns:
        Bool masks by layer name, as `gradflow.measure` takes them.

    Raises:
        ValueError: the density is not between 0 and 1, there is no such method or no batch, or a
            layer is pruned already.
    """
    if not 0 < density <= 1:
        raise ValueError(f"density is {density}; it must be above 0 and at most 1")
    weights = find_weights(module, layers)
    kept = list(batches)
    if not kept:
        raise ValueError("a method needs at least one batch")
    counts = [max(1, round(density * weight.value.numel())) for weight in weights]
    start = Start(
        weights=[weight.value.clone() for weight in weights],
        active=counts,
        loss=partial(_mean_loss, module, weights, loss, kept),
        paths=partial(_linear_paths, module, weights, kept[0][0]),
        stream=partial(stream, "module", seed),
    )
    chosen = checked_masks(method_file(method), _method(method)(start), start)
    return {weight.name: mask for weight, mask in zip(weights, chosen, strict=True)}


_method = method  # `masks` has an argument of that name


def _mean_loss(
    module: nn.Module,
    weights: Sequence[EffectiveWeight],
    loss: Loss,
    batches: Sequence[tuple[Tensor, Tensor]],
    tensors: Sequence[Tensor],
) -> Tensor:
    with given_weights(module, weights, tensors):
        count = sum(len(targets) for _, targets in batches)
        parts = [loss(module(x), y) * (len(y) / count) for x, y in batches]
    return torch.stack(parts).sum()


def _linear_paths(
    module: nn.Module, weights: Sequence[EffectiveWeight], inputs: Tensor, tensors: Sequence[Tensor]
) -> Tensor:
    """The outputs on ones, summed, in evaluation mode and with all other parameters' magnitudes, as
    SynFlow's authors do.
    """
    modes = {child: child.training for child in module.modules()}
    try:
        module.eval()
        with given_weights(module, weights, tensors, lambda other: other.detach().abs()):
            outputs: Tensor = module(torch.ones_like(inputs[:1]))
    finally:
        for child, training in modes.items():
            child.training = training
    return outputs.sum()


def compare_modules(
    dense: nn.Module,
    sparse: nn.Module,
    masks: Mapping[str, Tensor],
    data: ImageData,
    *,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    epochs: int,
    batch_size: int = 128,
    loss: Loss = F.cross_entropy,
    seed: int = 0,
) -> pd.DataFrame:
    """Train a dense module and a masked one of the same capacity on the same minibatches; both stay
    as they were.

    Copies are trained, and their gradient flow is measured, in training mode, in which dropout
    draws for each module by itself; they are tested in evaluation mode. The originals' modes do not
    matter, and torch's random numbers go on as if nothing had run.

    Args:
        dense: takes inputs as `data` has them, normalised.
        sparse: likewise, larger.
        masks: of `sparse`, by layer name; a layer without one is dense.
        data: from `tensor_data`; features [N, F] come as [N, F, 1, 1], which `nn.Flatten` takes.
        optimizer: makes one of parameters, for example `partial(torch.optim.Adam, lr=0.001)`.
        epochs: at the end of each there is a row.
        batch_size: of the minibatches; their order is drawn once for both.
        loss: mean loss of (outputs, targets).
        seed: of the order and of what the modules draw.

    Returns:
        A row a network and epoch: `architecture`, `epoch`, `test_accuracy` in percent, `test_loss`,
        `grad_norm_l1`, `grad_norm_l2`, `egf_l1`, `egf_l2` over training images, `active_weights`.

    Raises:
        ValueError: the two have different numbers of active weights, or a mask is of no use.
    """
    found = {
        "dense": (dense, find_weights(dense)),
        "sparse": (sparse, find_weights(sparse, None, masks)),
    }
    active = {
        name: sum(int(w.mask.sum()) if w.mask is not None else w.value.numel() for w in weights)
        for name, (_, weights) in found.items()
    }
    if active["dense"] != active["sparse"]:
        raise ValueError(
            f"the dense module has {active['dense']} weights and the sparse one "
            f"{active['sparse']} active ones; give masks with as many, or another width"
        )
    mean, std = (value.view(1, -1, 1, 1) for value in (data.mean, data.std))
    train, test = (
        ((x.double() - mean) / std).to(torch.get_default_dtype())
        for x in (data.train_images, data.test_images)
    )
    rows: list[dict[str, Any]] = []
    for architecture, (original, weights) in found.items():
        module = copy.deepcopy(original).train()
        names = dict(module.named_parameters(remove_duplicate=False))
        own = {w.name: w.mask for w in weights if w.mask is not None}
        with torch.no_grad():
            for name, mask in own.items():
                names[name].masked_fill_(~mask, 0.0)
        chosen = optimizer(module.parameters())
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for epoch in range(epochs):
                order = torch.from_numpy(
                    stream(data.name, seed, "order", epoch).permutation(len(train))
                )
                for places in order.split(batch_size):
                    chosen.zero_grad()
                    loss(module(train[places]), data.train_labels[places]).backward()
                    with torch.no_grad():
                        for name, mask in own.items():
                            gradient = names[name].grad
                            if gradient is not None:
                                gradient.masked_fill_(~mask, 0.0)
                        chosen.step()
                        for name, mask in own.items():
                            names[name].masked_fill_(~mask, 0.0)
                probe = [(train[:PROBE], data.train_labels[:PROBE])]
                flow = measure_gradient_flow(module, loss, probe, list(_names(weights)), own)
                module.eval()
                with torch.no_grad():
                    outputs = module(test)
                    right = (outputs.argmax(1) == data.test_labels).double().mean()
                    rows.append(
                        {
                            "architecture": architecture,
                            "epoch": epoch,
                            "test_accuracy": 100 * float(right),
                            "test_loss": float(loss(outputs, data.test_labels)),
                            **{f"grad_norm_l{p}": float(flow.grad_norm(p)) for p in (1, 2)},
                            **{f"egf_l{p}": float(flow.egf(p)) for p in (1, 2)},
                            "active_weights": active[architecture],
                        }
                    )
                module.train()
    return pd.DataFrame(rows)


def _names(weights: Sequence[EffectiveWeight]) -> Iterable[str]:
    return (weight.name for weight in weights)
