"""The Triton kernels: a product with the update of its weights, an update alone, a product alone.

Imported where there is a GPU, by the tests in Triton's interpreter, and to be compiled
(`compiled.py`). `i` counts a layer's inputs, `o` its outputs, `b` the images of a minibatch.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _update(
    gradient,
    weight_at,
    first_at,
    second_at,
    inside,
    step_at,
    learning_rate,
    decay,
    alpha,
    RULE: tl.constexpr,
):
    """Update the weights at some places by their gradients; torch.optim's rules at its defaults."""
    weight = tl.load(weight_at, mask=inside, other=0.0)
    if RULE == "adamw":
        weight = weight * (1.0 - learning_rate * decay)
    else:
        gradient = gradient + decay * weight
    if RULE == "sgd":
        weight = weight - learning_rate * gradient
    elif RULE == "momentum":
        first = 0.9 * tl.load(first_at, mask=inside, other=0.0) + gradient
        tl.store(first_at, first, mask=inside)
        weight = weight - learning_rate * first
    elif RULE == "adagrad":
        first = tl.load(first_at, mask=inside, other=0.0) + gradient * gradient
        tl.store(first_at, first, mask=inside)
        weight = weight - learning_rate * gradient / (tl.sqrt(first) + 1e-10)
    elif RULE == "rmsprop":
        first = tl.load(first_at, mask=inside, other=0.0)
        first = alpha * first + (1.0 - alpha) * gradient * gradient
        tl.store(first_at, first, mask=inside)
        weight = weight - learning_rate * gradient / (tl.sqrt(first) + 1e-8)
    else:
        tl.static_assert(RULE == "adam" or RULE == "adamw")
        first = tl.load(first_at, mask=inside, other=0.0)
        first = first + 0.1 * (gradient - first)
        tl.store(first_at, first, mask=inside)
        second = tl.load(second_at, mask=inside, other=0.0)
        second = 0.999 * second + 0.001 * gradient * gradient
        tl.store(second_at, second, mask=inside)
        # in float64, since 1 - 0.999^t is all cancellation at first
        step = tl.load(step_at).to(tl.float64)
        first_part = 1.0 - tl.exp(step * -0.10536051565782628)  # log 0.9
        second_part = 1.0 - tl.exp(step * -0.0010005003335835335)  # log 0.999
        size = (learning_rate / first_part).to(tl.float32)
        root = tl.sqrt(second_part).to(tl.float32)
        weight = weight - size * first / (tl.sqrt(second) / root + 1e-8)
    tl.store(weight_at, weight, mask=inside)


@triton.jit
def update_by_product(
    x,  # [K, B, in], any strides
    g,  # [K, B, out], any strides: the loss's gradient by the layer's output
    weight,  # [K, in, out], contiguous, as the optimizer's state and the mask are
    first,
    second,
    mask,
    step,
    inputs,
    outputs,
    images,
    x_k,
    x_b,
    x_i,
    g_k,
    g_b,
    g_o,
    learning_rate,
    decay,
    alpha,
    RULE: tl.constexpr,
    MASKED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_B: tl.constexpr,
):
    """The gradient of a tile of weights, x^T g, masked and applied: it never reaches memory."""
    k = tl.program_id(2).to(tl.int64)
    i = tl.program_id(0) * BLOCK_I + tl.arange(0, BLOCK_I)
    o = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    x += k * x_k
    g += k * g_k
    gradient = tl.zeros((BLOCK_I, BLOCK_O), tl.float32)
    for start in range(0, images, BLOCK_B):
        b = start + tl.arange(0, BLOCK_B)
        left = tl.load(
            x + i[:, None] * x_i + b[None, :] * x_b,
            mask=(i[:, None] < inputs) & (b[None, :] < images),
            other=0.0,
        )
        right = tl.load(
            g + b[:, None] * g_b + o[None, :] * g_o,
            mask=(b[:, None] < images) & (o[None, :] < outputs),
            other=0.0,
        )
        gradient = tl.dot(left, right, gradient, input_precision=PRECISION)
    network = k * inputs * outputs
    place = i[:, None] * outputs + o[None, :]
    inside = (i[:, None] < inputs) & (o[None, :] < outputs)
    if MASKED:
        gradient *= tl.load(mask + network + place, mask=inside, other=0).to(tl.float32)
    _update(
        gradient,
        weight + network + place,
        first + network + place,
        second + network + place,
        inside,
        step,
        learning_rate,
        decay,
        alpha,
        RULE,
    )


@triton.jit
def update_by_gradient(
    gradient,
    weight,
    first,
    second,
    mask,
    step,
    count,
    learning_rate,
    decay,
    alpha,
    RULE: tl.constexpr,
    MASKED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The gradient at `count` places, masked and applied; all tensors lie in memory alike."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    value = tl.load(gradient + place, mask=inside, other=0.0)
    if MASKED:
        value *= tl.load(mask + place, mask=inside, other=0).to(tl.float32)
    _update(
        value,
        weight + place,
        first + place,
        second + place,
        inside,
        step,
        learning_rate,
        decay,
        alpha,
        RULE,
    )


@triton.jit
def product(
    left,  # [K, rows, inner], any strides
    right,  # [K, inner, columns], any strides
    out,  # [K, rows, columns], any strides
    rows,
    columns,
    inner,
    left_k,
    left_r,
    left_n,
    right_k,
    right_n,
    right_c,
    out_k,
    out_r,
    out_c,
    PRECISION: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """A tile of a batched product."""
    k = tl.program_id(2).to(tl.int64)
    r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    left += k * left_k
    right += k * right_k
    total = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    for start in range(0, inner, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        a = tl.load(
            left + r[:, None] * left_r + n[None, :] * left_n,
            mask=(r[:, None] < rows) & (n[None, :] < inner),
            other=0.0,
        )
        b = tl.load(
            right + n[:, None] * right_n + c[None, :] * right_c,
            mask=(n[:, None] < inner) & (c[None, :] < columns),
            other=0.0,
        )
        total = tl.dot(a, b, total, input_precision=PRECISION)
    tl.store(
        out + k * out_k + r[:, None] * out_r + c[None, :] * out_c,
        total,
        mask=(r[:, None] < rows) & (c[None, :] < columns),
    )
