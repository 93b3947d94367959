"""`pip install .` gives a library that works without the project's folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from project import ROOT

import gradflow

# In another folder: gradient flow, a comparison, the paper's numbers, a plan, a page of HTML.
USE = """
import sys
import gradflow
assert not {"torch", "pandas", "numpy"} & set(sys.modules)
import torch, torch.nn.functional as F
assert "site-packages" in gradflow.__file__, gradflow.__file__
mask = gradflow.random_mask((8, 4), 12, gradflow.stream("mine", 0))
module = torch.nn.Linear(4, 8)
module.weight.data *= mask.float()
batch = torch.rand(16, 4), torch.randint(8, (16,))
flow = gradflow.measure_gradient_flow(module, F.cross_entropy, [batch], masks={"weight": mask})
assert flow.egf(2) > 0
from gradflow.paper.assumptions import ASSUMPTIONS
from gradflow.paper.claims.verdicts import check_published, load_claims
from importlib.resources import files
assert len(gradflow.load_p_values()) == 254 and len(load_claims()) >= 24 and check_published()
assert ASSUMPTIONS.is_file()
assert (files("gradflow.report") / "templates" / "scorecard.html").is_file()
"""
CALLER = """
import gradflow
from gradflow.flow import GradientFlow


def egf(flow: GradientFlow) -> float:
    settings: gradflow.Settings = gradflow.Settings()
    return float(flow.egf(2)) + settings.l2


reveal_type(gradflow.dense_width)
"""


def test_the_public_names() -> None:
    assert 15 <= len(gradflow.__all__) <= 40
    for name in gradflow.__all__:
        assert getattr(gradflow, name).__doc__, name
    assert set(gradflow.__all__) <= set(dir(gradflow))
    with pytest.raises(AttributeError, match="no attribute 'egf'"):
        gradflow.egf  # noqa: B018


def test_the_text_names_each_of_them() -> None:
    assert [name for name in gradflow.__all__ if f"`{name}`" not in str(gradflow.__doc__)] == []


def test_nothing_heavy_is_imported_with_it() -> None:
    code = (
        "import sys, gradflow; print(*{'torch', 'pandas', 'numpy', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); {code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == []


@pytest.mark.slow
def test_installed_into_a_fresh_environment(tmp_path: Path) -> None:
    """Built and installed without dependencies, which the test's own environment lends."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    install = [
        str(Path(sys.executable).parent / "uv"),
        "pip",
        "install",
        "--quiet",
        "--python",
        str(python),
    ]
    made = subprocess.run(
        [*install, "--no-deps", ROOT], capture_output=True, text=True, check=False
    )
    if (
        made.returncode
        and "Failed to resolve requirements from `build-system.requires`" in made.stderr
    ):
        pytest.skip(f"{', '.join(build)} cannot be had here, and no package is built without it")
    assert made.returncode == 0, made.stderr
    lent = sysconfig.get_path("purelib")
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "lent.pth").write_text(f"{lent}\n")

    def run(*words: object) -> str:
        done = subprocess.run(
            [str(word) for word in words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(python, "-c", USE)
    assert (
        run(environment / "bin" / "gradflow", "--version") == f"gradflow {gradflow.__version__}\n"
    )
    shutil.copy(ROOT / "config.yaml", tmp_path)
    plan = run(environment / "bin" / "gradflow", "plan", "table4")
    assert "Left:" in plan
    (tmp_path / "caller.py").write_text(CALLER)
    typed = run(python, "-m", "mypy", "--strict", "--follow-imports=silent", "caller.py")
    assert "def (" in typed and "Any" not in typed.splitlines()[0]
