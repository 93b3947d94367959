"""Jobs share the GPUs of a machine by slots. No GPU is needed: torch is told what it finds, the
slots are real.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from gradflow.training import devices
from gradflow.training.train_job import Stopped


class Job:
    """A forked job on a machine with the GPUs `seen`: it says which one it got, and trains until
    `end` or `kill`.
    """

    def __init__(self, folder: Path, seen: list[str], settings: dict[str, str]) -> None:
        given, self._to_job = os.pipe()
        said, its_out = os.pipe()
        told, its_err = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            for new, old in enumerate((given, its_out, its_err)):
                os.dup2(old, new)
            os.closerange(3, 256)  # other jobs' pipes
            os._exit(train(folder, seen, settings))
        for own in (given, its_out, its_err):
            os.close(own)
        self.said, self.told = open(said), open(told)  # noqa: SIM115 - closed by `reap`
        self.code: int | None = None

    def device(self) -> str:
        """The device that it got; waits for it."""
        return self.said.readline().strip()

    def waits(self) -> str:
        """The line with which it says that it waits."""
        return self.told.readline().strip()

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process, number)

    def end(self) -> None:
        """Let it finish."""
        os.close(self._to_job)
        self._to_job = -1
        assert self.reap() == 0

    def reap(self) -> int:
        """Its exit code, waited for."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
            if self._to_job >= 0:
                os.close(self._to_job)
        return self.code


def train(folder: Path, seen: list[str], settings: dict[str, str]) -> int:
    """What the fork does."""
    for name in [key for key in os.environ if key.startswith(("GRADFLOW_", "SLURM_"))]:
        del os.environ[name]
    planned = float(settings.pop("planned", "0"))
    os.environ.update(settings)
    devices.tempfile.gettempdir = lambda: str(folder)
    torch.cuda.is_available = lambda: bool(seen)
    torch.cuda.device_count = lambda: len(seen)
    torch.cuda.set_device = lambda device: None
    devices.gpu_name = lambda gpu: seen[gpu]
    devices.gpu_megabytes = lambda gpu: 80_000.0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        with devices.training_device(planned) as device:
            os.write(1, f"{device}\n".encode())
            os.read(0, 1)
    except Stopped as stopped:
        os.write(2, f"{stopped}\n".encode())
        return 143
    return 0


Start = Callable[..., Job]


@pytest.fixture
def start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Start]:
    """How to start a job; it may see other GPUs, have other slots or belong to an allocation."""
    jobs: list[Job] = []

    def start(seen: str = "GPU-a GPU-b", **settings: str) -> Job:
        with capfd.disabled():
            jobs.append(Job(tmp_path, seen.split(), settings))
        return jobs[-1]

    yield start
    for job in jobs:
        if job.code is None:
            job.send(signal.SIGKILL)
            job.reap()
        job.said.close()
        job.told.close()


def test_each_job_gets_a_gpu_of_its_own_and_a_third_waits(start: Start) -> None:
    first, second = start(), start()
    assert sorted([first.device(), second.device()]) == ["cuda:0", "cuda:1"]
    third = start()
    assert third.waits() == "all 2 slots on 2 GPUs are taken; waiting"
    first.end()
    assert third.device() in ("cuda:0", "cuda:1")


def test_a_killed_job_frees_its_slot(start: Start) -> None:
    first = start("GPU-a")
    assert first.device() == "cuda:0"
    second = start("GPU-a")
    assert second.waits() == "all 1 slots on 1 GPU are taken; waiting"
    first.send(signal.SIGKILL)
    assert first.reap() == -signal.SIGKILL
    assert second.device() == "cuda:0"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_job_that_waits_can_be_stopped(start: Start, number: signal.Signals) -> None:
    first = start("GPU-a")
    assert first.device() == "cuda:0"
    second = start("GPU-a")
    second.waits()
    second.send(number)
    assert second.reap() == 143
    assert (
        second.told.read()
        == "stopped while waiting for a GPU; the same command goes on from there\n"
    )


def test_slots_are_filled_evenly_and_the_least_loaded_gpu_comes_first(start: Start) -> None:
    jobs, got = [], []
    for _ in range(4):
        jobs.append(start(GRADFLOW_GPU_SLOTS="2"))
        got.append(jobs[-1].device())
    assert got == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    # GPU 0 keeps a job in its second slot and GPU 1 has none: the next goes to GPU 1, though GPU
    # 0's first slot is free
    for job in (jobs[0], jobs[1], jobs[3]):
        job.end()
    assert start(GRADFLOW_GPU_SLOTS="2").device() == "cuda:1"


def test_jobs_share_a_gpu_as_far_as_their_planned_memory_fits(start: Start) -> None:
    def job(planned: int) -> Job:
        return start("GPU-a", GRADFLOW_GPU_SLOTS="4", planned=str(planned))

    first, second, third = job(30_000), job(30_000), job(20_000)
    assert [one.device() for one in (first, second, third)] == ["cuda:0"] * 3
    fourth = job(30_000)
    assert fourth.waits() == (
        "the 30,000 MB that the job is planned with do not fit beside the jobs on 1 GPU; waiting"
    )
    third.end()
    second.end()  # of the 80,000 MB 30,000 are planned now
    assert fourth.device() == "cuda:0"
    assert job(20_000).device() == "cuda:0"


def test_a_job_that_needs_more_than_there_is_has_a_gpu_for_itself(start: Start) -> None:
    large = start("GPU-a GPU-b", GRADFLOW_GPU_SLOTS="2", planned="200000")
    assert large.device() == "cuda:0"
    small = [start("GPU-a GPU-b", GRADFLOW_GPU_SLOTS="2", planned="1") for _ in range(2)]
    assert [job.device() for job in small] == ["cuda:1"] * 2
    other = start("GPU-a GPU-b", GRADFLOW_GPU_SLOTS="2", planned="1")
    assert other.waits().startswith("the 1 MB that the job is planned with do not fit")


def test_a_gpu_is_the_same_one_under_another_index(start: Start) -> None:
    assert start("GPU-b").device() == "cuda:0"
    assert start("GPU-a GPU-b").device() == "cuda:0"
    assert start("GPU-b GPU-a").waits().endswith("waiting")


def test_allocations_do_not_exclude_each_other(start: Start) -> None:
    # a scheduler may put two allocations on one GPU, and on a cluster it may give both the same
    # name
    assert start("GPU-a", SLURM_JOB_ID="7").device() == "cuda:0"
    assert start("GPU-a", SLURM_JOB_ID="8").device() == "cuda:0"
    assert start("GPU-a", SLURM_JOB_ID="7").waits().endswith("waiting")


def test_a_named_gpu_is_taken_alone(start: Start) -> None:
    assert start(GRADFLOW_DEVICE="cuda:1").device() == "cuda:1"
    assert start(GRADFLOW_DEVICE="cuda:1").waits() == "all 1 slots on 1 GPU are taken; waiting"
    assert start(GRADFLOW_DEVICE="cuda").device() == "cuda:0"


def test_the_cpu_has_no_slots(start: Start, tmp_path: Path) -> None:
    jobs = [start(GRADFLOW_DEVICE="cpu"), start(GRADFLOW_DEVICE="cpu"), start("")]
    assert [job.device() for job in jobs] == ["cpu"] * 3
    assert not list(tmp_path.iterdir())


def test_many_jobs_at_once_never_exceed_the_slots(start: Start) -> None:
    jobs = [start(GRADFLOW_GPU_SLOTS="2") for _ in range(6)]
    running = []
    for job in jobs:
        ready = select.select([job.said, job.told], [], [], 60)[0]
        if job.said in ready:
            running.append(job.device())
        else:
            assert job.waits() == "all 4 slots on 2 GPUs are taken; waiting"
    assert sorted(running) == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("GRADFLOW_DEVICE", "gpu", "GRADFLOW_DEVICE is gpu; it may be auto, cpu, cuda or cuda:N"),
        ("GRADFLOW_DEVICE", "cuda:", "GRADFLOW_DEVICE is cuda:; it may be auto"),
        ("GRADFLOW_DEVICE", "cpu:0", "GRADFLOW_DEVICE is cpu:0; it may be auto"),
        ("GRADFLOW_DEVICE", "cuda:2", "but torch finds 2 CUDA devices here"),
        ("GRADFLOW_GPU_SLOTS", "0", "GRADFLOW_GPU_SLOTS is 0; it must be a whole number"),
        ("GRADFLOW_GPU_SLOTS", "two", "GRADFLOW_GPU_SLOTS is two; it must be a whole number"),
    ],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices, "gpu_name", str)
    monkeypatch.setattr(devices, "gpu_megabytes", float)
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=words), devices.training_device(0.0):
        pass


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("GRADFLOW_DEVICE", "cuda")
    with pytest.raises(ValueError, match="torch finds no CUDA device here; use auto or cpu"):
        devices.choose_device()


def test_a_folder_of_someone_else_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = tmp_path / f"gradflow-slots-{os.getuid()}"
    folder.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(OSError, match="belongs to someone else; set TMPDIR"):
        devices.slots_folder()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_real_gpu_has_a_name() -> None:
    with ExitStack() as held:
        device = held.enter_context(devices.training_device(100.0))
        assert device.type == "cuda"
        assert len(devices.gpu_name(device.index)) > 8
