"""One network's step as a list of kernel calls, bound to its arrays once and for all.

The weights are the stack's own tensors, so that whatever else looks at them (probes, checkpoints,
logs) needs to know nothing. What a step computes in between lies in `Workspace`, which the networks
of a stack share, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from gradflow.networks.mlp import StackedBatchNorm, StackedMLP
from gradflow.study.job import Job
from gradflow.training.native import between_products as between
from gradflow.training.native.active_products import ActiveWeights, multiply, weight_gradient
from gradflow.training.native.choice import ROLES, Choice
from gradflow.training.native.loss import add_loss, count_correct, loss_gradient
from gradflow.training.native.norms import add_measures, add_up
from gradflow.training.native.products import PRODUCTS, by_mm
from gradflow.training.native.updates import UPDATES
from gradflow.training.optimizers import state_names
from gradflow.training.stack import Stack, gradient

Purpose = Literal["train", "train_and_measure", "probe", "test"]
Call = tuple[Callable[..., object], tuple[Any, ...]]


@dataclass
class Minibatch:
    """Inputs [features, B] and labels [B], at places that stay."""

    x: Tensor
    labels: np.ndarray

    @classmethod
    def empty(cls, features: int, size: int, dtype: torch.dtype) -> Minibatch:
        """Room for one."""
        return cls(torch.empty(features, size, dtype=dtype), np.empty(size, np.int64))


class Workspace:
    """What the networks of one shape compute on the way, for one size of minibatch."""

    def __init__(self, network: StackedMLP, activation: str, size: int):
        weights = network.layers
        dtype = weights[0].dtype

        def room(rows: int) -> Tensor:
            return torch.zeros(rows, size, dtype=dtype)

        self.size = size
        self.nothing = room(1)
        outputs = [weight.shape[2] for weight in weights]
        self.z = [self.nothing, *map(room, outputs)]  # products; the last are the logits
        self.h = [self.nothing, *map(room, outputs[:-1])]  # what the next layer takes; h[0] is x
        self.d = [self.nothing, *map(room, outputs)]  # the loss's gradient by h, then by z
        self.x, self.aux, self.a = ([self.nothing] * len(outputs) for _ in range(3))
        self.past = {source: room(outputs[source - 1]) for source in network.skips.values()}
        self.parts = [0, *(between.parts_of(network, i) for i in range(1, len(outputs)))]
        for layer in range(1, len(outputs)):
            early = self.parts[layer] & (between.NORM_EARLY | between.SKIP_EARLY)
            late = self.parts[layer] & (between.NORM_LATE | between.SKIP_LATE)
            width = outputs[layer - 1]
            if not early:
                self.x[layer] = self.z[layer]
            else:  # ReLU's inputs are read once; a row of them is enough
                self.x[layer] = room(1 if activation == "relu" else width)
            if activation in between.EXPONENTIALS:
                self.aux[layer] = room(width)
            self.a[layer] = room(width) if late else self.h[layer]
        self.logarithms = room(outputs[-1])


class Shared:
    """What the networks of a stack share: scalars, gradients, workspaces."""

    def __init__(self, job: Job, stack: Stack, choice: Choice):
        if not isinstance(stack.network, StackedMLP):
            raise TypeError("only MLPs have a native step")
        self.stack, self.network, self.choice = stack, stack.network, choice
        self.activation = job.configuration.activation
        self.dtype = stack.layers[0].dtype
        kind = np.float64 if self.dtype == torch.float64 else np.float32
        self.unit = np.array([1.0, 1e-5, 0.0, 0.1], kind)  # BatchNorm's epsilon and momentum
        self.zero = kind(0)
        self.none = np.zeros(1, kind)
        self.layer_numbers, self.other_numbers = np.zeros(10, kind), np.zeros(10, kind)
        self.gradients = [torch.empty(layer.shape[1:], dtype=self.dtype) for layer in stack.layers]
        self.sums = np.zeros((len(stack.layers), 4))
        self.totals = np.zeros((len(stack.runs), 4))
        self.whole, self.share = np.ones(1), np.ones(1)
        self.test_loss, self.correct = np.zeros(len(stack.runs)), np.zeros(len(stack.runs))
        self.ones = [np.ones(layer[0].numel(), np.uint8) for layer in stack.layers]
        # chosen here, before the first step, so that whoever keeps the choice has all of it
        self.products = {
            (role, layer): self._choose(role, layer)
            for layer in range(len(stack.layers))
            for role in ROLES
        }
        self._workspaces: dict[int, Workspace] = {}
        self._places = {
            id(parameter): (group, index)
            for group in stack.optimizer.groups
            for index, parameter in enumerate(group.parameters)
        }

    def workspace(self, size: int) -> Workspace:
        """Room for minibatches of this size."""
        if size not in self._workspaces:
            self._workspaces[size] = Workspace(self.network, self.activation, size)
        return self._workspaces[size]

    def state(self, parameter: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The optimizer's state for network k's part of a parameter, flat."""
        group, index = self._places[id(parameter)]
        found = [
            flat(group.state[name][index], k) for name in state_names(self.stack.optimizer.name)
        ]
        first, second, *_ = (*found, self.none, self.none)
        return first, second

    def product(self, role: str, layer: int) -> Callable[..., object]:
        """The way to take one of a layer's products."""
        return PRODUCTS[self.products[role, layer]]

    def _choose(self, role: str, layer: int) -> str:
        inputs, outputs = self.stack.layers[layer].shape[1:]
        return self.choice.product(role, inputs, outputs) if self.dtype == torch.float32 else "mm"


class NativeNetwork:
    """Network k of a stack."""

    def __init__(self, shared: Shared, k: int):
        self.shared, self.k = shared, k
        stack = shared.stack
        self.weights = [layer.detach()[k] for layer in stack.layers]
        self.masks: list[np.ndarray] | None = None
        self.active: list[ActiveWeights | None] = [None] * len(self.weights)
        if stack.masks is not None:
            self.masks = [mask[k].numpy().astype(np.uint8) for mask in stack.masks]
            for layer, mask in enumerate(self.masks):
                if mask.mean() < shared.choice.sparse_below(*mask.shape):
                    self.active[layer] = ActiveWeights(mask)
        self.active_gradients = [
            None if one is None else np.empty(len(one.places), self.weights[0].numpy().dtype)
            for one in self.active
        ]
        self.others = [_Others(shared, k, layer) for layer in range(1, len(self.weights))]
        self._calls: dict[tuple[Purpose, int], list[Call]] = {}

    def run(self, purpose: Purpose, minibatch: Minibatch) -> None:
        """Do what is to be done with a minibatch."""
        key = purpose, id(minibatch)
        if key not in self._calls:
            self._calls[key] = list(self._make_calls(purpose, minibatch))
        for function, arguments in self._calls[key]:
            function(*arguments)

    def _make_calls(self, purpose: Purpose, minibatch: Minibatch) -> list[Call]:
        shared, k = self.shared, self.k
        space = shared.workspace(minibatch.x.shape[1])
        labels, top = minibatch.labels, space.d[-1]
        share = shared.whole if purpose.startswith("train") else shared.share
        calls = self._forward(purpose, minibatch.x, space)
        logarithms = (partial(torch.log_softmax, dim=0, out=space.logarithms), (space.z[-1],))
        if purpose == "test":
            loss = shared.test_loss[k : k + 1]
            calls += [
                logarithms,
                (add_loss, (space.logarithms.numpy(), labels, share, loss)),
                (count_correct, (space.z[-1].numpy(), labels, shared.correct[k : k + 1])),
            ]
            return calls
        calls.append((partial(torch.softmax, dim=0, out=top), (space.z[-1],)))
        if purpose != "train":
            sums = shared.stack.probe_loss if purpose == "probe" else shared.stack.train_loss
            loss = sums.numpy()[k : k + 1]
            calls += [
                logarithms,
                (add_loss, (space.logarithms.numpy(), labels, share, loss)),
            ]
        calls.append((loss_gradient, (labels, share, top.numpy())))
        calls += self._backward(purpose, minibatch.x, space)
        if purpose == "train_and_measure":
            calls.append((add_measures, (shared.sums, shared.totals[k])))
        if purpose != "probe":
            calls += self._update()
        return calls

    def _forward(self, purpose: Purpose, x: Tensor, space: Workspace) -> list[Call]:
        shared, kind = self.shared, between.ACTIVATIONS[self.shared.activation]
        function = between.EXPONENTIALS.get(shared.activation)
        calls: list[Call] = []
        for layer, weight in enumerate(self.weights):
            h, z, active = (space.h[layer] if layer else x), space.z[layer + 1], self.active[layer]
            if active is None:
                calls.append((shared.product("forward", layer), (weight.t(), h, z)))
            else:
                lists = (active.by_output, active.inputs, active.places_by_output)
                calls.append((multiply, (*lists, weight.numpy().reshape(-1), h.numpy(), z.numpy())))
            if layer + 1 == len(self.weights):
                break
            i, others = layer + 1, self.others[layer]
            calls += others.pack
            parts = space.parts[i]
            parts |= {"test": between.EVALUATE, "probe": 0}.get(purpose, between.TRACK)
            source = shared.network.skips.get(i)
            arrays = (
                kind, z.numpy(), space.x[i].numpy(), space.aux[i].numpy(), others.slopes,
                space.nothing.numpy() if source is None else space.h[source].numpy(),
                space.a[i].numpy(), space.h[i].numpy(), others.gamma, others.beta,
                others.running_mean, others.running_var, others.mean, others.inverse, shared.unit,
            )  # fmt: skip
            before = between.BEFORE if space.x[i] is not space.z[i] else 0
            if function is None:
                calls.append((between.forward, (parts | before | between.ACTIVATE, *arrays)))
                continue
            if before:
                calls.append((between.forward, (parts | before, *arrays)))
            calls.append((partial(function, out=space.aux[i]), (space.x[i],)))
            calls.append((between.forward, (parts | between.ACTIVATE, *arrays)))
        return calls

    def _backward(self, purpose: Purpose, x: Tensor, space: Workspace) -> list[Call]:
        shared, kind = self.shared, between.ACTIVATIONS[self.shared.activation]
        nothing = space.nothing.numpy()
        calls: list[Call] = [(others.gradient.fill, (0,)) for others in self.others]
        for layer in reversed(range(len(self.weights))):
            weight, active, d = self.weights[layer], self.active[layer], space.d[layer + 1]
            h = space.h[layer] if layer else x
            calls += self._weight_gradient(purpose, layer, h, d)
            if layer == 0:
                break
            below = space.d[layer]
            if active is None:
                calls.append((shared.product("by_inputs", layer), (weight, d, below)))
            else:
                lists = (active.by_input, active.outputs, active.places)
                arrays = (weight.numpy().reshape(-1), d.numpy(), below.numpy())
                calls.append((multiply, (*lists, *arrays)))
            others = self.others[layer - 1]
            source = shared.network.skips.get(layer)
            calls.append(
                (
                    between.backward,
                    (
                        space.parts[layer], kind, space.z[layer].numpy(), space.x[layer].numpy(),
                        space.aux[layer].numpy(), others.slopes, space.a[layer].numpy(),
                        below.numpy(),
                        space.past[layer].numpy() if layer in space.past else nothing,
                        space.past[source].numpy() if source else nothing,
                        others.gamma, others.mean, others.inverse, others.d_gamma, others.d_beta,
                        others.d_slopes, shared.unit,
                    ),
                )
            )  # fmt: skip
            if purpose == "probe":
                calls += others.add_to_gradients
        return calls

    def _weight_gradient(self, purpose: Purpose, layer: int, h: Tensor, d: Tensor) -> list[Call]:
        shared, active = self.shared, self.active[layer]
        found, product = shared.gradients[layer], shared.product("by_weights", layer)
        if purpose == "probe":
            total = gradient(shared.stack.layers[layer])[self.k]
            if product is by_mm:
                return [(total.addmm_, (h, d.t()))]
            return [(product, (h, d.t(), found)), (total.add_, (found,))]
        calls: list[Call] = []
        if active is not None:  # while it is measured too, so that measuring changes no bit
            lists = (active.by_input, active.outputs)
            arrays = (h.numpy(), d.numpy(), self.active_gradients[layer], shared.zero)
            calls.append((weight_gradient, (*lists, *arrays)))
            if purpose == "train":
                return calls
        calls.append((product, (h, d.t(), found)))
        if purpose == "train_and_measure":
            mask = shared.ones[layer].reshape(1, -1) if self.masks is None else self.masks[layer]
            calls.append((add_up, (found.numpy(), mask, shared.sums[layer], shared.zero)))
        return calls

    def _update(self) -> list[Call]:
        shared = self.shared
        update_all, update_active = UPDATES[shared.stack.optimizer.name]
        calls: list[Call] = []
        for layer, weight in enumerate(self.weights):
            active, found = self.active[layer], shared.gradients[layer].numpy().reshape(-1)
            state = shared.state(shared.stack.layers[layer], self.k)
            flat_weight = weight.numpy().reshape(-1)
            if active is None:
                mask = shared.ones[layer] if self.masks is None else self.masks[layer].reshape(-1)
                arguments = (flat_weight, mask, found, *state, shared.layer_numbers)
                calls.append((update_all, arguments))
                continue
            chosen = self.active_gradients[layer]
            calls.append(
                (update_active, (flat_weight, active.places, chosen, *state, shared.layer_numbers))
            )
        for others in self.others:
            for parameter, part in others.parameters:
                state = shared.state(parameter, self.k)
                value = flat(parameter, self.k)
                ones = np.ones(len(value), np.uint8)
                arguments = (value, ones, part, *state, shared.other_numbers)
                calls.append((update_all, arguments))
        return calls


class _Others:
    """A hidden layer's parameters that are no weights: BatchNorm's and the activation's."""

    def __init__(self, shared: Shared, k: int, layer: int):
        network, kind = shared.network, shared.unit.dtype
        self.k = k
        norm = cast(StackedBatchNorm, network.norms[layer - 1]) if network.norms else None
        width = shared.stack.layers[layer - 1].shape[2] if norm is not None else 0
        learned = list(network.activations[layer - 1].parameters())
        self.gradient = np.zeros(2 * width + len(learned), kind)
        self.d_gamma, self.d_beta, self.d_slopes = np.split(self.gradient, (width, 2 * width))
        self.mean, self.inverse = np.zeros(width, kind), np.zeros(width, kind)
        self.gamma = self.beta = self.running_mean = self.running_var = self.mean
        self.parameters: list[tuple[Tensor, np.ndarray]] = []
        if norm is not None:
            self.gamma, self.beta = flat(norm.weight, k), flat(norm.bias, k)
            self.running_mean, self.running_var = (
                flat(norm.running_mean, k),
                flat(norm.running_var, k),
            )
            self.parameters += [(norm.weight, self.d_gamma), (norm.bias, self.d_beta)]
        self.slopes = np.zeros(max(1, len(learned)), kind)
        self.parameters += [
            (parameter, self.d_slopes[index : index + 1]) for index, parameter in enumerate(learned)
        ]
        values = [flat(parameter, k) for parameter in learned]
        self.pack: list[Call] = (
            [(partial(np.concatenate, out=self.slopes), (values,))] if values else []
        )

    @cached_property
    def add_to_gradients(self) -> list[Call]:
        """Add to each parameter's `.grad`."""
        found = ((flat(gradient(parameter), self.k), part) for parameter, part in self.parameters)
        return [(partial(np.add, out=total), (total, part)) for total, part in found]


def flat(stacked: Tensor, k: int) -> np.ndarray:
    """Network k's part of a tensor [K, ...], flat and at its place."""
    return stacked.detach()[k].reshape(-1).numpy()
