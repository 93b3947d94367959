"""What you add to the optimizers, activations, data sets, initial masks and mask updates: a file
each.

A file's name is the name in config.yaml: `own/optimizers/lion.py` is the optimizer `lion`. The
folder `own` is that of the working directory, beside config.yaml, or else the project's, or another
one that the environment variable GRADFLOW_OWN names. The README.md of each folder within says what
a file in it defines; docs/tutorial.md has one of each. Name and content are part of the identity of
the runs that use a file, its comments, docstrings and layout are not.

Free of torch, because Snakemake imports it.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
from collections.abc import Iterable
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any


def _folder() -> Path:
    chosen, here, project = os.environ.get("GRADFLOW_OWN"), Path("own"), Path(__file__).parents[3]
    if chosen or here.is_dir() or not (project / "own").is_dir():
        return Path(chosen or here)
    return project / "own"


FOLDER = _folder()


def names(kind: str) -> tuple[str, ...]:
    """The names of a kind, which is a folder of `FOLDER`: those of its Python files."""
    return tuple(sorted(path.stem for path in (FOLDER / kind).glob("*.py")))


def own_file(kind: str, name: str) -> Path:
    """The file that defines a name, as messages have it too."""
    return FOLDER / kind / f"{name}.py"


def mistakes(kind: str, taken: tuple[str, ...]) -> list[str]:
    """What is wrong with the names of a kind, in sentences; `taken` are the library's."""
    found = []
    for name in names(kind):
        place = own_file(kind, name)
        if name in taken:
            found.append(f"{place}: the library has {name} already; give the file another name")
        elif not re.fullmatch("[a-z][a-z0-9_]*", name):
            found.append(
                f"{place}: a name has small letters, digits and underscores only, and starts with "
                "a letter; rename the file"
            )
        else:
            found += _mistakes_within(kind, place)
    return found


# the function that a file of each kind defines, and its parameters
FUNCTIONS = {
    "optimizers": ("update", 5),
    "activations": ("make", 2),
    "datasets": ("read", 1),
    "initial_masks": ("masks", 1),
    "mask_updates": ("update", 3),
}


def _mistakes_within(kind: str, place: Path) -> list[str]:
    """What can be seen without running the file: its syntax, and its function's parameters."""
    try:
        tree = _tree(place)
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
                    f"{place}: {name} has {most} parameters where {count} are expected; see "
                    "README.md beside it"
                ]
    return []


def load(kind: str, name: str, *needed: str) -> Any:
    """Import one file.

    Raises:
        ValueError: it lacks one of the names that it must define, or there is no such file.
    """
    if name not in names(kind):
        raise ValueError(f"{name}: there is no file {own_file(kind, name)} that defines it")
    try:
        module = _imported(own_file(kind, name).absolute(), fingerprint(kind, name))
    except Exception as error:
        said = " ".join(str(error).split())
        raise ValueError(
            f"{own_file(kind, name)}: it cannot be imported ({type(error).__name__}: {said})"
        ) from error
    for attribute in needed:
        if not hasattr(module, attribute):
            raise ValueError(
                f"{own_file(kind, name)} must define {attribute}; see README.md beside it"
            )
    return module


@cache
def _imported(path: Path, _fingerprint: str) -> ModuleType:
    """Import a file; once for each content."""
    name = f"gradflow_own.{path.parent.name}.{path.stem}"
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # some decorators look their module up
    spec.loader.exec_module(module)
    return module


def fingerprint(kind: str, name: str) -> str:
    """A hash of what a file says to Python: of its syntax tree, without docstrings.

    Fields that are empty are left out, since newer versions of Python add some.
    """
    return hashlib.sha256(repr(_plain(_tree(own_file(kind, name)))).encode()).hexdigest()[:16]


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain(part) for part in node]
    if not isinstance(node, ast.AST):
        return node
    fields = dict(ast.iter_fields(node))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = fields["body"][1:]
    kept = {name: _plain(value) for name, value in fields.items() if value not in (None, [])}
    return type(node).__name__, kept


def check(expected: Iterable[tuple[str, str]]) -> None:
    """Refuse to train by other files than those that a job was planned with.

    Args:
        expected: their kinds and names, `optimizers/lion`, each with its `fingerprint`.

    Raises:
        ValueError: one was changed since, or is not there; the message names it.
    """
    for place, planned in expected:
        kind, _, name = place.partition("/")
        there = own_file(kind, name).is_file()
        if not there or fingerprint(kind, name) != planned:
            what = "was changed after the job was planned" if there else "is not there"
            raise ValueError(f"{own_file(kind, name)} {what}; run the same command again")
