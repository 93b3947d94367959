"""The kernels compiled for an H100, without one: in registers, on tensor cores."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradflow.training.fused.operations import PRECISIONS
from gradflow.training.optimizers import STATE

pytest.importorskip("triton", reason="Triton comes with torch for CUDA")
ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> str:
    """A process of its own, since the tests' own interprets kernels; says what it printed."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment | {"PYTHONPATH": str(ROOT / "src")},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# beside products with an update
KERNELS = (
    *("product, tf32x3, forward", "product, tf32x3, backward"),
    *(f"{rule}, {mask}" for rule in STATE for mask in ("masked", "dense")),
    *(
        f"{kernel}, images {layout}"
        for kernel in ("rectified", "rectified_back_sums", "rectified_back")
        for layout in ("channels last", "as they come")
    ),
)


@pytest.mark.slow
def test_every_kernel_fits_into_registers_and_products_use_tensor_cores() -> None:
    """All but IEEE products, which tensor cores do not compute."""
    lines = run("-m", "gradflow.training.fused.compiled").splitlines()
    for rule, precision in itertools.product(STATE, PRECISIONS):
        assert any(line.startswith(f"product and {rule}, {precision}, masked") for line in lines)
    for kernel in KERNELS:
        assert any(line.startswith(kernel) for line in lines), kernel
    for line in lines:
        assert " 0 bytes spilled" in line, line
        on_tensor_cores = "product" in line and ", float32, " not in line
        assert line.endswith("wgmma") == on_tensor_cores, line


COMPARE = """
from gradflow.training.fused import kernels
from gradflow.training.fused.compiled import compiled
from gradflow.training.fused.operations import UPDATE_TILE, WARPS
rule = {"RULE": "adam", "MASKED": True, "PRECISION": "tf32x3", "x_b": 1, "g_b": 1}
for tile in (UPDATE_TILE, {"BLOCK_I": 128, "BLOCK_O": 128, "BLOCK_B": 32}):
    found = compiled("adam", kernels.update_by_product, {**rule, **tile}, "fp32", WARPS)
    print(found.registers, found.spilled, found.instruction)
"""


@pytest.mark.slow
def test_the_heaviest_kernel_fits_and_a_larger_tile_would_not() -> None:
    ours, larger = (line.split() for line in run("-c", COMPARE).splitlines())
    assert int(ours[0]) <= 255 and ours[1:] == ["0", "wgmma"]
    assert int(larger[1]) > 0  # so spills are seen where there are some
