"""The kernels as operations of torch: on a GPU by Triton, on a CPU by what they stand for.

As operations they can be recorded, counted and captured like torch's own. The CPU's way is the
definition: a gradient by `torch.bmm`, a mask, an update function of torch.optim.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from gradflow.training.optimizers import STATE, Hyperparameters, update_parameters

# tiles whose kernels need no more registers than a thread has
# (tests/training/test_fused_compiled.py)
UPDATE_TILE = {"BLOCK_I": 64, "BLOCK_O": 64, "BLOCK_B": 32}
PRODUCT_TILE = {"BLOCK_R": 64, "BLOCK_C": 64, "BLOCK_N": 32}
ELEMENTS = {"BLOCK": 1024}
WARPS = 8
# of Triton, for each setting `precision`; in bf16 the operands are bfloat16 already
PRECISIONS = {"float32": "ieee", "tf32": "tf32", "tf32x3": "tf32x3", "bf16": "ieee"}

_LIBRARY = torch.library.Library("gradflow", "DEF")
_UPDATE = (
    "Tensor(a!) weight, Tensor(b!)[] state, Tensor? mask, Tensor step, str rule, float "
    "learning_rate, float decay, float alpha"
)
_LIBRARY.define(f"update_by_product_(Tensor x, Tensor g, {_UPDATE}, str precision) -> ()")
_LIBRARY.define(f"update_by_gradient_(Tensor gradient, {_UPDATE}) -> ()")
_LIBRARY.define("product_(Tensor left, Tensor right, Tensor(a!) out, str precision) -> ()")


def has_triton(device: torch.device) -> bool:
    """Whether Triton is installed, as it is with torch for CUDA, and on a GPU also works."""
    return find_spec("triton") is not None and (device.type != "cuda" or _triton_works(device))


@cache
def _triton_works(device: torch.device) -> bool:
    """Try a kernel, which takes a C compiler; says so once where none can be made."""
    try:
        ones, out = torch.ones(1, 1, 1, device=device), torch.zeros(1, 1, 1, device=device)
        launch_product(ones, ones, out, "float32")
        works = out.item() == 1.0
        reason = "a product is wrong"
    except (
        Exception
    ) as error:  # Triton's are many: no compiler, no driver, a GPU that it does not know
        works, reason = False, (str(error).splitlines() or [type(error).__name__])[0]
    if not works:
        print(f"no Triton kernels here ({reason}); training without them, slower", file=sys.stderr)
    return works


def update_by_product(
    x: Tensor,
    g: Tensor,
    weight: Tensor,
    state: list[Tensor],
    mask: Tensor | None,
    step: Tensor,
    rule: str,
    learning_rate: float,
    decay: float,
    alpha: float,
    precision: str,
) -> None:
    """Update a layer's weights by the gradient x^T g without writing it.

    Args:
        x: the layer's inputs [K, B, in].
        g: the loss's gradient by its outputs [K, B, out].
        weight: [K, in, out], float32 and contiguous, as `state` and `mask`.
        state: the optimizer's, in the order of `optimizers.STATE`.
        mask: ones and zeros, or None.
        step: how many steps are done with this one, a tensor without dimensions.
        rule: the optimizer, one of `optimizers.STATE`.
        learning_rate: of this step.
        decay: weight decay, decoupled for adamw.
        alpha: RMSProp's.
        precision: a setting `precision`.
    """
    torch.ops.gradflow.update_by_product_(
        x, g, weight, state, mask, step, rule, learning_rate, decay, alpha, precision
    )


def update_by_gradient(
    gradient: Tensor,
    weight: Tensor,
    state: list[Tensor],
    mask: Tensor | None,
    step: Tensor,
    rule: str,
    learning_rate: float,
    decay: float,
    alpha: float,
) -> None:
    """Mask a gradient and update its weights in one pass; see `update_by_product`.

    Raises:
        ValueError: the tensors do not lie in memory alike.
    """
    torch.ops.gradflow.update_by_gradient_(
        gradient, weight, state, mask, step, rule, learning_rate, decay, alpha
    )


def product(left: Tensor, right: Tensor, out: Tensor, precision: str) -> None:
    """Write left [K, m, n] times right [K, n, o] to `out` [K, m, o]; any strides."""
    torch.ops.gradflow.product_(left, right, out, precision)


def _update_by_product(
    x: Tensor,
    g: Tensor,
    weight: Tensor,
    state: list[Tensor],
    mask: Tensor | None,
    step: Tensor,
    rule: str,
    learning_rate: float,
    decay: float,
    alpha: float,
    precision: str,
) -> None:
    gradient = torch.bmm(x.mT, g).to(weight.dtype)
    _update_by_gradient(gradient, weight, state, mask, step, rule, learning_rate, decay, alpha)


def _update_by_gradient(
    gradient: Tensor,
    weight: Tensor,
    state: list[Tensor],
    mask: Tensor | None,
    step: Tensor,
    rule: str,
    learning_rate: float,
    decay: float,
    alpha: float,
) -> None:
    update_parameters(
        rule,
        [weight],
        [gradient if mask is None else gradient * mask],
        {name: [value] for name, value in zip(STATE[rule], state, strict=True)},
        [step - 1],  # torch's functions count this step themselves
        Hyperparameters(learning_rate, decay, alpha),
    )


def _product(left: Tensor, right: Tensor, out: Tensor, precision: str) -> None:
    out.copy_(torch.bmm(left, right))


def launch_update_by_product(
    x: Tensor,
    g: Tensor,
    weight: Tensor,
    state: list[Tensor],
    mask: Tensor | None,
    step: Tensor,
    rule: str,
    learning_rate: float,
    decay: float,
    alpha: float,
    precision: str,
) -> None:
    """The Triton kernel of `update_by_product`."""
    from gradflow.training.fused import kernels

    _check_alike("update_by_product", weight, *state, *([] if mask is None else [mask]))
    if not weight.is_contiguous():
        raise ValueError("update_by_product: the weights must be contiguous")
    networks, inputs, outputs = weight.shape
    tile = UPDATE_TILE
    grid = (_tiles(inputs, tile["BLOCK_I"]), _tiles(outputs, tile["BLOCK_O"]), networks)
    kernels.update_by_product[grid](
        x,
        g,
        weight,
        *_two(state, weight),
        weight if mask is None else mask,
        step,
        inputs,
        outputs,
        x.shape[1],
        *x.stride(),
        *g.stride(),
        learning_rate,
        decay,
        alpha,
        RULE=rule,
        MASKED=mask is not None,
        PRECISION=PRECISIONS[precision],
        num_warps=WARPS,
        **tile,
    )


def launch_update_by_gradient(
    gradient: Tensor,
    weight: Tensor,
    state: list[Tensor],
    mask: Tensor | None,
    step: Tensor,
    rule: str,
    learning_rate: float,
    decay: float,
    alpha: float,
) -> None:
    """The Triton kernel of `update_by_gradient`."""
    from gradflow.training.fused import kernels

    _check_alike("update_by_gradient", weight, gradient, *state, *([] if mask is None else [mask]))
    kernels.update_by_gradient[(_tiles(weight.numel(), ELEMENTS["BLOCK"]),)](
        gradient,
        weight,
        *_two(state, weight),
        weight if mask is None else mask,
        step,
        weight.numel(),
        learning_rate,
        decay,
        alpha,
        RULE=rule,
        MASKED=mask is not None,
        **ELEMENTS,
    )


def launch_product(left: Tensor, right: Tensor, out: Tensor, precision: str) -> None:
    """The Triton kernel of `product`."""
    from gradflow.training.fused import kernels

    networks, rows, columns = out.shape
    tile = PRODUCT_TILE
    kernels.product[(_tiles(rows, tile["BLOCK_R"]), _tiles(columns, tile["BLOCK_C"]), networks)](
        left,
        right,
        out,
        rows,
        columns,
        left.shape[2],
        *left.stride(),
        *right.stride(),
        *out.stride(),
        PRECISION=PRECISIONS[precision],
        num_warps=WARPS,
        **tile,
    )


def _tiles(places: int, block: int) -> int:
    return -(-places // block)


def _two(state: list[Tensor], weight: Tensor) -> list[Tensor]:
    """Two state tensors for a kernel's signature; the rule does not touch those that stand in."""
    return [*state, weight, weight][:2]


def _check_alike(operation: str, weight: Tensor, *others: Tensor) -> None:
    def strides(tensor: Tensor) -> list[int]:  # of axes along which there is a step to make
        return [step for step, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1]

    for other in others:
        if other.shape != weight.shape or strides(other) != strides(weight):
            raise ValueError(
                f"{operation}: tensors of {tuple(weight.shape)} lie in memory by strides "
                f"{weight.stride()} and {other.stride()}; they must lie alike"
            )


for _name, _on_cpu, _on_gpu in (
    ("update_by_product_", _update_by_product, launch_update_by_product),
    ("update_by_gradient_", _update_by_gradient, launch_update_by_gradient),
    ("product_", _product, launch_product),
):
    _LIBRARY.impl(_name, _on_cpu, "CPU")
    _LIBRARY.impl(_name, _on_gpu, "CUDA")
    _LIBRARY.impl(_name, lambda *_: None, "Meta")
