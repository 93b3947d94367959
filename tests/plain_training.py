"""The oracle: one network, one optimizer class, one loop, as a researcher would write it.

Nothing here or in `plain_networks` shares code with the engine but the minibatches, which come from
`gradflow.training.batches.Batches`.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cohorts import (
    DEVICE,
    MEASURES,
    assert_close,
    assert_rows_agree,
    layer_masks,
    layer_weights,
    probe_batches,
    training_batch,
)
from plain_networks import PlainMLP, PlainNetwork, as_torch_weight, other_parameters, plain_network
from torch import Tensor

from gradflow.data.store import ImageData
from gradflow.study.job import Job, Run
from gradflow.training.cohort import Cohort

# --- the plain loop -------------------------------------------------------------------------------


def make_optimizer(
    name: str, groups: list[dict[str, Any]], learning_rate: float, alpha: float = 0.99
):
    """The class of torch.optim; `groups` say their weight decay."""
    match name:
        case "sgd":
            return torch.optim.SGD(groups, lr=learning_rate)
        case "momentum":
            return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9)
        case "adagrad":
            return torch.optim.Adagrad(groups, lr=learning_rate)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=learning_rate, alpha=alpha)
        case "adam":
            return torch.optim.Adam(groups, lr=learning_rate)
        case "adamw":
            return torch.optim.AdamW(groups, lr=learning_rate)
    raise ValueError(name)


class PlainTraining:
    """Trains the plain twin of one run from the state that `cohort`, not yet trained, gives it."""

    def __init__(self, cohort: Cohort, run: Run):
        self.job, self.batches, self.classes = cohort.job, cohort.batches, cohort.classes
        self.column = self.job.percents.index(run.percent)
        self.sparse = run.architecture == "sparse"
        self.network = plain_network(cohort, run)
        self.masks = [as_torch_weight(mask) for mask in layer_masks(cohort, run)]
        if self.masks_in_forward:
            generator = torch.Generator().manual_seed(0)
            with torch.no_grad():  # whatever stands in masked places must not matter
                for weight, mask in zip(self.network.weights, self.masks, strict=True):
                    garbage = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
                    weight += (1 - mask) * garbage.to(DEVICE)
        regularization, settings = (
            self.job.configuration.regularization.split("_"),
            self.job.settings,
        )
        l2 = settings.l2 if self.job.configuration.model == "mlp" else settings.wide_resnet_l2
        decay = l2 if "L2" in regularization else 0.0
        groups = [
            {"params": self.network.weights, "weight_decay": decay},
            {
                "params": other_parameters(self.network),
                "weight_decay": decay if settings.l2_scope == "all" else 0.0,
            },
        ]
        self.optimizer = make_optimizer(
            self.job.configuration.optimizer,
            [group for group in groups if group["params"]],
            self.job.configuration.learning_rate,
            settings.rmsprop_alpha,
        )
        self.rows: list[dict[str, Any]] = []

    @property
    def masks_in_forward(self) -> bool:
        """An MLP masks in each forward pass; a Wide ResNet after each step."""
        return isinstance(self.network, PlainMLP)

    def effective_weights(self) -> list[Tensor]:
        return [
            weight.detach() * mask
            for weight, mask in zip(self.network.weights, self.masks, strict=True)
        ]

    def train(self, epochs: int) -> None:
        """Train, and at the end of every epoch log what the engine logs."""
        for epoch in range(epochs):
            drawn = self.batches.epoch(epoch)
            losses, flows = [], []
            for start in range(0, drawn.order.shape[1], self.job.settings.batch_size):
                images, labels = training_batch(self.batches, drawn, start)
                self.optimizer.zero_grad()
                loss = F.cross_entropy(self.network(images[self.column]), labels[self.column])
                loss.backward()
                losses.append(loss.item())
                flows.append(self.flow(self.gradients(self.network)))
                self.optimizer.step()
                if not self.masks_in_forward:
                    with torch.no_grad():
                        for weight, mask in zip(self.network.weights, self.masks, strict=True):
                            weight.mul_(mask)
            minibatch = {
                f"minibatch_{name}": sum(f[name] for f in flows) / len(flows) for name in MEASURES
            }
            train_loss = sum(losses) / len(losses)
            self.rows.append(
                {
                    "epoch": epoch,
                    "step": (epoch + 1) * len(losses),
                    "train_loss": train_loss,
                    **minibatch,
                    **self.probe(),
                    **self.test(),
                    "active_weights": [int(mask.sum()) for mask in self.masks],
                    "total_weights": [mask.numel() for mask in self.masks],
                    "trainable_parameters": int(sum(mask.sum() for mask in self.masks))
                    + sum(p.numel() for p in other_parameters(self.network)),
                    "diverged": False,
                    "collapsed": train_loss > 0.98 * math.log(self.classes),
                }
            )

    def copy_of_network(self) -> PlainNetwork:
        if isinstance(self.network, PlainMLP):
            self.network.effective = []  # of a graph, which cannot be copied
        return copy.deepcopy(self.network)

    def gradients(self, network: PlainNetwork) -> list[Tensor]:
        """Unmasked gradients by the effective weights."""
        tensors = network.effective if isinstance(network, PlainMLP) else network.weights
        return [tensor.grad.clone() for tensor in tensors]

    def flow(self, gradients: list[Tensor]) -> dict[str, Any]:
        """Equations 5 and 7 as they stand."""
        masked = [g * mask for g, mask in zip(gradients, self.masks, strict=True)]
        everything = torch.cat([g.flatten() for g in gradients])
        row: dict[str, Any] = {}
        for p in (1, 2):
            row[f"grad_norm_l{p}"] = torch.linalg.vector_norm(everything, p).item()
            row[f"layer_grad_norm_l{p}"] = [
                torch.linalg.vector_norm(g, p).item() for g in gradients
            ]
            row[f"layer_egf_l{p}"] = [torch.linalg.vector_norm(g, p).item() for g in masked]
            row[f"egf_l{p}"] = sum(row[f"layer_egf_l{p}"]) / len(masked)
        return row

    def probe(self) -> dict[str, Any]:
        """The flow of the mean loss over the probe images; BatchNorm of a copy may learn what it
        likes.
        """
        network = self.copy_of_network()
        count, loss = len(self.batches.probe_order), 0.0
        totals = [torch.zeros_like(weight) for weight in network.weights]
        others = [torch.zeros_like(p) for p in other_parameters(network)]
        for images, labels in probe_batches(self.batches):
            network.zero_grad()
            mean = F.cross_entropy(network(images[0]), labels[0])
            mean.backward()
            share = labels.shape[1] / count
            loss += mean.item() * share
            for total, gradient in zip(totals, self.gradients(network), strict=True):
                total += gradient * share
            for total, parameter in zip(others, other_parameters(network), strict=True):
                total += parameter.grad * share
        flat = torch.cat([total.flatten() for total in others]) if others else torch.zeros(1)
        return {
            "probe_loss": loss,
            **self.flow(totals),
            "other_grad_norm_l1": flat.abs().sum().item(),
            "other_grad_norm_l2": flat.square().sum().sqrt().item(),
        }

    @torch.no_grad()
    def test(self) -> dict[str, float]:
        network = self.copy_of_network().eval()
        images = self.batches.test_images.to(self.batches.dtype)
        mean, std = (values.view(1, -1, 1, 1) for values in (self.batches.mean, self.batches.std))
        logits, labels = network((images - mean) / std), self.batches.test_labels
        return {
            "test_loss": F.cross_entropy(logits, labels).item(),
            "test_accuracy": 100.0 * (logits.argmax(1) == labels).double().mean().item(),
        }


def assert_agrees_with_plain(job: Job, data: ImageData, rtol: float | None = None) -> Cohort:
    """Train the cohort and each of its runs the plain way; rows, weights and BatchNorm must
    agree.
    """
    if rtol is None:
        # BatchNorm divides by deviations that may be next to nothing, so that rounding grows
        rtol = 1e-7 if job.configuration.has("BN") else 1e-10
    cohort = Cohort(job, data, DEVICE)
    plain = {run: PlainTraining(cohort, run) for run in job.runs}
    before = {run: layer_weights(cohort, run) for run in job.runs}
    assert cohort.train(job.epochs)
    for run, training in plain.items():
        training.train(job.epochs)
        for index, weight in enumerate(training.effective_weights()):
            trained = as_torch_weight(layer_weights(cohort, run)[index])
            assert_close(trained, weight, rtol, f"weight {index} of {run}")
            assert not torch.allclose(as_torch_weight(before[run][index]), weight, rtol=1e-4), (
                "nothing was learned"
            )
        assert_same_others(cohort, run, training.network, rtol)
        assert len(cohort.rows[run]) == len(training.rows)
        for row, expected in zip(cohort.rows[run], training.rows, strict=True):
            assert_rows_agree(row, expected, rtol)
    return cohort


def assert_same_others(cohort: Cohort, run: Run, plain: PlainNetwork, rtol: float) -> None:
    """BatchNorm's parameters and running statistics, and activations' parameters."""
    trained = plain_network(cohort, run)
    for index, (norm, expected) in enumerate(zip(trained.norms, plain.norms, strict=True)):
        for name in ("weight", "bias", "running_mean", "running_var"):
            assert_close(
                getattr(norm, name).detach(),
                getattr(expected, name).detach(),
                rtol,
                f"{name} of norm {index}",
            )
    for activation, expected in zip(trained.activations, plain.activations, strict=True):
        for own, other in zip(activation.parameters(), expected.parameters(), strict=True):
            assert own.detach().item() == pytest.approx(other.detach().item(), rel=rtol, abs=rtol)
