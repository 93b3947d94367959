"""Random streams of one run, each keyed by what it is for.

A stream is a pure function of its key, drawn on the CPU: a run's numbers depend neither on the
device nor on the runs trained beside it, and a resumed run needs no generator state.
"""

import hashlib

import numpy as np


def stream(*key: str | int) -> np.random.Generator:
    """Return the generator of `key`, for example `stream("digits", seed, percent, "order",
    epoch)`.
    """
    digest = hashlib.sha256("/".join(str(part) for part in key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
