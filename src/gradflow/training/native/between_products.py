"""What lies between two products: BatchNorm, skip and activation, in one pass forward and one
backward.

Arrays are [width, B]: a row is one unit's values over the minibatch, which stays in the first-level
cache while all that is done to it is done. The order is that of `networks.mlp`: BatchNorm and skip
stand before the activation or after it.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from gradflow.training.native.compiled import inlined, kernel

RELU, PRELU, SRELU, ELU, SWISH, SIGMOID = range(6)
ACTIVATIONS = {
    "relu": RELU,
    "prelu": PRELU,
    "srelu": SRELU,
    "elu": ELU,
    "swish": SWISH,
    "sigmoid": SIGMOID,
}
# PyTorch's vector code for what has an exponential in it; a kernel reads its result
EXPONENTIALS = {"elu": torch.expm1, "swish": torch.sigmoid, "sigmoid": torch.sigmoid}
SLOPES = {"prelu": 1, "srelu": 4}  # learned values of a layer's activation

# what is done to a layer, as bits of `parts`
NORM_EARLY, NORM_LATE, SKIP_EARLY, SKIP_LATE = 1, 2, 4, 8
TRACK, EVALUATE = 16, 32  # running statistics learn; they are used
BEFORE, ACTIVATE = 64, 128  # do what comes before the activation; the activation and what follows


@inlined
def _normalise(row, out, c, parts, gamma, beta, running_mean, running_var, mean, inverse, unit):
    """Out = gamma * (row - mean) / deviation + beta, by the minibatch's statistics or running
    ones.
    """
    batch = len(row)
    if parts & EVALUATE:
        scale = gamma[c] / math.sqrt(running_var[c] + unit[1])
        shift = beta[c] - running_mean[c] * scale
    else:
        total = unit[2]
        for b in range(batch):
            total += row[b]
        m, square = total / batch, unit[2]
        m = gamma.dtype.type(m)
        for b in range(batch):
            apart = row[b] - m
            square += apart * apart
        square = gamma.dtype.type(square)
        inv = gamma.dtype.type(unit[0] / math.sqrt(gamma.dtype.type(square / batch) + unit[1]))
        mean[c], inverse[c] = m, inv
        if parts & TRACK:
            running_mean[c] += unit[3] * (m - running_mean[c])
            running_var[c] += unit[3] * (gamma.dtype.type(square / (batch - 1)) - running_var[c])
        scale = gamma[c] * inv
        shift = beta[c] - m * scale
    scale, shift = gamma.dtype.type(scale), gamma.dtype.type(shift)
    for b in range(batch):
        out[b] = row[b] * scale + shift


@inlined
def _norm_backward(row, grad, c, gamma, mean, inverse, d_gamma, d_beta, unit):
    """Turn the gradient by what BatchNorm gives into that by what it took, in place."""
    batch = len(row)
    m, inv, total, product = mean[c], inverse[c], unit[2], unit[2]
    for b in range(batch):
        total += grad[b]
        product += grad[b] * (row[b] - m)
    product *= inv
    d_beta[c] += total
    d_gamma[c] += product
    scale = gamma[c] * inv
    u = gamma.dtype.type(total / batch)
    v = gamma.dtype.type(product * inv / batch)
    for b in range(batch):
        grad[b] = scale * (grad[b] - u - (row[b] - m) * v)


@inlined
def _activate(kind, x, aux, slopes, out, unit):
    batch, zero = len(x), unit[2]
    if kind == RELU:
        for b in range(batch):
            out[b] = zero if x[b] < zero else x[b]  # nan stays nan
    elif kind == PRELU:
        slope = slopes[0]
        for b in range(batch):
            out[b] = x[b] if x[b] > zero else slope * x[b]
    elif kind == SRELU:
        t_left, a_left, t_right, a_right = slopes[0], slopes[1], slopes[2], slopes[3]
        for b in range(batch):
            below = t_left + a_left * (x[b] - t_left)
            above = t_right + a_right * (x[b] - t_right)
            out[b] = above if x[b] >= t_right else (below if x[b] <= t_left else x[b])
    elif kind == ELU:
        for b in range(batch):
            out[b] = x[b] if x[b] > zero else aux[b]
    elif kind == SWISH:
        for b in range(batch):
            out[b] = x[b] * aux[b]
    else:
        for b in range(batch):
            out[b] = aux[b]


@inlined
def _activate_backward(kind, x, aux, slopes, out, grad, d_slopes, unit):
    """Multiply `grad` by the activation's derivative; add the slopes' own gradients to
    `d_slopes`.
    """
    batch, one, zero = len(x), unit[0], unit[2]
    if kind == RELU:
        for b in range(batch):
            grad[b] = zero if out[b] <= zero else grad[b]
    elif kind == PRELU:
        slope, total = slopes[0], zero
        for b in range(batch):
            total += zero if x[b] > zero else grad[b] * x[b]
            grad[b] = grad[b] if x[b] > zero else slope * grad[b]
        d_slopes[0] += total
    elif kind == SRELU:
        t_left, a_left, t_right, a_right = slopes[0], slopes[1], slopes[2], slopes[3]
        left, right, d_left, d_right = zero, zero, zero, zero
        for b in range(batch):
            g, above = grad[b], x[b] >= t_right
            below = x[b] <= t_left and not above
            right += g if above else zero
            d_right += g * (x[b] - t_right) if above else zero
            left += g if below else zero
            d_left += g * (x[b] - t_left) if below else zero
            grad[b] = g * (a_right if above else (a_left if below else one))
        d_slopes[0] += left * (one - a_left)
        d_slopes[1] += d_left
        d_slopes[2] += right * (one - a_right)
        d_slopes[3] += d_right
    elif kind == ELU:
        for b in range(batch):
            grad[b] = grad[b] if x[b] > zero else grad[b] * (aux[b] + one)
    elif kind == SWISH:
        for b in range(batch):
            grad[b] *= aux[b] * (one + x[b] * (one - aux[b]))
    else:
        for b in range(batch):
            grad[b] *= aux[b] * (one - aux[b])


@kernel
def forward(
    parts, kind, z, x, aux, slopes, skip, a, h,
    gamma, beta, running_mean, running_var, mean, inverse, unit,
):  # fmt: skip
    """H = the next layer's inputs of z, a layer's products.

    Args:
        parts: bits: what there is, and which half to do.
        kind: of activation.
        z: products [width, B].
        x: takes the activation's inputs [width, B], or a row of them alone where nothing reads them
            again; z itself where nothing comes before the activation.
        aux: the exponential of x, by PyTorch.
        slopes: learned values of the activation.
        skip: what is added, [width, B].
        a: takes the activation's outputs [width, B]; h itself where nothing comes after it.
        h: takes the result.
        gamma, beta, running_mean, running_var: BatchNorm's [width].
        mean, inverse: take the minibatch's statistics [width] for the pass backward.
        unit: 1, epsilon, 0 and momentum in the arrays' own type.
    """
    batch = z.shape[1]
    for c in range(z.shape[0]):
        row = x[c % x.shape[0]]
        if parts & BEFORE:
            if parts & NORM_EARLY:
                _normalise(
                    z[c], row, c, parts, gamma, beta, running_mean, running_var, mean, inverse, unit
                )
            else:
                for b in range(batch):
                    row[b] = z[c, b]
            if parts & SKIP_EARLY:
                for b in range(batch):
                    row[b] += skip[c, b]
        if parts & ACTIVATE:
            _activate(kind, row, aux[c % aux.shape[0]], slopes, a[c], unit)
            if parts & NORM_LATE:
                _normalise(
                    a[c], h[c], c, parts, gamma, beta, running_mean, running_var, mean, inverse,
                    unit,
                )  # fmt: skip
            elif parts & SKIP_LATE:
                for b in range(batch):
                    h[c, b] = a[c, b]
            if parts & SKIP_LATE:
                for b in range(batch):
                    h[c, b] += skip[c, b]


@kernel
def backward(
    parts, kind, z, x, aux, slopes, a, d, from_skip, to_skip,
    gamma, mean, inverse, d_gamma, d_beta, d_slopes, unit,
):  # fmt: skip
    """Turn d, the loss's gradient by h, into that by z, in place.

    Args:
        from_skip: what reaches h past later layers, [width, B], or a single row for nothing.
        to_skip: takes what passes on to the skip's source, likewise.
        d_gamma, d_beta, d_slopes: the parameters' gradients, added to.
        parts, kind, z, x, aux, slopes, a, gamma, mean, inverse, unit: as `forward` left them.
    """
    width, batch = z.shape
    for c in range(width):
        grad = d[c]
        if from_skip.shape[0] == width:
            for b in range(batch):
                grad[b] += from_skip[c, b]
        if parts & SKIP_LATE:
            for b in range(batch):
                to_skip[c, b] = grad[b]
        if parts & NORM_LATE:
            _norm_backward(a[c], grad, c, gamma, mean, inverse, d_gamma, d_beta, unit)
        _activate_backward(
            kind, x[c % x.shape[0]], aux[c % aux.shape[0]], slopes, a[c], grad, d_slopes, unit
        )
        if parts & SKIP_EARLY:
            for b in range(batch):
                to_skip[c, b] = grad[b]
        if parts & NORM_EARLY:
            _norm_backward(z[c], grad, c, gamma, mean, inverse, d_gamma, d_beta, unit)


def parts_of(network: Any, layer: int) -> int:
    """What hidden layer `layer` (from 1) of a `networks.mlp.StackedMLP` has, as bits."""
    parts = 0
    if network.norms:
        parts |= NORM_EARLY if network.norm_early else NORM_LATE
    if layer in network.skips:
        parts |= SKIP_EARLY if network.skip_early else SKIP_LATE
    return parts
