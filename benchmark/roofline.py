"""The hardware's floor of a training step: what its products and its traffic take at the rates that
the device reaches.

The floor counts what no implementation of K stacked, masked networks does without, in float32: the
products forward and backward with their operands, one pass of the optimizer over its arrays, the
masks as bytes, the images. Augmentation, BatchNorm, activations and gradient-flow measurements are
in the measured times but not in the floor, since a perfect kernel would do them on the way.

On a CPU products come first, and the update is a pass over gradients that they wrote. On a GPU the
floor is tighter: the product that is a layer's gradient updates the weights in the place of writing
it, whatever the precision and the network, and all that a step computes overlaps with all that it
moves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial

import torch

from gradflow.networks.batched_product import stacked_product
from gradflow.study.job import Job
from gradflow.study.memory import STATES
from gradflow.study.sizes import float_size, shape_of
from gradflow.study.work import Rates, Work, pass_work, stacks_of

LARGE = 2**30  # bytes of a copy on a GPU: far more than its caches hold
CPU_BYTES = (2**18, 2**28)  # the least and the most that are copied on a CPU
PRODUCTS = (torch.bmm, stacked_product)  # which library is faster depends on the processor
PRODUCT_SIDE = {"cpu": 768, "cuda": 8192}
TRIALS = 5


def step_floor(job: Job, device: str) -> Work:
    """The work of one training step of all networks of a job, each on a full minibatch.

    Args:
        job: with one of the paper's optimizers.
        device: its type; cuda's floor is the tighter one (above).
    """
    images, size = job.settings.batch_size, float_size(job)
    inputs = shape_of(job).inputs
    total = Work()
    for stack in stacks_of(job):
        # the gradient read, the weights and each of the optimizer's arrays read and written
        update = size * (3 + 2 * STATES[job.configuration.optimizer]) * stack.weights
        masks = stack.weights if stack.masked else 0  # a byte each
        pixels = (1 + size) * inputs * images * stack.networks  # bytes are read, floats are written
        products = pass_work(stack, images, 1, size, backward=True)
        if device == "cuda":  # the gradient is neither written nor read
            spared = 2 * size * stack.weights
            total += products + Work(product_bytes=update + masks + pixels - spared)
        else:
            total += products + Work(other_bytes=update + masks + pixels)
    return total


def floor_us(job: Job, rates: Rates, device: str) -> float:
    """Microseconds of a step of one network of the job at the least: the mean over its networks."""
    return 1e6 * step_floor(job, device).computing(rates, job.settings.precision) / len(job.runs)


def measured_rates(job: Job, device: torch.device) -> Rates:
    """What the device reaches in a copy and in a large product, measured now, by this process's
    number of threads.

    On a CPU the copy is as large as the weights of the job's largest stack, since small networks
    stay in its caches.
    """
    if device.type == "cuda":
        size = LARGE
    else:
        weights = max(stack.weights for stack in stacks_of(job)) * float_size(job)
        size = min(max(weights, CPU_BYTES[0]), CPU_BYTES[1])
    flops: dict[str, float] = {
        job.settings.precision: _product_rate(device, job.settings.precision)
    }
    return Rates(_copy_rate(device, size), flops, launch=0.0, overlaps=True)


@cache
def _copy_rate(device: torch.device, size: int) -> float:
    """Bytes a second, read and written."""
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    repeats = max(1, CPU_BYTES[1] // size)
    return (
        2 * size * repeats / _best(device, lambda: [target.copy_(source) for _ in range(repeats)])
    )


@cache
def _product_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of a square product; the precision is in force when this
    is called.
    """
    side = PRODUCT_SIDE[device.type]
    dtype = torch.float64 if precision == "float64" else torch.float32
    left, right = (torch.randn(1, side, side, dtype=dtype, device=device) for _ in range(2))
    return 2 * side**3 / min(_best(device, partial(product, left, right)) for product in PRODUCTS)


def _best(device: torch.device, work: Callable[[], object]) -> float:
    work()
    return min(timed(device, work) for _ in range(TRIALS))


def timed(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds that some work takes; a GPU is waited for before and after, and not in between."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
