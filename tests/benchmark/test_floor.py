"""The floor under a step's time, and what a benchmark weighs and cuts."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cohorts import DEVICE, make_job
from small_jobs import job_of
from torch import Tensor

from benchmark.cases import COHORT, STACKS, stack_job
from benchmark.measure import cut, load_or_make
from benchmark.measurement import over_a_run
from benchmark.roofline import PRODUCTS, _product_rate, step_floor
from gradflow.networks.batched_product import stacked_product
from gradflow.study.job import Settings, probe_epochs
from gradflow.study.work import RATES, Rates, stacks_of


@pytest.mark.parametrize(
    ("dataset", "width", "optimizer", "megabytes", "us"),
    [
        ("cifar100", 3076, "sgd", 963, 320),
        ("cifar100", 3076, "adam", 1574, 530),
        ("fashion_mnist", 788, "sgd", 72, 24),
        ("fashion_mnist", 788, "adam", 112, 37),
    ],
)
def test_the_floor_is_that_of_the_design(
    dataset: str, width: int, optimizer: str, megabytes: int, us: int
) -> None:
    """Megabytes and microseconds (at 3.0 TB/s) as they were computed apart from this code, for the
    engine's design.
    """
    work = step_floor(job_of(dataset, width, optimizer), "cpu")
    assert (work.product_bytes + work.other_bytes) / 1e6 == pytest.approx(megabytes, rel=0.03)
    assert 1e6 * work.computing(RATES["cuda"], "tf32") == pytest.approx(us, rel=0.03)


def test_the_floor_of_a_small_network_by_hand() -> None:
    job = make_job("sgd", depth=1, percents=(50,), architectures=("dense",), max_width=10)
    job = dataclasses.replace(job, settings=Settings(batch_size=100))
    work, gpu = step_floor(job, "cpu"), step_floor(job, "cuda")
    assert work.flops == gpu.flops == 100 * 2 * (2 * 320 + 3 * 50)
    assert work.product_bytes == 4 * ((2 * 320 + 3 * 50) + 100 * (2 * (64 + 5) + 3 * (5 + 10)))
    assert (
        work.other_bytes == 4 * 3 * 370 + 100 * 64 * 5
    )  # gradient, weight, weight; a byte in, a float out
    # on a GPU the gradient is neither written nor read, and everything overlaps
    assert gpu.product_bytes == work.product_bytes + work.other_bytes - 4 * 2 * 370
    assert gpu.other_bytes == 0
    rates = Rates(bandwidth=1e6, flops={"float32": 1e6}, launch=1.0, overlaps=True)
    assert gpu.computing(rates, "float32") == max(work.flops, gpu.product_bytes) / 1e6
    assert work.computing(rates, "float32") == pytest.approx((work.flops + work.other_bytes) / 1e6)


def test_the_product_rate_is_that_of_the_fastest_way(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stacked_product in PRODUCTS and torch.bmm in PRODUCTS

    def takes(seconds: float) -> Callable[[Tensor, Tensor], None]:
        return lambda *_: time.sleep(seconds)

    side = 768
    for ways in itertools.permutations((takes(0.03), takes(0.001))):
        monkeypatch.setattr("benchmark.roofline.PRODUCTS", ways)
        _product_rate.cache_clear()
        assert 2 * side**3 / 0.02 < _product_rate(DEVICE, "float32") <= 2 * side**3 / 0.001
    _product_rate.cache_clear()


# --- the accounts ---------------------------------------------------------------------------------


def test_stacks_have_their_size_and_probe_at_each_cycle() -> None:
    job = job_of("fashion_mnist", 788, "sgd")
    for networks in STACKS:
        stacked = stack_job(job, networks, cycle=4)
        assert len(stacked.runs) == networks
        assert len(stacks_of(stacked)) == (6 if networks == COHORT else 1)
        assert probe_epochs(stacked.epochs) == list(range(0, 41, 4))


def test_a_run_is_weighed_by_its_probe_epochs() -> None:
    assert over_a_run(10.0, 110.0, 1000) == pytest.approx(10 + 11 / 1000 * 100)
    assert over_a_run(10.0, 110.0, 11) == 110.0
    assert over_a_run(10.0, 110.0, 4) == 110.0


def test_data_is_cut_with_its_test_and_probe_images(tmp_path: Path) -> None:
    job = dataclasses.replace(job_of("fashion_mnist", 788, "sgd"), settings=Settings())
    data, real = load_or_make(job, tmp_path)
    assert (
        not real
        and data.train_images.shape == (60_000, 1, 28, 28)
        and data.test_labels.shape == (10_000,)
    )
    pixels = data.train_images[:1000].double()
    assert (pixels.mean().item(), pixels.std().item()) == pytest.approx(
        (data.mean.item(), data.std.item()), rel=0.02
    )
    small_job, small = cut(job, data, steps=6)
    assert len(small.train_images) == len(small.train_labels) == 768
    assert len(small.test_images) == small_job.settings.probe_images == 128
    assert cut(job, data, steps=469) == (job, data)
