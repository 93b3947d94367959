"""What the kernels need of an H100: registers and spills, by compiling for it. No GPU is asked.

`python -m gradflow.training.fused.compiled` prints a line a kernel.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from gradflow.networks import rectified_norm, rectified_norm_kernel
from gradflow.training.fused import kernels
from gradflow.training.fused.operations import (
    ELEMENTS,
    PRECISIONS,
    PRODUCT_TILE,
    UPDATE_TILE,
    WARPS,
)
from gradflow.training.optimizers import STATE

H100 = GPUTarget("cuda", 90, 32)
SHARED_BYTES = 227 * 1024  # that a block may have
FLOATS = ("learning_rate", "decay", "alpha")
TENSORS = (
    *("x", "g", "weight", "first", "second", "mask", "gradient", "left", "right", "out"),
    *("scale", "shift", "mean", "sums", "by_bias", "by_weight", "by_x"),
)


@dataclass(frozen=True)
class Compiled:
    """A kernel as it is on the device."""

    name: str
    registers: int  # a thread, of 255
    spilled: int  # bytes a thread, of registers that did not suffice
    shared: int  # bytes a block
    instruction: str  # of its products: wgmma (tensor cores of Hopper), mma, fma; or none

    def line(self) -> str:
        """For people."""
        return (
            f"{self.name:<48}{self.registers:>4} registers, {self.spilled} bytes spilled, "
            f"{self.shared / 1024:.0f} KiB shared, {self.instruction}"
        )


def compiled(name: str, kernel: Any, constants: dict[str, Any], data: str, warps: int) -> Compiled:
    """Compile one kernel.

    Args:
        name: what to call it.
        kernel: of `kernels`.
        constants: values of its compile-time parameters, and of strides that are 1.
        data: Triton's type of the activations, fp32 or bf16.
        warps: of a block.
    """
    types = {
        parameter: f"*{data}" if parameter in ("x", "g", "left", "right") else "*fp32"
        for parameter in (*TENSORS, "step")
    }
    types |= {"mask": "*u8"} | dict.fromkeys(FLOATS, "fp32")
    names = kernel.arg_names
    signature = {n: "constexpr" if n in constants else types.get(n, "i32") for n in names}
    aligned: dict[tuple[int], list[list[Any]]] = {
        (names.index(n),): [["tt.divisibility", 16]] for n in TENSORS if n in names
    }
    result = triton.compile(
        ASTSource(
            kernel, signature, {(names.index(n),): value for n, value in constants.items()}, aligned
        ),
        target=H100,
        options={"num_warps": warps},
    )
    usage = _resource_usage(result.asm["cubin"])
    code = result.asm["ptx"]
    found = [i for i in ("wgmma", "mma.sync", "fma.rn") if i in code]
    return Compiled(
        name,
        usage["REG"],
        usage["STACK"] + usage["LOCAL"],
        result.metadata.shared,
        found[0] if found else "none",
    )


def _resource_usage(binary: bytes) -> dict[str, int]:
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        said = subprocess.run(
            [tool, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    return {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", said)}


def all_compiled() -> Iterator[Compiled]:
    """Every kernel as training launches it: each rule, dense and masked, in each layout."""
    # which strides are 1: of images [K, B, in] as they come, or of activations that lie [K,
    # features, B]
    layouts = {"batch-major": {"x_i": 1, "g_o": 1}, "feature-major": {"x_b": 1, "g_b": 1}}
    for precision, rule, masked, (layout, ones) in product(
        PRECISIONS, STATE, (True, False), layouts.items()
    ):
        if not masked and rule != "adam":
            continue  # a load less than with a mask
        constants = {"RULE": rule, "MASKED": masked, "PRECISION": PRECISIONS[precision]}
        yield compiled(
            f"product and {rule}, {precision}, {'masked' if masked else 'dense'}, {layout}",
            kernels.update_by_product,
            {**constants, **UPDATE_TILE, **ones},
            "bf16" if precision == "bf16" else "fp32",
            WARPS,
        )
    for rule, masked in product(STATE, (True, False)):
        yield compiled(
            f"{rule}, {'masked' if masked else 'dense'}",
            kernels.update_by_gradient,
            {"RULE": rule, "MASKED": masked, **ELEMENTS},
            "fp32",
            4,
        )
    forward = {"left_n": 1, "right_n": 1, "out_c": 1}  # weights transposed, images as they come
    backward = {"left_n": 1, "right_c": 1, "out_c": 1}
    for name, ones in (("forward", forward), ("backward", backward)):
        yield compiled(
            f"product, tf32x3, {name}",
            kernels.product,
            {"PRECISION": "tf32x3", **PRODUCT_TILE, **ones},
            "fp32",
            WARPS,
        )
    norm, block = rectified_norm_kernel, {"BLOCK": rectified_norm.BLOCK}
    for layout, run, step in (
        ("channels last", {"run": 1}, {"channel_step": 1}),
        ("as they come", {}, {"position_step": 1}),
    ):
        for kernel, given in (
            (norm.rectified, {**block, **run}),
            (norm.rectified_back_sums, {**rectified_norm.SUMS, **step}),
            (norm.rectified_back, {**block, **run}),
        ):
            yield compiled(f"{kernel.__name__}, images {layout}", kernel, given, "fp32", 4)


if __name__ == "__main__":
    for kernel in all_compiled():
        print(kernel.line(), flush=True)
