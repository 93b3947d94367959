"""The computed imports of a program, against Python's own compiler and module finder."""

from __future__ import annotations

import re
import shutil
from modulefinder import ModuleFinder
from pathlib import Path

import pytest
from project import ROOT, new_project, tiny

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
    return {str(file.relative_to(folder)) for file in files if file.name != "__init__.py"}


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
        if file.parent.name != "gradflow":
            assert [type(node) for node in ast.parse(file.read_text()).body] == [ast.Expr], file


def test_a_module_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"gradflow\.absent: there is no such module in "):
        imported_files(FOLDERS, "gradflow.absent")


@pytest.mark.workflow
def test_every_rule_has_what_its_program_imports(tmp_path: Path, compiled: Path) -> None:
    """Each job that a dry-run prints, with its inputs and its command; those that train have
    none.
    """
    project = new_project(tmp_path / "project", tiny)
    output = project.make("-n", "-p", "--quiet", "host", "--", "smoke", "benchmark")
    programs: dict[str, str] = {}
    for block in re.split(r"^(?=(?:local)?rule \w+:$)", output, flags=re.MULTILINE)[1:]:
        rule = re.match(r"\w+ (\w+):", block)[1]
        inputs = re.search(r"^    input: (.*)$", block, flags=re.MULTILINE)
        code = {name for name in inputs[1].split(", ") if name.endswith(".py")} if inputs else set()
        shell = block[block.find("PYTHONPATH=") :]
        command = re.search(r"(?:scripts/(\w+)\.py|-m (benchmark)\b)(?: (gradflow[\w.]+):)?", shell)
        if command is None:
            continue
        programs[rule] = script = command[1] or command[2]
        if script.startswith(("train", "pretrain", "prune", "fetch")):
            # they follow a specification or a checksum, and never the code
            assert code == set(), rule
            continue
        program = compiled / "scripts" / f"of_{rule}.py"
        maker = command[3] or ("" if command[1] else "benchmark.__main__")
        text = (compiled / "scripts" / f"{script}.py").read_text() if command[1] else ""
        program.write_text((f"import {maker}\n" if maker else "") + text)
        expected = found(compiled, program) - {f"scripts/of_{rule}.py"}
        assert code == expected | ({f"scripts/{script}.py"} if command[1] else set()), rule
    assert {"collect_runs", "significance_table", "scorecard", "describe_runs"} < set(programs)
    assert "benchmark" in programs and "train_mlp" in programs
