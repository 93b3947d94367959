"""The loop in memory against the engine and the plain loop, and the table of the CPU: small,
resumed, as Markdown.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from cohorts import DEVICE, make_data, make_job
from project import ROOT, environment

from benchmark.cpu_table import CONTENDERS, KEY, job_of, markdown, random_data
from benchmark.memory_loop import MemoryLoop, MemoryNetwork
from benchmark.plain_loops import DeviceLoop, MaskedLinear, plain_network
from gradflow.networks.build import mlp_shapes
from gradflow.networks.mlp import skip_connections
from gradflow.study.job import Job, Run
from gradflow.training.step_choice import step_kind

SPARSE, DENSE = Run("sparse", 50), Run("dense", 50)


def one_batch_job(optimizer: str, regularization: str, run: Run) -> Job:
    """All images are one minibatch, so that their order is nothing."""
    job = make_job(
        optimizer, regularization, percents=(50,), architectures=(run.architecture,), depth=3
    )
    settings = dataclasses.replace(job.settings, precision="float32", batch_size=10_000)
    return dataclasses.replace(job, settings=settings)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adagrad", "rmsprop", "adam"])
@pytest.mark.parametrize("regularization", ["NR", "BN"])
@pytest.mark.parametrize("run", [SPARSE, DENSE], ids=str)
def test_the_loop_in_memory_is_the_plain_loop(
    run: Run, regularization: str, optimizer: str
) -> None:
    """The mask on the gradient, once, or on the weight in each forward pass: the same training."""
    job, data = one_batch_job(optimizer, regularization, run), make_data(channels=3)
    torch.manual_seed(0)
    memory = MemoryLoop(job, run, data)
    plain = DeviceLoop(job, plain_network(job, run, data), data, DEVICE)
    with torch.no_grad():
        for index, (ours, theirs) in enumerate(zip(memory.layers, plain.layers, strict=True)):
            theirs.weight.copy_(ours.weight)
            if isinstance(theirs, MaskedLinear):
                theirs.mask.copy_(memory.masks[index])
    first, second = ([loop.train_epoch() for _ in range(4)] for loop in (memory, plain))
    np.testing.assert_allclose(first, second, rtol=1e-4)
    assert first[-1] < first[0]
    for layer, mask in zip(memory.layers, memory.masks, strict=False):
        assert not layer.weight[mask == 0].any()
    logged, expected = memory.measured_epoch(), plain.measured_epoch()
    assert logged.keys() == expected.keys()
    for name, value in expected.items():
        assert logged[name] == pytest.approx(value, rel=1e-3), name


def test_the_loop_in_memory_has_the_engines_skips_and_decay() -> None:
    job = job_of(40, "momentum", "DA_L2_SC_BN")
    data = random_data(40)
    network = MemoryNetwork(job, mlp_shapes(job, DENSE, data)[0])
    assert {layer + 1: layer - 1 for layer in network.skips} == skip_connections(
        4, job.settings.skip_overlap
    )
    assert MemoryLoop(job, DENSE, data).optimizer.param_groups[0]["weight_decay"] == job.settings.l2


def test_augmented_images_are_crops_of_the_padded_ones() -> None:
    job, data = job_of(40, "sgd", "DA_L2_SC_BN"), random_data(40)
    torch.manual_seed(0)
    loop = MemoryLoop(job, DENSE, data)
    chosen = torch.arange(30)
    side = loop.side
    flips = 0
    for index, image in enumerate(loop.augmented(chosen)):
        windows = loop.padded[index].unfold(1, side, 1).unfold(2, side, 1)  # [C, rows, columns, ..]
        as_it_is, flipped = (
            bool((windows == one[:, None, None]).all(-1).all(-1).all(0).any())
            for one in (image, image.flip(-1))
        )
        assert as_it_is or flipped
        flips += flipped and not as_it_is
    assert 0 < flips < 30


def test_the_cells_have_compiled_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the row of the engine would be that of autograd."""
    pytest.importorskip("numba")
    monkeypatch.setenv("GRADFLOW_STEP", "auto")
    job = job_of(200, "adam", "DA_L2_SC_BN")
    assert step_kind(job, torch.device("cpu"), capturing=False) == (True, "native")


def frame(**us: float) -> pd.DataFrame:
    rows = [
        {
            **dict(zip(KEY, (40, "sgd", regularization), strict=True)),
            "contender": name, "us": us[name] * factor, "run_us": 2 * us[name] * factor,
            "floor_us": 100.0, "device": "a processor", "torch_version": "2", "date": "2026-01-01",
        }
        for regularization, factor in (("NR", 1.0), ("BN", 3.0))
        for name in CONTENDERS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_table_as_markdown() -> None:
    text = markdown(frame(memory=600.0, loader=9000.0, engine=200.0, autograd=400.0))
    assert "a processor" in text
    assert "| 40 | sgd | NR | 0.6 | 9 | 0.2 | 0.4 | 0.1 | 3.00 |" in text
    assert "| 40 | sgd | BN | 3.6 | 54 | 1.2 | 2.4 | 0.1 | 3.00 |" in text  # with probes
    assert text.count("2 cells: 3.00 times in the median, 3.00 at the least.") == 2


@pytest.mark.slow
def test_cells_are_measured_once(tmp_path: Path) -> None:
    def run(*optimizers: str) -> pd.DataFrame:
        subprocess.run(
            [sys.executable, "-m", "benchmark.cpu_table", "--widths", "40", "--seconds", "0.1",
             "--regularizations", "NR", "--optimizers", *optimizers, "--output", tmp_path / "cpu"],
            cwd=ROOT, env=environment(ROOT), check=True, capture_output=True,
        )  # fmt: skip
        return pd.read_parquet(tmp_path / "cpu.parquet")

    first = run("sgd")
    assert list(first["contender"]) == list(CONTENDERS)
    assert (first[["us", "probe_us", "run_us", "floor_us"]] > 0).all(axis=None)
    both = run("sgd", "adam")
    pd.testing.assert_frame_equal(both[both["optimizer"] == "sgd"], first)
    assert "| 40 | adam | NR |" in (tmp_path / "cpu.md").read_text()
