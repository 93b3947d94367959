"""Mask, L2 and optimizer in one pass over a layer: the optimizers of section 3.2, as in PyTorch.

Each has two kernels: `all_weights` goes through a layer with its mask, `active_weights` through the
active ones alone. Both take the same arguments:

    weights   flat, updated in place
    chosen    ones and zeros, flat; or the places of the active weights
    gradient  of each weight; or of each active weight
    first, second   the optimizer's state, flat, as many as it has; `unused` for the others
    numbers   what `Numbers` computes for a step

A masked weight's gradient counts as zero whatever it is, so that the weight stays exactly zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradflow.training.native.compiled import kernel

RATE, DECAY, KEEP, FIRST, FIRST_REST, SECOND, SECOND_REST, EPSILON, STEP, ROOT = range(10)


@dataclass(frozen=True)
class Numbers:
    """The scalars of an optimizer, in the weights' type."""

    name: str
    alpha: float  # of RMSProp

    def fill(self, numbers: np.ndarray, learning_rate: float, decay: float, steps: int) -> None:
        """Compute them for the step after `steps` - 1 others; in float64 until they are stored."""
        first = {"momentum": 0.9, "adam": 0.9, "adamw": 0.9}.get(self.name, 0.0)
        second = {"rmsprop": self.alpha, "adam": 0.999, "adamw": 0.999}.get(self.name, 0.0)
        adaptive = self.name in ("adam", "adamw")
        decoupled = self.name == "adamw"
        numbers[RATE] = learning_rate
        numbers[DECAY] = 0.0 if decoupled else decay
        numbers[KEEP] = 1.0 - learning_rate * decay if decoupled else 1.0
        numbers[FIRST], numbers[FIRST_REST] = first, 1.0 - first
        numbers[SECOND], numbers[SECOND_REST] = second, 1.0 - second
        numbers[EPSILON] = 1e-10 if self.name == "adagrad" else 1e-8
        numbers[STEP] = learning_rate / (1.0 - first**steps) if adaptive else learning_rate
        numbers[ROOT] = 1.0 / math.sqrt(1.0 - second**steps) if adaptive else 1.0


@kernel
def sgd_all(weights, chosen, gradient, first, second, numbers):
    """Plain gradient descent."""
    rate, decay = numbers[RATE], numbers[DECAY]
    zero = weights.dtype.type(0)
    for i in range(weights.size):
        g = (gradient[i] if chosen[i] else zero) + decay * weights[i]
        weights[i] -= rate * g


@kernel
def sgd_active(weights, chosen, gradient, first, second, numbers):
    """Plain gradient descent."""
    rate, decay = numbers[RATE], numbers[DECAY]
    for k in range(chosen.size):
        i = chosen[k]
        g = gradient[k] + decay * weights[i]
        weights[i] -= rate * g


@kernel
def momentum_all(weights, chosen, gradient, first, second, numbers):
    """Gradient descent with momentum 0.9."""
    rate, decay, keep = numbers[RATE], numbers[DECAY], numbers[FIRST]
    zero = weights.dtype.type(0)
    for i in range(weights.size):
        g = (gradient[i] if chosen[i] else zero) + decay * weights[i]
        first[i] = keep * first[i] + g
        weights[i] -= rate * first[i]


@kernel
def momentum_active(weights, chosen, gradient, first, second, numbers):
    """Gradient descent with momentum 0.9."""
    rate, decay, keep = numbers[RATE], numbers[DECAY], numbers[FIRST]
    for k in range(chosen.size):
        i = chosen[k]
        g = gradient[k] + decay * weights[i]
        first[i] = keep * first[i] + g
        weights[i] -= rate * first[i]


@kernel
def adagrad_all(weights, chosen, gradient, first, second, numbers):
    """Adagrad."""
    rate, decay, epsilon = numbers[RATE], numbers[DECAY], numbers[EPSILON]
    zero = weights.dtype.type(0)
    for i in range(weights.size):
        g = (gradient[i] if chosen[i] else zero) + decay * weights[i]
        first[i] += g * g
        weights[i] -= rate * g / (math.sqrt(first[i]) + epsilon)


@kernel
def adagrad_active(weights, chosen, gradient, first, second, numbers):
    """Adagrad."""
    rate, decay, epsilon = numbers[RATE], numbers[DECAY], numbers[EPSILON]
    for k in range(chosen.size):
        i = chosen[k]
        g = gradient[k] + decay * weights[i]
        first[i] += g * g
        weights[i] -= rate * g / (math.sqrt(first[i]) + epsilon)


@kernel
def rmsprop_all(weights, chosen, gradient, first, second, numbers):
    """RMSProp."""
    rate, decay, epsilon = numbers[RATE], numbers[DECAY], numbers[EPSILON]
    second_keep, second_rest = numbers[SECOND], numbers[SECOND_REST]
    zero = weights.dtype.type(0)
    for i in range(weights.size):
        g = (gradient[i] if chosen[i] else zero) + decay * weights[i]
        first[i] = second_keep * first[i] + second_rest * g * g
        weights[i] -= rate * g / (math.sqrt(first[i]) + epsilon)


@kernel
def rmsprop_active(weights, chosen, gradient, first, second, numbers):
    """RMSProp."""
    rate, decay, epsilon = numbers[RATE], numbers[DECAY], numbers[EPSILON]
    second_keep, second_rest = numbers[SECOND], numbers[SECOND_REST]
    for k in range(chosen.size):
        i = chosen[k]
        g = gradient[k] + decay * weights[i]
        first[i] = second_keep * first[i] + second_rest * g * g
        weights[i] -= rate * g / (math.sqrt(first[i]) + epsilon)


@kernel
def adam_all(weights, chosen, gradient, first, second, numbers):
    """Adam, and AdamW by its numbers."""
    decay, keep, first_rest = numbers[DECAY], numbers[KEEP], numbers[FIRST_REST]
    second_keep, second_rest = numbers[SECOND], numbers[SECOND_REST]
    step, root, epsilon = numbers[STEP], numbers[ROOT], numbers[EPSILON]
    zero = weights.dtype.type(0)
    for i in range(weights.size):
        g = (gradient[i] if chosen[i] else zero) + decay * weights[i]
        first[i] += first_rest * (g - first[i])
        second[i] = second_keep * second[i] + second_rest * g * g
        weights[i] = keep * weights[i] - step * first[i] / (math.sqrt(second[i]) * root + epsilon)


@kernel
def adam_active(weights, chosen, gradient, first, second, numbers):
    """Adam, and AdamW by its numbers."""
    decay, keep, first_rest = numbers[DECAY], numbers[KEEP], numbers[FIRST_REST]
    second_keep, second_rest = numbers[SECOND], numbers[SECOND_REST]
    step, root, epsilon = numbers[STEP], numbers[ROOT], numbers[EPSILON]
    for k in range(chosen.size):
        i = chosen[k]
        g = gradient[k] + decay * weights[i]
        first[i] += first_rest * (g - first[i])
        second[i] = second_keep * second[i] + second_rest * g * g
        weights[i] = keep * weights[i] - step * first[i] / (math.sqrt(second[i]) * root + epsilon)


UPDATES: dict[str, tuple[Any, Any]] = {
    "sgd": (sgd_all, sgd_active),
    "momentum": (momentum_all, momentum_active),
    "adagrad": (adagrad_all, adagrad_active),
    "rmsprop": (rmsprop_all, rmsprop_active),
    "adam": (adam_all, adam_active),
    "adamw": (adam_all, adam_active),
}
