"""Training jobs through a real SLURM, disturbed in every way that it knows: the end state is the
undisturbed one.

`python tests/cluster/slurm.py start` makes that SLURM, on this machine alone; .ci/run does so. The
test freezes a trainer and lets it go on once it has been sent its SIGTERM: it is there to be
stopped however fast the machine is.
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cluster import slurm
from faults import share_kernels
from project import STUDY, Project, new_project, tiny, wait_for

EPOCHS = 200
TABLE4 = "results/smoke/tables/table4.csv"
LOG = "results/smoke/logs/paper/digits/mlp1-relu-adam-lr0.001-NR/seed0.log"
# asked after often, since jobs last seconds; no waiting for a file system that is this machine's
# own
THROUGH_SLURM = (
    TABLE4, "--profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "3",
    "--seconds-between-status-checks", "3", "--latency-wait", "10",
)  # fmt: skip


def reason_to_skip() -> str | None:
    """Why these tests cannot run here."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return (
            "the SLURM executor is not installed (uv pip install --require-hashes -r "
            "envs/slurm.txt)"
        )
    if reason := slurm.missing():
        return f"no SLURM for tests: {reason}"
    if not slurm.is_up():
        return "no SLURM is up; as root: python tests/cluster/slurm.py start"
    return None


REASON = reason_to_skip()
pytestmark = [
    pytest.mark.workflow,
    pytest.mark.slow,
    pytest.mark.skipif(REASON is not None, reason=str(REASON)),
]


def longer(raw: dict[str, object]) -> None:
    """The tiny configuration, long enough that a trainer is met while it trains."""
    tiny(raw)
    raw["scales"]["smoke"]["studies"][STUDY]["epochs"] = EPOCHS  # type: ignore[index]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that was made on this machine and that nothing disturbs."""
    project = new_project(tmp_path_factory.mktemp("undisturbed") / "project", longer)
    project.make(TABLE4)
    return project


@pytest.fixture(scope="module")
def undisturbed(finished: Project) -> dict[str, object]:
    """Its end state."""
    return end_state(finished)


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Iterator[Project]:
    """A project of the test's own, on a path with a space; its SLURM jobs and trainers end with the
    test.
    """
    project = new_project(tmp_path / "a project", longer)
    project.results.mkdir()
    share_kernels(finished.results, project.results)
    yield project
    for job in jobs(project):
        subprocess.run(["scancel", "--signal=KILL", "--full", job], check=False)
        subprocess.run(["scancel", job], check=False)
    for trainer in trainers(project):
        with suppress(ProcessLookupError):
            os.kill(trainer, signal.SIGKILL)


@contextmanager
def through_slurm(project: Project, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A snakemake that sends its training to SLURM, with what it says in a file."""
    with (
        open(output, "w") as file,
        project.running(*THROUGH_SLURM, stdout=file, stderr=file) as snakemake,
    ):
        yield snakemake


def end_state(project: Project) -> dict[str, object]:
    """The bytes of the table, and every run's log but for its metadata, which holds seconds."""
    found: dict[str, object] = {TABLE4: (project.folder / TABLE4).read_bytes()}
    for log in project.files("results/smoke/runs/**/*.parquet"):
        found[str(log.relative_to(project.folder))] = rows(log)
    assert len(found) == 11
    return found


def rows(log: Path) -> bytes:
    """The rows of a log as bytes: equal only when every bit is."""
    table = pq.read_table(log).replace_schema_metadata(None)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return sink.getvalue()


def jobs(project: Project) -> list[str]:
    """The SLURM jobs of a project that are not over, by their number."""
    found = subprocess.run(
        ["squeue", "-h", "-o", "%i %Z"], capture_output=True, text=True, check=True
    )
    return sorted(
        number
        for number, folder in (line.split(" ", 1) for line in found.stdout.splitlines())
        if folder == str(project.folder)
    )


def state_of(job: str) -> dict[str, str]:
    """What SLURM knows of a job."""
    found = subprocess.run(
        ["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True, check=True
    )
    return dict(re.findall(r"(\w+)=(\S*)", found.stdout))


def trainers(project: Project) -> list[int]:
    """The training processes of a project."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            folder = (process / "cwd").readlink()
            if (
                "python" in os.path.basename(os.fsdecode(words[0]))
                and b"scripts/train_mlp.py" in words
            ):
                found += [int(process.name)] if folder == project.folder else []
    return sorted(found)


def told_to_stop(process: int) -> bool:
    """Whether a frozen trainer has a SIGTERM waiting, or is frozen no more: scancel wakes it
    itself.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return True
    pending = re.search(r"^ShdPnd:\s*(\w+)", status, flags=re.MULTILINE)
    assert pending
    return "\nState:\tT" not in status or bool(int(pending[1], 16) >> (signal.SIGTERM - 1) & 1)


def frozen_trainer(project: Project) -> int:
    """Wait for a trainer that trains, which notes how far it is from its first step on, and freeze
    it.
    """
    state = project.results / "smoke" / "state"
    wait_for(lambda: list(state.rglob("*.progress")), 600)
    [trainer] = trainers(project)
    os.kill(trainer, signal.SIGSTOP)
    return trainer


def set_end(job: str) -> None:
    """Let the job's time be up now; SLURM looks every half minute."""
    subprocess.run(["scontrol", "update", f"jobid={job}", "EndTime=now+1"], check=True)


def cancel(job: str) -> None:
    subprocess.run(["scancel", job], check=True)


def requeue(job: str) -> None:
    subprocess.run(["scontrol", "requeue", job], check=True)


@pytest.mark.parametrize(
    ("disturb", "becomes"),
    [(set_end, "TIMEOUT"), (cancel, "CANCELLED"), (requeue, None)],
    ids=["time limit", "scancel", "requeue"],
)
def test_a_stopped_job_goes_on_from_its_checkpoint(
    project: Project,
    undisturbed: dict[str, object],
    tmp_path: Path,
    disturb: Callable[[str], None],
    becomes: str | None,
) -> None:
    with through_slurm(project, tmp_path / "output") as snakemake:
        trainer = frozen_trainer(project)
        (job,) = jobs(project)
        disturb(job)
        wait_for(lambda: told_to_stop(trainer))
        with suppress(ProcessLookupError):
            os.kill(trainer, signal.SIGCONT)
        code = snakemake.wait(800)
    said = (tmp_path / "output").read_text()
    assert code == 0, said
    # one more attempt, and it went on from a checkpoint
    assert re.search(
        rf"^resumed at epoch \d+ of {EPOCHS}$",
        (project.folder / LOG).read_text(),
        flags=re.MULTILINE,
    )
    if becomes:
        assert state_of(job)["JobState"] == becomes
        assert "Trying to restart job" in said
    else:
        assert state_of(job)["Restarts"] == "1"
        assert "Trying to restart job" not in said
    assert end_state(project) == undisturbed


def test_killed_snakemake_leaves_its_job_and_goes_on_without_a_second_trainer(
    project: Project, undisturbed: dict[str, object], tmp_path: Path
) -> None:
    with through_slurm(project, tmp_path / "first") as snakemake:
        trainer = frozen_trainer(project)
        snakemake.kill()
        snakemake.wait()
    (first,) = jobs(project)
    assert trainers(project) == [trainer]  # it lives
    with through_slurm(project, tmp_path / "output") as snakemake:
        wait_for(lambda: len(trainers(project)) == 2, 600)
        second = next(process for process in trainers(project) if process != trainer)
        wait_for(lambda: waits_for_a_lock(second))
        os.kill(trainer, signal.SIGCONT)
        code = snakemake.wait(800)
    assert code == 0, (tmp_path / "output").read_text()
    assert state_of(first)["JobState"] == "COMPLETED"
    # each training notes what it cost: there was one
    assert len((project.results / "smoke" / "state" / "costs.jsonl").read_text().splitlines()) == 1
    assert end_state(project) == undisturbed


def test_a_controller_that_does_not_answer_for_a_while(
    project: Project, undisturbed: dict[str, object], tmp_path: Path
) -> None:
    """It is frozen while the job trains: the executor's queries time out, and the job is not
    forgotten.
    """
    controller = int(slurm.pid_file("slurmctld").read_text())
    output = tmp_path / "output"
    with through_slurm(project, output) as snakemake:
        trainer = frozen_trainer(project)
        os.kill(controller, signal.SIGSTOP)
        try:
            wait_for(lambda: "SLURM does not answer" in output.read_text(), 600)
        finally:
            os.kill(controller, signal.SIGCONT)
        wait_for(lambda: "SLURM answers again" in output.read_text(), 600)
        os.kill(trainer, signal.SIGCONT)
        code = snakemake.wait(800)
    assert code == 0, output.read_text()
    assert "Trying to restart job" not in output.read_text()
    assert end_state(project) == undisturbed


def waits_for_a_lock(process: int) -> bool:
    """Whether the process has asked for a lock that another holds."""
    waiting = [
        line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line
    ]
    return any(int(words[5]) == process for words in waiting)
