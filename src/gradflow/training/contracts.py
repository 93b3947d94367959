"""What user code promises, checked where it runs: one sentence that names the file, before wrong
numbers are logged.

An optimizer is tried on small tensors before training, a mask rule in a rehearsal; masks are
checked at each update, and masked weights at each probe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from gradflow.networks.contracts import ContractError, called
from gradflow.study.own import own_file

SHAPES = ((3, 4, 5), (3, 5), (3,))  # of the parameters on which an optimizer is tried, K = 3
STEPS = 4


class Masked(Protocol):
    """What is looked at of a `stack.Stack`."""

    masks: list[Tensor] | None

    @property
    def layers(self) -> list[Tensor]: ...  # noqa: D102


# --- optimizers -----------------------------------------------------------------------------------


@cache
def check_optimizer(name: str, update: Callable[..., None], state: tuple[str, ...]) -> None:
    """Try an optimizer on three small stacked networks.

    Raises:
        ContractError: it fails, changes shapes, moves masked weights, couples networks, or does not
            repeat its bits.
    """
    place = str(own_file("optimizers", name))
    masks = [torch.rand(s, generator=_generator(1)) < 0.5 for s in SHAPES]
    once, again = (_optimized(place, update, state, masks, None) for _ in range(2))
    if not all(torch.equal(a, b) for a, b in zip(once, again, strict=True)):
        raise ContractError(
            f"{place}: update gives other bits when the same steps are repeated, as if it drew "
            "random numbers or kept a state of its own; keep what it needs in STATE"
        )
    for tensor, mask in zip(once, masks, strict=True):
        if torch.any(tensor[~mask] != 0):
            raise ContractError(
                f"{place}: update moves masked weights, whose weight and gradient are zero; leave "
                "such weights at zero"
            )
    other = _optimized(place, update, state, masks, 1)
    for mine, theirs in zip(once, other, strict=True):
        if not (torch.equal(mine[0], theirs[0]) and torch.equal(mine[2], theirs[2])):
            raise ContractError(
                f"{place}: update couples networks: another gradient of one changes the others; "
                "the first axis of every tensor counts networks, so reduce over the other axes "
                "alone"
            )


def _optimized(
    place: str,
    update: Callable[..., None],
    names: tuple[str, ...],
    masks: list[Tensor],
    perturbed: int | None,
) -> list[Tensor]:
    """Masked parameters after some steps; the gradients of one network may be others."""
    generator = _generator(2)
    parameters = [
        torch.randn(s, generator=generator) * m for s, m in zip(SHAPES, masks, strict=True)
    ]
    state = {key: [torch.zeros_like(p) for p in parameters] for key in names}
    for _ in range(STEPS):
        gradients = []
        for shape, mask in zip(SHAPES, masks, strict=True):
            gradient = torch.randn(shape, generator=generator) * mask
            if perturbed is not None:
                gradient[perturbed] *= 3.0
            gradients.append(gradient)
        with torch.no_grad():
            called(place, update, parameters, gradients, state, 0.01, 0.1)
        held = [*parameters, *(t for tensors in state.values() for t in tensors)]
        shapes = SHAPES * (1 + len(names))
        if [tuple(t.shape) for t in held] != list(shapes):
            raise ContractError(f"{place}: update changes the shape of a parameter or a state")
    return parameters


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- masks ----------------------------------------------------------------------------------------


def ruled_masks(
    place: str, rule: Callable[..., Any], stack: Masked, *arguments: Any, twice: bool = False
) -> Sequence[Tensor] | None:
    """The masks that a rule returns, if they are masks of the same capacity.

    Args:
        place: the rule's file.
        rule: called with the stack and `arguments`.
        stack: with masks.
        arguments: the rule's others.
        twice: ask again, and compare.

    Raises:
        ContractError: the rule fails, changes the stack itself, draws random numbers of its own, or
            returns what are no masks of as many active weights in every layer of every network.
    """
    masks, weights = stack.masks or [], stack.layers
    before = [tensor.detach().clone() for tensor in (*masks, *weights)]
    answers = [called(place, rule, stack, *arguments) for _ in range(2 if twice else 1)]
    for old, new in zip(before, (*masks, *weights), strict=True):
        # a weight that diverged equals nothing, itself included
        if not torch.all((old == new) | (old.isnan() & new.isnan())):
            raise ContractError(
                f"{place}: {rule.__name__} changes the stack's masks or weights in place; return "
                "new masks and leave the stack as it is"
            )
    for answer in answers:
        if answer is not None:
            _check_masks(place, rule.__name__, masks, answer)
    if twice and not _same(*answers):
        raise ContractError(
            f"{place}: {rule.__name__} returns other masks when it is asked again; draw random "
            "numbers from gradflow.study.streams.stream, so that a resumed job draws the same ones"
        )
    first: Sequence[Tensor] | None = answers[0]
    return first


def _same(one: Sequence[Tensor] | None, other: Sequence[Tensor] | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _check_masks(place: str, name: str, old: Sequence[Tensor], new: Any) -> None:
    if not isinstance(new, list | tuple) or [getattr(m, "shape", None) for m in new] != [
        m.shape for m in old
    ]:
        raise ContractError(
            f"{place}: {name} must return a mask [K, ...] for each of the {len(old)} layers, of "
            "the shape that it has"
        )
    for layer, (before, after) in enumerate(zip(old, new, strict=True)):
        if not ((after == 0) | (after == 1)).all():
            raise ContractError(
                f"{place}: {name} returns a mask of layer {layer} with other values than 0 and 1"
            )
        counts = [mask.bool().flatten(1).sum(1).tolist() for mask in (before, after)]
        if counts[0] != counts[1]:
            raise ContractError(
                f"{place}: {name} leaves {counts[1]} active weights in layer {layer} where the "
                f"networks have {counts[0]}; a mask update must keep the number of active weights "
                "in every layer"
            )


def check_masked_weights(stack: Masked, optimizer: str) -> None:
    """Raise ContractError unless every masked weight is exactly zero, but for networks that
    diverged.
    """
    for index, (layer, mask) in enumerate(zip(stack.layers, stack.masks or [], strict=False)):
        weight = layer.detach()
        moved = ((weight != 0) & (mask == 0)).flatten(1).any(1)
        if bool((moved & torch.isfinite(weight).flatten(1).all(1)).any()):
            raise ContractError(
                f"masked weights of layer {index} are not zero: the optimizer {optimizer} or an "
                "activation moved them"
            )
