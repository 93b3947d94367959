"""SIGTERM, SIGINT and SIGHUP, of a closed terminal, ask training to stop: a checkpoint, and the
same at the end.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from faults import EPOCHS, Trainer, job_of, leftovers, rows_of, with_data
from project import Project, wait_for

from gradflow.training.train_job import StopSignals
from gradflow.workflow.attempts import STOPS


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_is_a_request(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
    assert signal.getsignal(number) is before


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.workflow
@pytest.mark.parametrize("number", STOPS)
def test_a_stopped_training_goes_on_to_the_same(
    undisturbed: Project, warm: Trainer, tmp_path: Path, number: signal.Signals
) -> None:
    job = job_of(undisturbed, EPOCHS)
    whole = with_data(undisturbed, tmp_path / "whole")
    assert warm.run(job, whole)[0] == 0
    results = with_data(undisturbed, tmp_path / "results")
    process = warm.start(job, results)
    wait_for((results / job.state_path).exists)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 143 and "the same command goes on from there" in said
    code, said = warm.run(job, results)
    assert code == 0 and "resumed at epoch" in said
    for run in job.runs:
        assert rows_of(results / job.log_path(run)) == rows_of(whole / job.log_path(run))
    assert leftovers(results) == []


@pytest.mark.slow
@pytest.mark.workflow
def test_under_nohup_a_closed_terminal_stops_nothing(
    undisturbed: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(undisturbed, EPOCHS)
    results = with_data(undisturbed, tmp_path / "results")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited, as from nohup
    try:
        process = Trainer().start(job, results)
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for((results / job.state_path).exists)
    for _ in range(3):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
