"""The effective weights of any torch module: found, replaced while something is measured, and put
back.

A plain layer's effective weight is its parameter. Under `torch.nn.utils.prune` it is `weight_orig`
times `weight_mask`, under `torch.nn.utils.parametrize` what the parametrizations return: in both
cases the parameter is something else than the tensor that the forward pass uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

# their parameters scale and shift units; a weight matrix they are not, however many axes they have
NORMALISATIONS = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._NormBase,
    nn.RMSNorm,
)


@dataclass(frozen=True)
class EffectiveWeight:
    """One layer's weight, as the forward pass uses it."""

    name: str  # natural: `conv1.weight`, whatever prune or parametrize made of it
    owner: nn.Module
    attribute: str
    original: Tensor  # the parameter behind it
    value: Tensor  # detached
    mask: Tensor | None  # bool; what prune or a parametrization masks, and what the caller masks

    @property
    def kind(self) -> str:
        """Where the weight comes from: plain, pruned or parametrized."""
        if parametrize.is_parametrized(self.owner, self.attribute):
            return "parametrized"
        return "plain" if self.attribute in self.owner._parameters else "pruned"


def find_weights(
    module: nn.Module,
    layers: Sequence[str] | None = None,
    masks: Mapping[str, Tensor] | None = None,
) -> list[EffectiveWeight]:
    """Find the layers of a module, with their masks.

    Args:
        module: plain, pruned or parametrized.
        layers: names of weights, natural (`conv1.weight`) or as `named_parameters` has them. By
            default every weight matrix and kernel: the parameters of two or more axes outside of
            normalisation, a tied one once.
        masks: by such a name, ones and zeros (or bool) of the weight's shape. What `prune` and a
            parametrization's 0/1 tensor mask is known without.

    Raises:
        KeyError: a name is no weight of the module, or a mask belongs to no layer.
        ValueError: a layer is named twice, its weight holds no floating-point numbers, a mask has
            another shape or other values, or the module computes a weight in a hook of its own.
    """
    known = _weights_by_name(module)
    tied = {id(weight.original): weight for weight in reversed(known.values())}  # the first name
    if layers is None:
        chosen = [weight for weight in tied.values() if _is_layer(weight)]
        chosen.sort(key=lambda weight: list(known).index(weight.name))
    else:
        chosen = [tied[id(_find(name, known).original)] for name in layers]
        for name, weight in zip(layers, chosen, strict=True):
            if sum(other is weight for other in chosen) > 1:
                raise ValueError(
                    f"{name} is among the layers twice, perhaps tied under another name; "
                    "name each weight once"
                )
    given: dict[str, Tensor] = {}
    for name, mask in (masks or {}).items():
        weight = tied[id(_find(name, known).original)]
        if not any(weight is other for other in chosen):
            raise KeyError(
                f"{name} has a mask and is not a layer; the layers are "
                f"{', '.join(layer.name for layer in chosen)}"
            )
        given[weight.name] = mask
    return [_evaluated(weight, given.get(weight.name)) for weight in chosen]


@contextmanager
def replaced(module: nn.Module, weights: Sequence[EffectiveWeight]) -> Iterator[list[Tensor]]:
    """Let the module run on leaves in the place of its effective weights, then put everything back.

    Yields:
        The leaves: the masked effective weights, which require a gradient.

    Afterwards every module has the attributes, parameters, buffers and hooks that it had, the same
    objects with the same values, and torch's random numbers go on as if nothing had run.
    """
    snapshot = _Snapshot(module)
    leaves = []
    try:
        with torch.random.fork_rng(_devices(module)):
            for owner in module.modules():
                for name, buffer in list(owner._buffers.items()):
                    if buffer is not None:
                        owner._buffers[name] = snapshot.copy_of(buffer)
            for weight in weights:
                # filled, not multiplied: whatever stands in a masked place must not matter
                masked = ~weight.mask if weight.mask is not None else None
                value = weight.value if masked is None else weight.value.masked_fill(masked, 0.0)
                leaf = nn.Parameter(value.clone())
                leaves.append(leaf)
                _put(module, weight, leaf)
            yield list(leaves)
    finally:
        snapshot.restore()


@contextmanager
def given_weights(
    module: nn.Module,
    weights: Sequence[EffectiveWeight],
    tensors: Sequence[Tensor],
    of_others: Callable[[Tensor], Tensor] = lambda parameter: parameter,
) -> Iterator[None]:
    """Let a plain module run on other tensors, which may belong to a graph; then put everything
    back.

    Dropout draws the same numbers each time, and torch's go on as if nothing had run.

    Args:
        module: whose weights they are.
        weights: those to replace.
        tensors: in their place.
        of_others: makes the tensor in the place of any other parameter.

    Raises:
        ValueError: a weight is pruned or parametrized.
    """
    for weight in weights:
        if weight.kind != "plain":
            raise ValueError(f"{weight.name} is {weight.kind}; give the module before it was")
    places = {id(w.original): tensor for w, tensor in zip(weights, tensors, strict=True)}
    snapshot = _Snapshot(module)
    try:
        with torch.random.fork_rng(_devices(module)):
            for owner in module.modules():
                for name, buffer in list(owner._buffers.items()):
                    if buffer is not None:
                        owner._buffers[name] = snapshot.copy_of(buffer)
                for name, parameter in list(owner._parameters.items()):
                    if parameter is not None:
                        tensor = places.get(id(parameter))
                        held: dict[str, Any] = owner._parameters
                        held[name] = of_others(parameter) if tensor is None else tensor
            yield
    finally:
        snapshot.restore()


def _devices(module: nn.Module) -> list[int]:
    """The GPUs that a module draws its random numbers on."""
    return sorted({p.device.index for p in module.parameters() if p.device.type == "cuda"})


def _weights_by_name(module: nn.Module) -> dict[str, EffectiveWeight]:
    """Every parameter by its natural name, aliases too; values and masks come later."""
    found: dict[str, EffectiveWeight] = {}
    if any(isinstance(owner, torch.jit.ScriptModule) for owner in module.modules()):
        raise ValueError("a scripted or traced module cannot be measured; give the module itself")
    for prefix, owner in module.named_modules(remove_duplicate=False):
        if isinstance(owner, parametrize.ParametrizationList) or _within_parametrization(prefix):
            continue
        here = {name: p for name, p in owner._parameters.items() if p is not None}
        for hook in _pruning_hooks(owner):
            attribute = str(hook._tensor_name)
            here = {
                (attribute if name == f"{attribute}_orig" else name): p for name, p in here.items()
            }
        if parametrize.is_parametrized(owner):
            for attribute, steps in owner.parametrizations.items():
                here[attribute] = getattr(steps, "original", None)
                if here[attribute] is None:  # several tensors are behind it
                    here[attribute] = steps.original0
        for attribute, original in here.items():
            name = f"{prefix}.{attribute}" if prefix else attribute
            found[name] = EffectiveWeight(name, owner, attribute, original, original, None)
    return found


def _within_parametrization(prefix: str) -> bool:
    return "parametrizations" in prefix.split(".")


def _pruning_hooks(owner: nn.Module) -> list[Any]:
    hooks = owner._forward_pre_hooks.values()
    return [hook for hook in hooks if isinstance(hook, prune.BasePruningMethod)]


def _is_layer(weight: EffectiveWeight) -> bool:
    axes = weight.original.dim()
    if weight.kind == "parametrized":
        axes = _parametrized(weight.owner, weight.attribute).dim()
    return axes > 1 and not isinstance(weight.owner, NORMALISATIONS)


def _find(name: str, known: Mapping[str, EffectiveWeight]) -> EffectiveWeight:
    natural = name.removesuffix("_orig") if name not in known else name
    if ".parametrizations." in f".{name}":
        prefix, _, rest = f".{name}".rpartition(".parametrizations.")
        natural = f"{prefix}.{rest.rpartition('.')[0]}".strip(".")
    if natural not in known:
        attribute = natural.rpartition(".")[2]
        if f"{natural}_v" in known and attribute in _computed_in_hooks(known[f"{natural}_v"].owner):
            raise ValueError(_refusal_of_hooks(natural))
        raise KeyError(
            f"{name} is not a layer of the module; its parameters are {', '.join(known)}"
        )
    return known[natural]


def _evaluated(weight: EffectiveWeight, given: Tensor | None) -> EffectiveWeight:
    """With the value and the mask in use."""
    owner, attribute = weight.owner, weight.attribute
    with torch.no_grad():
        if weight.kind == "parametrized":
            value = _parametrized(owner, attribute)
            masks = _masks_of_parametrization(owner, attribute, value)
        elif weight.kind == "pruned":
            (hook,) = [h for h in _pruning_hooks(owner) if h._tensor_name == attribute]
            value, masks = hook.apply_mask(owner), [getattr(owner, f"{attribute}_mask")]
        else:
            value, masks = weight.original, []
    if not value.is_floating_point():
        raise ValueError(
            f"{weight.name} holds {str(value.dtype).removeprefix('torch.')} numbers, which have no "
            "gradient; convert the module to floating point, or leave the layer out of `layers`"
        )
    if weight.kind == "plain" and attribute.rpartition("_")[0] in _computed_in_hooks(owner):
        raise ValueError(_refusal_of_hooks(weight.name))
    if given is not None:
        masks = [*masks, checked_mask(given, value, weight.name)]
    mask = None
    for other in masks:
        other = other.to(value.device).bool()
        mask = other if mask is None else mask & other
    return EffectiveWeight(weight.name, owner, attribute, weight.original, value.detach(), mask)


def _computed_in_hooks(owner: nn.Module) -> set[str]:
    """Weights that torch's older weight_norm and spectral_norm compute before each forward pass."""
    hooks = owner._forward_pre_hooks.values()
    names = (getattr(hook, "name", None) for hook in hooks)
    return {name for name in names if isinstance(name, str)}


def _refusal_of_hooks(name: str) -> str:
    return (
        f"{name} is computed by a hook that is neither torch.nn.utils.prune's nor a "
        "parametrization; use torch.nn.utils.parametrizations instead"
    )


def checked_mask(mask: Tensor, weight: Tensor, name: str) -> Tensor:
    """The mask, if it is one of the weight: of its shape, and ones and zeros or bool.

    Raises:
        ValueError: it is not.
    """
    if tuple(mask.shape) != tuple(weight.shape):
        raise ValueError(
            f"the mask of {name} has shape {tuple(mask.shape)} and its weight "
            f"{tuple(weight.shape)}; both must be the same"
        )
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError(f"the mask of {name} holds other values than 0 and 1")
    return mask


@torch.no_grad()
def _parametrized(owner: nn.Module, attribute: str) -> Tensor:
    """What the parametrizations return; they keep what they hold (spectral_norm learns when
    asked).
    """
    kept = [(buffer, buffer.clone()) for buffer in owner.buffers()]
    with torch.random.fork_rng([]):
        value: Tensor = getattr(owner, attribute)
    for buffer, before in kept:
        buffer.copy_(before)
    return value


def _masks_of_parametrization(owner: nn.Module, attribute: str, value: Tensor) -> list[Tensor]:
    """The 0/1 tensors of the weight's shape that its parametrizations hold."""
    found = []
    for step in owner.parametrizations[attribute]:  # type: ignore[index]
        for inner in step.modules():
            held = [*inner._buffers.values(), *inner._parameters.values(), *vars(inner).values()]
            for tensor in held:
                if (
                    isinstance(tensor, Tensor)
                    and tensor.shape == value.shape
                    and bool(((tensor == 0) | (tensor == 1)).all())
                ):
                    found.append(tensor.detach())
    return found


class _Given(nn.Module):
    """Stands in the place of a parametrization and returns one tensor."""

    def __init__(self, leaf: nn.Parameter):
        super().__init__()
        self.leaf = leaf

    def forward(self) -> Tensor:
        return self.leaf


def _put(module: nn.Module, weight: EffectiveWeight, leaf: nn.Parameter) -> None:
    """Put the leaf wherever the module has the weight, under other names too."""
    if weight.kind == "parametrized":
        weight.owner.parametrizations[weight.attribute] = _Given(leaf)  # type: ignore[index, operator, assignment]
        return
    if weight.kind == "pruned":
        hooks = weight.owner._forward_pre_hooks
        for key, hook in list(hooks.items()):
            if isinstance(hook, prune.BasePruningMethod) and hook._tensor_name == weight.attribute:
                del hooks[key]
        weight.owner.__dict__.pop(weight.attribute, None)
        setattr(weight.owner, weight.attribute, leaf)
        return
    for owner in list(module.modules()):
        for name, parameter in list(owner._parameters.items()):
            if parameter is weight.original:
                setattr(owner, name, leaf)  # not into the dictionary: an RNN keeps a list beside it


class _Snapshot:
    """What every module of a tree holds, to be put back: one level of its dictionaries and lists
    too.
    """

    def __init__(self, module: nn.Module):
        self.modules = list(module.modules())
        self.attributes = [dict(owner.__dict__) for owner in self.modules]
        self.containers = [
            (value, value.copy())
            for held in self.attributes
            for value in held.values()
            if isinstance(value, dict | list)
        ]
        self.copies: dict[int, Tensor] = {}

    def copy_of(self, buffer: Tensor) -> Tensor:
        """One clone for each buffer, so that those shared stay shared."""
        return self.copies.setdefault(id(buffer), buffer.clone())

    def restore(self) -> None:
        for owner, attributes in zip(self.modules, self.attributes, strict=True):
            owner.__dict__.clear()
            owner.__dict__.update(attributes)
        for container, content in self.containers:
            container.clear()
            if isinstance(container, dict):
                container.update(content)
            else:
                container.extend(content)
