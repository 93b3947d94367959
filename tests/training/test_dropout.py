"""Dropout: torch's, with numbers that neither company nor device nor an interruption changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cohorts import (
    DEVICE,
    assert_same_bits,
    find_run,
    layer_masks,
    layer_weights,
    make_data,
    make_job,
    make_wide_resnet_job,
    train_steps,
    training_batch,
)
from plain_networks import as_torch_weight

from gradflow.networks.dropout import Dropout
from gradflow.study.job import Run
from gradflow.study.streams import stream
from gradflow.training.checkpoint import read_progress, restore_checkpoint, save_checkpoint
from gradflow.training.cohort import Cohort
from gradflow.training.cuda_graphs import SWITCH

SHARE = 0.3


def dropped(percents: tuple[int, ...] = (30, 50, 70), **change: Any) -> Cohort:
    job = make_job("adam", percents=percents, epochs=2, dropout=SHARE, **change)
    return Cohort(job, make_data(), DEVICE)


def by_hand(seed: int, places: range, layer: int, units: int) -> np.ndarray[Any, Any]:
    """Which units stay, [B, units], in numpy's unsigned integers, which wrap."""

    def mixed(x: Any) -> Any:
        x = np.asarray(x, dtype=np.uint32)
        x = (x ^ (x >> np.uint32(16))) * np.uint32(0x21F0AAAD)
        x = (x ^ (x >> np.uint32(15))) * np.uint32(0x735A2D97)
        return x ^ (x >> np.uint32(15))

    stride = np.uint32(0x1E3779B1)
    images = np.array(places, dtype=np.uint32) + np.uint32(layer + 1) * stride
    rows = mixed(mixed(images) ^ np.uint32(seed))
    numbers = mixed(rows[:, None] + np.arange(units, dtype=np.uint32) * stride)
    return numbers >= np.uint32(int(SHARE * 2**32))


@pytest.mark.parametrize("percents", [(50,), (30, 50, 70)], ids=lambda found: f"K={len(found)}")
def test_as_torch_has_it(percents: tuple[int, ...]) -> None:
    """Of what stays, each output is 1 / (1 - share) times what it was; the rest is as without."""
    cohort = dropped(percents)
    job, starts = cohort.job, {run: layer_weights(cohort, run) for run in cohort.job.runs}
    assert cohort.train(job.epochs)
    for run in job.runs:
        column = job.percents.index(run.percent)
        masks = [as_torch_weight(mask) for mask in layer_masks(cohort, run)]
        weights = [as_torch_weight(w).clone().requires_grad_() for w in starts[run]]
        optimizer = torch.optim.Adam(weights, lr=job.configuration.learning_rate)
        for epoch in range(job.epochs):
            drawn = cohort.batches.epoch(epoch)
            seed = int(stream("digits", job.seed, run.percent, "dropout", epoch).integers(2**32))
            for start in range(0, drawn.order.shape[1], job.settings.batch_size):
                images, labels = training_batch(cohort.batches, drawn, start)
                places = range(start, start + images.shape[1])
                h = images[column].flatten(1)
                for layer, weight in enumerate(weights[:-1]):
                    stays = torch.from_numpy(by_hand(seed, places, layer, len(weight)))
                    h = torch.relu(F.linear(h, weight)) * stays / (1 - SHARE)
                loss = F.cross_entropy(F.linear(h, weights[-1]), labels[column])
                optimizer.zero_grad()
                loss.backward()
                for weight, mask in zip(weights, masks, strict=True):
                    assert weight.grad is not None
                    weight.grad.mul_(mask)
                optimizer.step()
        for weight, ours in zip(weights, layer_weights(cohort, run), strict=True):
            torch.testing.assert_close(as_torch_weight(ours), weight.detach(), rtol=1e-8, atol=1e-8)


def test_its_numbers_are_as_good_as_random() -> None:
    """Shares of images, units, layers, networks and steps, and of each two together, are what
    chance gives.
    """
    seeds = torch.tensor([1, 2, 3, 2**32 - 1])
    kept = torch.stack(
        [
            torch.stack(
                [
                    Dropout(SHARE, seeds, torch.arange(first, first + 64))(
                        layer, torch.ones(4, 64, 50)
                    )
                    for layer in range(4)
                ]
            )
            for first in (0, 64, 128)
        ]
    )  # [steps, layers, networks, images, units]
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / (1 - SHARE)])
    stays = (kept > 0).double()
    for axes in [(0,), (1,), (2,), (3,), (4,), (2, 3), (3, 4), (0, 1)]:
        others = [axis for axis in range(5) if axis not in axes]
        shares, count = stays.mean(others), np.prod([stays.shape[axis] for axis in others])
        score = (shares - (1 - SHARE)) / np.sqrt(SHARE * (1 - SHARE) / count)
        assert score.abs().max() < 5 and score.square().mean() < 3, axes
    flat = (stays - stays.mean()).movedim(2, 0).flatten(1)
    assert (torch.corrcoef(flat) - torch.eye(4)).abs().max() < 0.03  # networks share nothing
    for axis in range(5):  # nor do neighbours
        one, other = (
            stays.narrow(axis, 0, stays.shape[axis] - 1),
            stays.narrow(axis, 1, stays.shape[axis] - 1),
        )
        assert (
            abs(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])) < 0.03
        )


def test_probes_and_tests_drop_nothing() -> None:
    with_it, without = dropped(learning_rate=1e-12), Cohort(
        make_job("adam", percents=(30, 50, 70), epochs=2, learning_rate=1e-12), make_data(), DEVICE
    )  # fmt: skip
    for cohort in (with_it, without):
        cohort.train(1)
    for run, rows in without.rows.items():
        ours, theirs = with_it.rows[run][0], rows[0]
        for key in ("probe_loss", "test_loss", "test_accuracy", "egf_l2", "grad_norm_l1"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-6), key
        assert ours["train_loss"] != pytest.approx(theirs["train_loss"], rel=1e-3)


def test_a_network_does_not_depend_on_its_company() -> None:
    together, alone, run = dropped(), dropped((50,)), Run("sparse", 50)
    for cohort in (together, alone):
        cohort.train(2)
    assert find_run(together, run)[1] == 1
    for ours, theirs in zip(layer_weights(together, run), layer_weights(alone, run), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("stop", [3, 5, 7])
def test_a_resumed_job_has_the_same_bits(stop: int, tmp_path: Path) -> None:
    whole, stopped, resumed = (dropped() for _ in range(3))
    whole.train(2)
    train_steps(stopped, stop)
    save_checkpoint(tmp_path / "job.json", stopped, 1.0)
    progress = read_progress(tmp_path / "job.json")
    assert progress is not None
    restore_checkpoint(tmp_path / "job.json", progress, resumed)
    resumed.train(2)
    for run in whole.rows:
        assert_same_bits(whole, resumed, run)


def test_captured_steps_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    cohorts = []
    for switch in ("off", "on"):
        monkeypatch.setenv(SWITCH, switch)
        cohorts.append(dropped())
        cohorts[-1].train(2)
    for run in cohorts[0].rows:
        assert_same_bits(*cohorts, run)


def test_a_wide_resnet_drops_between_the_convolutions_of_a_block() -> None:
    """With all dropped there, it is as if each block's second convolution were zero."""
    cohort = Cohort(make_wide_resnet_job("adam", dropout=0.5), make_data(train=38, test=10), DEVICE)
    network = cohort.stacks[0].network
    shape = (1, 6, *cohort.batches.train_images.shape[1:])
    images = torch.randn(shape, dtype=network.layers[0].dtype, device=DEVICE)
    drop = Dropout(1 - 2**-32, torch.tensor([7], device=DEVICE), torch.arange(6, device=DEVICE))
    network.eval()
    with torch.no_grad():
        found, without = network(images, drop=drop), network(images)
        blocks = [place for place, layer in enumerate(network.plan) if layer.role == "blocks"]
        for place in blocks[1::2]:
            network.layers[place].zero_()
        torch.testing.assert_close(found, network(images))
    assert not torch.allclose(found, without, rtol=1e-3)
    assert cohort.train(1)
