"""How fast a core of this machine is: assumed, or measured in a quarter of a second. Free of torch.

The measurement runs in a process of its own, since a BLAS reads its number of threads once, at its
start. It counts CPU seconds, so that other work on the machine disturbs it little.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from gradflow.files import replacing

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
PATIENCE = 20.0  # seconds for all of it, on a machine that is very busy
PRODUCT_SIDE = 256

# Products of a square side, copies of more than a core's cache holds, calls of a small function;
# the best of some turns of each.
_MEASURE = f"""
import json, time
import numpy as np
side = {PRODUCT_SIDE}
a, b, c = (np.ones((side, side), np.float32) for _ in range(3))
source, target = np.ones(2**21, np.float32), np.zeros(2**21, np.float32)
small, out = np.ones(8, np.float32), np.zeros(8, np.float32)
def product():
    for _ in range(8):
        np.matmul(a, b, out=c)
def copy():
    np.copyto(target, source)
def calls():
    for _ in range(2000):
        np.add(small, small, out)
def best(work):
    work()
    found = []
    for _ in range(9):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return max(min(found), 1e-9)
print(json.dumps(dict(flops=8 * 2 * side**3 / best(product),
                      bandwidth=2 * source.nbytes / best(copy),
                      call=best(calls) / 2000)))
"""


@dataclass(frozen=True)
class CpuRates:
    """What one core does in a second."""

    flops: float  # of a float32 product of 256 rows and columns
    bandwidth: float  # bytes read and written by a copy
    call: float  # seconds to call a small compiled function from Python
    measured: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError where a rate is none."""
        if not all(0 < rate < math.inf for rate in (self.flops, self.bandwidth, self.call)):
            raise ValueError(f"no rates of a CPU: {self}")


ASSUMED = CpuRates(8.0e10, 3.0e10, 4e-7)  # a core with AVX2 of about 2021


def cpu_rates(results: Path, measure: bool) -> CpuRates:
    """The rates of a core: those kept in the results folder, else measured now, else assumed.

    Args:
        results: the results folder. What is measured is kept there, under the processor's name,
            since machines may share it.
        measure: whether a quarter of a second may be taken for it.
    """
    path = results / "cpu_rates.json"
    kept = _read(path)
    with suppress(KeyError, TypeError, ValueError):
        mine = kept[cpu_name()]
        flops, bandwidth, call = (float(mine[key]) for key in ("flops", "bandwidth", "call"))
        return CpuRates(flops, bandwidth, call, measured=True)
    if not measure or (found := measured_rates()) is None:
        return ASSUMED
    if results.is_dir():
        rates = {key: value for key, value in asdict(found).items() if key != "measured"}
        with suppress(OSError), replacing(path) as aside:
            aside.write_text(json.dumps(kept | {cpu_name(): rates}, indent=1, sort_keys=True))
    return found


def measured_rates() -> CpuRates | None:
    """The rates of a core as they are now; None where the measurement fails."""
    environment = os.environ | dict.fromkeys(THREADS, "1")
    try:
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE],
            env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True,
        )  # fmt: skip
        return CpuRates(**json.loads(done.stdout), measured=True)
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return None


def _read(path: Path) -> dict[str, dict[str, float]]:
    try:
        plain = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}


@cache
def cpu_name() -> str:
    """The processor as it names itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
