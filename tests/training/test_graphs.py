"""Captured steps against steps run from Python: the same bits. On a CPU a tape stands for the CUDA
graph.

A tape freezes what Python computed, as a CUDA graph does, so a step that depends on a number of the
host trains otherwise from its second replay on.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from cohorts import (
    DEVICE,
    assert_same_bits,
    make_data,
    make_job,
    make_wide_resnet_job,
    train_cohort,
    train_steps,
)
from gpu_layout import as_on_a_gpu

from gradflow.study.job import OPTIMIZERS, Job
from gradflow.training.checkpoint import read_progress, restore_checkpoint, save_checkpoint
from gradflow.training.cohort import Cohort
from gradflow.training.cuda_graphs import SWITCH, Replayer
from gradflow.training.optimizers import ParameterGroup, StackedOptimizer
from gradflow.training.stack import MaskUpdate, Stack
from gradflow.training.step import learning_rate_at
from gradflow.training.step_choice import SWITCH as STEP
from gradflow.training.tape import HostReadError, Tape

THREE = (30, 50, 70)


def both_ways(job: Job, monkeypatch: pytest.MonkeyPatch) -> tuple[Cohort, Cohort]:
    """The cohort trained from Python and the one trained by replaying, both by autograd."""
    monkeypatch.setenv(STEP, "autograd")
    monkeypatch.setenv(SWITCH, "off")
    plain = train_cohort(job, make_data())
    monkeypatch.setenv(SWITCH, "on")
    return plain, train_cohort(job, make_data())


def assert_same_cohort(first: Cohort, second: Cohort) -> None:
    for run in first.rows:
        assert_same_bits(first, second, run)
    for (name, ours), theirs in zip(
        first.tensors().items(), second.tensors().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("regularization", ["NR", "DA_L2_SC_BN"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_bits_with_and_without(
    optimizer: str, regularization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, replayed = both_ways(make_job(optimizer, regularization, percents=THREE), monkeypatch)
    assert_same_cohort(plain, replayed)


@pytest.mark.parametrize(
    "change",
    [
        {"activation": "prelu"},
        {"activation": "srelu"},
        {"mlp_schedule": "steps", "epochs": 10},
        pytest.param({"mlp_schedule": "cosine", "warmup_epochs": 2}, marks=pytest.mark.slow),
        {"probe_images": 35},
        {"precision": "bf16"},
        {"mask_update": "set", "epochs": 6},
        pytest.param({"mask_update": "rigl", "epochs": 6}, marks=pytest.mark.slow),
        pytest.param(
            {"l1": 1e-3, "gradient_clip": 1.0, "label_smoothing": 0.1}, marks=pytest.mark.slow
        ),
    ],
)
def test_activations_schedules_short_probes_precisions_and_moving_masks(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_same_cohort(*both_ways(make_job("adam", "DA_BN", percents=THREE, **change), monkeypatch))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fused_updates(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs 11 and later of 13 are not all probed: their steps update in one kernel."""
    monkeypatch.setenv(STEP, "autograd")
    for job in (
        make_job(optimizer, "L2_SC_BN", percents=(30,), precision="tf32", epochs=13),
        make_wide_resnet_job(optimizer, precision="float32", epochs=13),
    ):
        cohorts = []
        for graphs in ("off", "on"):
            monkeypatch.setenv(SWITCH, graphs)
            cohorts.append(as_on_a_gpu(job, monkeypatch))
            assert cohorts[-1].train(job.epochs)
        assert_same_cohort(*cohorts)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_wide_resnet(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_same_cohort(*both_ways(make_wide_resnet_job(optimizer), monkeypatch))


def test_an_optimizer_that_reads_its_step_on_the_host_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The negative control: such a step looks right from Python, and freezes in a graph."""

    def update(self: StackedOptimizer, group: ParameterGroup, gradients: list, lr: float) -> None:
        group.done = getattr(group, "done", 0) + 1
        for parameter, gradient in zip(group.parameters, gradients, strict=True):
            parameter.sub_(gradient, alpha=lr / group.done)

    monkeypatch.setattr(StackedOptimizer, "_update", update)
    plain, replayed = both_ways(make_job("sgd"), monkeypatch)
    for run in plain.rows:
        assert plain.rows[run][-1]["train_loss"] != replayed.rows[run][-1]["train_loss"]


def test_a_learning_rate_left_out_of_the_key_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another control: the schedule's rates are numbers of the host."""
    run = Replayer.run
    monkeypatch.setattr(
        Replayer, "run", lambda self, key, step: run(self, (*key[:2], *key[3:]), step)
    )
    monkeypatch.setattr(Replayer, "forget", lambda *_: None)
    plain, replayed = both_ways(make_job("sgd", mlp_schedule="steps", epochs=10), monkeypatch)
    for run_ in plain.rows:
        ours, theirs = plain.rows[run_], replayed.rows[run_]
        assert ours[2] == theirs[2]  # before the first drop
        assert ours[-1]["train_loss"] != theirs[-1]["train_loss"]


def test_what_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full and short minibatches, in probe epochs and others, and each learning rate, once; past
    rates go.
    """
    monkeypatch.setenv(SWITCH, "on")
    captured: list[Any] = []
    capture = Replayer._try_to_capture

    def note(self: Replayer, key: Any, step: Any) -> None:
        captured.append(key)
        capture(self, key, step)

    monkeypatch.setattr(Replayer, "_try_to_capture", note)
    job = make_job("sgd", epochs=20, mlp_schedule="steps", learning_rate=1.0)
    cohort = train_cohort(job, make_data())
    rates = {learning_rate_at(job, epoch) for epoch in range(job.epochs)}
    assert len(rates) == 4

    def steps(rates: set[float]) -> set[Any]:
        return {
            ("train", size, rate, probing)
            for size in (16, 6)
            for rate in rates
            for probing in (True, False)
        }

    probes = {("probe", 16), ("probe", 6)}
    assert sorted(captured, key=str) == sorted(steps(rates) | probes, key=str)
    assert set(cohort._replayer.graphs) == steps({min(rates)}) | probes


def test_resumed_in_the_middle_of_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "on")
    job, path = make_job("adam", "DA_L2_SC_BN", percents=THREE), tmp_path / "job.json"
    whole, stopped, resumed = (Cohort(job, make_data(), DEVICE) for _ in range(3))
    whole.train(job.epochs)
    train_steps(stopped, 8)
    save_checkpoint(path, stopped, 1.0)
    progress = read_progress(path)
    assert progress is not None
    restore_checkpoint(path, progress, resumed)
    resumed.train(job.epochs)
    assert_same_cohort(whole, resumed)


def test_steps_with_a_mask_update_are_not_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "on")
    seen: list[int] = []

    def update(stack: Stack, steps: int) -> None:
        seen.append(steps)

    job = make_job("sgd", architectures=("sparse",))
    cohort = train_cohort(job, make_data(), mask_update=MaskUpdate(update, every=3))
    assert seen == list(range(0, job.epochs * cohort.steps_per_epoch, 3))


def test_capturing_leaves_no_trace() -> None:
    counter = torch.zeros((), device=DEVICE)
    replayer = Replayer(DEVICE, lambda: [counter])
    replayer.capturing = True
    for _ in range(3):
        replayer.run("add", lambda: counter.add_(1))
    assert counter.item() == 3
    assert len(replayer.graphs) == 1
    assert DEVICE.type == "cuda" or isinstance(replayer.graphs["add"], Tape)


def test_a_tape_freezes_what_python_computes() -> None:
    counter, numbers = torch.zeros(()), iter(range(1, 10))
    tape = Tape(lambda: counter.add_(next(numbers)))
    for _ in range(3):
        tape.replay()
    assert counter.item() == 4  # one at each, the recording included
    assert next(numbers) == 2


def test_a_tape_reads_and_writes_where_the_recording_did() -> None:
    source, target = torch.ones(3), torch.zeros(3)

    def step() -> None:
        doubled = source * 2
        doubled[1:].add_(1)
        target.copy_(doubled.cumsum(0))

    tape = Tape(step)
    source.fill_(5)
    tape.replay()
    assert target.tolist() == [10, 21, 32]


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: torch.equal(x, x),
        lambda x: bool(x.sum()),
    ],
)
def test_a_step_that_asks_the_device_for_a_number_cannot_be_recorded(read: Any) -> None:
    with pytest.raises(HostReadError, match="hands a number from the device to Python"):
        Tape(lambda: read(torch.ones(3)))


@pytest.mark.parametrize("error", [RuntimeError, torch.cuda.OutOfMemoryError])
def test_a_step_that_cannot_be_captured_runs_from_python(
    error: type[RuntimeError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first graph stands; the short minibatch's fails halfway. Nothing of it may remain."""
    job = make_job("adam", "DA_L2_SC_BN", percents=THREE)
    monkeypatch.setenv(STEP, "autograd")
    monkeypatch.setenv(SWITCH, "off")
    plain = train_cohort(job, make_data())
    monkeypatch.setenv(SWITCH, "on")
    capture, captured = Replayer._capture, []

    def fail_at_the_second(self: Replayer, step: Any) -> Any:
        graph = capture(self, step)
        captured.append(graph)
        if len(captured) == 2:
            raise error("CUDA error: no room\nand much more")
        return graph

    monkeypatch.setattr(Replayer, "_capture", fail_at_the_second)
    assert_same_cohort(plain, train_cohort(job, make_data()))
    assert len(captured) == 2
    assert capsys.readouterr().err == (
        "a step cannot be captured as a graph (CUDA error: no room); every step runs from Python "
        "now, which is slower; GRADFLOW_GRAPHS=off leaves out the attempt\n"
    )


def test_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.delenv(SWITCH, raising=False)
    assert not Replayer(cpu, list).capturing
    monkeypatch.setenv(SWITCH, "on")
    assert Replayer(cpu, list).capturing
    monkeypatch.setenv(SWITCH, "yes")
    with pytest.raises(ValueError, match="GRADFLOW_GRAPHS is yes; it may be auto, on or off"):
        Replayer(cpu, list)


def test_mixed_precision_trains_near_float32() -> None:
    """bfloat16 products, float32 weights and probes: another run, close at first."""
    job = make_job("momentum", percents=THREE, precision="float32", epochs=1)
    exact = train_cohort(job, make_data())
    mixed = train_cohort(
        dataclasses.replace(job, settings=dataclasses.replace(job.settings, precision="bf16")),
        make_data(),
    )
    for run in exact.rows:
        ours, theirs = mixed.rows[run][0], exact.rows[run][0]
        assert ours["train_loss"] != theirs["train_loss"]
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=0.02)
        assert ours["egf_l2"] == pytest.approx(theirs["egf_l2"], rel=0.1)
    assert {tensor.dtype for tensor in mixed.tensors().values()} == {
        tensor.dtype for tensor in exact.tensors().values()
    }
