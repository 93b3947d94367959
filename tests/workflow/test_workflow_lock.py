"""Who takes the lock on the results folder: a snakemake that runs jobs, and only one of them."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest

from gradflow.workflow.lock import HELD, take_results_lock


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(HELD, raising=False)


Take = Callable[..., IO[str] | None]


@pytest.fixture
def take(monkeypatch: pytest.MonkeyPatch) -> Iterator[Take]:
    """What a snakemake of this command line does at its start; locks are released at the test's
    end.
    """
    with ExitStack() as held:

        def take(command: str, main_process: bool = True) -> IO[str] | None:
            monkeypatch.setattr(sys, "argv", ["snakemake", *command.split()])
            lock = take_results_lock(main_process, Path("results"))
            return None if lock is None else held.enter_context(lock)

        yield take


LOOKING = [
    "-n",
        "-np "
        "quick", "-pkn", "-nj1", "--dry-run",
        "--dryrun "
        "quick", "-l", "-S", "--summary", "--list-target-rules",
    "--lint", "--lint=text",
        "--dag "
        "dot", "--d3dag", "--rulegraph", "--unlock", "--report report.html",
]  # fmt: skip
RUNNING = [
    "", "quick", "-call",
        "-c "
        "all quick",
        "-j1 "
        "quick", "-sSnakefile", "-dlunch", "-t", "--debug-dag", "-wn",
    "--strict-dag-evaluation functions", "--report report.html --report-after-run",
]  # fmt: skip


@pytest.mark.parametrize("command", LOOKING)
def test_who_only_looks_needs_no_lock(take: Take, command: str) -> None:
    assert take(command) is None
    assert not Path("results").exists()


@pytest.mark.parametrize("command", RUNNING)
def test_who_runs_jobs_takes_it(take: Take, command: str) -> None:
    stale = Path(".snakemake/locks/0.input.lock")
    stale.parent.mkdir(parents=True)
    stale.touch()
    lock = take(command)
    assert lock is not None
    assert Path("results/.lock").read_text() == f"{os.getpid()} {socket.gethostname()}\n"
    assert not stale.exists()


def test_the_second_is_refused_in_a_line_until_the_first_ends(take: Take) -> None:
    first = take("quick")
    assert first is not None
    with pytest.raises(SystemExit) as refused:
        take("quick")
    assert str(refused.value) == (
        f"Another snakemake (process {os.getpid()}) is running on results/; "
        f"wait for it or stop it with: kill {os.getpid()}. The lock ends with it"
    )
    first.close()
    assert take("quick") is not None


def test_a_process_that_works_for_another_needs_none(
    take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert take("quick", main_process=False) is None
    monkeypatch.setenv(HELD, "1")
    assert take("quick") is None


def test_a_holder_on_another_machine_is_named_with_it(take: Take) -> None:
    first = take("quick")
    assert first is not None
    Path("results/.lock").write_text("123 node7\n")
    with pytest.raises(SystemExit) as refused:
        take("quick")
    assert "(process 123 on node7)" in str(refused.value)
    assert "stop it on node7 with: kill 123" in str(refused.value)
