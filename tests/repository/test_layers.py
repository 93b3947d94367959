"""Imports run downwards only: from the workflow to the study, and in a circle nowhere."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
PACKAGE = SOURCE / "gradflow"

# From the bottom. What lies on one step may not import its neighbours there. A module that is not
# named stands on its package's step.
STEPS = (
    ("text", "files"),
    ("pages",),
    ("study",),
    ("data",),
    ("effective_weights",),
    ("networks", "flow"),
    ("training",),
    ("analysis",),
    ("paper", "twins", "modules"),
    ("report",),
    ("workflow",),
    ("",),  # the package itself, which offers names of all of them
    ("cli",),
    ("__main__",),
)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(name: str) -> set[str]:
    """The package's modules that a module imports anywhere in it, those for its types included."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*(parents if node.level else []), *filter(None, [node.module])])
            named = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for full in named:
            while full and full not in MODULES:
                full = full.rpartition(".")[0]
            found |= {full} if full else set()
    return found - {name}


def step(module: str) -> int:
    """The step that a module stands on."""
    room = module.split(".")[1] if "." in module else ""
    return next((number for number, rooms in enumerate(STEPS) if room in rooms), -1)


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_module_has_a_step():
    assert [name for name in MODULES if step(name) < 0] == []


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_downwards(name: str):
    wrong = [
        other
        for other in sorted(imports(name))
        if room(other) != room(name) and step(other) >= step(name)
    ]
    assert wrong == [], f"{name} imports what stands above it or beside it"


def test_no_imports_run_in_a_circle():
    TopologicalSorter({name: imports(name) for name in MODULES}).prepare()


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        ("study", "torch pandas matplotlib"),
        ("text", "torch pandas matplotlib numpy"),
        ("training", "pandas matplotlib"),
    ],
)
def test_a_stage_does_without_libraries_of_the_next(modules: str, unwanted: str):
    names = [name for name in MODULES if name.split(".")[1:2] == [modules]]
    code = (
        f"import importlib, sys; sys.path.insert(0, {str(SOURCE)!r})\n"
        f"for name in {names}: importlib.import_module(name)\n"
        f"print(*set({unwanted.split()}) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
