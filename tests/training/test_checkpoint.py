"""Checkpoints: a stopped job goes on bit for bit, and damage is noticed."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from cohorts import (
    DEVICE,
    assert_masked_weights_zero,
    assert_same_bits,
    find_run,
    make_data,
    make_job,
    make_wide_resnet_job,
    train_cohort,
    train_steps,
)

from gradflow.data.store import ImageData
from gradflow.study.job import OPTIMIZERS, Job, Run
from gradflow.training.checkpoint import (
    CheckpointError,
    Progress,
    read_progress,
    remove_checkpoint,
    restore_checkpoint,
    save_checkpoint,
    write_progress,
)
from gradflow.training.cohort import Cohort
from gradflow.training.run_log import read_log
from gradflow.training.stack import Stack
from gradflow.training.train_job import Stopped, StopSignals, train_job

THREE = (30, 50, 70)
EVERYTHING = make_job("adam", "DA_L2_SC_BN", activation="prelu", percents=THREE)
MOMENTUM = make_job("momentum", "NR", percents=THREE)
WIDE_RESNET = make_wide_resnet_job("adam", "DA_L2_BN")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "seed3.json"


def save(path: Path, cohort: Cohort) -> Progress:
    save_checkpoint(path, cohort, 1.5)
    progress = read_progress(path)
    assert progress is not None
    return progress


def resume(path: Path, job: Job, data: ImageData) -> Cohort:
    """A new cohort, as a new process makes it, brought to the checkpoint."""
    progress = read_progress(path)
    assert progress is not None
    cohort = Cohort(job, data, DEVICE)
    restore_checkpoint(path, progress, cohort)
    return cohort


def assert_same_state(first: Cohort, second: Cohort) -> None:
    ours, theirs = first.tensors(), second.tensors()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def momentum_buffers(stack: Stack) -> list[torch.Tensor]:
    return [stack.optimizer.state_of(layer)[0] for layer in stack.layers]


class TestResume:
    # in the first step, inside an epoch, at its last step (not yet logged), in another epoch,
    # before the very last
    @pytest.mark.parametrize("steps", [1, 7, 10, 13, 19])
    @pytest.mark.parametrize("precision", ["float32", "float64"])
    @pytest.mark.parametrize(
        "options",
        [
            {"optimizer": "adam", "regularization": "DA_L2_SC_BN", "activation": "prelu"},
            {"optimizer": "momentum"},
        ],
        ids=["adam-everything", "momentum-NR"],
    )
    def test_bit_identical_to_the_uninterrupted(
        self, path: Path, options: dict[str, str], precision: str, steps: int
    ) -> None:
        job, data = make_job(**options, percents=THREE, precision=precision), make_data()
        whole = train_cohort(job, data)
        stopped = Cohort(job, data, DEVICE)
        train_steps(stopped, steps)
        assert (stopped.epoch, stopped.step_in_epoch) == ((steps - 1) // 5, (steps - 1) % 5 + 1)
        save(path, stopped)
        resumed = resume(path, job, data)
        assert_same_state(resumed, stopped)
        assert resumed.train(job.epochs)
        assert_same_state(resumed, whole)
        for run in job.runs:
            assert_same_bits(resumed, whole, run)

    def test_stopped_twice(self, path: Path) -> None:
        whole = train_cohort(EVERYTHING, make_data())
        cohort = Cohort(EVERYTHING, make_data(), DEVICE)
        for steps in (4, 7):
            train_steps(cohort, steps)
            save(path, cohort)
            cohort = resume(path, EVERYTHING, make_data())
        cohort.train(EVERYTHING.epochs)
        assert_same_state(cohort, whole)
        for run in EVERYTHING.runs:
            assert_same_bits(cohort, whole, run)

    def test_wide_resnet(self, path: Path) -> None:
        data = make_data(train=38, test=10)
        whole, stopped = train_cohort(WIDE_RESNET, data), Cohort(WIDE_RESNET, data, DEVICE)
        train_steps(stopped, 4)
        save(path, stopped)
        resumed = resume(path, WIDE_RESNET, data)
        resumed.train(WIDE_RESNET.epochs)
        assert_same_state(resumed, whole)
        assert_same_bits(resumed, whole, WIDE_RESNET.runs[0])

    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_masked_weights_stay_zero_and_capacity_equal(self, path: Path, optimizer: str) -> None:
        job = make_job(optimizer, "L2_BN", percents=THREE, epochs=10)
        cohort = Cohort(job, make_data(), DEVICE)
        train_steps(cohort, 24)
        save(path, cohort)
        resumed = resume(path, job, make_data())
        assert_masked_weights_zero(resumed)
        resumed.train(job.epochs)
        assert_masked_weights_zero(resumed)
        for percent in THREE:
            sparse, dense = (resumed.rows[Run(name, percent)] for name in ("sparse", "dense"))
            assert len(sparse) == len(dense) == 10
            assert all(
                s["active_weights"] == d["active_weights"]
                for s, d in zip(sparse, dense, strict=True)
            )

    def test_replaced_masks_come_back_with_their_live_weights(self, path: Path) -> None:
        cohort = Cohort(MOMENTUM, make_data(), DEVICE)
        train_steps(cohort, 3)
        stack = cohort.stacks[0]
        stack.replace_masks([mask.roll(1, dims=1) for mask in stack.masks])
        save(path, cohort)
        resumed = resume(path, MOMENTUM, make_data())
        fresh = Cohort(MOMENTUM, make_data(), DEVICE)
        assert_same_state(resumed, cohort)
        live, before = torch.stack(resumed.stacks[0].live), torch.stack(fresh.stacks[0].live)
        assert torch.equal(live, torch.stack(stack.live))
        assert not torch.equal(live, before)

    def test_a_diverged_network_comes_back_diverged(self, path: Path) -> None:
        sick = Run("sparse", 50)
        cohort = Cohort(MOMENTUM, make_data(), DEVICE)
        stack, k = find_run(cohort, sick)
        healthy = [layer[k].detach().clone() for layer in stack.layers]
        with torch.no_grad():
            stack.layers[0][k] = math.inf
        cohort.train(1)
        progress = save(path, cohort)
        assert progress.rows[sick][0]["test_loss"] == math.inf
        assert math.isnan(progress.rows[sick][0]["train_loss"])
        resumed = resume(path, MOMENTUM, make_data())
        stack, k = find_run(resumed, sick)
        with torch.no_grad():  # finite again, so that only the flag tells
            for layer, weight, buffer in zip(
                stack.layers, healthy, momentum_buffers(stack), strict=True
            ):
                layer[k] = weight
                buffer[k] = 0
        resumed.train(MOMENTUM.epochs)
        assert math.isfinite(resumed.rows[sick][-1]["train_loss"])
        cohort.train(MOMENTUM.epochs)
        assert [row["diverged"] for row in resumed.rows[sick]] == [True] * 4
        for run in MOMENTUM.runs:
            if run != sick:
                assert_same_bits(resumed, cohort, run)


class TestFiles:
    def test_progress_tells_how_far_the_job_is(self, path: Path) -> None:
        cohort = Cohort(MOMENTUM, make_data(), DEVICE)
        train_steps(cohort, 7)
        progress = save(path, cohort)
        assert (progress.epoch, progress.step_in_epoch, progress.epochs) == (1, 2, 4)
        assert progress.seconds == 1.5
        assert progress.spec == MOMENTUM.to_json()
        assert progress.rows == cohort.rows

    def test_one_set_of_tensors_is_kept(self, path: Path) -> None:
        cohort = Cohort(MOMENTUM, make_data(), DEVICE)
        for _ in range(3):
            train_steps(cohort, 2)
            progress = save(path, cohort)
            assert sorted(file.name for file in path.parent.iterdir()) == sorted(
                [path.name, progress.tensors]
            )
        save(path, cohort)  # once more at the same step
        assert path.with_name(progress.tensors).exists()
        remove_checkpoint(path)
        assert list(path.parent.iterdir()) == []

    def test_other_jobs_keep_theirs(self, path: Path) -> None:
        cohort = Cohort(MOMENTUM, make_data(), DEVICE)
        other = path.with_name("seed30.json")
        save(path, cohort)
        kept = save(other, cohort)
        remove_checkpoint(path)
        assert sorted(file.name for file in path.parent.iterdir()) == sorted(
            [other.name, kept.tensors]
        )

    @pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
    def test_damaged_tensors(self, path: Path, damage: str) -> None:
        cohort = Cohort(MOMENTUM, make_data(), DEVICE)
        train_steps(cohort, 7)
        progress = save(path, cohort)
        tensors = path.with_name(progress.tensors)
        content = bytearray(tensors.read_bytes())
        if damage == "truncate":
            tensors.write_bytes(content[:-10])
        elif damage == "flip":
            content[len(content) // 2] ^= 1
            tensors.write_bytes(content)
        else:
            tensors.unlink()
        fresh, untouched = (
            Cohort(MOMENTUM, make_data(), DEVICE),
            Cohort(MOMENTUM, make_data(), DEVICE),
        )
        with pytest.raises(
            CheckpointError, match="missing" if damage == "remove" else "damaged"
        ) as caught:
            restore_checkpoint(path, progress, fresh)
        assert "\n" not in str(caught.value)
        assert_same_state(fresh, untouched)
        assert (fresh.epoch, fresh.step_in_epoch) == (0, 0)

    @pytest.mark.parametrize(
        "other",
        [make_job("momentum", "NR", percents=(30, 50)), make_job("adam", "BN", percents=THREE)],
        ids=["other runs", "other tensors"],
    )
    def test_a_checkpoint_of_something_else(self, path: Path, other: Job) -> None:
        progress = save(path, Cohort(MOMENTUM, make_data(), DEVICE))
        cohort, untouched = Cohort(other, make_data(), DEVICE), Cohort(other, make_data(), DEVICE)
        with pytest.raises(CheckpointError, match=r"other runs|does not fit"):
            restore_checkpoint(path, progress, cohort)
        assert_same_state(cohort, untouched)

    @pytest.mark.parametrize(
        "content", [None, "", "{", "[]", "{}", '{"rows": [[1]]}', '{"rows": [], "epoch": 1}']
    )
    def test_unreadable_progress_is_none(self, path: Path, content: str | None) -> None:
        if content is not None:
            path.parent.mkdir()
            path.write_text(content)
        assert read_progress(path) is None

    def test_finished_progress_has_no_tensors(self, path: Path) -> None:
        rows = {Run("sparse", 30): [{"epoch": 0, "test_loss": math.inf}], Run("dense", 30): []}
        done = Progress("spec", 4, 0, 4, 2.0, rows)
        write_progress(path, done)
        assert read_progress(path) == done
        assert json.loads(path.read_text())["tensors"] == ""


def test_a_log_names_every_device_that_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is stopped here and goes on elsewhere, there and back again."""
    cpu = torch.device("cpu")  # whose name can be made up
    job, data = make_job(percents=(50,)), make_data()
    monkeypatch.setattr("gradflow.training.train_job.load_job_data", lambda *_: data)
    monkeypatch.setattr("gradflow.training.train_job.CHECKPOINT_SECONDS", 0.0)
    for name in ("A", "B", "A", "C"):
        monkeypatch.setattr("gradflow.training.made_by.cpu_name", lambda name=name: name)
        if name == "C":
            train_job(job, tmp_path, cpu)
            continue
        with monkeypatch.context() as patch:
            patch.setattr("gradflow.training.train_job.StopSignals", StopAtOnce)
            with pytest.raises(Stopped):
                train_job(job, tmp_path, cpu)
    for run in job.runs:
        said = read_log(tmp_path / job.log_path(run)).schema.metadata
        names = [name.split(" ")[0] for name in said[b"device"].decode().split(", then ")]
        assert names == ["A", "B", "C"]


class StopAtOnce(StopSignals):
    """A signal before the first step."""

    requested = True

    def __init__(self) -> None:
        self._before = {}


def test_a_checkpoint_from_before_devices_were_noted_is_read(tmp_path: Path) -> None:
    job = make_job(percents=(50,))
    cohort = Cohort(job, make_data(), DEVICE)
    path = tmp_path / "seed3.json"
    save_checkpoint(path, cohort, 1.0)
    plain = json.loads(path.read_text())
    del plain["made_by"], plain["checksum"]
    checksum = hashlib.sha256(json.dumps(plain).encode()).hexdigest()
    path.write_text(json.dumps({**plain, "checksum": checksum}))
    progress = read_progress(path)
    assert progress is not None and progress.made_by == []
