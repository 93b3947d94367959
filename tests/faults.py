"""What the tests of faults share: a trainer to be killed, and what a run is compared by."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from project import ROOT, STUDY, Project, environment, tiny

from gradflow.study.config_checks import load_config
from gradflow.study.grid import Grid
from gradflow.study.job import Job
from gradflow.training.run_log import read_log
from gradflow.training.train_job import KERNELS
from gradflow.workflow import warm

EPOCHS = 200  # of a job of `job_of` that is met while it trains: a second on a fast machine

# The training script as it is, but for how often it keeps a checkpoint and a moment at which it may
# be made to die: just before it puts its Nth file in its place.
TRAINER = textwrap.dedent(
    """
    import os, signal, sys
    from gradflow.workflow import commands
    from gradflow.workflow import warm

    def train(script, arguments):
        from gradflow.training import train_job as training

        training.CHECKPOINT_SECONDS = float(os.environ["CHECKPOINT_SECONDS"])
        training.CHECKPOINT_SHARE = 1e9
        replace, left = os.replace, [int(os.environ["DIE_AT_FILE"])]

        def replace_or_die(*paths):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(*paths)

        os.replace = replace_or_die
        return loaded[0](script, arguments)

    def load():
        loaded.append(load_scripts())
        return train

    loaded, load_scripts, commands.load_scripts = [], commands.load_scripts, load
    if len(sys.argv) == 2:
        warm.serve(sys.argv[1], load)
    else:
        sys.exit(commands.training_command("train_mlp", None))
    """
)


def one_table(raw: dict[str, Any]) -> None:
    """A tiny configuration with a table alone: figures take longer than training."""
    tiny(raw)
    raw["artifacts"] = {"table4": raw["artifacts"]["table4"]}


def job_of(project: Project, epochs: int, batch_size: int = 128) -> Job:
    """The first job of a tiny project, at so many epochs."""
    raw = project.config()
    raw["scales"]["smoke"]["studies"][STUDY]["epochs"] = epochs
    raw["scales"]["smoke"]["settings"]["batch_size"] = batch_size
    return next(iter(Grid(load_config(raw)).jobs("smoke").values()))


@dataclass(frozen=True)
class Trainer:
    """Starts training processes, forked by a warm trainer or not."""

    settings: dict[str, str] = field(default_factory=dict)

    def start(
        self, job: Job, results: Path, seconds: float = 0.1, die_at: int = 0
    ) -> subprocess.Popen[str]:
        """Start the script; with a warm trainer, this is the process that stands for the one which
        trains.
        """
        return subprocess.Popen(
            [sys.executable, "-c", TRAINER, "--job", job.to_json(), "--results", str(results)],
            env={
                **environment(), **self.settings, "PYTHONPATH": str(ROOT / "src"),
                "CHECKPOINT_SECONDS": str(seconds), "DIE_AT_FILE": str(die_at),
            },
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, job: Job, results: Path, **options: Any) -> tuple[int, str]:
        """Run the script to its end; its exit code, and what it said."""
        process = self.start(job, results, **options)
        _, said = process.communicate(timeout=300)
        return process.returncode, said


@contextmanager
def warm_trainer(folder: Path) -> Iterator[Trainer]:
    """A trainer whose processes fork from one that has imported torch."""
    folder.mkdir()
    listening = folder / "socket"
    server = subprocess.Popen(
        [sys.executable, "-c", TRAINER, str(listening)],
        stdin=subprocess.PIPE,
        env={**environment(), "PYTHONPATH": str(ROOT / "src")},
    )
    try:
        while not listening.exists():
            assert server.poll() is None
            os.sched_yield()
        yield Trainer({warm.TRAINER: str(listening)})
    finally:
        assert server.stdin
        server.stdin.close()
        assert server.wait(300) == 0


def with_data(project: Project, results: Path) -> Path:
    """A results folder with a finished project's data and choice of kernels alone."""
    shutil.copytree(project.results / "data", results / "data")
    share_kernels(project.results, results)
    return results


def share_kernels(chosen: Path, results: Path) -> None:
    """Let jobs of a results folder take the kernels of another: each chooses by its own
    measurements else.
    """
    if (chosen / KERNELS).exists():  # without a compiler there is no choice
        shutil.copy2(chosen / KERNELS, results / KERNELS)


def rows_of(log: Path) -> str:
    """A log's rows as text, in which a NaN equals another, and what it says of itself but for the
    time it took.
    """
    table = read_log(log)
    identity = [
        table.schema.metadata.get(key)
        for key in (b"spec", b"engine_version", b"device", b"device_type")
    ]
    return repr((identity, table.to_pydict()))


def state_of(results: Path) -> dict[str, str | bytes]:
    """What must be the same whatever happened on the way: logs by their rows, tables and data by
    their bytes.

    Provenance is compared without the seconds that runs took. What a living process is writing has
    a name of its own, with a dot in front, and is left out; `leftovers` finds it where nobody
    lives. What was moved aside is no result.
    """
    found: dict[str, str | bytes] = {}
    for path in sorted(results.rglob("*")):
        name = path.relative_to(results).as_posix()
        if path.name.startswith(".") or "/superseded/" in name or "/damaged/" in name:
            continue
        if path.suffix == ".parquet" and "/runs/" in name:
            found[name] = rows_of(path)
        elif "/provenance/" in name:
            found[name] = repr(pq.read_table(path).drop_columns(["seconds"]).to_pydict())
        elif path.suffix in (".parquet", ".csv") or name.startswith("data/"):
            found[name] = path.read_bytes()
    return found


def waiting(lock: Path) -> int:
    """How many processes wait for a lock that another holds."""
    held = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return sum(words[6].endswith(f":{lock.stat().st_ino}") for words in held)


def leftovers(results: Path) -> list[str]:
    """Checkpoints and half-written files; a finished job leaves none."""
    files = [path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file()]
    return [
        name
        for name in files
        if not name.endswith((".lock", "costs.jsonl")) and ("/." in name or "/state/" in name)
    ]


def trainers(project: Project) -> list[int]:
    """The processes that train for a project, which lies in their command line or working
    folder.
    """
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and (folder / "cwd").readlink() == project.folder:
                command = (folder / "cmdline").read_bytes()
                if b"train_mlp.py" in command or b"gradflow.workflow.warm" in command:
                    found.append(int(folder.name))
        except OSError:
            continue
    return found


def signal_all(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)
