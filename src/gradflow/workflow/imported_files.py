"""Which of the project's files a program runs: itself and all that it imports, over however many
steps.

They are the rerun inputs of the rule that runs it: an edit of one makes its files again. Imports
for the sake of types alone are left out. So are the `__init__.py` of packages, which hold a
docstring, and third parties'. Only text is read, since Snakemake asks at every start.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from textwrap import dedent

PACKAGES = ("gradflow", "benchmark")
_TYPES = re.compile(r"^([ \t]*)if TYPE_CHECKING:\n(?:\1[ \t]+.*\n|[ \t]*\n)+", re.MULTILINE)
_IMPORT = re.compile(
    rf"^[ \t]*(?:from|import)[ \t]+(?:{'|'.join(PACKAGES)})\b(?:[^\n(]*\([^)]*\)|[^\n]*)",
    re.MULTILINE,
)


def imported_files(folders: tuple[Path, ...], *programs: Path | str) -> list[str]:
    """The files of some programs, sorted.

    Args:
        folders: that packages are imported from.
        programs: scripts as paths, modules as dotted names.

    Raises:
        ValueError: there is no such module.
    """
    left: list[Path] = []
    for program in programs:
        path = program if isinstance(program, Path) else _module(folders, program)
        if path is None:
            raise ValueError(
                f"{program}: there is no such module in {' or '.join(map(str, folders))}"
            )
        left.append(path)
    found: dict[Path, None] = {}
    while left:
        path = left.pop()
        if path not in found:
            found[path] = None
            left += _imports(folders, path)
    return sorted(map(str, found))


@cache
def _imports(folders: tuple[Path, ...], path: Path) -> tuple[Path, ...]:
    """The project's files that one imports itself, within functions too."""
    text = _TYPES.sub("", path.read_text(encoding="utf-8"))
    return tuple(
        file
        for statement in _IMPORT.findall(text)
        for name in _names(folders, dedent(statement))
        if (file := _module(folders, name)) is not None
    )


def _names(folders: tuple[Path, ...], statement: str) -> Iterator[str]:
    """The modules that an import statement names: `from package import module` the module alone."""
    (node,) = ast.parse(statement).body
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module is not None:
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if _module(folders, inner) is not None else node.module


@cache
def _module(folders: tuple[Path, ...], name: str) -> Path | None:
    """The file of a dotted name, None where there is none."""
    for folder in folders:
        path = folder.joinpath(*name.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None
