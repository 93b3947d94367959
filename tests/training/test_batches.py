"""Minibatches: order and augmentation by run, shared by twins and by nobody else."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torchvision.transforms.functional as V
from cohorts import DEVICE, make_data, make_job, probe_batches, training_batch
from torch import Tensor

from gradflow.data.store import ImageData
from gradflow.study.job import Job
from gradflow.training.batches import Batches, Epoch

THREE = (30, 50, 70)


def batches_of(job: Job, data: ImageData | None = None) -> Batches:
    return Batches(data or make_data(train=300), job, DEVICE, torch.float64)


def normalised(images: Tensor, data: ImageData) -> Tensor:
    return (images.double() - data.mean.view(-1, 1, 1)) / data.std.view(-1, 1, 1)


def same(first: Epoch, second: Epoch) -> bool:
    assert first.draws is not None and second.draws is not None
    return torch.equal(first.order, second.order) and torch.equal(first.draws, second.draws)


def assert_unrelated(first: Tensor, second: Tensor) -> None:
    """Two permutations agree in one place on average, and seldom in more than five."""
    assert int((first == second).sum()) <= 6
    correlation = torch.corrcoef(torch.stack([first.double(), second.double()]))[0, 1]
    assert abs(correlation) < 4 / math.sqrt(len(first))


class TestOrder:
    @pytest.mark.parametrize("percents", [(50,), THREE])
    def test_every_image_once_an_epoch(self, percents: tuple[int, ...]) -> None:
        drawn = batches_of(make_job("sgd", percents=percents)).epoch(0)
        assert drawn.order.shape[1] == 300 and drawn.draws is None
        for order in drawn.order:
            assert order.sort().values.tolist() == list(range(300))

    def test_twins_share_order_and_augmentation(self) -> None:
        both = batches_of(make_job("sgd", "DA", percents=THREE))
        sparse = batches_of(make_job("sgd", "DA", percents=THREE, architectures=("sparse",)))
        dense = batches_of(make_job("adam", "DA_BN", percents=THREE, architectures=("dense",)))
        for epoch in range(3):
            assert same(both.epoch(epoch), sparse.epoch(epoch))
            assert same(both.epoch(epoch), dense.epoch(epoch))
            for start in range(0, 300, 16):
                images, labels = training_batch(sparse, sparse.epoch(epoch), start)
                twins, twin_labels = training_batch(dense, dense.epoch(epoch), start)
                assert torch.equal(images, twins) and torch.equal(labels, twin_labels)

    def test_the_same_alone_as_in_company(self) -> None:
        job = make_job("sgd", "DA", percents=THREE)
        drawn = batches_of(job).epoch(2)
        alone = batches_of(dataclasses.replace(job, percents=(50,))).epoch(2)
        assert torch.equal(alone.order[0], drawn.order[1])
        assert torch.equal(alone.draws[0], drawn.draws[1])

    def test_widths_seeds_and_epochs_share_nothing(self) -> None:
        job = make_job("sgd", "DA", percents=(30, 50))
        batches = batches_of(job)
        first = batches.epoch(0)
        others = {
            "width": (first.order[1], first.draws[1]),
            "epoch": (batches.epoch(1).order[0], batches.epoch(1).draws[0]),
        }
        reseeded = batches_of(dataclasses.replace(job, seed=4)).epoch(0)
        others["seed"] = (reseeded.order[0], reseeded.draws[0])
        for order, draws in others.values():
            assert_unrelated(first.order[0], order)
            # a flip agrees with one half, a shift of three with one third
            agreement = (first.draws[0] == draws).double().mean(0)
            for share, expected in zip(agreement.tolist(), (1 / 3, 1 / 3, 1 / 2), strict=True):
                assert share == pytest.approx(
                    expected, abs=4 * math.sqrt(expected * (1 - expected) / 300)
                )

    def test_minibatches_follow_the_order(self) -> None:
        data = make_data(train=70)
        batches = batches_of(make_job("sgd", percents=THREE), data)
        drawn = batches.epoch(0)
        sizes = []
        for start in range(0, 70, 16):
            images, labels = training_batch(batches, drawn, start)
            sizes.append(labels.shape[1])
            for k in range(3):
                chosen = drawn.order[k, start : start + 16]
                assert torch.equal(labels[k], data.train_labels[chosen])
                assert torch.equal(images[k], normalised(data.train_images[chosen], data))
        assert sizes == [16, 16, 16, 16, 6]


class TestAugmentation:
    @pytest.mark.parametrize("padding", [1, 4])
    @pytest.mark.parametrize(("channels", "side"), [(1, (8, 8)), (3, (8, 8)), (2, (5, 9))])
    def test_pad_crop_and_flip_as_torchvision(
        self, channels: int, side: tuple[int, int], padding: int
    ) -> None:
        data = make_data(train=60, channels=channels, side=side)
        batches = batches_of(make_job("sgd", "DA_BN", percents=THREE, crop_padding=padding), data)
        drawn = batches.epoch(1)
        flips = set()
        for start in range(0, 60, 16):
            images, labels = training_batch(batches, drawn, start)
            for k in range(3):
                for i in range(labels.shape[1]):
                    chosen = drawn.order[k, start + i]
                    dy, dx, flip = drawn.draws[k, start + i].tolist()
                    image = V.crop(V.pad(data.train_images[chosen], padding), dy, dx, *side)
                    image = V.hflip(image) if flip else image
                    flips.add(flip)
                    assert torch.equal(images[k, i], normalised(image, data))
                    assert labels[k, i] == data.train_labels[chosen]
        assert flips == {0, 1}

    def test_draws_are_uniform(self) -> None:
        draws = (
            batches_of(make_job("sgd", "DA", crop_padding=4), make_data(train=5000))
            .epoch(0)
            .draws[0]
        )
        for column, places in ((0, 9), (1, 9), (2, 2)):
            counts = torch.bincount(draws[:, column].long())
            assert len(counts) == places
            sigma = math.sqrt(5000 / places * (1 - 1 / places))
            assert (counts - 5000 / places).abs().max() < 4 * sigma

    def test_without_the_flip_nothing_is_flipped(self) -> None:
        draws = batches_of(make_job("sgd", "DA", percents=THREE, flip=False)).epoch(0).draws
        assert torch.all(draws[..., 2] == 0)
        assert len(draws[..., 0].unique()) == len(draws[..., 1].unique()) == 3

    def test_without_augmentation_images_are_as_they_are(self) -> None:
        data = make_data(train=30)
        batches = batches_of(make_job("sgd", "L2_SC_BN"), data)
        drawn = batches.epoch(0)
        assert drawn.draws is None
        images, _ = training_batch(batches, drawn, 0)
        assert torch.equal(images[0], normalised(data.train_images[drawn.order[0, :16]], data))


class TestProbeAndTest:
    @pytest.mark.parametrize("regularization", ["NR", "DA_BN"])
    def test_neither_is_augmented(self, regularization: str) -> None:
        data = make_data(train=70, test=40)
        batches = batches_of(make_job("sgd", regularization, percents=THREE), data)
        probe = probe_batches(batches)
        assert [labels.shape for _, labels in probe] == [(1, 16)] * 4 + [(1, 6)]
        assert torch.equal(
            torch.cat([images[0] for images, _ in probe]), normalised(data.train_images, data)
        )
        assert torch.equal(torch.cat([labels[0] for _, labels in probe]), data.train_labels)
        test = list(batches.test(size=15))
        assert [labels.shape for _, labels in test] == [(1, 15), (1, 15), (1, 10)]
        assert torch.equal(
            torch.cat([images[0] for images, _ in test]), normalised(data.test_images, data)
        )
        assert torch.equal(torch.cat([labels[0] for _, labels in test]), data.test_labels)

    def test_a_fixed_choice_of_training_images(self) -> None:
        job = make_job("sgd", probe_images=50)
        order = batches_of(job).probe_order
        assert len(order) == len(order.unique()) == 50
        assert order.tolist() == sorted(order.tolist()) != list(range(50))
        for other in (
            dataclasses.replace(job, seed=9),
            make_job("adam", "DA", percents=THREE, probe_images=50),
        ):
            assert torch.equal(batches_of(other).probe_order, order)

    def test_normalised_to_mean_zero_and_variance_one(self) -> None:
        data = make_data(train=70, channels=3)
        images = torch.cat(
            [images[0] for images, _ in probe_batches(batches_of(make_job("sgd"), data))]
        )
        torch.testing.assert_close(
            images.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12
        )
        torch.testing.assert_close(
            images.std((0, 2, 3), correction=0),
            torch.ones(3, dtype=torch.float64),
            rtol=1e-12,
            atol=0,
        )
