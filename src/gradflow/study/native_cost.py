"""CPU seconds of an MLP's job with compiled steps: products, passes over arrays, and calls. Free of
torch.

The constants are fitted to jobs of ten networks on two processors (AVX2 and AVX-512), widths 40 to
788; `cpu_speed` says how fast the core at hand is.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from gradflow.study.compiled_steps import why_not
from gradflow.study.cpu_speed import PRODUCT_SIDE, CpuRates
from gradflow.study.job import Job, Run, dense_width, probe_epochs
from gradflow.study.shapes import mlp_layer_shapes
from gradflow.study.sizes import epochs_of, float_size, shape_of, train_images

THIN = 24  # a product whose shorter side is this long takes twice its share
SPARSE_SLOWDOWN = 5  # of a product over active weights alone, a weight: pays below a density of 1/5
# Times that an array is read or written. Of weights, by a masked update with its optimizer's state;
# adaptive ones divide and take roots besides.
UPDATE_PASSES = {"sgd": 3, "momentum": 5, "adagrad": 6, "rmsprop": 6, "adam": 8, "adamw": 8}
NORM_PASSES, ADD_PASSES = 2, 2  # of a gradient: its sums, adding it to another
# Of a layer's outputs, forward and backward.
ACTIVATION_PASSES, BATCHNORM_PASSES, SKIP_PASSES = 5, 5, 3
EXPONENTIAL_PASSES = 10  # of an activation with an exponential, forward and backward
EXPONENTIALS = ("elu", "swish", "sigmoid")
IMAGE_PASSES = 3  # images are picked as bytes, turned and normalised, once for a pair of twins
CALLS_A_NETWORK, CALLS_A_LAYER, CALLS_A_NORM = 6, 6, 3
COPY = 2  # kernels move bytes at a half of a copy's rate
CALL = 7  # a kernel's call with its arguments, in calls of a small numpy function
FORWARD_SHARE = 0.4  # of passes and calls without the backward pass


@dataclass(frozen=True)
class _Layer:
    inputs: int
    outputs: int
    active: float  # share of the weights; 1 of a dense network

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs

    @property
    def effort(self) -> float:
        """Of a product over the active weights, in products over all."""
        return min(1.0, SPARSE_SLOWDOWN * self.active)

    @property
    def touched(self) -> float:
        """Weights that an update goes over."""
        return self.weights * (self.active if self.effort < 1.0 else 1.0)

    @property
    def product(self) -> float:
        """Floating-point operations of one product of an image, more for a thin layer."""
        thin = (1 + THIN / min(self.inputs, self.outputs)) / (1 + THIN / PRODUCT_SIDE)
        return 2 * self.weights * thin


@dataclass(frozen=True)
class _Work:
    flops: float = 0.0
    bytes: float = 0.0
    calls: float = 0.0

    def __add__(self, other: _Work) -> _Work:
        return _Work(self.flops + other.flops, self.bytes + other.bytes, self.calls + other.calls)

    def times(self, count: float) -> _Work:
        return _Work(self.flops * count, self.bytes * count, self.calls * count)


def is_native(job: Job) -> bool:
    """Whether a job on a CPU is expected to have compiled steps, as far as is known without
    torch.
    """
    return (
        not why_not(job)
        and os.environ.get("GRADFLOW_STEP", "auto") != "autograd"
        and _has_compiler()
    )


@cache
def _has_compiler() -> bool:
    return find_spec("numba") is not None


def native_seconds(job: Job, pretraining: bool, rates: CpuRates) -> float:
    """CPU seconds of all that a job trains and measures, without its start."""
    epochs = epochs_of(job, pretraining)
    probes = sum(epoch in epochs for epoch in probe_epochs(job.epochs))
    networks = list(_networks(job))
    training = sum((_epoch(job, network) for network in networks), _images(job))
    probing = sum((_probe(job, network) for network in networks), _Work())
    work = training.times(len(epochs)) + probing.times(probes)
    size = float_size(job)
    return (
        work.flops / rates.flops * size / 4
        + work.bytes * size * COPY / rates.bandwidth
        + work.calls * CALL * rates.call
    )


def _networks(job: Job) -> Iterator[tuple[_Layer, ...]]:
    shape, depth = shape_of(job), job.configuration.depth

    def shapes(width: int) -> list[tuple[int, int]]:
        return mlp_layer_shapes(shape.inputs, width, depth, shape.classes)

    def layers(run: Run) -> Iterator[_Layer]:
        twin = shapes(dense_width(job.max_width, run.percent))
        if run.architecture == "dense":
            yield from (_Layer(inputs, outputs, 1.0) for inputs, outputs in twin)
            return
        # as many active weights as the dense twin has (Equation 2)
        for (inputs, outputs), own in zip(shapes(job.max_width), twin, strict=True):
            yield _Layer(inputs, outputs, min(1.0, math.prod(own) / (inputs * outputs)))

    yield from (tuple(layers(run)) for run in job.runs)


def _images(job: Job) -> _Work:
    """Picking an epoch's images, for each percent's pair."""
    floats = IMAGE_PASSES * shape_of(job).inputs * train_images(job)
    return _Work(0.0, floats, 2 * _steps(job)).times(len(job.percents))


def _epoch(job: Job, network: tuple[_Layer, ...]) -> _Work:
    """An epoch of one network that only trains."""
    images, steps = train_images(job), _steps(job)
    weights = sum(layer.touched for layer in network)
    update = UPDATE_PASSES[job.configuration.optimizer] * weights * steps
    return _both_ways(job, network, images, steps) + _Work(0.0, update, len(network) * steps)


def _probe(job: Job, network: tuple[_Layer, ...]) -> _Work:
    """One probe epoch's measurements of a network.

    The norms at each step need the gradient of every weight, masked ones too; then come the
    gradient over the probe images and the test set.
    """
    shape, images, steps = shape_of(job), train_images(job), _steps(job)
    weights = sum(layer.weights for layer in network)
    whole = sum((1.0 - layer.effort) * layer.product for layer in network)
    norms = _Work(whole * images, NORM_PASSES * weights * steps, CALLS_A_NORM * steps)
    probes = min(job.settings.probe_images, images)
    pieces = math.ceil(probes / job.settings.batch_size)
    pictures = _Work(0.0, IMAGE_PASSES * shape.inputs * (probes + shape.test_images))
    added = _Work(whole * probes, ADD_PASSES * weights * pieces)
    tests = math.ceil(shape.test_images / 500)
    forward = sum(layer.effort * layer.product for layer in network) * shape.test_images
    passes = FORWARD_SHARE * _output_passes(job, network) * shape.test_images
    test = _Work(forward, passes, FORWARD_SHARE * _calls(job, network) * tests)
    flow = _both_ways(job, network, probes, pieces)
    # probe images and test images are picked once a job
    return norms + flow + added + test + pictures.times(1 / len(job.runs))


def _both_ways(job: Job, network: tuple[_Layer, ...], images: int, steps: int) -> _Work:
    """Forward and backward; the first layer's inputs need no gradient."""
    products = sum(
        (2 if index == 0 else 3) * layer.effort * layer.product
        for index, layer in enumerate(network)
    )
    return _Work(
        products * images, _output_passes(job, network) * images, _calls(job, network) * steps
    )


def _output_passes(job: Job, network: tuple[_Layer, ...]) -> float:
    """Floats of one image read and written beside the products, forward and backward."""
    configuration = job.configuration
    passes = ACTIVATION_PASSES
    passes += BATCHNORM_PASSES if configuration.has("BN") else 0
    passes += SKIP_PASSES if configuration.has("SC") else 0
    passes += EXPONENTIAL_PASSES if configuration.activation in EXPONENTIALS else 0
    return passes * sum(layer.outputs for layer in network)


def _calls(job: Job, network: tuple[_Layer, ...]) -> float:
    """Kernels of a step; BatchNorm's two parameters a hidden layer are updated each by its own."""
    norms = CALLS_A_NORM * (len(network) - 1) if job.configuration.has("BN") else 0
    return CALLS_A_NETWORK + CALLS_A_LAYER * len(network) + norms


def _steps(job: Job) -> int:
    return math.ceil(train_images(job) / job.settings.batch_size)
