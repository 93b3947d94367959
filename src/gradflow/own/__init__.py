"""What you add to the optimizers, activations, data sets and mask updates: one file each.

A file's name is the name in config.yaml: `own/optimizers/lion.py` is the optimizer `lion`. Each
folder's docstring says what a file in it defines; docs/tutorial.md has one of each. The name is a
run's identity, the file's content is not: when you change what a file computes, give it another
name.

Free of torch, because Snakemake imports it.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def names(kind: str) -> tuple[str, ...]:
    """The names of a kind, which is a folder beside this file: those of its Python files."""
    return tuple(
        sorted(path.stem for path in (FOLDER / kind).glob("*.py") if path.stem != "__init__")
    )


def mistakes(kind: str, taken: tuple[str, ...]) -> list[str]:
    """What is wrong with the names of a kind, in sentences; `taken` are the library's."""
    found = []
    for name in names(kind):
        place = f"src/gradflow/own/{kind}/{name}.py"
        if name in taken:
            found.append(f"{place}: the library has {name} already; give the file another name")
        elif not re.fullmatch("[a-z][a-z0-9_]*", name):
            found.append(
                f"{place}: a name has small letters, digits and underscores only, and starts with a letter; rename the "
                "file"
            )
    return found


def load(kind: str, name: str, *needed: str) -> Any:
    """Import one file.

    Raises:
        ValueError: it lacks one of the names that it must define, or there is no such file.
    """
    if name not in names(kind):
        raise ValueError(
            f"{name}: there is no file src/gradflow/own/{kind}/{name}.py that defines it"
        )
    module = import_module(f"gradflow.own.{kind}.{name}")
    for attribute in needed:
        if not hasattr(module, attribute):
            raise ValueError(
                f"src/gradflow/own/{kind}/{name}.py must define {attribute}; see __init__.py beside it"
            )
    return module
