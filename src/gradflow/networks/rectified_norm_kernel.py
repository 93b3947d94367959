"""The Triton kernels of `rectified_norm`; imported where there is a GPU, and by tests in Triton's
interpreter.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def rectified(x, scale, shift, out, count, channels, run, BLOCK: tl.constexpr):
    """relu(scale x + shift); the channel changes every `run` places."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    channel = (place // run) % channels
    value = tl.load(x + place, mask=inside, other=0.0)
    value = value * tl.load(scale + channel, mask=inside, other=0.0)
    value += tl.load(shift + channel, mask=inside, other=0.0)
    # not a maximum, which would hide what is not a number
    tl.store(out + place, tl.where(value < 0.0, 0.0, value), mask=inside)


@triton.jit
def rectified_back_sums(
    gradient,
    x,
    scale,
    shift,
    mean,
    sums,  # [2, parts, channels]
    rows,
    channels,
    parts,
    positions,  # of an image
    image_step,
    channel_step,
    position_step,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
    TILES: tl.constexpr,
):
    """Partial sums by channels of the gradient behind the ReLU, and of it times x less its mean."""
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < channels
    by_channel = tl.load(scale + channel, mask=there, other=0.0)[None, :]
    shifted = tl.load(shift + channel, mask=there, other=0.0)[None, :]
    centre = tl.load(mean + channel, mask=there, other=0.0)[None, :]
    plain = tl.zeros((ROWS, CHANNELS), tl.float32)
    times_x = tl.zeros((ROWS, CHANNELS), tl.float32)
    first = tl.program_id(0) * TILES * ROWS
    for start in range(first, min(first + TILES * ROWS, rows), ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row[:, None] < rows) & there[None, :]
        place = (row // positions).to(tl.int64) * image_step + (row % positions) * position_step
        place = place[:, None] + channel[None, :] * channel_step
        value = tl.load(x + place, mask=inside, other=0.0)
        upstream = tl.load(gradient + place, mask=inside, other=0.0)
        upstream = tl.where(by_channel * value + shifted <= 0.0, 0.0, upstream)
        plain += upstream
        times_x += upstream * (value - centre)
    place = tl.program_id(0) * channels + channel
    tl.store(sums + place, tl.sum(plain, 0), mask=there)
    tl.store(sums + parts * channels + place, tl.sum(times_x, 0), mask=there)


@triton.jit
def rectified_back(
    gradient,
    x,
    scale,
    shift,
    mean,
    by_bias,
    by_weight,
    by_x,
    count,
    channels,
    run,
    BLOCK: tl.constexpr,
):
    """The gradient by x; by_bias and by_weight are means over a channel, the latter over its
    deviation.
    """
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    channel = (place // run) % channels
    value = tl.load(x + place, mask=inside, other=0.0)
    upstream = tl.load(gradient + place, mask=inside, other=0.0)
    factor = tl.load(scale + channel, mask=inside, other=0.0)
    shifted = tl.load(shift + channel, mask=inside, other=0.0)
    upstream = tl.where(factor * value + shifted <= 0.0, 0.0, upstream)
    value -= tl.load(mean + channel, mask=inside, other=0.0)
    upstream -= tl.load(by_bias + channel, mask=inside, other=0.0)
    upstream -= value * tl.load(by_weight + channel, mask=inside, other=0.0)
    tl.store(by_x + place, factor * upstream, mask=inside)
