"""Masks that move while networks train: the same capacity, the same bits after a stop, and no other
job's identity.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from cohorts import (
    DEVICE,
    assert_masked_weights_zero,
    assert_same_bits,
    layer_masks,
    make_data,
    make_job,
    make_wide_resnet_job,
    train_cohort,
    train_steps,
)
from torch import Tensor

from gradflow.study.config import ConfigError
from gradflow.study.config_checks import load_config
from gradflow.study.job import Job, Run, Settings
from gradflow.training.checkpoint import read_progress, restore_checkpoint, save_checkpoint
from gradflow.training.cohort import Cohort
from gradflow.training.cuda_graphs import SWITCH
from gradflow.training.mask_updates import sparse_evolutionary_training

ROOT = Path(__file__).parents[2]
THREE = (30, 50, 70)


def set_job(**change: Any) -> Job:
    return make_job("adam", "L2_SC_BN", **{"percents": THREE, "mask_update": "set", **change})


def masks_of(cohort: Cohort) -> list[Tensor]:
    """A copy of the sparse stack's masks."""
    return [mask.clone() for mask in cohort.stacks[0].masks or []]


def test_set_drops_the_smallest_and_draws_as_many() -> None:
    cohort = Cohort(set_job(), make_data(), DEVICE)
    train_steps(cohort, 7)
    stack = cohort.stacks[0]
    evolved = sparse_evolutionary_training(stack, 7, cohort.job)
    for layer, old, new in zip(stack.layers, stack.masks or [], evolved, strict=True):
        for weight, before, after in zip(
            layer.detach().cpu().numpy(), old.cpu().numpy(), new.cpu().numpy(), strict=True
        ):
            assert set(np.unique(after)) <= {0.0, 1.0} and after.sum() == before.sum()
            magnitudes = np.sort(np.abs(weight[before == 1]))
            dropped = int(0.3 * len(magnitudes))
            # all above the dropped ones stay
            assert np.all(after[(before == 1) & (np.abs(weight) >= magnitudes[dropped])] == 1)
            arrived = int(((after == 1) & (before == 0)).sum())
            assert 0 < arrived <= dropped
    again = sparse_evolutionary_training(stack, 7, cohort.job)
    later = sparse_evolutionary_training(stack, 8, cohort.job)
    assert all(torch.equal(one, other) for one, other in zip(evolved, again, strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(evolved, later, strict=True))


def test_a_free_place_is_never_kept_for_an_active_weight_of_zero() -> None:
    cohort = Cohort(set_job(mask_update_fraction=0.0), make_data(), DEVICE)
    stack = cohort.stacks[0]
    with torch.no_grad():
        for layer in stack.layers:
            layer.zero_()
    for old, new in zip(
        stack.masks or [], sparse_evolutionary_training(stack, 1, cohort.job), strict=True
    ):
        assert torch.equal(old, new)


@pytest.mark.parametrize("interval", [1, 2])
def test_masks_move_between_epochs_alone_and_keep_capacity(interval: int) -> None:
    job = set_job(mask_update_interval=interval)
    cohort = Cohort(job, make_data(), DEVICE)
    counts = [count.tolist() for count in cohort.stacks[0].active()]
    moved = []
    for step in range(job.epochs * cohort.steps_per_epoch):
        before = masks_of(cohort)
        if step < job.epochs * cohort.steps_per_epoch - 1:
            train_steps(cohort, 1)
        else:
            cohort.train(job.epochs)
        if not all(
            torch.equal(old, new) for old, new in zip(before, masks_of(cohort), strict=True)
        ):
            moved.append(step)
        assert [count.tolist() for count in cohort.stacks[0].active()] == counts
        assert_masked_weights_zero(cohort)
    assert moved == [5 * epoch for epoch in range(1, job.epochs) if epoch % interval == 0]
    for percent in THREE:
        sparse, dense = (cohort.rows[Run(name, percent)][-1] for name in ("sparse", "dense"))
        assert sparse["active_weights"] == dense["active_weights"]


def test_the_dense_twins_are_untouched() -> None:
    moving, fixed = (
        train_cohort(set_job(mask_update=name), make_data()) for name in ("set", "fixed")
    )
    for run in moving.rows:
        if run.architecture == "dense":
            assert_same_bits(moving, fixed, run)
        else:
            assert moving.rows[run][-1]["egf_l2"] != fixed.rows[run][-1]["egf_l2"]


@pytest.mark.parametrize("stop", [5, 8, 10], ids=lambda steps: f"after {steps} of 20 steps")
def test_a_resumed_job_has_the_same_bits(stop: int, tmp_path: Path) -> None:
    job, path = set_job(), tmp_path / "job.json"
    whole, stopped, resumed = (Cohort(job, make_data(), DEVICE) for _ in range(3))
    whole.train(job.epochs)
    train_steps(stopped, stop)
    save_checkpoint(path, stopped, 1.0)
    progress = read_progress(path)
    assert progress is not None
    restore_checkpoint(path, progress, resumed)
    resumed.train(job.epochs)
    for run in job.runs:
        assert_same_bits(whole, resumed, run)


def test_a_network_does_not_depend_on_its_company() -> None:
    together = train_cohort(set_job(), make_data())
    for percent in THREE:
        alone, run = train_cohort(set_job(percents=(percent,)), make_data()), Run("sparse", percent)
        for ours, theirs in zip(layer_masks(together, run), layer_masks(alone, run), strict=True):
            assert torch.equal(ours, theirs)
        assert together.rows[run][-1]["egf_l2"] == pytest.approx(
            alone.rows[run][-1]["egf_l2"], rel=1e-9
        )


def test_captured_steps_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADFLOW_STEP", "autograd")  # a captured step is one by autograd
    cohorts = []
    for switch in ("off", "on"):
        monkeypatch.setenv(SWITCH, switch)
        cohorts.append(train_cohort(set_job(), make_data()))
    for run in cohorts[0].rows:
        assert_same_bits(*cohorts, run)


def test_a_wide_resnet_moves_its_masks_too() -> None:
    cohort = Cohort(
        make_wide_resnet_job("adam", mask_update="set"), make_data(train=38, test=10), DEVICE
    )
    before = masks_of(cohort)
    cohort.train(cohort.job.epochs)
    for old, new in zip(before, masks_of(cohort), strict=True):
        assert new.sum() == old.sum() and not torch.equal(new, old)


def test_only_a_job_that_moves_masks_says_so() -> None:
    fixed, moving = make_job(), make_job(mask_update="set", mask_update_fraction=0.5)
    assert "mask_update" not in fixed.to_json()
    named = json.loads(moving.to_json())["settings"]
    assert (named["mask_update"], named["mask_update_fraction"]) == ("set", 0.5)
    assert Job.from_json(moving.to_json()) == moving
    assert Settings().mask_update == "fixed"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"mask_update": "sett"},
            "variants.mine.mask_update: 'sett' is not valid; did you mean set?",
        ),
        (
            {"mask_update_interval": 0},
            "variants.mine.mask_update_interval: 0 is out of range; it must be at least 1",
        ),
        (
            {"mask_update_fraction": 1.5},
            "variants.mine.mask_update_fraction: 1.5 is out of range; it must be between 0",
        ),
    ],
)
def test_mistakes_are_sentences(settings: dict[str, Any], message: str) -> None:
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["variants"]["mine"] = settings
    with pytest.raises(ConfigError) as caught:
        load_config(raw)
    assert str(caught.value).startswith(message)
