"""Magnitude pruning: train dense for half of the epochs, keep the largest, fine-tune."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from cohorts import (
    DEVICE,
    assert_masked_weights_zero,
    layer_masks,
    layer_weights,
    make_data,
    make_job,
    make_wide_resnet_job,
    train_cohort,
    train_steps,
)

from gradflow.networks.build import active_at, build_networks
from gradflow.study.job import Job, Run
from gradflow.training import magnitude_pruning as pruning
from gradflow.training import train_job as training
from gradflow.training.checkpoint import (
    CheckpointError,
    read_progress,
    restore_checkpoint,
    save_checkpoint,
)
from gradflow.training.cohort import Cohort
from gradflow.training.magnitude_pruning import (
    pretrain,
    pretraining_epochs,
    prune,
    prune_and_finetune,
    start_from_pretrained,
)
from gradflow.training.run_log import read_log

DATA = make_data(train=38, test=10)  # three steps an epoch
EPOCHS = 4


def magnitude_job(percent: int, optimizer: str = "adam", **options: object) -> Job:
    return make_wide_resnet_job(
        optimizer, "DA_L2_BN", architecture="magnitude", percent=percent, epochs=EPOCHS, **options
    )


@pytest.fixture(autouse=True)
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pruning, training):
        monkeypatch.setattr(module, "load_job_data", lambda job, results: DATA)


def read_rows(job: Job, results: Path) -> list[dict]:
    (run,) = job.runs
    return read_log(results / job.log_path(run), job.only(run).to_json()).to_pylist()


def numbers(row: dict) -> dict:
    """A row without what tells one run from another, and without what pruning itself changes."""
    # the cause of a divergence goes into a log's metadata
    identity = ("architecture", "density_percent", "divergence_cause")
    return {column: value for column, value in row.items() if column not in identity}


def half_trained(job: Job) -> Cohort:
    """A magnitude job's cohort after the dense half, before pruning."""
    cohort = Cohort(job, DATA, DEVICE)
    cohort.train(pretraining_epochs(job))
    return cohort


class TestPrune:
    @pytest.mark.parametrize("percent", [1, 10, 50, 100])
    def test_keeps_exactly_the_largest_of_each_layer(self, percent: int) -> None:
        cohort = half_trained(magnitude_job(percent))
        run = cohort.job.runs[0]
        before = layer_weights(cohort, run)
        prune(cohort)
        after, masks = layer_weights(cohort, run), layer_masks(cohort, run)
        for layer, old, new, mask in zip(
            cohort.stacks[0].network.plan, before, after, masks, strict=True
        ):
            active = active_at(cohort.job, run, layer.role, layer.shape)
            magnitudes = np.abs(old.numpy())
            threshold = np.sort(magnitudes, axis=None)[magnitudes.size - active]
            assert (
                np.count_nonzero(magnitudes == threshold) == 1
            )  # no ties: the largest are one set
            assert np.array_equal(mask.numpy() == 1, magnitudes >= threshold)
            assert int(mask.sum()) == active
            assert torch.equal(new, old * mask)

    def test_as_many_as_a_random_mask_of_that_density(self) -> None:
        for percent in (5, 30):
            cohort = half_trained(magnitude_job(percent))
            prune(cohort)
            ((_, _, masks),) = build_networks(make_wide_resnet_job(percent=percent), DATA)
            assert [count.item() for count in cohort.stacks[0].active()] == [
                int(mask.sum()) for mask in masks
            ]

    def test_keep_dense(self) -> None:
        cohort = half_trained(magnitude_job(10, wide_resnet_keep_dense=("stem", "classifier")))
        prune(cohort)
        (stack,) = cohort.stacks
        for layer, mask in zip(stack.network.plan, stack.masks, strict=True):
            assert bool(mask.all()) == (layer.role in ("stem", "classifier"))

    def test_live_weights_are_counted_anew(self) -> None:
        cohort = half_trained(magnitude_job(1))
        full = sum(count.item() for count in cohort.stacks[0].live)
        prune(cohort)
        active = sum(count.item() for count in cohort.stacks[0].active())
        assert sum(count.item() for count in cohort.stacks[0].live) <= active < full

    @pytest.mark.parametrize("optimizer", ["momentum", "adagrad", "rmsprop", "adam"])
    def test_the_optimizer_goes_on_for_the_weights_that_stay(self, optimizer: str) -> None:
        cohort = half_trained(magnitude_job(30, optimizer))
        (stack,) = cohort.stacks
        before = {name: tensor.clone() for name, tensor in stack.optimizer.tensors().items()}
        states = [
            [tensor.clone() for tensor in stack.optimizer.state_of(layer)] for layer in stack.layers
        ]
        prune(cohort)
        for layer, old, mask in zip(stack.layers, states, stack.masks, strict=True):
            for tensor, former in zip(stack.optimizer.state_of(layer), old, strict=True):
                assert torch.equal(tensor, former * mask)
                assert torch.any(tensor != 0)
        layers = len(stack.layers)
        others = [name for name in before if name.startswith("1.") or name.endswith(".step")]
        assert len(others) > layers
        assert all(torch.equal(stack.optimizer.tensors()[name], before[name]) for name in others)

    @pytest.mark.parametrize("optimizer", ["momentum", "adam"])
    def test_or_starts_afresh(self, optimizer: str) -> None:
        cohort = half_trained(magnitude_job(30, optimizer, finetune_optimizer="fresh"))
        (stack,) = cohort.stacks
        assert any(torch.any(tensor != 0) for tensor in stack.optimizer.tensors().values())
        prune(cohort)
        assert all(torch.all(tensor == 0) for tensor in stack.optimizer.tensors().values())

    def test_is_for_wide_resnets(self) -> None:
        with pytest.raises(TypeError, match="Wide ResNet"):
            prune(Cohort(make_job("sgd", architectures=("sparse",)), make_data(), DEVICE))


class TestFinetune:
    @pytest.mark.parametrize("optimizer", ["momentum", "adam"])
    def test_masked_weights_stay_zero(self, tmp_path: Path, optimizer: str) -> None:
        job = magnitude_job(10, optimizer)
        pretrain(job.pretraining(), tmp_path, DEVICE)
        cohort = Cohort(job, DATA, DEVICE)
        start_from_pretrained(cohort, tmp_path)
        assert (cohort.epoch, cohort.step_in_epoch) == (EPOCHS // 2, 0)
        masks = layer_masks(cohort, job.runs[0])
        before = layer_weights(cohort, job.runs[0])
        cohort.train(EPOCHS)
        assert_masked_weights_zero(cohort)
        for mask, now in zip(masks, layer_masks(cohort, job.runs[0]), strict=True):
            assert torch.equal(mask, now)
        assert not any(
            torch.equal(old, new)
            for old, new in zip(before, layer_weights(cohort, job.runs[0]), strict=True)
        )

    def test_one_pretraining_serves_every_density(self, tmp_path: Path) -> None:
        jobs = [magnitude_job(percent) for percent in (10, 50)]
        assert jobs[0].pretraining() == jobs[1].pretraining()
        assert jobs[0].pretrained_path == jobs[1].pretrained_path
        pretrain(jobs[0].pretraining(), tmp_path, DEVICE)
        pretrained = tmp_path / jobs[0].pretrained_path
        kept = {file.name: file.read_bytes() for file in pretrained.parent.iterdir()}
        dense = train_cohort(jobs[0].pretraining(), DATA).rows[Run("dense", 100)]
        for job in jobs:
            prune_and_finetune(job, tmp_path, DEVICE)
            rows = read_rows(job, tmp_path)
            assert [row["epoch"] for row in rows] == list(range(EPOCHS))
            assert {(row["architecture"], row["density_percent"]) for row in rows} == {
                ("magnitude", job.percents[0])
            }
            half = EPOCHS // 2
            assert [numbers(row) for row in rows[:half]] == [numbers(row) for row in dense[:half]]
            counts = [
                active_at(job, job.runs[0], "blocks", (total,))
                for total in rows[0]["total_weights"]
            ]
            for row in rows[half:]:
                assert row["active_weights"] == counts
                assert row["egf_l2"] < row["grad_norm_l2"]
                assert row["test_loss"] != dense[row["epoch"]]["test_loss"]
        assert {file.name: file.read_bytes() for file in pretrained.parent.iterdir()} == kept

    def test_full_density_is_the_dense_run_gone_on(self, tmp_path: Path) -> None:
        """Nothing is pruned and the optimizer continues, so the bits are those of an uninterrupted
        dense run.
        """
        job = magnitude_job(100)
        pretrain(job.pretraining(), tmp_path, DEVICE)
        prune_and_finetune(job, tmp_path, DEVICE)
        dense = train_cohort(job.pretraining(), DATA).rows[Run("dense", 100)]
        assert [numbers(row) for row in read_rows(job, tmp_path)] == [numbers(row) for row in dense]

    def test_a_fresh_optimizer_trains_on_otherwise(self, tmp_path: Path) -> None:
        rows = {}
        for choice in ("continue", "fresh"):
            job = magnitude_job(30, finetune_optimizer=choice)
            pretrain(job.pretraining(), tmp_path / choice, DEVICE)
            prune_and_finetune(job, tmp_path / choice, DEVICE)
            rows[choice] = read_rows(job, tmp_path / choice)
        losses = {choice: [row["test_loss"] for row in found] for choice, found in rows.items()}
        half = EPOCHS // 2
        assert losses["continue"][:half] == losses["fresh"][:half]
        assert losses["continue"][half:] != losses["fresh"][half:]

    def test_stopped_while_finetuning(self, tmp_path: Path) -> None:
        job = magnitude_job(10)
        pretrain(job.pretraining(), tmp_path, DEVICE)
        whole, stopped = Cohort(job, DATA, DEVICE), Cohort(job, DATA, DEVICE)
        for cohort in (whole, stopped):
            start_from_pretrained(cohort, tmp_path)
        whole.train(EPOCHS)
        train_steps(stopped, 2)
        state = tmp_path / job.state_path
        save_checkpoint(state, stopped, 0.0)
        prune_and_finetune(job, tmp_path, DEVICE)
        assert [numbers(row) for row in read_rows(job, tmp_path)] == [
            numbers(row) for row in whole.rows[job.runs[0]]
        ]
        assert read_progress(state) is None  # nothing left behind

    def test_a_stopped_pretraining_goes_on(self, tmp_path: Path) -> None:
        job = magnitude_job(10).pretraining()
        state = tmp_path / f"{job.pretrained_path}.state.json"
        stopped = Cohort(job, DATA, DEVICE)
        train_steps(stopped, 4)
        save_checkpoint(state, stopped, 0.0)
        pretrain(job, tmp_path, DEVICE)
        assert not state.exists()
        pretrained = tmp_path / job.pretrained_path
        progress = read_progress(pretrained)
        resumed = Cohort(job, DATA, DEVICE)
        restore_checkpoint(pretrained, progress, resumed)
        whole = half_trained(job)
        for layer, other in zip(
            layer_weights(resumed, job.runs[0]), layer_weights(whole, job.runs[0]), strict=True
        ):
            assert torch.equal(layer, other)
        assert resumed.rows == whole.rows

    def test_pretraining_once(self, tmp_path: Path) -> None:
        job = magnitude_job(10).pretraining()
        pretrain(job, tmp_path, DEVICE)
        before = (tmp_path / job.pretrained_path).stat().st_mtime_ns
        pretrain(job, tmp_path, DEVICE)
        assert (tmp_path / job.pretrained_path).stat().st_mtime_ns == before

    @pytest.mark.parametrize("damage", ["missing", "tensors", "another"])
    def test_a_damaged_pretrained_network_is_removed(self, tmp_path: Path, damage: str) -> None:
        job = magnitude_job(10)
        pretrained = tmp_path / job.pretrained_path
        if damage == "another":
            other = dataclasses.replace(job.pretraining(), epochs=6)
            pretrain(other, tmp_path, DEVICE)
        elif damage == "tensors":
            pretrain(job.pretraining(), tmp_path, DEVICE)
            (tensors,) = pretrained.parent.glob("*.safetensors")
            tensors.write_bytes(tensors.read_bytes()[:-1])
        with pytest.raises(CheckpointError, match="run the same command again") as caught:
            prune_and_finetune(job, tmp_path, DEVICE)
        assert "\n" not in str(caught.value)
        assert not pretrained.exists()
        assert not (tmp_path / job.log_path(job.runs[0])).exists()
        pretrain(job.pretraining(), tmp_path, DEVICE)  # and the same command makes it again
        prune_and_finetune(job, tmp_path, DEVICE)
        assert len(read_rows(job, tmp_path)) == EPOCHS

    @pytest.mark.parametrize(("epochs", "half"), [(200, 100), (5, 2), (1, 1)])
    def test_half_of_the_epochs(self, epochs: int, half: int) -> None:
        assert pretraining_epochs(dataclasses.replace(magnitude_job(10), epochs=epochs)) == half
