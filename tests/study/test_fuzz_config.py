"""Any text for config.yaml: it is a configuration, or it is refused in sentences. Never anything
else.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from project import ROOT, Project, new_project, tiny
from snakemake.common.configfile import _load_configfile

from gradflow.study.config import ConfigError
from gradflow.study.config_checks import load_config
from gradflow.study.config_file import check_config_file
from gradflow.study.grid import Grid

SMALL: dict[str, Any] = Project(ROOT).config()
tiny(SMALL)
SMALL["studies"] = {name: SMALL["studies"][name] for name in ("fashion_mnist_low",)}
SMALL["scales"] = {"smoke": SMALL["scales"]["smoke"]}
SMALL["artifacts"] = {name: SMALL["artifacts"][name] for name in ("table4", "figure14")}
LINES = yaml.safe_dump(SMALL, sort_keys=False).splitlines()

PIECES = [
    "\t", "\0", "\x85", "é", "\ud7ff", "{", "}", "[", "]", ":", "- ", "&a ", "*a",
    "&a [*a]", "!!python/name:os.system ''",
    "!!int x", "!!float ''", "!!timestamp x", "!!binary é", "!!set {a}", "!!omap [a]",
    "2021-99-99", "1e999", ".nan", "0x_",
    "'", '"',
        "%YAML "
        "9", "---", "...", "|", ">", "?", "<<: 3", "<<: {a: 1}", "=", "~", "no", "1:99:99",
        "9" * 5000,
    "[" * 3000, "__use_yte__: true", "? [a, b]", "  " * 30,
]  # fmt: skip


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """The lines of a small configuration, with some changed."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        line, piece = lines[place], draw(st.sampled_from(PIECES))
        column = draw(st.integers(0, len(line)))
        match draw(st.sampled_from(["insert", "line", "value", "drop", "indent", "double", "cut"])):
            case "insert":
                lines[place] = line[:column] + piece + line[column:]
            case "line":
                lines.insert(place, piece)
            case "value":
                lines[place] = f"{line.partition(':')[0]}: {piece}"
            case "drop":
                del lines[place]
            case "indent":
                lines[place] = " " * draw(st.integers(1, 3)) + line
            case "double":
                lines.insert(place, line)
            case "cut":
                lines[place] = line[:column]
    content = "\n".join(lines).encode()
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(content) - 1))
        content = content[:place] + b"\xff" + content[place:]
    return content


@settings(max_examples=250, suppress_health_check=list(HealthCheck), derandomize=True)
@given(texts())
def test_any_text_is_a_configuration_or_refused_in_sentences(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    for line in refusal(path):
        assert ": " in line and len(line) < 1000 and line.isprintable(), line


def refusal(path: Path) -> list[str]:
    """What is said of a file, or nothing: the Snakefile lets Snakemake read what has passed the
    check.
    """
    try:
        check_config_file(path)
        Grid(load_config(_load_configfile(io.StringIO(path.read_bytes().decode())))).check()
    except UnicodeError:
        raise
    except (ConfigError, ValueError) as error:
        return str(error).split("\n")
    return []


FOUND = {  # what was a traceback once, and one of each other kind
    "a date that is none": ("title: ", "title: 2021-99-99 #"),
    "a number of 5,000 digits": ("epochs: 1\n", f"epochs: {'9' * 5000}\n"),
    "a list in itself": ("percents:\n", "percents: &a [*a]\nrest:\n"),
    "brackets without end": ("percents:\n", f"percents: {'[' * 3000}\n"),
    "a tag of another kind": ("epochs: 1\n", "epochs: !!int x\n"),
    "a byte that is no text": ("title: ", "title: \udcff"),
}


@pytest.mark.workflow
@pytest.mark.parametrize(("old", "new"), FOUND.values(), ids=FOUND)
def test_no_traceback_through_snakemake(tmp_path: Path, old: str, new: str) -> None:
    project = new_project(tmp_path / "project", tiny)
    file = project.folder / "config.yaml"
    text = file.read_text()
    assert old in text
    file.write_bytes(text.replace(old, new, 1).encode(errors="surrogateescape"))
    code, output = project.snakemake("-n", "smoke")
    assert code == 1
    assert "The configuration is wrong; nothing was started." in output
    assert "Traceback" not in output and 'File "' not in output
