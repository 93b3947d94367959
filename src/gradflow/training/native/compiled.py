"""How kernels are compiled: by numba, at their first use, with their machine code kept on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gradflow.files import lock

# Without nnan and ninf: a network that diverges must be seen to diverge.
FAST_MATH = {"reassoc", "contract", "nsz", "arcp"}


def cache_folder() -> str:
    """Where machine code is kept: beside this file, else in the user's cache, else in the temporary
    folder.

    numba's own search ends in an error where neither the package nor the home can be written.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    for folder in (Path(__file__).parent / "__pycache__", cache / "gradflow"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return str(folder)
    return str(Path(tempfile.gettempdir()) / f"gradflow-{os.getuid()}")


os.environ.setdefault("NUMBA_CACHE_DIR", cache_folder())

import numba  # noqa: E402 - it reads the folder's name when it is imported


class LockedCache:
    """numba's cache of one function's machine code, used by one process at a time.

    Its index and code are two files: two processes that compile a function for other types at the
    same moment could leave code under the wrong types.
    """

    def __init__(self, cache: Any, lock_file: Path):
        self._cache, self._lock_file = cache, lock_file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, *arguments: Any) -> Any:
        """Machine code for these types, or None."""
        with lock(self._lock_file):
            return self._cache.load_overload(*arguments)

    def save_overload(self, *arguments: Any) -> None:
        """Keep machine code."""
        with lock(self._lock_file):
            self._cache.save_overload(*arguments)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function of arrays; the types of its first call's arguments decide for which."""
    compiled: Any = numba.njit(
        fastmath=FAST_MATH, boundscheck=False, cache=True, nogil=True, error_model="numpy"
    )(function)
    compiled._cache = LockedCache(
        compiled._cache, Path(compiled._cache.cache_path) / "gradflow.lock"
    )
    return compiled


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function that kernels of the same file call."""
    return numba.njit(fastmath=FAST_MATH, boundscheck=False, error_model="numpy")(function)


@kernel
def _first(values):
    return values[0]


def try_out() -> None:
    """Compile a function, or find its machine code.

    Raises:
        Exception: whatever keeps numba from it.
    """
    _first(np.ones(1, np.float32))
