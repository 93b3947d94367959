"""Every command that README and docs/ name works, run by the real shell in a project where `quick` is small.

What trains for hours is planned (`snakemake -n`). A command that stands in neither list below fails
the test.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from project import ROOT, Project, environment, new_project

from bootstrap import LAUNCH

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
PAGES = sorted(
    path
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    if path.name != "tutorial.md"
)
PROGRAMS = r"gradflow|snakemake|python3?|uv|sbatch|srun"
# in the order in which they are run: what comes first makes what the later ones read
RUN = (
    "snakemake help",
    "snakemake quick",
    "snakemake -n quick",
    "snakemake results/quick/tables/table4.csv",
    """python -c "import pandas; print(pandas.read_csv('results/quick/tables/table4.csv').iloc[4])\"""",
    """python -c "import pandas; print(pandas.read_parquet('results/quick/studies/fashion_mnist_low.parquet')"""
    """.columns.tolist())\"""",
    "snakemake results/quick/figures/flow_over_training/paper/digits/mlp4-relu-adam-lr0.001-BN.pdf",
    "snakemake report_quick",
    "snakemake quick --config partial=true",
    "snakemake report_quick --config partial=true",
    "snakemake bundle_quick",
    "snakemake quick --report bundle.html --report-stylesheet src/gradflow/report/templates/bundle.css",
    "snakemake quick --config figures=double_column",
    "gradflow provenance results/quick/tables/table4.csv --where optimizer=adam regularization=BN",
    "gradflow status",
    "gradflow plan",
    "gradflow plan table3a",
    "snakemake smoke",
    """gradflow provenance results/smoke/tables/table4.csv --where optimizer=adam "regularization=DA BN\"""",
    "gradflow plan overnight --jobs jobs.jsonl",
    "gradflow plan fashion_mnist_reduced --jobs jobs.jsonl",
    "gradflow jobs --jobs jobs.jsonl --results elsewhere --minutes 25",
    "gradflow keep fashion_mnist_reduced",
    "gradflow unpack",
    "snakemake reference",
    "snakemake report_reference",
    "snakemake archive",
    "snakemake bundle_reference",
    "python -m benchmark --help",
    "gradflow status paper",
)
PLANNED = (
    "snakemake overnight",
    "snakemake",
    "snakemake -n",
    "snakemake table3a",
    "snakemake report",
    "snakemake benchmark",
    "snakemake pilot",
    "snakemake quick_methods",
    "snakemake overnight_methods",
    "snakemake assumptions",
    "snakemake results/paper/studies/cifar100_low.parquet",
    "snakemake results/paper/studies/cifar100_low.parquet --batch collect_runs=1/4",
    "snakemake results/overnight/tables/operating_characteristics.html",
)
# where they are run instead
ELSEWHERE = {
    # tests/benchmark/test_cpu_table.py and test_counted.py run smaller ones
    "python -m benchmark.cpu_table": "tests/benchmark/test_cpu_table.py",
    "python -m benchmark.cpu_table --widths 200 --optimizers adam --regularizations BN": "tests/benchmark/test_cpu_table.py",
    "python -m benchmark.counted": "tests/benchmark/test_counted.py",
    "python -m gradflow.training.fused.compiled": "tests/training/test_fused_compiled.py",
    "python3 bootstrap.py snakemake quick": ".ci/run",
    "python3 bootstrap.py": ".ci/run",  # before any of the others
    "python3 bootstrap.py pytest": ".ci/run",
    "gradflow unpack overnight": "tests/report/test_keep_reference.py",
    "gradflow jobs --jobs jobs.jsonl": "tests/workflow/test_job_runner.py",  # half a day
    "snakemake results/data/cifar100.safetensors": "tests/data/test_encoded_images.py",
    "python3 bootstrap.py uv pip install --require-hashes -r envs/slurm.txt": ".ci/run",
    "python tests/cluster/slurm.py start": ".ci/run",
    "snakemake --directory /scratch/me/gradflow quick": "tests/workflow/test_travel.py",
    "snakemake -s /home/me/gradflow/Snakefile quick": "tests/workflow/test_travel.py",
    "snakemake quick --profile profiles/gpu": "tests/workflow/test_profiles.py",
    "snakemake --profile profiles/slurm": "tests/cluster/test_slurm.py",
    "snakemake --profile profiles/cluster-generic": "tests/workflow/test_profiles.py",
    # of the same script, in tests/benchmark/test_benchmark.py
    "python -m benchmark --networks fashion_mnist --optimizers sgd --precisions tf32 --seconds 300": "a GPU",
    "python -m benchmark --networks fashion_mnist cifar100 --stacks 1 10 --seconds 480": "a GPU",
    **{
        f"python examples/{name}.py": "tests/repository/test_examples.py"
        for name in ("masks", "gradient_flow", "comparison")
    },
    "snakemake quick results/quick/figures/flow_over_training/... --report bundle.html": "tests/report/test_report.py",
}


def commands_in(text: str) -> list[str]:
    """The commands of a page: indented lines and inline code that begin with a program, comments left out."""
    indented = re.findall(rf"^    ((?:{PROGRAMS})(?: .*)?)$", text, flags=re.MULTILINE)
    inline = re.findall(rf"`((?:{PROGRAMS})(?: [^`]*)?)`", text)
    found = [re.sub(r"\s{2,}#.*$", "", command).strip() for command in [*indented, *inline]]
    return [
        " ".join(command.split()) for command in found if command not in ("python", "python3", "uv")
    ]


def small(raw: dict[str, Any]) -> None:
    """Networks of a second each, under the names that the pages use."""
    block = {**raw["studies"]["fashion_mnist_low"]["blocks"][0], "optimizers": ["adagrad", "adam"]}
    for name, regularizations in {"quick": ["NR", "BN", "DA_SC_BN"], "smoke": ["DA_BN"]}.items():
        study = {"epochs": 1, "blocks": [{**block, "regularizations": regularizations}]}
        raw["scales"][name] |= {
            "studies": {"fashion_mnist_low": study},
            "max_widths": {"digits": 40},
            "seeds": [0],
        }
    raw["scales"]["fashion_mnist_reduced"] |= {
        "stand_ins": {"fashion_mnist": "digits"},
        "max_widths": {"digits": 40},
        "settings": {"train_images": 400, "probe_images": 100},
        "seeds": [0],
        "studies": {
            "fashion_mnist_low": {"epochs": 1, "blocks": [{**block, "regularizations": ["NR"]}]}
        },
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which nothing was made yet."""
    return new_project(tmp_path_factory.mktemp("docs") / "project", small)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_known_here(page: Path) -> None:
    known = {*RUN, *PLANNED, *ELSEWHERE}
    assert [command for command in commands_in(page.read_text()) if command not in known] == []


def test_no_command_is_left_over() -> None:
    named = {command for page in PAGES for command in commands_in(page.read_text())}
    assert {*RUN, *PLANNED, *ELSEWHERE} - named == set()


def run(project: Project, command: str) -> None:
    launcher = project.folder / "bin" / "gradflow"  # as bootstrap.py writes it
    launcher.parent.mkdir(exist_ok=True)
    launcher.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, 'src')\n{LAUNCH}\n")
    launcher.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", f"PATH=$PWD/bin:$PATH; {command}"], cwd=project.folder, text=True, timeout=300, check=False,
        env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}"


def test_they_work_one_after_another(project: Project) -> None:
    for command in RUN:
        if command.startswith("gradflow jobs"):  # README: the data lies there already
            shutil.copytree(project.results / "data", project.folder / "elsewhere" / "data")
        run(project, command)
        if command.startswith("gradflow jobs"):  # README: logs are dropped back
            shutil.copytree(project.folder / "elsewhere", project.results, dirs_exist_ok=True)
    for file in (
        "bundle.html",
        "results/quick/bundle.html",
        "results/quick/report.html",
        "results/reference/fashion_mnist_reduced/report.html",
    ):
        assert (project.folder / file).stat().st_size > 100_000
    assert (
        project.results / "reference" / "fashion_mnist_reduced" / "tables" / "table4.csv"
    ).exists()


@pytest.mark.parametrize("command", PLANNED)
def test_what_takes_hours_is_planned(project: Project, command: str) -> None:
    run(project, command if command.endswith("-n") else f"{command} -n")


def test_links_and_pictures_are_there() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text()):
            assert os.path.exists(page.parent / link), f"{page.name}: {link}"
