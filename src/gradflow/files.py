"""Files that appear whole or not at all, and locks that end with their process."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def checksum_path(path: Path) -> Path:
    """Where the checksum of a file lies, beside it, as `sha256sum --check` reads it.

    Readers of whole folders of Parquet files pass over names that begin with `_`.
    """
    return path.with_name(f"_{path.name}.sha256")


def read_checksum(path: Path) -> str | None:
    """The checksum that was written beside a file; None where there is none."""
    for place in (
        checksum_path(path),
        path.with_name(f"{path.name}.sha256"),
    ):  # the first version's
        try:
            return (place.read_text(errors="replace").split() or [""])[0]
        except OSError:
            continue
    return None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it becomes `path` when the block ends well, and is
    removed otherwise.

    The name aside carries host and process, so that two writers on a shared file system never meet.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}{path.suffix}")
    try:
        yield aside
        with open(aside, "rb") as written:
            os.fsync(written.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def remove_asides(folder: Path, name: str) -> None:
    """Remove what killed writers left beside the files `name` (a pattern); the caller alone may
    write them now.
    """
    for aside in folder.glob(f".{name}.{socket.gethostname()}.*"):
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


def save_tensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file.

    Raises:
        OSError: as of any other file; safetensors has an error of its own for a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # safetensors writes to a name of its own choice first; in this folder a killed writer's is
    # found (`remove_asides`)
    folder = path.with_name(f"{path.name}.folder")
    folder.mkdir(exist_ok=True)
    try:
        save_file(tensors, folder / path.name, metadata=metadata)
        (folder / path.name).rename(path)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lock_path(path: Path) -> Path:
    """Where the lock on a file that is made or appended to lies."""
    return path.with_suffix(".lock")


def try_lock(path: Path) -> IO[str] | None:
    """Take an exclusive lock on `path`, or return None when another process holds it.

    The lock ends when the returned file is closed or the process dies, however it dies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = open(path, "a+")  # noqa: SIM115 - kept open for as long as the lock is held
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock on `path`; nothing is written, and no waiting process
    is refused.

    For an instant this shares the lock, so it is for locks that are waited for (`lock`), not for
    those of `try_lock`.
    """
    try:
        with open(path, "rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no such file, or no locks on this file system
        return False
    return False


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`, waiting for whoever holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
