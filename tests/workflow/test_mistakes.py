"""Likely mistakes at the command line: each is answered by a sentence that names the thing and says
what to do.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from project import GRADFLOW, ROOT, SNAKEMAKE, STUDY, Project, environment, new_project

from gradflow.study.config_file import read_config
from gradflow.study.grid import Grid
from gradflow.workflow.mistakes import MistakeError, check_settings
from gradflow.workflow.target_names import wrong_target

BOOTSTRAP = (sys.executable, "bootstrap.py")
STATUS = (*GRADFLOW, "status")
SNAKE = (str(SNAKEMAKE),)
RUNS = "results/quick/runs/paper/digits"
# root writes everywhere but without this
UNPRIVILEGED = (
    ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.getuid() == 0 else ()
)

MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "target": ((*SNAKE, "tabel4"), "There is no target tabel4; did you mean table4?"),
    "report of nothing": (
        (*SNAKE, "quick", "--report", "report.html"),
        "results/quick/tables/table1.csv is not made yet; snakemake bundle_quick makes what is "
        "missing and then that report",
    ),
    "cores": (
        (*SNAKE, "--cores", "0", "quick"),
        "--cores 0 lets no job run; name 1 or more, or leave the option out",
    ),
    "status": ((*STATUS, "quik"), "there is no scale quik; did you mean quick?"),
    "config file": (
        (*BOOTSTRAP, "snakemake", "--configfile", "confg.yaml", "quick"),
        "--configfile confg.yaml: there is no such file; did you mean config.yaml?",
    ),
    "profile": (
        (*BOOTSTRAP, "snakemake", "--profile", "profiles/slrum"),
        "--profile profiles/slrum: there is no such profile; did you mean profiles/slurm?",
    ),
    "executor": (
        (*BOOTSTRAP, "snakemake", "--profile=profiles/slurm", "quick"),
        "Executor slurm is not installed; once: python3 bootstrap.py uv pip install "
        "--require-hashes -r envs/slurm.txt",
    ),
}


# targets, and how the sentence goes on
NEAREST = {
    "quik": "; did you mean quick?",
    "results/quick/tables/tabel4.csv": "; did you mean results/quick/tables/table4.csv?",
    "report_quik": "; did you mean report_quick?",
    "refrence": "; did you mean reference?",
    "figure25": "; did you mean figure5?",
    "xyz": "; snakemake help lists the targets",
    STUDY: f"; it is a study, and its runs are results/paper/studies/{STUDY}.parquet",
    "results/quick/figures/table4.csv": "; did you mean results/quick/tables/table4.csv?",
    "./results/quick/reprot.html": "; did you mean results/quick/report.html?",
    "results/quik/tables/table4.csv": ": results/ has no scale quik; did you mean "
    "results/quick/tables/table4.csv?",
    "results/quick/tables/table3a.csv": ": scale quick has no table3a; scales paper, overnight and "
    "smoke have it",
    f"{RUNS}/mlp4-relu-adma-lr0.001-NR/seed0/dense-w10.parquet": (
        f"; did you mean {RUNS}/mlp4-relu-adam-lr0.001-NR/seed0/dense-w10.parquet?"
    ),
    "results/quick/tables": "; snakemake help lists the targets",
    f"{RUNS}/mlp4-relu-adam-lr0.001-NR/seed0/dense-w10.parquet": "",
    "results/reference/tables/tabel4.csv": ": snakemake reference makes all that is kept there",
}


@pytest.mark.parametrize(("target", "sentence"), NEAREST.items())
def test_the_nearest_target_is_named(target: str, sentence: str) -> None:
    grid = Grid(read_config(ROOT / "config.yaml"))
    said = wrong_target(grid, "reference", target)
    assert said == (
        f"There is no target {target}{sentence}"
        if sentence
        else f"{target} is made by training, which partial=true leaves out"
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One project for all mistakes: none of them leaves anything behind."""
    project = new_project(tmp_path_factory.mktemp("mistakes") / "project")
    shutil.copy2(ROOT / "bootstrap.py", project.folder)
    return project


def answer(folder: Path, command: tuple[str, ...]) -> list[str]:
    """The lines that a person sees."""
    done = subprocess.run(
        command, cwd=folder, env=environment(ROOT if command[1:] and command[1] == "-m" else None),
        text=True, timeout=300, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout and 'File "' not in done.stdout, done.stdout
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("GRADFLOW_DEVICE", "gpu", "GRADFLOW_DEVICE is gpu; it may be auto, cpu, cuda or cuda:N"),
        (
            "GRADFLOW_DATA",
            "/nowhere",
            "GRADFLOW_DATA is /nowhere, which is no folder; correct the name, or unset it",
        ),
    ],
)
def test_a_wrong_environment_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(MistakeError) as refused:
        check_settings(2, None, runs_here=True)
    assert str(refused.value) == sentence


@pytest.mark.workflow
@pytest.mark.parametrize(("command", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_answered_by_a_sentence_at_the_end(
    project: Project, command: tuple[str, ...], sentence: str
) -> None:
    lines = answer(project.folder, command)
    assert lines[-1] == sentence
    made = [path for path in project.folder.rglob("results/**/*") if path.name != ".lock"]
    assert made == [] and not (project.folder / ".venv").exists()


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADFLOW_DEVICE", "cuda")
    sentence = "GRADFLOW_DEVICE is cuda, but this machine has no GPU with a driver; use auto or cpu"
    with pytest.raises(MistakeError, match=sentence):
        check_settings(2, None, runs_here=True)


@pytest.mark.workflow
@pytest.mark.slow
@pytest.mark.skipif(
    UNPRIVILEGED != () and not shutil.which("setpriv"), reason="root, and no setpriv"
)
@pytest.mark.parametrize("options", [(), ("-n",)], ids=["run", "dry-run"])
def test_a_folder_that_cannot_be_written(tmp_path: Path, options: tuple[str, ...]) -> None:
    project = new_project(tmp_path / "project")
    project.folder.chmod(0o555)
    try:
        lines = answer(project.folder, (*UNPRIVILEGED, *SNAKE, *options, "quick"))
    finally:
        project.folder.chmod(0o755)
    what = (
        f"{project.folder}/.snakemake cannot be written"
        if options
        else "results/ cannot be written"
    )
    assert (
        lines[-1].startswith(f"{what} (Permission denied); ")
        and "run in another folder" in lines[-1]
    )


@pytest.mark.workflow
@pytest.mark.slow
def test_a_data_set_that_is_nowhere(tmp_path: Path) -> None:
    """A folder without it, no package of CIFAR, and an address that leads nowhere."""
    project = new_project(tmp_path / "project")
    source = project.folder / "src" / "gradflow" / "data" / "store.py"
    text = source.read_text()
    assert "        base = source.url\n" in text
    text = text.replace(
        "        base = source.url\n", '        source.url = base = "http://127.0.0.1:9/a.tar.gz"\n'
    )
    source.write_text(text)
    lines = answer(
        project.folder,
        ("env", f"GRADFLOW_DATA={tmp_path}", *SNAKE, "results/data/cifar10.safetensors"),
    )
    said = next(line for line in lines if line.startswith("  fetch_dataset: "))
    assert "cifar10 was not found" in said and "Connection refused" in said
    assert "set GRADFLOW_DATA to a folder that holds cifar-10-python.tar.gz, or a lossless" in said


def bootstrap(folder: Path, before: str, *command: str) -> str:
    """The answer of bootstrap.py in a Python that `before` has changed."""
    code = f"import runpy, sys; {before}; sys.argv = ['bootstrap.py', *{command!r}]; "
    code += f"runpy.run_path({str(folder / 'bootstrap.py')!r}, run_name='__main__')"
    return "\n".join(answer(folder, (sys.executable, "-c", code)))


def test_bootstrap_refuses_an_old_python_in_syntax_that_it_reads(project: Project) -> None:
    ast.parse((ROOT / "bootstrap.py").read_text(), feature_version=(3, 6))
    said = bootstrap(
        project.folder, "sys.version_info = (3, 8, 10, 'final', 0)", "snakemake", "quick"
    )
    assert said == "gradflow needs Python 3.11 or newer; this is 3.8. Try: python3.11 bootstrap.py"


def test_bootstrap_without_pip(project: Project) -> None:
    said = bootstrap(project.folder, "sys.modules['ensurepip'] = None", "snakemake", "quick")
    assert said.endswith("on Debian and Ubuntu first: apt-get install python3-venv")
    assert not (project.folder / ".venv").exists()


def test_bootstrap_in_another_folder(project: Project, tmp_path: Path) -> None:
    lines = answer(
        tmp_path, (sys.executable, str(project.folder / "bootstrap.py"), "snakemake", "quick")
    )
    assert lines == [f"There is no Snakefile in {tmp_path}; first: cd {project.folder}"]
