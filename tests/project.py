"""A copy of the project in a folder of its own, in which tests run the real snakemake."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
PARTS = (
    "Snakefile",
    "config.yaml",
    "rules",
    "scripts",
    "benchmark",
    "src",
    "own",
    "profiles",
    "envs",
)
SNAKEMAKE = Path(sys.executable).parent / "snakemake"
GRADFLOW = (sys.executable, "-m", "gradflow")  # with `environment(folder)`
STUDY = "fashion_mnist_low"
TABLE = f"results/smoke/studies/{STUDY}.parquet"

Edit = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class Planned:
    """The jobs that `snakemake -n` names: how many of each rule, and the wildcards of each."""

    counts: Counter[str] = field(default_factory=Counter)
    jobs: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def of(self, rule: str) -> list[dict[str, str]]:
        """The wildcards of a rule's jobs."""
        return [wildcards for name, wildcards in self.jobs if name == rule]

    @property
    def rules(self) -> set[str]:
        """The rules with jobs, targets left out."""
        return set(self.counts) - {"smoke", "quick", "paper", "all"}


@dataclass(frozen=True)
class Project:
    """A project folder."""

    folder: Path

    @property
    def results(self) -> Path:
        """The results folder."""
        return self.folder / "results"

    def config(self) -> dict[str, Any]:
        """What config.yaml says."""
        return yaml.safe_load((self.folder / "config.yaml").read_text())

    def edit_config(self, edit: Edit) -> None:
        """Change config.yaml; comments are lost."""
        raw = self.config()
        edit(raw)
        (self.folder / "config.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))

    def files(self, *patterns: str) -> list[Path]:
        """The files of the project that match, at least one for each pattern."""
        found = [
            sorted(path for path in self.folder.glob(pattern) if path.is_file())
            for pattern in patterns
        ]
        assert all(found), f"no file matches one of {patterns}"
        return [path for paths in found for path in paths]

    def snakemake(self, *arguments: str) -> tuple[int, str]:
        """Run snakemake; return its exit code and all that stands on the terminal."""
        done = subprocess.run(
            [SNAKEMAKE, *arguments], cwd=self.folder, env=environment(), text=True, timeout=800,
            check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.returncode, done.stdout

    @contextmanager
    def running(self, *arguments: str, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Start snakemake; at the end of the block it is killed with all its jobs, if they still
        live.
        """
        process = subprocess.Popen(
            [SNAKEMAKE, *arguments], cwd=self.folder, env=environment(), start_new_session=True,
            **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams},
        )  # fmt: skip
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def make(self, *targets: str) -> str:
        """Run snakemake, which must succeed."""
        code, output = self.snakemake(*targets)
        assert code == 0, output
        return output

    def plan(self, target: str = "smoke") -> Planned:
        """What `snakemake -n` would run."""
        return parse_plan(self.make("-n", target, "--quiet", "host"))


def environment(folder: Path | None = None) -> dict[str, str]:
    """The environment of a person who has set up the project: its programs first, and no settings.

    Args:
        folder: of the project whose library GRADFLOW is to run; None where it does not run.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("GRADFLOW_", "SNAKEMAKE_"))
    }
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
        "GRADFLOW_DEVICE": "cpu",
        **({"PYTHONPATH": str(folder / "src")} if folder else {}),
    }


def parse_plan(output: str) -> Planned:
    """Read the output of a dry-run; it fails on anything that it does not know.

    The table of counts and the list of jobs are both read, and must agree.
    """
    if "Nothing to be done" in output:
        assert "Job stats" not in output
        return Planned()
    table = re.search(
        r"^Job stats:\njob +count\n[- ]+\n((?:\w+ +\d+\n)+)", output, flags=re.MULTILINE
    )
    assert table, output
    counts = Counter(
        {name: int(count) for name, count in (line.split() for line in table[1].splitlines())}
    )
    total = counts.pop("total")
    assert total == counts.total()
    jobs = []
    for block in re.split(r"^(?=(?:local)?(?:rule|checkpoint) \w+:$)", output, flags=re.MULTILINE)[
        1:
    ]:
        rule = re.match(r"\w+ (\w+):", block)
        assert rule
        wildcards = re.search(r"^    wildcards: (.*)$", block, flags=re.MULTILINE)
        pairs = wildcards[1].split(", ") if wildcards else []
        jobs.append((rule[1], dict(pair.split("=", 1) for pair in pairs)))
    assert Counter(rule for rule, _ in jobs) == counts, output
    return Planned(counts, jobs)


def new_project(folder: Path, edit: Edit | None = None) -> Project:
    """Copy the project without its results into `folder`."""
    folder.mkdir(parents=True)
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(
                ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy2(ROOT / part, folder / part)
    project = Project(folder)
    if edit is not None:
        project.edit_config(edit)
    return project


def copy_of(project: Project, folder: Path) -> Project:
    """Copy a project with its results, times and Snakemake's records, which know relative paths
    alone.
    """
    shutil.copytree(project.folder, folder, copy_function=shutil.copy2)
    return Project(folder)


def tiny(raw: dict[str, Any]) -> None:
    """Cut a configuration down to a job of a second: scale smoke, one small MLP, one seed, one
    epoch.
    """
    smoke = raw["scales"]["smoke"]
    smoke["studies"] = {STUDY: {**smoke["studies"][STUDY], "epochs": 1}}
    block = {
        **raw["studies"][STUDY]["blocks"][0],
        "depths": [1],
        "optimizers": ["adam"],
        "regularizations": ["NR"],
    }
    smoke["studies"][STUDY]["blocks"] = [block]
    raw["artifacts"] = {name: raw["artifacts"][name] for name in ("table4", "figure15", "figure14")}


def wait_for(condition: Callable[[], object], seconds: float = 600) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.05)


def plant_failure(project: Project) -> Callable[[], object]:
    """Make every job of momentum fail when it loads its data; the function that is returned mends
    it.
    """
    source = project.folder / "src" / "gradflow" / "training" / "train_job.py"
    whole, place = source.read_text(), "def load_job_data(job: Job, results: Path) -> ImageData:\n"
    assert place in whole
    planted = 'if job.configuration.optimizer == "momentum": raise ValueError("planted failure")'
    source.write_text(whole.replace(place, f"{place}    {planted}\n"))
    return lambda: source.write_text(whole)
