"""Which kernels a network's step is made of: measured where it runs, once a shape class.

A processor's flags do not tell which product is faster on it; a few milliseconds of measurement do.
What is chosen decides the last bits of a run's numbers, so it is kept for all jobs of a results
folder, and stands in each log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradflow.files import lock, replacing
from gradflow.study.cpu_speed import cpu_name
from gradflow.training.native.active_products import ActiveWeights, multiply, weight_gradient
from gradflow.training.native.products import PRODUCTS
from gradflow.training.native.updates import RATE, UPDATES

ROLES = ("forward", "by_inputs", "by_weights")  # a layer's three products
ROUNDS, SECONDS = 5, 0.002  # of a measurement: the best of so many turns, each about so long
CLEARLY = 0.85  # of the usual product's time, for another to be taken
DENSITIES = (0.03, 0.12)  # at which products over active weights are timed
BATCH = 128


@dataclass
class Choice:
    """The kernels chosen so far, by shape class; more are measured as they are asked for."""

    products: dict[str, str] = field(default_factory=dict)
    densities: dict[str, float] = field(default_factory=dict)

    def product(self, role: str, inputs: int, outputs: int) -> str:
        """The name of the faster product for one of `ROLES` of a layer [inputs, outputs]."""
        if len(PRODUCTS) == 1:
            return next(iter(PRODUCTS))
        name = f"{role} {shape_class(inputs, outputs)}"
        if name not in self.products:
            operands = operands_of(role, *representative(inputs, outputs))
            turns: dict[str, Callable[[], object]] = {
                way: partial(do, *operands) for way, do in PRODUCTS.items()
            }
            seconds = in_turns(turns)
            usual = next(iter(PRODUCTS))
            best = min(seconds, key=lambda way: seconds[way])
            # what is no clear gain would be chosen by chance, differently from folder to folder
            self.products[name] = best if seconds[best] < CLEARLY * seconds[usual] else usual
        return self.products[name]

    def sparse_below(self, inputs: int, outputs: int) -> float:
        """The density of a layer's mask below which its products are taken over active weights
        alone.
        """
        name = shape_class(inputs, outputs)
        if name not in self.densities:
            self.densities[name] = break_even(self, *representative(inputs, outputs))
        return self.densities[name]


THIS_PROCESS = Choice()  # where nothing is kept: one choice for all cohorts, hence the same bits


def shape_class(inputs: int, outputs: int) -> str:
    """Layers whose sides agree to a factor of two share a measurement."""
    return f"{inputs.bit_length()}x{outputs.bit_length()}"


def representative(inputs: int, outputs: int) -> tuple[int, int]:
    """The layer that is measured for a class: in the middle of it."""
    return (3 << inputs.bit_length()) >> 2, (3 << outputs.bit_length()) >> 2


def operands_of(role: str, inputs: int, outputs: int) -> tuple[torch.Tensor, ...]:
    """The two factors of a product and where it goes, laid out as in a step."""
    w, h = torch.randn(inputs, outputs), torch.randn(inputs, BATCH)
    d, g = torch.randn(outputs, BATCH), torch.empty(inputs, outputs)
    if role == "forward":
        return w.t(), h, torch.empty(outputs, BATCH)
    if role == "by_inputs":
        return w, d, torch.empty(inputs, BATCH)
    return h, d.t(), g


def in_turns(turns: dict[Any, Callable[[], object]]) -> dict[Any, float]:
    """CPU seconds of each, the best of some turns; in turns, so that all see the same machine."""
    counts, best = {}, dict.fromkeys(turns, float("inf"))
    for name, do in turns.items():
        do()  # once for what libraries do at their first call
        began = time.process_time()
        do()
        counts[name] = max(1, round(SECONDS / max(1e-7, time.process_time() - began)))
    for _ in range(ROUNDS):
        for name, do in turns.items():
            began = time.process_time()
            for _ in range(counts[name]):
                do()
            best[name] = min(best[name], (time.process_time() - began) / counts[name])
    return best


def break_even(choice: Choice, inputs: int, outputs: int) -> float:
    """The density at which active weights alone cost as much as all, by a line through two
    densities.
    """
    generator = np.random.default_rng(0)
    turns: dict[Any, Callable[[], object]] = {}
    operands = {role: operands_of(role, inputs, outputs) for role in ROLES}
    products = [(PRODUCTS[choice.product(role, inputs, outputs)], operands[role]) for role in ROLES]
    h, d = operands["forward"][1].numpy(), operands["by_inputs"][1].numpy()
    z, below = operands["forward"][2].numpy(), operands["by_inputs"][2].numpy()
    weights = np.zeros(inputs * outputs, np.float32)
    none, numbers = np.zeros(1, np.float32), np.zeros(10, np.float32)
    numbers[RATE] = 1e-3
    update_all, update_active = UPDATES["sgd"]
    chosen, all_gradients = np.ones(weights.size, np.uint8), np.zeros(weights.size, np.float32)

    def dense() -> None:
        for product, these in products:
            product(*these)
        update_all(weights, chosen, all_gradients, none, none, numbers)

    turns["dense"] = dense
    for density in DENSITIES:
        active = ActiveWeights(generator.random((inputs, outputs)) < density)
        gradient = np.zeros(len(active.places), np.float32)

        def sparse(active: ActiveWeights = active, gradient: np.ndarray = gradient) -> None:
            multiply(active.by_output, active.inputs, active.places_by_output, weights, h, z)
            multiply(active.by_input, active.outputs, active.places, weights, d, below)
            weight_gradient(active.by_input, active.outputs, h, d, gradient, np.float32(0))
            update_active(weights, active.places, gradient, none, none, numbers)

        turns[density] = sparse
    seconds = in_turns(turns)
    low, high = DENSITIES
    slope = max(1e-12, (seconds[high] - seconds[low]) / (high - low))
    density = low + (seconds["dense"] - seconds[low]) / slope
    return round(float(min(0.5, max(0.0, density))), 3)


def machine() -> str:
    """What a measurement holds for: processor and libraries."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{cpu_name()}, {capability}, torch {version('torch')}, numba {version('numba')}"


def read_choice(path: Path) -> Choice:
    """What jobs before have chosen on this machine; nothing where the file is missing or
    damaged.
    """
    try:
        found = json.loads(path.read_text())[machine()]
        return Choice(
            {str(k): str(v) for k, v in found["products"].items() if v in PRODUCTS},
            {str(k): float(v) for k, v in found["densities"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Choice()


@contextmanager
def kept_choice(path: Path) -> Iterator[Choice]:
    """Yield what is kept in a file; what is measured in the block is added to it.

    Whoever comes second waits, so that two jobs that start at the same time choose alike. The file
    goes before what this process has measured.
    """
    with lock(path.with_suffix(".lock")):
        before = read_choice(path)
        choice = Choice(
            {**THIS_PROCESS.products, **before.products},
            {**THIS_PROCESS.densities, **before.densities},
        )
        yield choice
        THIS_PROCESS.products |= choice.products
        THIS_PROCESS.densities |= choice.densities
        if choice != before:
            try:
                plain = json.loads(path.read_text())
            except (OSError, ValueError):
                plain = {}
            plain = plain if isinstance(plain, dict) else {}
            plain[machine()] = {"products": choice.products, "densities": choice.densities}
            with replacing(path) as aside:
                aside.write_text(json.dumps(plain, indent=1, sort_keys=True))
