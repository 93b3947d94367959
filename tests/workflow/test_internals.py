"""Snakemake's insides are known in one module; all else keeps to what Snakemake documents."""

from __future__ import annotations

import ast
import re

import pytest
from project import ROOT

from gradflow.workflow.internals import Asked, PlannedJob, Snakemake

ADAPTER = ROOT / "src/gradflow/workflow/internals.py"
PLUGIN = (
    ROOT / "src/snakemake_logger_plugin_gradflow"
)  # which the environment holds, not the project
RULES = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
MODULES = sorted(
    path
    for folder in ("src", "scripts", "benchmark")
    for path in (ROOT / folder).rglob("*.py")
    if path != ADAPTER and PLUGIN not in path.parents
)
# documented for Snakefiles, and the adapter's own argument
OF_WORKFLOW = {"basedir", "current_basedir", "cores"}
OF_SNAKEMAKE = {"snakemake.utils"}
OF_LOGGERS = {"dryrun"}  # in the interface of logger plugins


def inner_names() -> set[str]:
    """The names of Snakemake's that the adapter goes through and does not offer under the same
    name.
    """
    text = ADAPTER.read_text()
    names = set(re.findall(r"(?<=workflow\.)\w+|(?<=\bdag\.)\w+", text))
    offered = {name for kind in (Asked, PlannedJob, Snakemake) for name in dir(kind)}
    fields = {name for kind in (Asked, PlannedJob) for name in kind.__dataclass_fields__}
    return names - offered - fields - OF_LOGGERS


def imported(text: str) -> set[str]:
    found = re.findall(r"^[ \t]*(?:from|import)[ \t]+(snakemake[\w.]*)", text, flags=re.MULTILINE)
    called = re.findall(r"import_module\(\s*[\"'](snakemake\w*)", text)
    return {*found, *called}


def test_the_adapter_is_where_they_are() -> None:
    assert {"is_main_process", "dag_settings", "needrun_jobs", "forcefiles"} < inner_names()


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_rules_go_through_the_adapter(path) -> None:
    text = path.read_text()
    assert imported(text) <= OF_SNAKEMAKE
    used = set(re.findall(r"(?<![\w.])workflow\.(\w+)", re.sub(r"#.*|`[^`]*`", "", text)))
    assert used <= OF_WORKFLOW


def test_modules_go_through_the_adapter() -> None:
    inner = inner_names()
    for path in MODULES:
        text = path.read_text()
        place = path.relative_to(ROOT)
        assert imported(text) == set(), place
        tree = ast.parse(text)
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        if "workflow" in place.parts:
            assert not used & inner, place
        assert not any(str(one).startswith(".snakemake") for one in strings), place
