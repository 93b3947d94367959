"""The plain loops that the engine is compared with: they train and measure as it does."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cohorts import make_data
from small_jobs import SPARSE, loops, small_job
from torch import Tensor, nn

from benchmark.plain_loops import (
    MaskedLinear,
    plain_network,
)
from gradflow.data.store import ImageData
from gradflow.flow import measure_gradient_flow
from gradflow.study.job import Job, Run

# --- the plain loops ------------------------------------------------------------------------------


def losses_by_hand(job: Job, network: nn.Module, data: ImageData, epochs: int) -> list[float]:
    """SGD on the weights as tensors, from the formula; the last minibatch is short."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    weights = [layer.weight.detach().clone().double().requires_grad_() for layer in layers]
    masks = [layer.mask.double() if isinstance(layer, MaskedLinear) else 1.0 for layer in layers]
    scale = [torch.ones(len(w), dtype=torch.float64, requires_grad=True) for w in weights[:-1]]
    shift = [torch.zeros(len(w), dtype=torch.float64, requires_grad=True) for w in weights[:-1]]
    parameters = [*weights, *(scale + shift if job.configuration.has("BN") else [])]
    pixels = data.train_images.double()
    images = ((pixels - data.mean[:, None, None]) / data.std[:, None, None]).flatten(1)
    means = []
    for _ in range(epochs):
        losses = []
        for x, y in zip(images.split(16), data.train_labels.split(16), strict=True):
            hidden = x
            for index, (weight, mask) in enumerate(zip(weights, masks, strict=True)):
                hidden = hidden @ (weight * mask).T
                if index < len(weights) - 1:
                    if job.configuration.has("BN"):
                        centred = hidden - hidden.mean(0)
                        hidden = (
                            centred / (centred.square().mean(0) + 1e-5).sqrt() * scale[index]
                            + shift[index]
                        )
                    hidden = hidden.clamp(min=0)
            loss = (hidden.logsumexp(1) - hidden[torch.arange(len(y)), y]).mean()
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter -= job.configuration.learning_rate * gradient
            losses.append(loss.item())
        means.append(sum(losses) / len(losses))
    return means


@pytest.mark.parametrize("regularization", ["NR", "BN"])
@pytest.mark.parametrize("run", [SPARSE, Run("dense", 50)], ids=str)
def test_plain_loops_train_as_by_hand(run: Run, regularization: str) -> None:
    job, data = (
        small_job("sgd", regularization, run, depth=2, learning_rate=0.2),
        make_data(channels=3),
    )
    network, pair = loops(job, data)
    expected = losses_by_hand(job, network, data, epochs=4)
    assert expected[-1] < 0.97 * expected[0]
    for loop in pair:
        np.testing.assert_allclose([loop.train_epoch() for _ in range(4)], expected, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["momentum", "adagrad", "rmsprop", "adam", "adamw"])
def test_plain_loops_agree_with_every_optimizer(optimizer: str) -> None:
    _, (images, device) = loops(small_job(optimizer), make_data())
    first, second = ([loop.train_epoch() for _ in range(3)] for loop in (images, device))
    np.testing.assert_allclose(first, second, rtol=1e-5)
    assert first[-1] < first[0]


def without_masks(network: nn.Module) -> nn.Module:
    """A copy whose layers hold the effective weights and do not mask them."""
    modules: list[nn.Module] = []
    for module in copy.deepcopy(network).children():
        if isinstance(module, MaskedLinear):
            plain = nn.Linear(module.in_features, module.out_features, bias=False)
            plain.weight.data.copy_(module.weight.data * module.mask)
            modules.append(plain)
        else:
            modules.append(module)
    return nn.Sequential(*modules)


@pytest.mark.parametrize("run", [SPARSE, Run("dense", 50)], ids=str)
def test_plain_loops_measure_what_the_public_function_does(run: Run) -> None:
    """At a learning rate of 0, so that every minibatch of the epoch meets the same weights."""
    job, data = (
        small_job("sgd", "DA_BN", run, depth=2, learning_rate=0.0, probe_images=40),
        make_data(channels=3),
    )
    job = dataclasses.replace(job, crop_padding=0, flip=False)
    masked, pair = loops(job, data)
    masks = {
        f"{name}.weight": m.mask
        for name, m in masked.named_modules()
        if isinstance(m, MaskedLinear)
    }
    network = without_masks(masked)
    layers = [f"{name}.weight" for name, m in network.named_modules() if isinstance(m, nn.Linear)]

    def normalised(images: Tensor) -> Tensor:
        return ((images.double() - data.mean[:, None, None]) / data.std[:, None, None]).float()

    def flow_of(batches: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
        flow = measure_gradient_flow(network, F.cross_entropy, batches, layers, masks)
        return {f"grad_norm_l{p}": flow.grad_norm(p).item() for p in (1, 2)} | {
            f"egf_l{p}": flow.egf(p).item() for p in (1, 2)
        }

    images = normalised(data.train_images)
    minibatches = list(zip(images.split(16), data.train_labels.split(16), strict=True))
    of_minibatches = [flow_of([minibatch]) for minibatch in minibatches]
    probe = list(zip(images[:40].split(16), data.train_labels[:40].split(16), strict=True))
    expected = flow_of(probe)
    expected |= {
        f"minibatch_{name}": np.mean([flow[name] for flow in of_minibatches]) for name in expected
    }
    expected["train_loss"] = np.mean(
        [F.cross_entropy(network(x), y).item() for x, y in minibatches]
    )
    expected["probe_loss"] = (
        sum(F.cross_entropy(network(x), y, reduction="sum").item() for x, y in probe) / 40
    )
    assert (expected["egf_l1"] < 0.9 * expected["grad_norm_l1"] / 3) == (run == SPARSE)
    for loop in pair:
        found = loop.measured_epoch()
        loop.network.eval()
        with torch.no_grad():
            logits = loop.network(normalised(data.test_images))
        expected["test_loss"] = F.cross_entropy(logits, data.test_labels).item()
        expected["test_accuracy"] = (
            100 * (logits.argmax(1) == data.test_labels).double().mean().item()
        )
        assert found == pytest.approx(expected, rel=1e-5)


def test_measuring_leaves_the_training_of_plain_loops_as_it_is() -> None:
    _, pair = loops(small_job("adam"), make_data())
    _, watched = loops(small_job("adam"), make_data())
    for loop, other in zip(pair, watched, strict=True):
        losses = [loop.train_epoch() for _ in range(3)]
        assert losses == [
            other.measured_epoch()["train_loss"],
            other.train_epoch(),
            other.train_epoch(),
        ]


def test_a_sparse_network_has_the_capacity_of_its_dense_twin() -> None:
    job, data = small_job(max_width=60), make_data(side=16)
    sparse = plain_network(job, SPARSE, data)
    dense = plain_network(job, Run("dense", 50), data)
    pairs = zip(
        (m for m in sparse.modules() if isinstance(m, MaskedLinear)),
        (m for m in dense.modules() if isinstance(m, nn.Linear)),
        strict=True,
    )
    for masked, twin in pairs:
        places = masked.mask.numel()
        share = twin.weight.numel() / places
        assert masked.mask.sum().item() == pytest.approx(
            twin.weight.numel(), abs=5 * math.sqrt(places * share)
        )


@pytest.mark.parametrize("flip", [True, False])
def test_augmentation_crops_and_flips(flip: bool) -> None:
    data = make_data(train=40, channels=3)
    job = dataclasses.replace(small_job("sgd", "DA"), crop_padding=2, flip=flip)

    def possible(image: Tensor) -> dict[tuple[int, int, bool], Tensor]:
        padded = F.pad(image.double(), [2] * 4)
        side = image.shape[-1]
        crops = {
            (dy, dx): padded[:, dy : dy + side, dx : dx + side]
            for dy, dx in itertools.product(range(5), repeat=2)
        }
        flips = {(*at, True): crop.flip(-1) for at, crop in crops.items()} if flip else {}
        return {(*at, False): crop for at, crop in crops.items()} | flips

    for loop in loops(job, data)[1]:
        seen = set()
        served = [
            (x, y) for images, labels in loop.batches() for x, y in zip(images, labels, strict=True)
        ]
        assert len(served) == 40
        for (image, label), original, true in zip(
            served, data.train_images, data.train_labels, strict=True
        ):
            pixels = image.double() * data.std[:, None, None] + data.mean[:, None, None]
            found = [
                at
                for at, crop in possible(original).items()
                if torch.allclose(crop, pixels, atol=1e-3)
            ]
            assert found and label == true, type(loop)
            seen |= set(found[:1])
        assert len(seen) > 15, f"{type(loop)} draws the same again and again"


def test_loops_shuffle_and_see_every_image_once() -> None:
    data = make_data(classes=5)
    data = dataclasses.replace(data, train_labels=torch.arange(70))
    for loop in loops(small_job(), data, shuffle=True)[1]:
        epochs = [torch.cat([labels for _, labels in loop.batches()]) for _ in range(2)]
        assert all(torch.equal(epoch.sort().values, torch.arange(70)) for epoch in epochs)
        assert not torch.equal(*epochs)
