"""What a training job costs: seconds, memory and disk from its size, corrected by the wall time of finished jobs.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from gradflow.files import lock, lock_path
from gradflow.study.cpu_speed import ASSUMED, CpuRates, cpu_rates
from gradflow.study.datasets import SHAPES
from gradflow.study.job import Job, Run, dense_width, probe_epochs
from gradflow.study.native_cost import is_native, native_seconds
from gradflow.study.shapes import mlp_layer_shapes, wide_resnet_layers
from gradflow.study.sizes import epochs_of, float_size, shape_of, train_images

DeviceType = Literal["cpu", "cuda"]

# Floats of optimizer state a weight, and times that a weight-sized array is read or written by one
# update. All but RMSProp are fused on a CPU, which goes over its arrays operation by operation; on a
# GPU it is fused as well.
STATES = {"sgd": 0, "momentum": 1, "adagrad": 1, "rmsprop": 1, "adam": 2, "adamw": 2}
UPDATE_PASSES = {"sgd": 3, "momentum": 5, "adagrad": 5, "rmsprop": 13, "adam": 7, "adamw": 7}
UNFUSED = ("rmsprop",)
OF_OWN_STATES, OF_OWN_PASSES = (
    2,
    13,
)  # an optimizer of a user's own, until its finished jobs correct it
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

IMPORTS_MB = 800.0  # torch alone
CUDA_CONTEXT_MB = 2500.0  # the host's share of a CUDA context with its libraries
GPU_CONTEXT_MB = 600.0  # a CUDA context's own, with the kernels of the libraries
GPU_WORKSPACE_MB = 64.0  # of cuBLAS, a stream: each stack has one, and two are there besides
LIVE_COUNT_BYTES = 17  # a weight while live weights are counted: two float64 and a bool
LOG_BYTES = 21_000  # of a run log, measured
# Imports and data. On a CPU most jobs fork from a process that has imported torch.
START_SECONDS: dict[DeviceType, float] = {"cuda": 15.0, "cpu": 1.0}
DRAW_SECONDS = 2e-7  # a weight: its initial value and its place in a mask are drawn on the CPU


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
        """Seconds without submitting: products are bound by arithmetic or memory, the rest by memory."""
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
    """One probe epoch's measurements: norms at each step, flow over the probe images, the test set."""
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


def optimizer_states(job: Job) -> int:
    """Floats of optimizer state a weight."""
    return STATES.get(job.configuration.optimizer, OF_OWN_STATES)


def checkpoint_bytes(job: Job) -> int:
    """Of a job's checkpoint: weights, optimizer state, and masks as bytes."""
    states = optimizer_states(job)
    return sum(
        stack.weights * (float_size(job) * (1 + states) + (1 if stack.masked else 0))
        for stack in stacks_of(job)
    )


def memory_mb(job: Job, device: DeviceType) -> int:
    """Host memory that a job needs at its peak, on a GPU too: networks are drawn, and checkpoints written, there."""
    shape, size = shape_of(job), float_size(job)
    stacks = stacks_of(job)
    padded = (
        (shape.height + 2 * job.crop_padding)
        * (shape.width + 2 * job.crop_padding)
        / (shape.height * shape.width)
        if job.configuration.has("DA")
        else 1.0
    )
    images, stored = train_images(job), SHAPES[job.configuration.dataset]
    data = shape.inputs * (shape.train_images + images * padded + 2 * shape.test_images)
    if stored.side != shape.side:  # the original images are held while they are averaged
        data += stored.inputs * (stored.train_images + stored.test_images)
    data += len(job.percents) * images * 19  # an epoch's order and draws
    # weights and gradients, optimizer state, masks as floats
    held = sum(
        s.weights * size * (2 + optimizer_states(job) + (1 if s.masked else 0)) for s in stacks
    )
    # one after the other: live weights are counted, an update takes room for two arrays, a
    # checkpoint is put together
    passing = max(
        *(s.weights * max(LIVE_COUNT_BYTES, 2 * size) for s in stacks), checkpoint_bytes(job)
    )
    batch = job.settings.batch_size
    activations = max(
        size
        * max(
            batch * (s.outputs * output_passes(job) / 2 + s.networks * shape.inputs * 3),
            # nothing is kept for a backward pass over the test set
            min(TEST_BATCH, shape.test_images)
            * 4
            * s.networks
            * max(max(x.inputs, x.outputs) for x in s.layers),
        )
        for s in stacks
    )
    base = IMPORTS_MB + (CUDA_CONTEXT_MB if device == "cuda" else 0.0)
    return math.ceil(base + 1.2 * (data + held + passing + activations) / 1e6)


def gpu_memory_mb(job: Job, runs: Iterable[Run] | None = None) -> int:
    """Memory of the GPU that a job needs at its peak, or those of its stacks that hold some of its `runs`.

    The peak is a step of a probe epoch while it is captured: beside weights, optimizer state and
    masks there are gradients of the step and of the probe, and a copy of what the step changes.
    """
    shape, size, batch = shape_of(job), float_size(job), job.settings.batch_size
    wanted, left = set(job.runs if runs is None else runs), list(job.runs)
    stacks = []
    for stack in stacks_of(job):
        own, left = left[: stack.networks], left[stack.networks :]
        if wanted & set(own):
            stacks.append(stack)
    padded = 1.0
    if job.configuration.has("DA"):
        crop = 2 * job.crop_padding
        padded = (shape.height + crop) * (shape.width + crop) / (shape.height * shape.width)
    images = train_images(job)
    data = shape.inputs * (images * (1 + padded) + shape.test_images)
    data += len(job.percents) * images * 11  # an epoch's order and draws
    held = 0.0
    for stack in stacks:
        changed = size * (1 + optimizer_states(job)) + (1 if stack.masked else 0)
        held += stack.weights * (2 * changed + 2 * size)
        # all stacks of a graph lie in one pool; they run side by side
        held += size * batch * stack.outputs * output_passes(job) / 2
    held += size * len(job.percents) * batch * shape.inputs * 3
    tested = max(
        (s.networks * max(max(x.inputs, x.outputs) for x in s.layers) for s in stacks), default=0
    )
    passing = max(
        size * 4 * min(TEST_BATCH, shape.test_images) * tested,
        max((s.weights * LIVE_COUNT_BYTES for s in stacks), default=0),
    )
    workspaces = GPU_WORKSPACE_MB * (len(stacks) + 2)
    return math.ceil(GPU_CONTEXT_MB + workspaces + 1.1 * (data + held + passing) / 1e6)


def runs_that_fit(job: Job, runs: Iterable[Run], megabytes: float) -> tuple[Run, ...]:
    """As many of a job's runs as train at once in a GPU's memory, whole stacks in the job's order; the first in any case."""
    wanted, left = set(runs), list(job.runs)
    chosen: list[Run] = []
    for stack in stacks_of(job):
        own, left = left[: stack.networks], left[stack.networks :]
        more = [run for run in own if run in wanted]
        if chosen and more and gpu_memory_mb(job, [*chosen, *more]) > megabytes:
            break
        chosen += more
    return tuple(chosen)


def disk_bytes(job: Job, keep_weights: bool, pretraining: bool = False) -> int:
    """What remains of a job: logs, kept weights and masks, a pretrained network; its checkpoint does not."""
    if pretraining:
        return checkpoint_bytes(job)
    kept = (
        sum(s.weights * (float_size(job) + (1 if s.masked else 0)) for s in stacks_of(job))
        if keep_weights
        else 0
    )
    return len(job.runs) * LOG_BYTES + kept


def training_seconds(
    job: Job, device: DeviceType, pretraining: bool = False, cpu: CpuRates = ASSUMED
) -> float:
    """What a job trains and measures, before any factor: by the compiled steps where it has them."""
    if device == "cpu" and is_native(job):
        return native_seconds(job, pretraining, cpu)
    seconds = work_of(job, pretraining).seconds(device, job.settings.precision)
    # the rates of a CPU above are those assumed
    return seconds * ASSUMED.flops / cpu.flops if device == "cpu" else seconds


@dataclass(frozen=True)
class Factor:
    """Measured over predicted seconds, and from how many jobs."""

    value: float = 1.0
    jobs: int = 0


class CostModel:
    """Seconds of jobs, corrected by one factor a model and device type.

    Args:
        factors: by (model, device type); 1 where there is none.
        cpu: how fast a core is.
    """

    def __init__(
        self, factors: dict[tuple[str, str], Factor] | None = None, cpu: CpuRates = ASSUMED
    ):
        self.factors = factors or {}
        self.cpu = cpu

    @classmethod
    def of_results(cls, results: Path, measure: bool = False) -> CostModel:
        """Calibrate by the finished jobs of all scales.

        Args:
            results: the results folder.
            measure: whether a core's speed may be measured, a quarter of a second, where no
                finished job tells it and none is kept.
        """
        timed: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for record in records(results):
            try:
                job, device, seconds = (
                    Job.from_json(record["spec"]),
                    record["device_type"],
                    float(record["seconds"]),
                )
                predicted = training_seconds(job, device, record["pretraining"])
                measured = 0 < seconds < math.inf and 0 < predicted < math.inf
            # of another engine version, whose speed says nothing of this one's, or damaged
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                continue
            if not measured:
                continue
            timed.setdefault((job.configuration.model, device), []).append((seconds, predicted))
        factors = {key: Factor(weighted_median(pairs), len(pairs)) for key, pairs in timed.items()}
        if any(device == "cpu" for _, device in factors):  # of the assumed rates
            return cls(factors)
        return cls(factors, cpu_rates(results, measure))

    def factor(self, model: str, device: DeviceType) -> Factor:
        """The correction of a model's predicted seconds on a device."""
        return self.factors.get((model, device), Factor())

    def seconds(self, job: Job, device: DeviceType, pretraining: bool = False) -> float:
        """Wall seconds of a job, its start included."""
        training = training_seconds(job, device, pretraining, self.cpu)
        start = START_SECONDS[device] + DRAW_SECONDS * sum(
            stack.weights for stack in stacks_of(job)
        )
        return start + training * self.factor(job.configuration.model, device).value

    def runtime(self, job: Job, device: DeviceType, pretraining: bool = False) -> int:
        """Minutes to ask a cluster for: twice the estimate and ten."""
        return math.ceil(2 * self.seconds(job, device, pretraining) / 60 + 10)


def weighted_median(pairs: Iterable[tuple[float, float]]) -> float:
    """Median of measured / predicted, weighted by measured seconds: many jobs of a second do not outvote an hour."""
    ratios = sorted((measured / predicted, measured) for measured, predicted in pairs)
    half = sum(weight for _, weight in ratios) / 2
    below = 0.0
    for ratio, weight in ratios:
        below += weight
        if below >= half:
            return ratio
    raise ValueError("there is nothing to take a median of")


def planned_device(elsewhere: bool) -> DeviceType:
    """The kind of device that jobs are planned for.

    GRADFLOW_DEVICE says it; otherwise a GPU, if this machine has one or the jobs run `elsewhere`,
    on a cluster.
    """
    name = os.environ.get("GRADFLOW_DEVICE", "auto").partition(":")[0]
    if name in ("cpu", "cuda"):
        return "cpu" if name == "cpu" else "cuda"
    return "cuda" if elsewhere or os.path.exists("/dev/nvidiactl") else "cpu"


def record_job(
    results: Path,
    job: Job,
    runs: Iterable[Run],
    seconds: float,
    device: str,
    pretraining: bool = False,
) -> None:
    """Note how long a job took: one line in a file a scale, so that thousands are read at once.

    Appending alone is not atomic between the machines of a shared file system, hence the lock. A
    job of which only a part was trained anew is left out.
    """
    if set(runs) != set(job.runs) or seconds <= 0:
        return
    line = {
        "spec": job.to_json(),
        "pretraining": pretraining,
        "device_type": device,
        "seconds": round(seconds, 3),
    }
    path = results / job.scale / "state" / "costs.jsonl"
    with lock(lock_path(path)), open(path, "ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")


def records(results: Path) -> Iterator[dict[str, Any]]:
    """What `record_job` noted, of all scales; a line that a crash cut short is passed over."""
    for path in sorted(results.glob("*/state/costs.jsonl")):
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                yield record
