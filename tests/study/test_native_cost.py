"""The cost of compiled steps against sums by hand, and the measurement of a core behind it."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from gradflow.study import cpu_speed, native_cost
from gradflow.study.cost import CostModel, training_seconds
from gradflow.study.cpu_speed import ASSUMED, CpuRates, cpu_name, cpu_rates, measured_rates
from gradflow.study.finished_jobs import record_job
from gradflow.study.job import Configuration, Job, Settings
from gradflow.study.native_cost import is_native, native_seconds
from gradflow.study.work import work_of

ENDLESS = 1e30
# each makes all other work free
PRODUCTS = CpuRates(1.0, ENDLESS, 1 / ENDLESS)
BYTES = CpuRates(ENDLESS, native_cost.COPY, 1 / ENDLESS)
CALLS = CpuRates(ENDLESS, ENDLESS, 1 / native_cost.CALL)
OURS = CpuRates(5e10, 2e10, 5e-7, True)


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are compiled ones, whatever the environment says."""
    monkeypatch.delenv("GRADFLOW_STEP", raising=False)
    monkeypatch.setattr(native_cost, "_has_compiler", lambda: True)


def digits_job(optimizer: str = "sgd", regularization: str = "NR", **changes: object) -> Job:
    """Digits: 1437 images of 64 pixels, 360 test images."""
    configuration = Configuration("digits", "mlp", 2, 0, "relu", optimizer, 0.001, regularization)
    settings = Settings(batch_size=479, probe_images=958)  # 3 minibatches, 2 of the probe
    job = Job("smoke", "paper", configuration, 0, 1, ("dense",), (50,), 100, settings=settings)
    return dataclasses.replace(job, **changes)


def of_training(job: Job, rates: CpuRates) -> float:
    """An epoch without a probe: 12 epochs of 11 probes less 11 of 11."""
    longer, shorter = (dataclasses.replace(job, epochs=epochs) for epochs in (12, 11))
    return native_seconds(longer, False, rates) - native_seconds(shorter, False, rates)


def test_products_by_hand() -> None:
    def thin(side: int) -> float:
        return (1 + 24 / side) / (1 + 24 / 256)

    first, hidden, last = 64 * 50 * thin(50), 50 * 50 * thin(50), 50 * 10 * thin(10)
    epoch = 1437 * 2 * (2 * first + 3 * hidden + 3 * last)
    assert of_training(digits_job(), PRODUCTS) == pytest.approx(epoch, rel=1e-6)
    # a probe: two thirds of the images again, and the test set forward
    probe = epoch * 958 / 1437 + 360 * 2 * (first + hidden + last)
    assert native_seconds(digits_job(), False, PRODUCTS) == pytest.approx(epoch + probe, rel=1e-6)


def test_passes_by_hand() -> None:
    weights, outputs = 64 * 50 + 50 * 50 + 50 * 10, 50 + 50 + 10
    floats = 1437 * (5 * outputs + 3 * 64) + 3 * 3 * weights
    assert of_training(digits_job(), BYTES) == pytest.approx(4 * floats, rel=1e-6)
    # Adam goes over weights, gradient and two states, and divides
    more = of_training(digits_job("adam"), BYTES) - of_training(digits_job(), BYTES)
    assert more == pytest.approx(4 * 3 * (8 - 3) * weights, rel=1e-6)
    # BatchNorm goes over outputs alone
    more = of_training(digits_job("sgd", "BN"), BYTES) - of_training(digits_job(), BYTES)
    assert more == pytest.approx(4 * 1437 * 5 * outputs, rel=1e-6)


def test_calls_do_not_depend_on_the_width() -> None:
    narrow, wide = (of_training(digits_job(max_width=width), CALLS) for width in (20, 2000))
    # three layers with an update each, three minibatches
    assert narrow == pytest.approx(wide) == pytest.approx(3 * (6 + 6 * 3 + 3 + 2))


def test_sparse_twins_cost_what_their_active_weights_do() -> None:
    """At 10 % of the width a hidden layer has 1 %, at 90 % all weights are multiplied."""
    whole = of_training(digits_job(percents=(100,), max_width=784), PRODUCTS)
    sparse = digits_job(architectures=("sparse",), max_width=784)
    few, many = (
        of_training(dataclasses.replace(sparse, percents=(percent,)), PRODUCTS)
        for percent in (10, 90)
    )
    assert few < 0.2 * whole
    assert many == pytest.approx(whole)
    # a probing epoch needs the gradient of every weight; dense twins have no others
    job = dataclasses.replace(sparse, percents=(10,))
    probing = native_seconds(job, False, PRODUCTS) - of_training(job, PRODUCTS)
    assert probing > 0.3 * whole


def test_a_cohort_is_the_sum_of_its_networks() -> None:
    """Unlike a stack's, a network's step does not depend on others; twins share their images."""
    both = digits_job("adam", "BN", architectures=("dense", "sparse"), percents=(10, 50))
    apart = [
        dataclasses.replace(both, architectures=(architecture,), percents=(percent,))
        for architecture in ("dense", "sparse")
        for percent in (10, 50)
    ]
    assert of_training(both, PRODUCTS) == pytest.approx(
        sum(of_training(job, PRODUCTS) for job in apart)
    )
    assert of_training(both, BYTES) < sum(of_training(job, BYTES) for job in apart)


@pytest.mark.parametrize(
    ("changes", "native"),
    [
        ({}, True),
        ({"activation": "swish"}, True),
        ({"activation": "gelu"}, False),
        ({"optimizer": "lion"}, False),
        ({"regularization": "LN"}, False),
        ({"model": "wide_resnet"}, False),
    ],
)
def test_jobs_with_compiled_steps(changes: dict[str, str], native: bool) -> None:
    job = digits_job()
    job = dataclasses.replace(job, configuration=dataclasses.replace(job.configuration, **changes))
    assert is_native(job) == native


def test_the_switch_and_a_missing_compiler_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    job = digits_job(epochs=100)
    assert training_seconds(job, "cpu") == native_seconds(job, False, ASSUMED)
    monkeypatch.setenv("GRADFLOW_STEP", "autograd")
    assert training_seconds(job, "cpu") == work_of(job).seconds("cpu", "float32")
    monkeypatch.delenv("GRADFLOW_STEP")
    monkeypatch.setattr(native_cost, "_has_compiler", lambda: False)
    assert training_seconds(job, "cpu") == work_of(job).seconds("cpu", "float32")


# --- the speed of a core --------------------------------------------------------------------------


def test_a_core_is_measured_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu_rates(tmp_path, measure=False) == ASSUMED
    found = cpu_rates(tmp_path, measure=True)
    assert found.measured
    assert 1e7 < found.flops < 1e13 and 1e7 < found.bandwidth < 1e13 and 1e-9 < found.call < 1e-2
    monkeypatch.setattr(cpu_speed, "measured_rates", lambda: pytest.fail("measured again"))
    assert cpu_rates(tmp_path, measure=True) == cpu_rates(tmp_path, measure=False) == found


def test_another_processor_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_speed, "measured_rates", lambda: OURS)
    path = tmp_path / "cpu_rates.json"
    other = {"flops": 1.0, "bandwidth": 1.0, "call": 1.0}
    path.write_text(json.dumps({"another": other}))
    assert cpu_rates(tmp_path, measure=True) == OURS
    assert set(json.loads(path.read_text())) == {"another", cpu_name()}


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", '{"NAME": 3}', '{"NAME": {"flops": 0, "bandwidth": 1, "call": 1}}']
)
def test_damaged_rates_are_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(cpu_speed, "measured_rates", lambda: OURS)
    (tmp_path / "cpu_rates.json").write_text(text.replace("NAME", cpu_name()))
    assert cpu_rates(tmp_path, measure=True) == OURS
    assert cpu_rates(tmp_path, measure=False) == OURS  # mended


def test_without_numpy_rates_are_assumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise subprocess.CalledProcessError(1, sys.executable)

    monkeypatch.setattr(subprocess, "run", fail)
    assert measured_rates() is None
    assert cpu_rates(tmp_path, measure=True) == ASSUMED
    assert not list(tmp_path.iterdir())


def test_a_missing_results_folder_is_not_made(tmp_path: Path) -> None:
    assert cpu_rates(tmp_path / "results", measure=True).measured
    assert not list(tmp_path.iterdir())


def test_a_finished_job_goes_before_a_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_speed, "measured_rates", lambda: OURS)
    job = digits_job(epochs=100)
    model = CostModel.of_results(tmp_path, measure=True)
    start = CostModel().seconds(job, "cpu") - training_seconds(job, "cpu")
    assert model.cpu == OURS
    assert model.seconds(job, "cpu") - start == pytest.approx(native_seconds(job, False, OURS))
    record_job(tmp_path, job, job.runs, 7700.0, "cpu", native=False)  # by autograd
    assert CostModel.of_results(tmp_path).factor("mlp", "cpu").jobs == 0
    record_job(tmp_path, job, job.runs, 77.0, "cpu", native=True)
    model = CostModel.of_results(tmp_path, measure=True)
    assert model.cpu == ASSUMED and model.factor("mlp", "cpu").jobs == 1
    assert model.seconds(job, "cpu") - start == pytest.approx(77.0)


def test_a_fast_core_takes_less() -> None:
    job = digits_job("adam", "DA_SC_BN", epochs=30)
    fast = CpuRates(2 * OURS.flops, 2 * OURS.bandwidth, OURS.call / 2)
    assert 2 * native_seconds(job, False, fast) == pytest.approx(native_seconds(job, False, OURS))
    assert math.isfinite(native_seconds(job, True, OURS))


def test_a_setting_that_no_compiled_step_follows_is_planned_by_autograd() -> None:
    job = digits_job()
    clipped = dataclasses.replace(job.settings, gradient_clip=1.0)
    other = dataclasses.replace(job, settings=clipped)
    assert is_native(job) and not is_native(other)
