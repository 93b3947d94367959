"""Words beside the paper's: layer normalisation, L1, clipping, smoothing, schedules and
activations, against torch.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cohorts import (
    DEVICE,
    LEARNING_RATES,
    find_run,
    layer_masks,
    layer_weights,
    make_data,
    make_job,
    training_batch,
)
from plain_networks import as_torch_weight
from torch import Tensor, nn

from gradflow.study.job import Job, Run
from gradflow.training.cohort import Cohort
from gradflow.training.step import learning_rate_at

MODULES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "mish": nn.Mish,
    "leaky_relu": nn.LeakyReLU,
}
KS = [(50,), (30, 50, 70)]


class Oracle(nn.Module):
    """One network as torch has it, with the weights and masks of a run that has not been
    trained.
    """

    def __init__(self, cohort: Cohort, run: Run):
        super().__init__()
        self.job, configuration = cohort.job, cohort.job.configuration
        self.masks = [as_torch_weight(mask) for mask in layer_masks(cohort, run)]
        layers: list[nn.Module] = [nn.Flatten()]
        for index, weight in enumerate(layer_weights(cohort, run)):
            linear = nn.Linear(*weight.shape, bias=False, dtype=weight.dtype)
            with torch.no_grad():
                linear.weight.copy_(as_torch_weight(weight))
            layers.append(linear)
            if index < len(self.masks) - 1:
                if configuration.has("LN"):
                    layers.append(nn.LayerNorm(weight.shape[1], dtype=weight.dtype))
                layers.append(MODULES[configuration.activation]())
        self.network = nn.Sequential(*layers)
        self.linears = [layer for layer in layers if isinstance(layer, nn.Linear)]

    def train_epochs(self, cohort: Cohort, run: Run) -> None:
        settings, rate = self.job.settings, self.job.configuration.learning_rate
        optimizer = torch.optim.Adam(self.parameters(), lr=rate)
        column = self.job.percents.index(run.percent)
        for epoch in range(self.job.epochs):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(self.job, epoch)
            drawn = cohort.batches.epoch(epoch)
            for start in range(0, drawn.order.shape[1], settings.batch_size):
                images, labels = training_batch(cohort.batches, drawn, start)
                optimizer.zero_grad()
                loss = F.cross_entropy(
                    self.network(images[column]),
                    labels[column],
                    label_smoothing=settings.label_smoothing,
                )
                penalty = sum(linear.weight.abs().sum() for linear in self.linears)
                (loss + settings.l1 * penalty).backward()
                for linear, mask in zip(self.linears, self.masks, strict=True):
                    linear.weight.grad.mul_(mask)
                if settings.gradient_clip:
                    nn.utils.clip_grad_norm_(self.parameters(), settings.gradient_clip)
                optimizer.step()


@pytest.mark.parametrize("percents", KS, ids=lambda percents: f"K={len(percents)}")
@pytest.mark.parametrize(
    ("regularization", "change"),
    [
        ("LN", {}),
        ("NR", {"label_smoothing": 0.2}),
        ("NR", {"l1": 0.01}),
        ("LN", {"gradient_clip": 0.3}),
        ("NR", {"activation": "gelu"}),
        ("NR", {"activation": "mish"}),
        ("NR", {"activation": "leaky_relu"}),
        ("LN", {"l1": 0.01, "gradient_clip": 0.5, "label_smoothing": 0.1, "warmup_epochs": 1}),
    ],
    ids=str,
)
def test_as_torch_has_it(
    regularization: str, change: dict[str, Any], percents: tuple[int, ...]
) -> None:
    job = make_job("adam", regularization, percents=percents, epochs=2, **change)
    cohort = Cohort(job, make_data(), DEVICE)
    oracles = {run: Oracle(cohort, run) for run in job.runs}
    before = {run: layer_weights(cohort, run) for run in job.runs}
    assert cohort.train(job.epochs)
    for run, oracle in oracles.items():
        oracle.train_epochs(cohort, run)
        for linear, weight, old in zip(
            oracle.linears, layer_weights(cohort, run), before[run], strict=True
        ):
            torch.testing.assert_close(
                as_torch_weight(weight), linear.weight.detach(), rtol=1e-8, atol=1e-8
            )
            assert not torch.allclose(weight, old, rtol=1e-4)


def test_the_logged_loss_is_without_smoothing() -> None:
    """So that smoothed networks are not called collapsed."""
    plain, smoothed = (
        Cohort(
            make_job("sgd", epochs=1, learning_rate=1e-9, label_smoothing=s), make_data(), DEVICE
        )
        for s in (0.0, 0.5)
    )
    for cohort in (plain, smoothed):
        cohort.train(1)
    for run, rows in plain.rows.items():
        for key in ("train_loss", "probe_loss", "test_loss"):
            assert smoothed.rows[run][0][key] == pytest.approx(rows[0][key], rel=1e-6)
        assert smoothed.rows[run][0]["egf_l2"] != pytest.approx(rows[0]["egf_l2"], rel=1e-3)


def test_a_clipped_network_leaves_the_others_alone() -> None:
    job = make_job("sgd", percents=(30, 50), epochs=1, gradient_clip=0.05)
    together, alone = (
        Cohort(j, make_data(), DEVICE)
        for j in (job, make_job("sgd", percents=(50,), epochs=1, gradient_clip=0.05))
    )
    for cohort in (together, alone):
        cohort.train(1)
    run = Run("sparse", 50)
    assert find_run(together, run)[1] == 1
    for ours, theirs in zip(layer_weights(together, run), layer_weights(alone, run), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def rates(**settings: Any) -> list[float]:
    job: Job = make_job("sgd", epochs=10, learning_rate=0.4, **settings)
    return [learning_rate_at(job, epoch) for epoch in range(10)]


def of_torch(make: Any) -> list[float]:
    optimizer = torch.optim.SGD([Tensor([0.0]).requires_grad_()], lr=0.4)
    schedule, found = make(optimizer), []
    for _ in range(10):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_schedules_are_those_of_torch() -> None:
    s = torch.optim.lr_scheduler
    assert rates(mlp_schedule="cosine") == pytest.approx(
        of_torch(lambda o: s.CosineAnnealingLR(o, 10))
    )
    assert rates(warmup_epochs=4) == pytest.approx(of_torch(lambda o: s.LinearLR(o, 0.25, 1, 3)))
    assert rates(mlp_schedule="cosine", warmup_epochs=4) == pytest.approx(
        of_torch(
            lambda o: s.SequentialLR(
                o, [s.LinearLR(o, 0.25, 1, 3), s.CosineAnnealingLR(o, 6)], milestones=[4]
            )
        )
    )
    assert rates() == [0.4] * 10 and LEARNING_RATES


def test_they_are_off_by_default() -> None:
    text = make_job("adam").to_json()
    for name in ("l1", "label_smoothing", "gradient_clip", "warmup_epochs"):
        assert name not in text.replace('"l2":', "")
