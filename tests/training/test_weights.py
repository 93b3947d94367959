"""Final weights beside a run's log: whole, the run's own, never lost, and of no influence on any
number.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cohorts import DEVICE, make_data, make_job, make_wide_resnet_job, train_cohort
from safetensors import safe_open
from safetensors.torch import load_file

from gradflow.study.job import Job, Run
from gradflow.training import magnitude_pruning as pruning
from gradflow.training import train_job as training
from gradflow.training.run_log import read_log
from gradflow.training.train_job import train_job
from gradflow.training.weights import run_tensors, weights_path
from gradflow.workflow.commands import parse

MLP = make_job("adam", "DA_L2_SC_BN", activation="prelu", percents=(30, 70))
WIDE_RESNET = make_wide_resnet_job("adam", "BN", activation="prelu")
SPARSE = Run("sparse", 30)


@pytest.fixture(autouse=True)
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (training, pruning):
        monkeypatch.setattr(module, "load_job_data", lambda *_: make_data())


def rows(job: Job, run: Run, results: Path) -> list[dict]:
    return read_log(results / job.log_path(run)).to_pylist()


def kept(results: Path) -> list[Path]:
    return sorted(results.rglob("*.safetensors"))


def assert_same_tensors(path: Path, expected: dict[str, torch.Tensor]) -> None:
    found = load_file(path)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("job", [MLP, WIDE_RESNET], ids=["mlp", "wide_resnet"])
def test_they_are_those_of_the_cohort(tmp_path: Path, job: Job) -> None:
    train_job(job, tmp_path, DEVICE, keep_weights=True)
    cohort = train_cohort(job, make_data())
    assert kept(tmp_path) == sorted(weights_path(job, run, tmp_path) for run in job.runs)
    for run in job.runs:
        path = weights_path(job, run, tmp_path)
        assert path.with_suffix(".parquet") == tmp_path / job.log_path(run)
        assert_same_tensors(path, run_tensors(cohort, run))
        with safe_open(path, "pt") as file:
            assert file.metadata()["spec"] == job.only(run).to_json()


@pytest.mark.parametrize("job", [MLP, WIDE_RESNET], ids=["mlp", "wide_resnet"])
def test_they_are_the_runs_own_and_masked(tmp_path: Path, job: Job) -> None:
    train_job(job, tmp_path, DEVICE, keep_weights=True)
    cohort = train_cohort(job, make_data())
    for run in job.runs:
        tensors = load_file(weights_path(job, run, tmp_path))
        last = rows(job, run, tmp_path)[-1]
        layers = range(len(last["active_weights"]))
        stack = next(stack for stack in cohort.stacks if run in stack.runs)
        k = stack.runs.index(run)
        for index in layers:
            assert torch.equal(tensors[f"layer.{index}"], stack.layers[index][k])
        assert [tensors[f"layer.{index}"].numel() for index in layers] == last["total_weights"]
        masks = [name for name in tensors if name.startswith("mask.")]
        assert len(masks) == (0 if run.architecture == "dense" else len(layers))
        for index in range(len(masks)):
            mask = tensors[f"mask.{index}"]
            assert mask.dtype == torch.bool
            assert int(mask.sum()) == last["active_weights"][index]
            assert tensors[f"layer.{index}"][~mask].count_nonzero() == 0
        # with BatchNorm's parameters and the activations' they are all that the log counts
        others = [
            tensor.numel()
            for name, tensor in tensors.items()
            if name.startswith(("norms.", "activations."))
            and "running" not in name
            and "num_batches" not in name
        ]
        assert sum(last["active_weights"]) + sum(others) == last["trainable_parameters"]
        assert any("running_mean" in name for name in tensors)


def test_a_diverged_network_is_zero_where_masked() -> None:
    cohort = train_cohort(MLP, make_data())
    with torch.no_grad():
        cohort.stacks[0].layers[0].fill_(float("nan"))
    tensors = run_tensors(cohort, SPARSE)
    assert tensors["layer.0"][~tensors["mask.0"]].count_nonzero() == 0
    assert tensors["layer.0"][tensors["mask.0"]].isnan().all()


def test_the_logs_are_the_same_with_and_without(tmp_path: Path) -> None:
    with_weights, without = tmp_path / "with", tmp_path / "without"
    train_job(MLP, with_weights, DEVICE, keep_weights=True)
    train_job(MLP, without, DEVICE)
    assert not kept(without)
    for run in MLP.runs:
        logs = [read_log(folder / MLP.log_path(run)) for folder in (with_weights, without)]
        assert logs[0].to_pylist() == logs[1].to_pylist()
        assert logs[0].schema.metadata[b"spec"] == logs[1].schema.metadata[b"spec"]


def test_what_is_finished_is_not_trained_again_for_its_weights(tmp_path: Path) -> None:
    train_job(MLP, tmp_path, DEVICE)
    before = (tmp_path / MLP.log_path(SPARSE)).stat().st_mtime_ns
    train_job(MLP, tmp_path, DEVICE, keep_weights=True)
    assert (tmp_path / MLP.log_path(SPARSE)).stat().st_mtime_ns == before
    assert not kept(tmp_path)


def test_the_weights_of_a_replaced_run_do_not_stay_beside_the_new_log(tmp_path: Path) -> None:
    train_job(MLP, tmp_path, DEVICE, keep_weights=True)
    (tmp_path / MLP.log_path(SPARSE)).unlink()
    train_job(MLP, tmp_path, DEVICE)
    assert not weights_path(MLP, SPARSE, tmp_path).exists()
    assert len(kept(tmp_path)) == len(MLP.runs) - 1


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.mark.parametrize("moment", ["write_weights", "write_progress", "publish", "write_log"])
def test_nothing_is_lost_when_it_is_killed_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    real, calls = getattr(training, moment), 0

    def killed(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls > (1 if moment.startswith("write_") and moment != "write_progress" else 0):
            raise Killed
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, moment, killed)
        with pytest.raises(Killed):
            train_job(MLP, tmp_path, DEVICE, keep_weights=True)
    train_job(MLP, tmp_path, DEVICE, keep_weights=True)
    cohort = train_cohort(MLP, make_data())
    for run in MLP.runs:
        assert_same_tensors(weights_path(MLP, run, tmp_path), run_tensors(cohort, run))
        assert len(rows(MLP, run, tmp_path)) == MLP.epochs
    assert not list(tmp_path.glob("smoke/state/**/*.safetensors"))


def test_a_pruned_network_keeps_its_mask(tmp_path: Path) -> None:
    job = make_wide_resnet_job("momentum", "BN", architecture="magnitude", percent=20)
    pruning.pretrain(job.pretraining(), tmp_path, DEVICE)
    pruning.prune_and_finetune(job, tmp_path, DEVICE, keep_weights=True)
    run = job.runs[0]
    tensors = load_file(weights_path(job, run, tmp_path))
    active = [
        int(tensors[name].sum())
        for name in sorted(tensors, key=lambda n: (len(n), n))
        if "mask" in name
    ]
    assert active == rows(job, run, tmp_path)[-1]["active_weights"]
    assert sum(active) < sum(rows(job, run, tmp_path)[-1]["total_weights"]) / 2


def test_the_flag_names_scales() -> None:
    job = ["--job", MLP.to_json()]
    assert not parse(None, job).keep_weights
    assert not parse(None, [*job, "--keep-weights", "paper"]).keep_weights
    assert parse(None, [*job, "--keep-weights", "paper", "--keep-weights", "smoke"]).keep_weights
