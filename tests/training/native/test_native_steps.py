"""The compiled step against the step by autograd, in float64 to 1e-12, and what it promises
beside.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from cohorts import assert_same_bits, make_data, make_job

from gradflow.networks.activations import functions_at_start
from gradflow.study.job import PAPER_ACTIVATIONS, PAPER_OPTIMIZERS, Job, Run, Settings
from gradflow.training.cohort import Cohort
from gradflow.training.native import steps
from gradflow.training.native.between_products import ACTIVATIONS as COMPILED
from gradflow.training.native.choice import Choice
from gradflow.training.native.updates import UPDATES
from gradflow.training.step_choice import SWITCH

CPU = torch.device("cpu")
THREE = (30, 50, 70)
OPTIMIZERS = ("sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw")
ACTIVATIONS = ("relu", "prelu", "elu", "swish", "srelu", "sigmoid")


class Fixed(Choice):
    """Products over active weights alone: always, or never."""

    def __init__(self, below: float):
        super().__init__()
        self.below = below

    def sparse_below(self, inputs: int, outputs: int) -> float:
        return self.below


ACTIVE, ALL = Fixed(1.1), Fixed(0.0)


def cohort_of(
    job: Job, kind: str, monkeypatch: pytest.MonkeyPatch, choice: Choice | None = None, **more: Any
) -> Cohort:
    monkeypatch.setenv(SWITCH, kind)
    cohort = Cohort(job, make_data(), CPU, choice=choice, **more)
    assert cohort.step_kind.startswith(kind)
    cohort.probes = {1}  # the steps of one epoch measure, those of the others do not
    return cohort


def assert_steps_agree(
    job: Job, monkeypatch: pytest.MonkeyPatch, choice: Choice, tolerance: float = 1e-12
) -> None:
    """Fifteen steps, the last of each epoch on a short minibatch: every tensor, and the log's
    rows.
    """
    native = cohort_of(job, "native", monkeypatch, choice)
    autograd = cohort_of(job, "autograd", monkeypatch)
    for cohort in (native, autograd):
        cohort.train(3)
    found = native.tensors()
    for name, expected in autograd.tensors().items():
        apart = (found[name].double() - expected.double()).norm()
        assert apart <= tolerance * expected.double().norm(), name
    for run, rows in autograd.rows.items():
        for mine, theirs in zip(native.rows[run], rows, strict=True):
            for column, value in theirs.items():
                if isinstance(value, float) or (isinstance(value, list) and value):
                    np.testing.assert_allclose(mine[column], value, rtol=1e-11, err_msg=column)
                else:
                    assert mine[column] == value, column
    for stack in native.stacks:
        for layer, mask in zip(stack.layers, stack.masks or [], strict=False):
            assert torch.all(layer.detach()[mask == 0] == 0)


@pytest.mark.slow
@pytest.mark.parametrize("choice", [ACTIVE, ALL], ids=["active", "all"])
@pytest.mark.parametrize("percents", [(50,), THREE], ids=["K=1", "K=3"])
@pytest.mark.parametrize("regularization", ["NR", "L2", "SC", "BN", "DA_L2_SC_BN"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(
    optimizer: str,
    regularization: str,
    percents: tuple[int, ...],
    choice: Choice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make_job(optimizer, regularization, percents=percents)
    # RMSProp and Adam divide by what is nearly zero where BatchNorm sees a unit that never moves
    loose = optimizer in ("rmsprop", "adam", "adamw", "adagrad") and "BN" in regularization
    assert_steps_agree(job, monkeypatch, choice, 1e-9 if loose else 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("choice", [ACTIVE, ALL], ids=["active", "all"])
@pytest.mark.parametrize("place", ["before_activation", "after_activation"])
@pytest.mark.parametrize("regularization", ["NR", "SC", "BN", "DA_L2_SC_BN"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_in_every_place(
    activation: str,
    regularization: str,
    place: str,
    choice: Choice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make_job(
        "momentum",
        regularization,
        activation=activation,
        # where a unit has few inputs they may all be constant: BatchNorm then leaves rounding noise
        # about zero, and a kinked activation makes something of it
        percents=(60, 75, 90) if "BN" in regularization else THREE,
        skip_place=place,
        batchnorm_place=place,
        skip_overlap=place == "after_activation",
    )
    assert_steps_agree(job, monkeypatch, choice)


@pytest.mark.parametrize(
    "settings",
    [
        {"l2_scope": "weights"},
        {"rmsprop_alpha": 0.9},
        {"probe_images": 33},
        {"mlp_schedule": "steps"},
        {"initialisation": "active_fan_in"},
        {"mask_update": "set", "mask_update_interval": 1},
    ],
    ids=lambda settings: "-".join(settings),
)
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_every_setting_and_depth(
    depth: int, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job("rmsprop", "DA_L2_SC", depth=depth, percents=THREE, **settings)
    assert_steps_agree(job, monkeypatch, ACTIVE, 1e-10)


@pytest.mark.parametrize("choice", [ACTIVE, ALL], ids=["active", "all"])
@pytest.mark.parametrize(
    ("optimizer", "activation", "regularization"),
    [("sgd", "srelu", "NR"), ("adagrad", "swish", "SC"), ("adamw", "prelu", "DA_L2_SC")],
)
def test_some_of_each(
    optimizer: str,
    activation: str,
    regularization: str,
    choice: Choice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the slow tests go through one by one."""
    job = make_job(optimizer, regularization, activation=activation, percents=THREE)
    assert_steps_agree(job, monkeypatch, choice)


def test_a_network_has_the_same_bits_alone_and_in_company(monkeypatch: pytest.MonkeyPatch) -> None:
    for precision in ("float64", "float32"):
        job = make_job("adam", "DA_L2_SC_BN", percents=THREE, precision=precision, max_width=37)
        together = cohort_of(job, "native", monkeypatch, ACTIVE)
        together.train(3)
        for run in job.runs:
            alone = cohort_of(job, "native", monkeypatch, ACTIVE, runs=[run])
            assert [stack.runs for stack in alone.stacks] == [(run,)]
            alone.train(3)
            assert_same_bits(alone, together, run)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_resumed_cohort_has_the_same_bits(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job("adamw", "DA_L2_SC_BN", percents=THREE, precision=precision)
    whole, first, second = (cohort_of(job, "native", monkeypatch, ACTIVE) for _ in range(3))
    whole.train(4)
    stops = iter([False] * 6 + [True])
    assert not first.train(4, lambda: next(stops))
    with torch.no_grad():
        for name, tensor in second.tensors().items():
            tensor.copy_(first.tensors()[name])
    second.epoch, second.step_in_epoch = first.epoch, first.step_in_epoch
    second.rows = {run: list(rows) for run, rows in first.rows.items()}
    for stack in second.stacks:
        stack.count_live()
    second.train(4)
    for run in job.runs:
        assert_same_bits(second, whole, run)


@pytest.mark.parametrize("mask_update", ["fixed", "set"])
def test_steps_that_wait_have_the_same_bits(
    mask_update: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adam counts steps, the last minibatch is short, probed epochs and moving masks cut a
    stretch.
    """
    job = make_job("adam", "DA_BN", percents=THREE, epochs=14, mask_update=mask_update)
    waiting = cohort_of(job, "native", monkeypatch)
    assert waiting.native is not None and waiting.native.steps_at_once > 1
    waiting.train(job.epochs)
    monkeypatch.setattr(steps, "STEPS_AT_ONCE", 1)
    one_by_one = cohort_of(job, "native", monkeypatch)
    one_by_one.train(job.epochs)
    for run in job.runs:
        assert_same_bits(waiting, one_by_one, run)


def test_who_asks_for_the_tensors_gets_those_of_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job("adam", "NR", percents=(50,), epochs=14)
    seen: list[list[torch.Tensor]] = []
    for at_once in (8, 1):
        monkeypatch.setattr(steps, "STEPS_AT_ONCE", at_once)
        cohort = cohort_of(job, "native", monkeypatch)

        def at_step(cohort: Cohort = cohort) -> bool:
            if cohort.epoch == 13 and cohort.step_in_epoch == 2:
                seen.append([tensor.clone() for tensor in cohort.tensors().values()])
            return False

        cohort.train(job.epochs, at_step)
    for ours, theirs in zip(*seen, strict=True):
        assert torch.equal(ours, theirs)


def test_a_network_that_diverges_is_seen_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """At an absurd rate weights leave what float32 holds; those that are masked stay exactly
    zero.
    """
    job = make_job("sgd", "NR", percents=THREE, learning_rate=1e30, precision="float32")
    for choice in (ACTIVE, ALL):
        cohort = cohort_of(job, "native", monkeypatch, choice)
        cohort.train(3)
        for run in job.runs:
            assert cohort.rows[run][-1]["diverged"]
        for stack in cohort.stacks:
            for layer, mask in zip(stack.layers, stack.masks or [], strict=False):
                assert not torch.isfinite(layer).all()
                assert torch.all(layer.detach()[mask == 0] == 0)


def test_not_a_number_among_the_weights_reaches_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    for activation in ACTIVATIONS:
        job = make_job("sgd", "NR", activation=activation, precision="float32")
        cohort = cohort_of(job, "native", monkeypatch, ALL)
        with torch.no_grad():
            for stack in cohort.stacks:
                stack.layers[0].fill_(torch.nan)
        cohort.train(2)
        assert all(rows[-1]["diverged"] for rows in cohort.rows.values())


def test_float32_is_as_near_to_float64_as_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job("momentum", "DA_L2_SC_BN", percents=THREE)
    single = dataclasses.replace(
        job, settings=dataclasses.replace(job.settings, precision="float32")
    )
    exact = cohort_of(job, "autograd", monkeypatch)
    native, autograd = (cohort_of(single, kind, monkeypatch) for kind in ("native", "autograd"))
    for cohort in (exact, native, autograd):
        cohort.train(1)
    for name, expected in exact.tensors().items():
        if name.split(".")[1:3] == ["network", "layers"]:
            apart = [(c.tensors()[name] - expected).norm().item() for c in (native, autograd)]
            assert apart[0] <= 4 * apart[1] + 1e-7


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"precision": "bf16"}, "bfloat16"),
        ({}, "native"),
    ],
)
def test_what_is_not_covered_is_trained_by_autograd(
    change: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    cohort = Cohort(make_job(**change), make_data(), CPU)
    assert why in cohort.step_kind
    assert (cohort.native is None) == (why != "native")


def test_a_wrong_switch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "fast")
    with pytest.raises(ValueError, match="GRADFLOW_STEP is fast; it may be auto, native or auto"):
        Cohort(make_job(), make_data(), CPU)
    monkeypatch.setenv(SWITCH, "native")
    with pytest.raises(ValueError, match="this job cannot have it: bfloat16"):
        Cohort(make_job(precision="bf16"), make_data(), CPU)


def test_every_setting_is_known_to_the_step_or_at_its_default() -> None:
    """A setting that the step has not heard of must send a job to autograd, never be ignored."""
    from gradflow.study.compiled_steps import FOLLOWED

    assert {field.name for field in dataclasses.fields(Settings)} >= FOLLOWED - {
        "image_side", "max_width", "initial_mask",
    }  # fmt: skip
    assert set(functions_at_start(Settings())) == set(ACTIVATIONS)
    assert Run("dense", 50) in make_job().runs


def test_every_optimizer_and_activation_that_is_planned_has_its_kernels() -> None:
    assert set(UPDATES) == set(PAPER_OPTIMIZERS)
    assert set(COMPILED) == set(PAPER_ACTIVATIONS)
