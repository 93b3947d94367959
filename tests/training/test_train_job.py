"""A job in parts, as a GPU with too little free memory trains it, and what is said where a GPU
fails.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cohorts import DEVICE, make_data, make_job

from gradflow.study.job import Job, Run
from gradflow.study.memory import gpu_memory_mb
from gradflow.training import train_job as training
from gradflow.training.checkpoint import Progress, read_progress
from gradflow.training.run_log import read_log
from gradflow.training.train_job import (
    Stopped,
    at_once,
    gpu_error,
    is_of_gpu,
    resumable,
    train_job,
)
from gradflow.workflow import commands

GPU = torch.device("cuda")
JOB = make_job("momentum", "BN", percents=(30, 70), epochs=2)


@pytest.fixture(autouse=True)
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data()
    monkeypatch.setattr(training, "load_job_data", lambda *_: data)
    monkeypatch.setenv("GRADFLOW_STEP", "autograd")  # a stack is trained whole, as on a GPU


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Memory for one stack at once; the runs of each part."""
    found: list[list[str]] = []
    train = training._train
    monkeypatch.setattr(
        training, "at_once", lambda job, runs, _: training.runs_that_fit(job, runs, 1.0)
    )

    def note(job: Job, missing: Any, *rest: Any) -> Progress:
        found.append([job.run_name(run) for run in missing])
        return train(job, missing, *rest)

    monkeypatch.setattr(training, "_train", note)
    return found


def rows(results: Path) -> list[list[dict[str, Any]]]:
    return [read_log(results / JOB.log_path(run)).to_pylist() for run in JOB.runs]


def test_parts_give_the_numbers_of_the_whole(tmp_path: Path, parts: list[list[str]]) -> None:
    train_job(JOB, tmp_path / "parts", DEVICE)
    assert parts == [["sparse-w30", "sparse-w70"], ["dense-w30"], ["dense-w70"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "at_once", lambda job, runs, _: tuple(runs))
        train_job(JOB, tmp_path / "whole", DEVICE)
    assert len(parts) == 4
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    assert not (tmp_path / "parts" / JOB.state_path).exists()


def test_a_part_that_is_stopped_goes_on_and_those_before_it_stay(
    tmp_path: Path, parts: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    train_job(JOB, tmp_path / "whole", DEVICE)
    parts.clear()

    class StopTheSecond(training.StopSignals):
        def __init__(self) -> None:
            super().__init__()
            self.requested = len(parts) == 2

    with monkeypatch.context() as patch:
        patch.setattr(training, "StopSignals", StopTheSecond)
        with pytest.raises(Stopped):
            train_job(JOB, tmp_path / "parts", DEVICE)
    kept = read_progress(tmp_path / "parts" / JOB.state_path)
    assert kept is not None and set(kept.rows) == {Run("dense", 30)}
    published = [(tmp_path / "parts" / JOB.log_path(run)).exists() for run in JOB.runs]
    assert published == [True, True, False, False]
    monkeypatch.setattr(training, "resumable", lambda *given: resumable(*given[:2], GPU))
    train_job(JOB, tmp_path / "parts", DEVICE)
    assert parts[2:] == [["dense-w30"], ["dense-w70"]]
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")


def test_a_checkpoint_of_a_part_is_taken_up_on_a_gpu_alone() -> None:
    part = Progress(JOB.to_json(), 1, 0, 2, 1.0, {JOB.runs[2]: []})
    assert resumable(JOB.runs, part, GPU)
    assert not resumable(JOB.runs, part, torch.device("cpu"))
    assert resumable(JOB.runs[2:3], part, torch.device("cpu"))
    assert not resumable(JOB.runs[:2], part, GPU)


def test_what_trains_at_once_is_chosen_by_the_memory_that_is_free(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = gpu_memory_mb(JOB)
    assert at_once(JOB, JOB.runs, torch.device("cpu")) == JOB.runs

    def free(megabytes: float) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(megabytes * 1e6), int(80e9)))

    free(planned)
    assert at_once(JOB, JOB.runs, GPU) == JOB.runs
    assert capsys.readouterr().err == ""
    free(planned - training.GPU_CONTEXT_MB - 1)  # the context is there by then
    assert at_once(JOB, JOB.runs, GPU) == JOB.runs[:3]
    assert capsys.readouterr().err == (
        f"4 networks are planned with {planned:,} MB on the GPU and {planned - 1:,} MB are free: "
        "3 train at once, the others after them\n"
    )


# --- errors ---------------------------------------------------------------------------------------

LACKING = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB.\nMore of it.")
CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`")
CUDNN = RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED.\nThis may be.")
FAILED = torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nRaise it.")


def test_an_error_of_a_gpu_is_one_sentence_with_what_to_do() -> None:
    assert gpu_error(LACKING, JOB) == (
        "the GPU's memory does not suffice (CUDA out of memory. Tried to allocate 20 MiB); the "
        f"job is planned with {gpu_memory_mb(JOB):,} MB: let fewer jobs share the GPU "
        "(GRADFLOW_GPU_SLOTS), or take one with more memory"
    )
    assert gpu_error(FAILED, JOB) == (
        "the GPU failed (CUDA error: an illegal memory access was encountered); run the same "
        "command again, with GRADFLOW_GRAPHS=off and GRADFLOW_FUSED=off if it fails again"
    )
    assert all(map(is_of_gpu, (LACKING, CUBLAS, CUDNN, FAILED)))
    assert not is_of_gpu(RuntimeError("an epoch begins with its draws"))


@pytest.mark.parametrize("error", [LACKING, CUBLAS, CUDNN, FAILED])
def test_a_job_ends_with_that_sentence(
    error: RuntimeError,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(error, tmp_path, monkeypatch) == 1
    assert capsys.readouterr().err == f"{gpu_error(error, JOB)}\n"


def test_an_error_of_ours_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError, match="an epoch begins with its draws"):
        run(RuntimeError("an epoch begins with its draws"), tmp_path, monkeypatch)


def test_a_job_whose_own_file_is_gone_says_so_before_it_looks_its_data_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = dataclasses.replace(
        JOB,
        configuration=dataclasses.replace(JOB.configuration, dataset="mine"),
        own=(("datasets/mine", "0"),),
    )
    monkeypatch.setattr(sys.modules[__name__], "JOB", gone)
    assert run(FAILED, tmp_path, monkeypatch) == 1
    assert capsys.readouterr().err.endswith("mine.py is not there; run the same command again\n")


def run(error: RuntimeError, results: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The command of a job whose training raises an error."""

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setenv("GRADFLOW_DEVICE", "cpu")
    monkeypatch.setattr(training, "prepare", lambda *_: None)
    return commands.run(fail, ["--job", JOB.to_json(), "--results", str(results), "--threads", "1"])
