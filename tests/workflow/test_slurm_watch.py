"""SLURM that fails, hangs, lies or forgets: every job ends in Snakemake, too. Without a SLURM, by
fake commands.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradflow.workflow import slurm_watch
from gradflow.workflow.slurm_watch import (
    GONE_AFTER,
    LOST_AFTER,
    TRUSTED_AGE,
    SlurmWatch,
    flock_sentences,
    min_job_age,
    preflight,
    queued_jobs,
)


@dataclass
class Executor:
    """As Snakemake's: it yields what still runs, and when its query fails it yields nothing at
    all.
    """

    states: list[dict[str, str] | None]  # what each query tells; None: it fails
    succeeded: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def report_job_success(self, job: Any) -> None:
        self.succeeded.append(job.external_jobid)

    def report_job_error(self, job: Any, msg: str = "") -> None:
        self.failed.append(job.external_jobid)

    async def ask(self, jobs: list[Any]) -> Any:
        told = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if told is None:
            return
        for job in jobs:
            match told.get(job.external_jobid):
                case "COMPLETED":
                    self.report_job_success(job)
                case "FAILED":
                    self.report_job_error(job)
                case _:
                    yield job


def job(number: str, *output: Path) -> Any:
    return SimpleNamespace(
        external_jobid=number, job=SimpleNamespace(output=[str(path) for path in output])
    )


def rounds(watch: SlurmWatch, executor: Executor, jobs: list[Any], most: int = 20) -> int:
    """Check until no job is left, as Snakemake does; how many checks it took."""

    async def check(left: list[Any]) -> list[Any]:
        return [one async for one in watch.check(executor, Executor.ask, left)]

    for count in range(most):
        if not jobs:
            return count
        jobs = asyncio.run(check(jobs))
    return most


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, **commands: str) -> None:
    """Commands of these names, each a line of shell, and no others of SLURM."""
    for name, line in commands.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_query_that_fails_loses_no_job(tmp_path: Path) -> None:
    """The executor alone would wait for ever: it yields none of them."""
    said: list[str] = []
    executor = Executor([None, None, {"1": "RUNNING", "2": "COMPLETED"}, {"1": "COMPLETED"}])
    answers: list[set[str] | None] = [None, None, {"1"}]
    watch = SlurmWatch(said.append, lambda _: answers.pop(0))
    assert rounds(watch, executor, [job("1"), job("2")]) == 4
    assert (executor.succeeded, executor.failed) == (["2", "1"], [])
    assert said == [
        "SLURM does not answer; its jobs are waited for, and it is asked again",
        "SLURM answers again",
    ]


@pytest.mark.parametrize("there", [True, False])
def test_a_job_that_left_the_queue_unseen_ends(tmp_path: Path, there: bool) -> None:
    """`sacct` without accounts tells of none, for ever."""
    output = tmp_path / "log.parquet"
    if there:
        output.touch()
    said: list[str] = []
    executor = Executor([{}])
    watch = SlurmWatch(said.append, lambda _: set())
    assert rounds(watch, executor, [job("7", output)]) == (GONE_AFTER if there else LOST_AFTER)
    assert (executor.succeeded, executor.failed) == ((["7"], []) if there else ([], ["7"]))
    assert len(said) == there


def test_files_that_appear_late_are_waited_for(tmp_path: Path) -> None:
    output, asked = tmp_path / "log.parquet", []

    def queued(_: Sequence[str]) -> set[str]:
        asked.append(1)
        if len(asked) == LOST_AFTER - 1:
            output.touch()
        return set()

    executor = Executor([{}])
    rounds(SlurmWatch(lambda _: None, queued), executor, [job("7", output)])
    assert (executor.succeeded, executor.failed) == (["7"], [])


def test_a_requeued_job_that_was_away_for_a_moment_goes_on(tmp_path: Path) -> None:
    answers: list[set[str]] = [set(), set(), {"7"}, set(), set(), {"7"}, {"7"}]
    executor = Executor([{}, {}, {}, {}, {}, {}, {"7": "COMPLETED"}])
    rounds(SlurmWatch(lambda _: None, lambda _: answers.pop(0)), executor, [job("7")])
    assert (executor.succeeded, executor.failed) == (["7"], [])


@pytest.mark.parametrize("error", [OSError("gone"), UnboundLocalError("status"), ValueError("x")])
def test_an_executor_that_stumbles_is_asked_again(error: Exception) -> None:
    class Stumbling(Executor):
        async def ask(self, jobs: list[Any]) -> Any:
            raise error
            yield

    async def check() -> list[Any]:
        watch = SlurmWatch(said.append, lambda numbers: set(numbers))
        return [one async for one in watch.check(Stumbling([]), Stumbling.ask, [job("1")])]

    said: list[str] = []
    assert [one.external_jobid for one in asyncio.run(check())] == ["1"]
    assert "asking again" in said[0]


STATE = st.sampled_from(["RUNNING", "PENDING", "COMPLETED", "FAILED", ""])
TOLD = st.none() | st.dictionaries(st.sampled_from("123"), STATE, max_size=3)
QUEUE = st.none() | st.sets(st.sampled_from("123"))


@given(st.lists(TOLD, max_size=8), st.lists(QUEUE, max_size=8), st.sets(st.sampled_from("123")))
def test_whatever_slurm_tells_each_job_ends_once(told, queues, there) -> None:
    """Once SLURM answers truly again (the queue is empty, the states unknown) every job has one
    end.
    """
    executor = Executor([*told, {}])
    answers = list(queues)
    watch = SlurmWatch(lambda _: None, lambda _: answers.pop(0) if answers else set())
    jobs = [job(number, Path("/" if number in there else "/no/such/file")) for number in "123"]
    assert rounds(watch, executor, jobs, most=40) < 40
    assert sorted(executor.succeeded + executor.failed) == ["1", "2", "3"]


# --- the queue, by fake commands ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("squeue", "known"),
    [
        ("echo '7|7'; echo '8_3|8'", {"7", "8_3"}),
        ("printf ''", set()),
        ("echo nonsense; echo '|'; echo '77|77'", set()),
        ("printf '\\377\\376|7\\n'", {"7"}),
        ("echo '7|7'; exit 1", None),
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", None),
        ("exec sleep 60", None),
        ("kill -9 $$", None),
    ],
    ids=["two", "none", "lies", "bytes", "fails after a part", "down", "hangs", "dies"],
)
def test_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, squeue: str, known: set[str] | None
) -> None:
    monkeypatch.setattr(slurm_watch, "TIMEOUT", 1.0)
    fake(tmp_path, monkeypatch, squeue=squeue)
    assert queued_jobs(["7", "8_3"]) == known


def test_without_squeue_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert queued_jobs(["7"]) is None


def test_one_failed_scontrol_does_not_send_the_executor_to_sacct() -> None:
    answers: list[int | None] = [None, 300, None, None, 120, None]
    age = min_job_age(lambda: answers.pop(0))
    assert [age() for _ in range(6)] == [TRUSTED_AGE, 300, 300, 300, 120, 120]


# --- before anything is sent ----------------------------------------------------------------------

CONFIG = (
    "echo 'AccountingStorageType   = accounting_storage/{}'; echo 'MinJobAge               = {} "
    "sec'"
)


@pytest.mark.parametrize(
    ("scontrol", "command", "said"),
    [
        (CONFIG.format("none", 300), "squeue", ""),
        (CONFIG.format("slurmdbd", 300), "sacct", ""),
        (CONFIG.format("slurmdbd", 2), "sacct", ""),
        (CONFIG.format("none", 300), None, ""),
        (CONFIG.format("none", 300), "sacct",
            "keeps no accounts, so sacct knows no job; set "
            "slurm-status-command: squeue"),
        (CONFIG.format("none", 30), "squeue",
         "set seconds-between-status-checks: 10 in the profile"),
        (CONFIG.format("none", 2), "squeue", "set seconds-between-status-checks: 1 in the profile"),
        ("exit 1", "squeue", "SLURM does not answer (scontrol show config)"),
        ("exec sleep 60", "squeue", "SLURM does not answer (scontrol show config)"),
        ("echo nonsense", "squeue", ""),
    ],
)  # fmt: skip
def test_preflight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scontrol: str, command: str | None, said: str
) -> None:
    monkeypatch.setattr(slurm_watch, "TIMEOUT", 1.0)
    fake(tmp_path, monkeypatch, scontrol=scontrol, sbatch="exit 0")
    found = preflight(command, 20, tmp_path)
    assert [said in sentence for sentence in found] == ([True] if said else [])


def test_advice_on_status_checks_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does as the sentence says is not told another one."""
    for age in (3, 10, 30):
        fake(tmp_path, monkeypatch, scontrol=CONFIG.format("none", age), sbatch="exit 0")
        [sentence] = preflight("squeue", 20, tmp_path)
        advised = float(sentence.rpartition("checks: ")[2].split()[0])
        assert preflight("squeue", advised, tmp_path) == []


def test_without_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, monkeypatch, scontrol=CONFIG.format("none", 300))
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin") if not Path("/bin/sbatch").exists() else None
    if not Path("/bin/sbatch").exists():
        assert "no sbatch here" in preflight("squeue", 20, tmp_path)[0]


@pytest.mark.parametrize(
    ("mount", "local"),
    [
        ("server:/x {} nfs4 rw,vers=4.2,local_lock=none 0 0", False),
        ("server:/x {} nfs rw,vers=3,local_lock=none 0 0", False),
        ("server:/x {} nfs rw,vers=3,nolock,local_lock=all 0 0", True),
        ("server:/x {} nfs4 rw,local_lock=flock 0 0", True),
        ("mds@tcp:/x {} lustre rw,flock,user_xattr 0 0", False),
        ("mds@tcp:/x {} lustre rw,localflock 0 0", True),
        ("mds@tcp:/x {} lustre rw,noflock 0 0", True),
        ("/dev/sda1 {} ext4 rw 0 0", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_where_locks_hold_on_one_node_alone(tmp_path: Path, mount: str, local: bool) -> None:
    folder = tmp_path / "a project" / "results"
    folder.mkdir(parents=True)
    mounts = tmp_path / "mounts"
    point = str(folder.parent).replace(" ", "\\040")
    mounts.write_text(f"/dev/root / ext4 rw 0 0\n{mount.format(point)}\n")
    said = flock_sentences(folder, mounts)
    assert len(said) == local
    assert not local or str(folder.parent) in said[0]


def test_the_executor_that_is_installed_has_what_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin's own check, whose query fails twice and then knows of no job."""
    plugin = pytest.importorskip("snakemake_executor_plugin_slurm")
    fake(
        tmp_path, monkeypatch,
        scontrol="exit 1", sacct="exit 1", squeue=f"test -e {tmp_path}/up && printf '' || exit 1",
    )  # fmt: skip
    ask, age = plugin.Executor.check_active_jobs, plugin.get_min_job_age
    said: list[str] = []
    monkeypatch.setattr(plugin.Executor, "check_active_jobs", ask)
    monkeypatch.setattr(plugin, "get_min_job_age", age)
    slurm_watch.watch_slurm(said.append)
    executor = plugin.Executor.__new__(plugin.Executor)
    done: list[str] = []
    settings = SimpleNamespace(
        status_attempts=1, init_seconds_before_status_checks=1, status_command="squeue"
    )
    executor.__dict__.update(
        workflow=SimpleNamespace(executor_settings=settings), run_uuid="x",
        report_job_success=lambda job: done.append(job.external_jobid), report_job_error=None,
        logger=SimpleNamespace(**dict.fromkeys(("debug", "info", "warning", "error"),
                                               lambda *_: None)),
        get_status_command=lambda: "squeue", _status_query_failures=0, _status_query_calls=0,
        _status_query_total_seconds=0.0, _status_query_min_seconds=None,
        _status_query_max_seconds=0.0,
        _status_query_cycle_rows=[], _preemption_warning=False,
        _next_seconds_between_status_checks=1,
    )  # fmt: skip

    class Limiter:
        async def __aenter__(self) -> None: ...
        async def __aexit__(self, *_: object) -> None: ...

    monkeypatch.setattr(plugin.Executor, "status_rate_limiter", Limiter(), raising=False)

    async def check(jobs: list[Any]) -> list[Any]:
        return [one async for one in executor.check_active_jobs(jobs)]

    one = SimpleNamespace(external_jobid="7", aux={}, job=SimpleNamespace(output=[str(tmp_path)]))
    for _ in range(2):
        assert asyncio.run(check([one])) == [one]
    (tmp_path / "up").touch()
    for _ in range(GONE_AFTER - 1):
        assert asyncio.run(check([one])) == [one]
    assert asyncio.run(check([one])) == [] and done == ["7"]
    assert subprocess.run(["squeue"], check=False).returncode == 0
