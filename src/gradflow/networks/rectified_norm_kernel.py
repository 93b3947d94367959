"""The Triton kernel of `rectified_norm`; imported where there is a GPU, and by tests in Triton's interpreter."""

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
