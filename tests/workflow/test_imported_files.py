"""The computed imports of a program, against Python's own compiler and module finder."""

from __future__ import annotations

import shutil
from modulefinder import ModuleFinder
from pathlib import Path

import pytest
from project import ROOT

from gradflow.study.kinds import KINDS
from gradflow.workflow.imported_files import imported_files

FOLDERS = (ROOT / "src", ROOT)
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.py"))
NAMED = sorted({kind.maker.partition(":")[0] for kind in KINDS.values()} | {"benchmark.__main__"})


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's code without what it imports for types alone: the compiler drops `if False`."""
    folder = tmp_path_factory.mktemp("compiled")
    for name in ("src", "scripts", "benchmark"):
        shutil.copytree(ROOT / name, folder / name)
    for file in folder.rglob("*.py"):
        file.write_text(file.read_text().replace("if TYPE_CHECKING:", "if False:"))
    return folder


def found(folder: Path, program: Path) -> set[str]:
    """What the module finder finds of the project, packages left out."""
    finder = ModuleFinder([str(folder / "src"), str(folder)])
    finder.run_script(str(program))
    files = {Path(module.__file__) for module in finder.modules.values() if module.__file__}
    return {
        str(file.relative_to(folder))
        for file in files
        if file.name != "__init__.py" or file.parent.name == "own"
    }


@pytest.mark.parametrize("program", [*SCRIPTS, *NAMED])
def test_they_are_those_that_python_finds(program: str, compiled: Path) -> None:
    if program in SCRIPTS:
        script, named = ROOT / "scripts" / program, []
    else:
        script, named = ROOT / "scripts" / "draw.py", [program]
        (compiled / "scripts" / "draw_one.py").write_text(
            f"import {program}\n{(compiled / 'scripts' / 'draw.py').read_text()}"
        )
    told = imported_files(FOLDERS, script, *named)
    names = {str(Path(file).relative_to(ROOT)) for file in told}
    copied = compiled / "scripts" / ("draw_one.py" if named else program)
    expected = {name.replace("draw_one", "draw") for name in found(compiled, copied)}
    assert names == expected
    assert len(names) > 1


def test_packages_hold_a_docstring_alone() -> None:
    """So that they need not be among the imports."""
    import ast

    for file in (ROOT / "src" / "gradflow").glob("**/__init__.py"):
        if file.parent.name not in ("gradflow", "own"):
            assert [type(node) for node in ast.parse(file.read_text()).body] == [ast.Expr], file


def test_a_module_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"gradflow\.absent: there is no such module in "):
        imported_files(FOLDERS, "gradflow.absent")
