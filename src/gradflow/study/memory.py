"""Memory and disk that a training job needs: of the host, of a GPU, and what remains.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from gradflow.study.datasets import SHAPES
from gradflow.study.job import Job, Run
from gradflow.study.sizes import float_size, shape_of, train_images
from gradflow.study.work import TEST_BATCH, DeviceType, StackCost, output_passes, stacks_of

# Floats of optimizer state a weight.
STATES = {"sgd": 0, "momentum": 1, "adagrad": 1, "rmsprop": 1, "adam": 2, "adamw": 2}
OF_OWN_STATES = 2  # an optimizer of a user's own, until its finished jobs correct it

# arrays as large as all weights that an unfused update makes on a GPU, without L2
UPDATE_ARRAYS = {"sgd": 0, "momentum": 0, "adagrad": 0, "rmsprop": 1, "adam": 0, "adamw": 0}
OF_OWN_ARRAYS = 2
# what a step on a GPU keeps of each layer's outputs, in outputs, without normalisation: counted,
# see tests/study/test_gpu_memory.py
OUTPUTS_KEPT = {"relu": 1.6}
OF_OTHERS_KEPT = 4.6  # of SReLU, the most

IMPORTS_MB = 800.0  # torch alone
CUDA_CONTEXT_MB = 2500.0  # the host's share of a CUDA context with its libraries
GPU_CONTEXT_MB = 600.0  # a CUDA context's own, with the kernels of the libraries
GPU_WORKSPACE_MB = 64.0  # of cuBLAS, a stream: each stack has one, and two are there besides
LIVE_COUNT_BYTES = 17  # a weight while live weights are counted: two float64 and a bool
LOG_BYTES = 21_000  # of a run log, measured


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
    """Host memory that a job needs at its peak, on a GPU too: networks are drawn, and checkpoints
    written, there.
    """
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
    """Memory of the GPU that a job needs at its peak, or those of its stacks that hold some of its
    `runs`.

    The peak is a capture: beside weights, optimizer state, masks and the probe's gradients there is
    a copy of all of them, and what a step makes twice, in the pool of the graphs and while it warms
    up. Or it is the test set, of which nothing is kept for a backward pass.
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
    held = steps = 0.0
    for stack in stacks:
        held += stack.weights * (size * (2 + optimizer_states(job)) + (1 if stack.masked else 0))
        # all stacks of a graph lie in one pool; they run side by side
        steps += step_bytes(job, stack)
    steps += size * len(job.percents) * batch * shape.inputs * 3
    tested = max(
        (s.networks * max(max(x.inputs, x.outputs) for x in s.layers) for s in stacks), default=0
    )
    tested *= size * 4 * min(TEST_BATCH, shape.test_images)
    peak = held + steps + max(held + steps, tested)
    workspaces = GPU_WORKSPACE_MB * (len(stacks) + 2)
    return math.ceil(GPU_CONTEXT_MB + workspaces + 1.1 * (data + peak) / 1e6)


def step_bytes(job: Job, stack: StackCost) -> float:
    """What a step of a probe epoch makes and lets go of on a GPU: activations, gradients, an
    update's own arrays.
    """
    configuration, size = job.configuration, float_size(job)
    kept = OUTPUTS_KEPT.get(configuration.activation, OF_OTHERS_KEPT)
    kept += 1 if configuration.has("BN") or configuration.has("LN") else 0
    arrays = UPDATE_ARRAYS.get(configuration.optimizer, OF_OWN_ARRAYS)
    arrays += 1 if arrays and configuration.has("L2") else 0
    # while norms are taken a layer's gradient is there twice; a foreach update has arrays of its
    # own
    largest = stack.networks * max(layer.weights for layer in stack.layers)
    gradients = stack.weights + max(largest, arrays * stack.weights)
    return size * (gradients + kept * stack.outputs * job.settings.batch_size)


def runs_that_fit(job: Job, runs: Iterable[Run], megabytes: float) -> tuple[Run, ...]:
    """As many of a job's runs as train at once in a GPU's memory, whole stacks in the job's order;
    the first in any case.
    """
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
    """What remains of a job: logs, kept weights and masks, a pretrained network; its checkpoint
    does not.
    """
    if pretraining:
        return checkpoint_bytes(job)
    kept = (
        sum(s.weights * (float_size(job) + (1 if s.masked else 0)) for s in stacks_of(job))
        if keep_weights
        else 0
    )
    return len(job.runs) * LOG_BYTES + kept
