"""Finished runs that make room for others are moved aside, whole, and come back with their
specification.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import pytest
import torch
from cohorts import make_job
from safetensors.torch import save_file

from gradflow.study.job import Job, superseded_path
from gradflow.training.displaced import displace_log, take_back_log
from gradflow.training.run_log import WrongLogError, read_log, write_log

JOB = make_job(percents=(30, 50))
OTHER = dataclasses.replace(JOB, epochs=JOB.epochs + 1)
RUN = JOB.runs[0]


def finish(job: Job, results: Path, weights: bool = False) -> bytes:
    """Write a run's log, and weights beside it; the log's bytes."""
    spec, log = job.only(RUN).to_json(), results / job.log_path(RUN)
    write_log(log, [{"seed": job.seed, "epochs": job.epochs}], {"spec": spec})
    if weights:
        save_file(
            {"layer.0": torch.full((2,), float(job.epochs))},
            log.with_suffix(".safetensors"),
            metadata={"spec": spec},
        )
    return log.read_bytes()


def test_a_superseded_log_comes_back_with_its_weights(tmp_path: Path) -> None:
    log = tmp_path / JOB.log_path(RUN)
    first = finish(JOB, tmp_path, weights=True)
    weights = log.with_suffix(".safetensors").read_bytes()
    assert "kept as" in displace_log(OTHER, RUN, tmp_path)
    assert not log.exists() and not log.with_suffix(".safetensors").exists()
    second = finish(OTHER, tmp_path)
    assert take_back_log(JOB, RUN, tmp_path)
    assert log.read_bytes() == first and log.with_suffix(".safetensors").read_bytes() == weights
    assert take_back_log(OTHER, RUN, tmp_path)
    assert log.read_bytes() == second and not log.with_suffix(".safetensors").exists()


def test_a_log_of_this_specification_stays(tmp_path: Path) -> None:
    whole = finish(JOB, tmp_path)
    assert displace_log(JOB, RUN, tmp_path) == ""
    assert (tmp_path / JOB.log_path(RUN)).read_bytes() == whole
    assert not take_back_log(OTHER, RUN, tmp_path)


def test_new_weights_do_not_leave_with_an_old_log(tmp_path: Path) -> None:
    """A killed job has put its weights there, and Snakemake the log before: only the log is
    superseded.
    """
    finish(OTHER, tmp_path, weights=True)
    log = tmp_path / JOB.log_path(RUN)
    write_log(log, [{"seed": 0}], {"spec": JOB.only(RUN).to_json()})
    displace_log(OTHER, RUN, tmp_path)
    assert not log.exists() and log.with_suffix(".safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"\xff" * 200])
def test_a_damaged_log_is_kept_with_its_reason(tmp_path: Path, content: bytes) -> None:
    log = tmp_path / JOB.log_path(RUN)
    for number in (1, 2):  # each of them, though both had one place
        finish(JOB, tmp_path)
        log.write_bytes(content + bytes([number]))
        said = displace_log(JOB, RUN, tmp_path)
        assert "the log is damaged" in said and not log.exists()
    kept = sorted((tmp_path / JOB.scale / "damaged").rglob("*.parquet"))
    assert [path.read_bytes() for path in kept] == [content + b"\x02", content + b"\x01"]
    assert all("damaged" in path.with_name(f"{path.name}.txt").read_text() for path in kept)


def test_a_damaged_superseded_log_is_not_taken_back(tmp_path: Path) -> None:
    finish(JOB, tmp_path)
    displace_log(OTHER, RUN, tmp_path)
    aside = tmp_path / superseded_path(JOB.log_path(RUN), JOB.only(RUN).to_json())
    aside.write_bytes(aside.read_bytes()[:-9])
    assert not take_back_log(JOB, RUN, tmp_path)
    assert not (tmp_path / JOB.log_path(RUN)).exists() and not aside.exists()


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("die_at", [1, 2, 3])
def test_killed_between_two_moves_nothing_is_lost(tmp_path: Path, back: bool, die_at: int) -> None:
    finish(JOB, tmp_path, weights=True)
    if back:
        displace_log(OTHER, RUN, tmp_path)
        finish(OTHER, tmp_path, weights=True)
    before = {path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    process = os.fork()
    if process == 0:
        replace, left = os.replace, [die_at]

        def replace_or_die(*paths: Path) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(*paths)

        os.replace = replace_or_die  # type: ignore[assignment]
        take_back_log(JOB, RUN, tmp_path) if back else displace_log(OTHER, RUN, tmp_path)
        os._exit(0)
    os.waitpid(process, 0)
    assert {path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    if back:
        assert take_back_log(JOB, RUN, tmp_path)
        read_log(tmp_path / JOB.log_path(RUN), JOB.only(RUN).to_json())
    else:
        displace_log(OTHER, RUN, tmp_path)
        with pytest.raises(WrongLogError):
            read_log(
                tmp_path / superseded_path(JOB.log_path(RUN), JOB.only(RUN).to_json()),
                OTHER.only(RUN).to_json(),
            )
