"""What the benchmark says and draws of its measurements, and a small run of the real script."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from project import ROOT, new_project
from small_jobs import job_of

from benchmark.cases import STACKS, Case
from benchmark.measurement import Measurement
from benchmark.report import case_lines, figure_of_benchmark, table, verdict_lines
from gradflow.data.store import fetch_dataset


def measurement(**changes: object) -> Measurement:
    plain: dict[str, object] = {
        "max_width": 256,
        "hidden_layers": 4,
        "networks": 10,
        "real_data": True,
        "rounds": 3,
    }
    texts = {
        "network": "quick", "dataset": "digits", "optimizer": "sgd", "regularization": "NR",
        "precision": "float32",
        "contender": "engine", "runs": "job", "device": "a device", "device_type": "cpu",
        "torch_version": "2",
        "cuda_version": "", "date": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    plain |= texts
    numbers = {f.name: 1.0 for f in dataclasses.fields(Measurement) if f.name not in plain}
    return Measurement(
        **(numbers | {"train_images": 1437, "workers": 0, "threads": 1} | plain | changes)
    )


def test_verdicts_hide_nothing() -> None:
    fast = measurement(plain_run_us=70.0, run_us=10.0, plain_us=60.0, us=5.0)
    slow = measurement(
        plain_run_us=49.0,
        run_us=10.0,
        plain_us=30.0,
        us=15.0,
        optimizer="adam",
        regularization="DA_BN",
    )
    other = measurement(network="cifar100", plain_run_us=40.0, plain_us=500.0, run_us=10.0)
    alone = measurement(
        network="fashion_mnist", plain_run_us=500.0, run_us=10.0, networks=5, runs="sparse"
    )
    plain = measurement(
        network="cifar100",
        contender="plain",
        run_us=500.0,
        plain_us=500.0,
        networks=1,
        runs="sparse",
    )
    lines = verdict_lines([fast, slow, other, alone, plain])
    assert max(map(len, lines)) <= 80
    text = " ".join(line.strip() for line in lines)
    aim = "at least 5 times the plain loop, K=10, whole run, both measuring"
    assert (
        f"quick: {aim}: REACHED with a median of 5.95, lowest 4.90 (adam DA_BN float32), highest "
        "7.00 (sgd NR float32); below 5 in 1 of 2 configurations: adam DA_BN float32 4.90. quick: "
        "training alone, neither measuring: a median of 7.00, lowest 2.00 (adam DA_BN float32), "
        "highest 12.0 (sgd NR float32); below 5 in 1 of 2 configurations: adam "
        "DA_BN float32 2.00." in text
    )
    assert f"cifar100: {aim}: MISSED with a median of 4.00," in text
    assert f"fashion_mnist: {aim}: not measured." in text


def test_verdicts_on_a_gpu_have_its_targets() -> None:
    gpu = {
        "device_type": "cuda",
        "network": "fashion_mnist",
        "precision": "tf32",
        "plain_run_us": 1770.0,
        "plain_us": 9000.0,
    }
    rows = [
        measurement(**gpu, run_us=41.0),
        measurement(**gpu, run_us=35.0, networks=15, runs="sparse"),
    ]
    rows.append(measurement(**gpu, run_us=38.0, regularization="BN"))
    text = " ".join(line.strip() for line in verdict_lines(rows))
    assert (
        "fashion_mnist: at least 50 times the plain loop" in text
        and "MISSED with a median of 44.9," in text
    )
    assert "SGD, TF32, NR, measurements included: REACHED with 35.0 at K=15." in text
    assert "SGD, TF32, BN, measurements included: MISSED with 38.0 at K=10." in text
    sparse = measurement(**gpu, run_us=40.0, floor_us=30.0, networks=5, runs="sparse")
    text = " ".join(line.strip() for line in verdict_lines([*rows, sparse]))
    assert "at K=5, all sparse and of the full width: MISSED with 40.0, 75% of the floor's" in text


def test_the_figure_shows_every_network_optimizer_and_regularization() -> None:
    rows = [
        measurement(
            network=n,
            optimizer=o,
            regularization=r,
            precision=p,
            networks=k,
            runs="job" if k == 10 else "sparse",
        )
        for n, o, r, p, k in itertools.product(
            ("quick", "cifar100"), ("sgd", "adam"), ("BN", "NR"), ("float32", "tf32"), STACKS
        )
    ]
    figure = figure_of_benchmark(table(rows))
    assert len(figure.axes) == 8
    assert [panel.get_title() for panel in figure.axes[:2]] == ["NR", "BN"]
    joined = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 4]
    assert [list(line.get_xdata()) for line in joined] == [[1, 2, 5, 15]] * 10


# --- the script -----------------------------------------------------------------------------------


def run_script(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *map(str, arguments)], capture_output=True, text=True,
        check=False, cwd=ROOT,
        env={**os.environ, "GRADFLOW_DEVICE": "cpu"},
    )  # fmt: skip


@pytest.mark.slow
def test_a_small_benchmark_writes_its_table_and_figure(tmp_path: Path) -> None:
    fetch_dataset(
        "digits", tmp_path / "data" / "digits.safetensors", tmp_path / "data" / "digits.json"
    )
    output = tmp_path / "out" / "quick"
    done = run_script(
        "--networks", "quick", "--optimizers", "sgd", "--regularizations", "DA_BN", "--stacks", 2,
        10, "--seconds", 1,
        "--data", tmp_path / "data", "--output", output,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "quick: at least 5 times the plain loop, K=10, whole run, both measuring: " in " ".join(
        done.stdout.split()
    )
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "quick.parquet",
        "quick.pdf",
        "quick.png",
    ]
    assert output.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    rows = pd.read_parquet(output.with_suffix(".parquet"))
    fields = [f.name for f in dataclasses.fields(Measurement)]
    assert list(rows.columns) == [
        *fields, "ratio", "ratio_training", "ratio_device", "ratio_device_training", "floor_share",
    ]  # fmt: skip
    engine, plain = rows[rows["contender"] == "engine"], rows[rows["contender"] != "engine"]
    assert list(engine["networks"]) == [2, 10] and list(engine["runs"]) == ["sparse", "job"]
    networks = ["sparse", *(f"dense-w{percent}" for percent in STACKS[10])]
    assert list(plain["runs"]) == [name for name in networks for _ in range(2)]
    numbers = rows.select_dtypes("number")
    assert np.isfinite(numbers).all(axis=None)
    positive = numbers.drop(columns=["workers", "build_seconds", "first_seconds"])
    assert (positive > 0).all(axis=None)
    for name in ("us", "probe_us"):
        assert (rows[f"{name}_min"] <= rows[name]).all() and (
            rows[name] <= rows[f"{name}_max"]
        ).all()
    assert (
        (rows["threads"] == 1).all()
        and (rows["train_images"] == 1437).all()
        and rows["real_data"].all()
    )
    assert (rows["rounds"] == 3).all()
    np.testing.assert_allclose(rows["run_us"], rows["probe_us"])  # each of quick's epochs is one
    np.testing.assert_allclose(engine["ratio"], engine["plain_run_us"] / engine["run_us"])
    np.testing.assert_allclose(engine["ratio_training"], engine["plain_us"] / engine["us"])
    by_name = plain[plain["contender"] == "plain"].set_index("runs")
    sparse, job = engine.iloc[0], engine.iloc[1]
    for name in ("us", "run_us"):
        assert sparse[f"plain_{name}"] == by_name.loc["sparse", name]
    # a mean of medians is near the median of means, and each lies between the networks' extremes
    dense = by_name.loc[networks[1:]]
    for own, ours in (("us", "plain_us"), ("probe_us", "plain_run_us")):
        least = (5 * by_name.loc["sparse", f"{own}_min"] + dense[f"{own}_min"].sum()) / 10
        most = (5 * by_name.loc["sparse", f"{own}_max"] + dense[f"{own}_max"].sum()) / 10
        assert least <= job[ours] <= most


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--precisions", "tf32"), "--precisions tf32 needs a CUDA device"),
        *(
            pytest.param(*given, marks=pytest.mark.slow)
            for given in (
                (("--seconds", 0), "--seconds is 0; it must be more than 0"),
                (("--workers", -1), "--workers is -1; it must be 0 or more"),
            )
        ),
    ],
    ids=["precision", "seconds", "workers"],
)
def test_a_bad_option_gets_one_sentence(
    arguments: tuple[object, ...], sentence: str, tmp_path: Path
) -> None:
    done = run_script(*arguments, "--output", tmp_path / "b")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(sentence) and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_misspelt_network_is_refused() -> None:
    done = run_script("--networks", "quik")
    assert done.returncode == 2
    assert (
        "invalid choice: 'quik'" in done.stderr.splitlines()[-1]
        and "fashion_mnist" in done.stderr.splitlines()[-1]
    )


def test_lines_of_the_largest_numbers_fit_a_terminal() -> None:
    case = Case("cifar100", job_of("cifar100", 3076, "adam", ("dense", "sparse")))
    times = {
        "us": 223456.0,
        "run_us": 323456.0,
        "floor_us": 123456.0,
        "plain_us": 8e5,
        "plain_device_us": 3e5,
    }
    times |= {"plain_run_us": 9e5, "plain_device_run_us": 4e5}
    row = measurement(
        **times, peak_memory_mb=139000.0, bandwidth=4e12, flops=4.5e14, train_images=50_000
    )
    lines = "\n".join(case_lines(case.title, [row])).splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if line.startswith(("engine", "plain"))]
    assert rows[0] == [
        "engine",
        "10",
        "223,456",
        "323,456",
        "2.78",
        "1.24",
        "123,456",
        "38.2%",
        "139,000",
    ]
    assert rows[1][-6:] == ["800,000", "900,000", "1.00", "0.44", "123,456", "13.7%"]


@pytest.mark.slow
@pytest.mark.workflow
def test_snakemake_benchmark_is_a_target(tmp_path: Path) -> None:
    planned = new_project(tmp_path / "project").plan("benchmark")
    assert planned.counts == {"benchmark": 1, "fetch_dataset": 1}
