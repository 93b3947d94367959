"""What you add to the optimizers, activations, data sets and mask updates: one file each.

A file's name is the name in config.yaml: `own/optimizers/lion.py` is the optimizer `lion`. Each
folder's docstring says what a file in it defines; docs/tutorial.md has one of each. The name is a
run's identity, the file's content is not: when you change what a file computes, give it another
name.

Free of torch, because Snakemake imports it.
"""

from __future__ import annotations

import ast
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
        else:
            found += _mistakes_within(kind, FOLDER / kind / f"{name}.py", place)
    return found


# the function that a file of each kind defines, and its parameters
FUNCTIONS = {
    "optimizers": ("update", 5),
    "activations": ("make", 2),
    "datasets": ("read", 1),
    "mask_updates": ("update", 3),
    "initial_masks": ("masks", 1),
}


def _mistakes_within(kind: str, path: Path, place: str) -> list[str]:
    """What can be seen without running the file: its syntax, and its function's parameters."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        return [f"{place}: not Python{f', line {line}' if line else ''} ({error.args[0]})"]
    name, count = FUNCTIONS[kind]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            given = node.args
            least = len(given.posonlyargs) + len(given.args) - len(given.defaults)
            most = least + len(given.defaults)
            if not least <= count <= most and not given.vararg:
                return [
                    f"{place}: {name} has {most} parameters where {count} are expected; see __init__.py "
                    "beside it"
                ]
    return []


def load(kind: str, name: str, *needed: str) -> Any:
    """Import one file.

    Raises:
        ValueError: it lacks one of the names that it must define, or there is no such file.
    """
    if name not in names(kind):
        raise ValueError(
            f"{name}: there is no file src/gradflow/own/{kind}/{name}.py that defines it"
        )
    try:
        module = import_module(f"gradflow.own.{kind}.{name}")
    except Exception as error:
        said = " ".join(str(error).split())
        raise ValueError(
            f"src/gradflow/own/{kind}/{name}.py: it cannot be imported ({type(error).__name__}: {said})"
        ) from error
    for attribute in needed:
        if not hasattr(module, attribute):
            raise ValueError(
                f"src/gradflow/own/{kind}/{name}.py must define {attribute}; see __init__.py beside it"
            )
    return module
