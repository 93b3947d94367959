"""A tape of a step's tensor operations: what a CUDA graph is, where there is no GPU.

A CUDA graph holds kernels and their arguments. Whatever Python computed while it was captured, a
learning rate or a count of steps, is frozen in it. The tape freezes the same: it replays recorded
operations on the tensors of the recording, and runs no Python of the step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# operations that hand a number to Python, or whose output's shape depends on one: a capture cannot
# hold them
ON_THE_HOST = frozenset(
    {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2"}
)
INDEXED_BY = ("index", "index_put", "index_put_", "_index_put_impl_")


class HostReadError(RuntimeError):
    """A step hands a number from the device to Python, which a CUDA graph cannot hold."""


class Tape:
    """The operations of one step, and the tensors that they read and write.

    Recording runs the step once; a CUDA graph's capture does not.
    """

    def __init__(self, step: Callable[[], None]):
        self._entries: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        with _Recorder(self._entries.append):
            step()

    @torch.no_grad()
    def replay(self) -> None:
        """Do it again, each result where the recording put it."""
        for operation, arguments, options, results in self._entries:
            new = _tensors(operation(*arguments, **options))
            for place, value in zip(results, new, strict=True):
                if place.untyped_storage().data_ptr() != value.untyped_storage().data_ptr():
                    place.copy_(value)


class _Recorder(TorchDispatchMode):
    def __init__(self, add: Callable[[Any], None]):
        super().__init__()  # type: ignore[no-untyped-call]
        self._add = add

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in ON_THE_HOST or (name in INDEXED_BY and _by_truth(args)):
            raise HostReadError(
                f"the operation {name} hands a number from the device to Python, which a CUDA "
                "graph cannot hold"
            )
        out = func(*args, **(kwargs or {}))
        self._add((func, args, kwargs or {}, _tensors(out)))
        return out


def _tensors(found: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]


def _by_truth(arguments: tuple[Any, ...]) -> bool:
    """Whether an indexing operation is given truth values, whose number it must count first."""
    return any(index.dtype in (torch.bool, torch.uint8) for index in _tensors(arguments[1]))
