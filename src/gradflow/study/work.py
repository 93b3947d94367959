"""What a device must do for a training job: products, bytes and kernels, and how long that takes.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

from gradflow.study.job import Job, dense_width, probe_epochs
from gradflow.study.shapes import mlp_layer_shapes, wide_resnet_layers
from gradflow.study.sizes import epochs_of, float_size, shape_of, train_images

DeviceType = Literal["cpu", "cuda"]

# Times that a weight-sized array is read or written by one update. All but RMSProp are fused on a
# CPU, which goes over its arrays operation by operation; on a GPU it is fused as well.
UPDATE_PASSES = {"sgd": 3, "momentum": 5, "adagrad": 5, "rmsprop": 13, "adam": 7, "adamw": 7}
UNFUSED = ("rmsprop",)
OF_OWN_PASSES = 13  # an optimizer of a user's own, until its finished jobs correct it
L2_PASSES = 3  # of an unfused update; the fused ones add it on the way
MASK_PASSES = 3  # the gradient and the mask are read, the masked gradient is written
NORM_PASSES = 4  # of the gradient in each step of a probe epoch: |g|, its sum, the sum of squares
ACCUMULATE_PASSES = 3  # of the gradient in each minibatch of a probe
# Times that a layer's output is read or written forward and backward beside the products
# themselves.
ACTIVATION_PASSES, BATCHNORM_PASSES, SKIP_PASSES = 5, 8, 3
INPUT_PASSES = 6  # images are picked as bytes, cast and normalised
KERNELS_A_STEP, KERNELS_A_LAYER = 30, 12  # forward, backward, mask and update of one stack
TEST_BATCH = 1000


@dataclass(frozen=True)
class Rates:
    """What a device does in a second, before any job was timed on it."""

    bandwidth: float  # bytes
    flops: dict[str, float]  # by precision
    launch: float  # seconds to start one kernel or call one operator
    overlaps: bool  # whether submitting goes on while the device computes


# Assumptions. H100: 3.0 TB/s copy, 45 TFLOP/s in IEEE float32 and 400 in TF32, reached by products
# and convolutions alike. Steps are replayed as CUDA graphs, 1.5 us a kernel; a job takes whichever
# is longer, starting kernels or computing. CPU: one core with AVX, fitted on the digits.
RATES: dict[DeviceType, Rates] = {
    "cuda": Rates(
        3.0e12,
        {"float32": 45e12, "tf32": 400e12, "tf32x3": 133e12, "bf16": 700e12, "float64": 30e12},
        1.5e-6,
        True,
    ),
    "cpu": Rates(
        1.5e10,
        {"float32": 8.0e10, "tf32": 8.0e10, "tf32x3": 8.0e10, "bf16": 2.0e11, "float64": 4.0e10},
        5e-6,
        False,
    ),
}


@dataclass(frozen=True)
class LayerCost:
    """One weight of a network, and the floats that an image has before and behind it."""

    weights: int
    positions: int  # at which the weights are applied, an image
    inputs: int
    outputs: int


@dataclass(frozen=True)
class StackCost:
    """Networks of one shape that step together."""

    networks: int
    masked: bool
    layers: tuple[LayerCost, ...]

    @property
    def weights(self) -> int:
        """Of all networks, masked ones too: they are multiplied like any other."""
        return self.networks * sum(layer.weights for layer in self.layers)

    @property
    def outputs(self) -> int:
        """Floats of one image behind the layers of all networks."""
        return self.networks * sum(layer.outputs for layer in self.layers)


@dataclass(frozen=True)
class Work:
    """What a device must do."""

    flops: float = 0.0  # of products
    product_bytes: float = 0.0  # that products move
    other_bytes: float = 0.0  # that everything else moves
    kernels: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.flops + other.flops,
            self.product_bytes + other.product_bytes,
            self.other_bytes + other.other_bytes,
            self.kernels + other.kernels,
        )

    def times(self, count: float) -> Work:
        """The same work `count` times."""
        return Work(
            self.flops * count,
            self.product_bytes * count,
            self.other_bytes * count,
            self.kernels * count,
        )

    def seconds(self, device: DeviceType, precision: str) -> float:
        """How long it takes at the prior rates."""
        rates = RATES[device]
        computing, submitting = self.computing(rates, precision), self.kernels * rates.launch
        return max(computing, submitting) if rates.overlaps else computing + submitting

    def computing(self, rates: Rates, precision: str) -> float:
        """Seconds without submitting: products are bound by arithmetic or memory, the rest by
        memory.
        """
        products = max(self.flops / rates.flops[precision], self.product_bytes / rates.bandwidth)
        return products + self.other_bytes / rates.bandwidth


@cache
def mlp_layers(inputs: int, width: int, hidden_layers: int, classes: int) -> tuple[LayerCost, ...]:
    """The layers of an MLP."""
    shapes = mlp_layer_shapes(inputs, width, hidden_layers, classes)
    return tuple(LayerCost(before * behind, 1, before, behind) for before, behind in shapes)


@cache
def image_layers(
    depth: int, widen_factor: int, image: tuple[int, int, int], classes: int
) -> tuple[LayerCost, ...]:
    """The layers of a Wide ResNet on images [C, H, W]."""
    channels, *sides = image
    found: list[LayerCost] = []
    entered: list[list[int]] = []  # the sides of the image before each layer
    for layer in wide_resnet_layers(depth, widen_factor, channels, classes):
        weights = math.prod(layer.shape)
        if layer.role == "classifier":
            found.append(LayerCost(weights, 1, *layer.shape))
            continue
        out, into = layer.shape[:2]
        # a shortcut starts where the first of its block's two convolutions did
        before = entered[-2] if layer.role == "shortcuts" else sides
        entered.append(before)
        sides = [math.ceil(side / layer.stride) for side in before]
        positions = math.prod(sides)
        found.append(LayerCost(weights, positions, into * math.prod(before), out * positions))
    return tuple(found)


def stacks_of(job: Job) -> tuple[StackCost, ...]:
    """The stacks of a job's cohort: one of all sparse twins, and each dense width its own."""
    shape, configuration = shape_of(job), job.configuration
    depth = configuration.depth
    if configuration.model == "wide_resnet":
        layers = image_layers(depth, configuration.widen_factor, shape.image, shape.classes)
        return tuple(StackCost(1, run.architecture != "dense", layers) for run in job.runs)
    widest = mlp_layers(shape.inputs, job.max_width, depth, shape.classes)
    sparse = [run for run in job.runs if run.architecture == "sparse"]
    dense = [run for run in job.runs if run.architecture == "dense"]
    return (
        *([StackCost(len(sparse), True, widest)] if sparse else []),
        *(
            StackCost(
                1,
                False,
                mlp_layers(
                    shape.inputs, dense_width(job.max_width, run.percent), depth, shape.classes
                ),
            )
            for run in dense
        ),
    )


def pass_work(stack: StackCost, images: int, steps: int, size: int, backward: bool) -> Work:
    """The products of one pass of a stack over `images` in `steps` minibatches."""
    flops = moved = 0.0
    for index, layer in enumerate(stack.layers):
        # the gradient by the inputs of the first layer is not needed
        products = (2 if index == 0 else 3) if backward else 1
        flops += products * 2 * layer.weights * layer.positions * images
        moved += products * (layer.weights * steps + (layer.inputs + layer.outputs) * images)
    return Work(flops * stack.networks, moved * stack.networks * size, 0.0, 0.0)


def step_work(job: Job, stack: StackCost, images: int, steps: int) -> Work:
    """Training a stack on `images` in `steps` minibatches."""
    size, configuration = float_size(job), job.configuration
    name = configuration.optimizer
    passes = UPDATE_PASSES.get(name, OF_OWN_PASSES) + (MASK_PASSES if stack.masked else 0)
    passes += L2_PASSES if name in UNFUSED and configuration.has("L2") else 0
    others = size * (passes * stack.weights * steps + output_passes(job) * stack.outputs * images)
    others += size * INPUT_PASSES * shape_of(job).inputs * stack.networks * images
    kernels = steps * (KERNELS_A_STEP + KERNELS_A_LAYER * len(stack.layers))
    return pass_work(stack, images, steps, size, backward=True) + Work(0.0, 0.0, others, kernels)


def output_passes(job: Job) -> int:
    """Times that each layer's output is read or written beside the products."""
    configuration = job.configuration
    return (
        ACTIVATION_PASSES
        + (BATCHNORM_PASSES if configuration.has("BN") else 0)
        + (SKIP_PASSES if configuration.has("SC") else 0)
    )


def probe_work(job: Job, stack: StackCost, images: int, steps: int) -> Work:
    """One probe epoch's measurements: norms at each step, flow over the probe images, the test
    set.
    """
    shape, size = shape_of(job), float_size(job)
    probes = min(job.settings.probe_images, images)
    pieces = math.ceil(probes / job.settings.batch_size)
    tests = math.ceil(shape.test_images / TEST_BATCH)
    norms = NORM_PASSES * (2 if stack.masked else 1)
    weights = stack.weights * (norms * steps + ACCUMULATE_PASSES * pieces)
    outputs = output_passes(job) * stack.outputs * (probes + shape.test_images)
    layers = len(stack.layers)
    kernels = (pieces + tests) * KERNELS_A_LAYER * layers + 8 * norms * steps * layers
    return (
        pass_work(stack, probes, pieces, size, backward=True)
        + pass_work(stack, shape.test_images, tests, size, backward=False)
        + Work(0.0, 0.0, size * (weights + outputs), kernels)
    )


def work_of(job: Job, pretraining: bool = False) -> Work:
    """All that a job trains and measures."""
    images = train_images(job)
    steps = math.ceil(images / job.settings.batch_size)
    epochs = epochs_of(job, pretraining)
    probes = sum(epoch in epochs for epoch in probe_epochs(job.epochs))
    total = Work()
    for stack in stacks_of(job):
        total += step_work(job, stack, images, steps).times(len(epochs))
        total += probe_work(job, stack, images, steps).times(probes)
    return total
