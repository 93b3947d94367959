"""What GRADFLOW_DEVICE says, checked for its form alone. Free of torch, because Snakemake imports
it at every start.
"""

from __future__ import annotations

import os
from pathlib import Path

DEVICE = "GRADFLOW_DEVICE"
# where the driver of a GPU that torch can use shows itself: NVIDIA's, Windows's for its Linux,
# AMD's
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


def device_name() -> tuple[str, str]:
    """The kind, auto (the default), cpu or cuda, and the index of cuda:N, else empty.

    Raises:
        ValueError: the variable holds something else.
    """
    name = os.environ.get(DEVICE, "auto")
    kind, colon, index = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (
        colon and (kind != "cuda" or not (index.isascii() and index.isdigit()))
    ):
        raise ValueError(f"{DEVICE} is {name}; it may be auto, cpu, cuda or cuda:N")
    return kind, index


def check_device_here() -> None:
    """Refuse a GPU where there is no driver of one, before any job starts.

    Raises:
        ValueError: see `device_name`, or there is none.
    """
    kind, _ = device_name()
    if kind == "cuda" and not any(Path(driver).exists() for driver in DRIVERS):
        raise ValueError(
            f"{DEVICE} is {os.environ[DEVICE]}, but this machine has no GPU with a driver; use "
            "auto or cpu"
        )
