"""The rows of run logs: what identifies a run, and what was measured at the end of a probe
epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradflow.flow import GradientFlow
from gradflow.study.job import Job, Run, dense_width
from gradflow.study.shapes import capacity, mlp_layer_shapes
from gradflow.training.contracts import check_masked_weights
from gradflow.training.run_log import MEASURES
from gradflow.training.stack import Stack, weight_decay
from gradflow.training.step import measures

CAUSE = "divergence_cause"  # key of a row, of no column: it goes into the log's metadata
COLLAPSED = 0.98  # of log C: a training loss above it never left chance


@dataclass(frozen=True)
class Probe:
    """What a probe measured of the K networks of a stack, on their device."""

    flow: GradientFlow
    other_norms: dict[int, Tensor]  # [K] for each p, of the parameters that are no layer
    train_loss: Tensor  # [K], mean over the epoch's minibatches
    minibatch: Tensor  # [measures, K], likewise
    probe_loss: Tensor  # [K]
    test_loss: Tensor  # [K]
    test_accuracy: Tensor  # [K], percent


def probe_rows(
    job: Job, stack: Stack, probe: Probe, epoch: int, step: int, classes: int
) -> dict[Run, dict[str, Any]]:
    """A row of the log of each run of the stack. A network that is no longer finite is marked as
    diverged for good.
    """
    check_masked_weights(stack, job.configuration.optimizer)
    networks = len(stack.runs)
    finite = (
        torch.isfinite(probe.train_loss)
        & torch.isfinite(probe.probe_loss)
        & torch.isfinite(probe.test_loss)
    )
    for parameter in stack.network.parameters():
        finite &= torch.isfinite(parameter.detach()).reshape(networks, -1).all(1)
    causes = divergence_causes(stack, probe, ~finite & ~stack.diverged)
    stack.diverged |= ~finite
    diverged = stack.diverged.tolist()
    train_loss, probe_loss, test_loss = (
        x.tolist() for x in (probe.train_loss, probe.probe_loss, probe.test_loss)
    )
    accuracy, minibatch = probe.test_accuracy.tolist(), probe.minibatch.tolist()
    whole = [measure.tolist() for measure in measures(probe.flow)]
    by_layer = [
        norms[p].tolist()
        for norms in (probe.flow.layer_grad_norm, probe.flow.layer_egf)
        for p in (1, 2)
    ]  # in the order of MEASURES
    other_norms = {p: norms.tolist() for p, norms in probe.other_norms.items()}
    other_parameters = sum(p.numel() for p in stack.others) // networks
    active = torch.stack(stack.active(), dim=-1).tolist()
    live = torch.stack(stack.live, dim=-1).tolist()
    found: dict[Run, dict[str, Any]] = {}
    for k, run in enumerate(stack.runs):
        found[run] = {
            **log_identity(job),
            **run_identity(job, run),
            "epoch": epoch,
            "step": step,
            "train_loss": train_loss[k],
            "probe_loss": probe_loss[k],
            # a network that is no longer finite keeps its pair: at chance, and worst in loss
            "test_loss": math.inf if diverged[k] else test_loss[k],
            "test_accuracy": 100.0 / classes if diverged[k] else accuracy[k],
            "other_grad_norm_l1": other_norms[1][k],
            "other_grad_norm_l2": other_norms[2][k],
            "active_weights": active[k],
            "live_weights": live[k],
            "total_weights": [layer[0].numel() for layer in stack.layers],
            "trainable_parameters": sum(active[k]) + other_parameters,
            "diverged": diverged[k],
            CAUSE: causes.get(k),
            "collapsed": not diverged[k] and train_loss[k] > COLLAPSED * math.log(classes),
        }
        for index, name in enumerate(MEASURES):
            found[run] |= {
                name: whole[index][k],
                f"layer_{name}": by_layer[index][k],
                f"minibatch_{name}": minibatch[index][k],
            }
    return found


def divergence_causes(stack: Stack, probe: Probe, new: Tensor) -> dict[int, str]:
    """What was found not to be finite in each network that diverged since the last probe.

    Args:
        stack: the networks.
        probe: what was just measured.
        new: bool [K].

    Returns:
        By the network's place: `weight` (an update left the range of numbers), `gradient` (the
        optimizer's state is not finite either: a gradient was not), or where all weights are finite
        `gradient` (at the probe) or `loss`.
    """
    places: list[int] = new.nonzero().flatten().tolist()
    if not places:
        return {}

    def finite(tensors: Iterable[Tensor]) -> Tensor:
        found = torch.ones_like(new)
        for tensor in tensors:
            found &= torch.isfinite(tensor.detach()).reshape(len(new), -1).all(1)
        return found

    parameters = list(stack.network.parameters())
    weights = finite(parameters)
    state = finite(one for p in parameters for one in stack.optimizer.state_of(p))
    losses = torch.isfinite(torch.stack([probe.train_loss, probe.probe_loss, probe.test_loss])).all(
        0
    )
    found = {}
    for k in places:
        if not weights[k]:
            found[k] = "weight" if state[k] else "gradient"
        else:
            found[k] = "gradient" if losses[k] else "loss"
    return found


def log_notes(job: Job, run: Run, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What the metadata of a run's log say of it: how far the twins' capacities agree, and why it
    diverged.

    A network is looked at when it is probed, so that its divergence lies in one of the steps since
    the probe before, and is named by the first and the last of these.
    """
    notes = {}
    if job.configuration.model == "mlp" and run.architecture == "sparse":
        places, active = rows[-1]["total_weights"], rows[-1]["active_weights"]
        shapes = mlp_layer_shapes(
            places[0] // job.max_width,
            dense_width(job.max_width, run.percent),
            job.configuration.depth,
            places[-1] // job.max_width,
        )
        same = active == capacity(shapes)
        notes["capacity"] = (
            "equal in each layer" if same else f"equal in total: {active}, dense {capacity(shapes)}"
        )
    done = 0
    for row in rows:
        if row.get(CAUSE):
            notes["divergence"] = f"{row[CAUSE]} in steps {done + 1} to {row['step']}"
        done = row["step"]
    return notes


def log_identity(job: Job) -> dict[str, Any]:
    """The columns of a run log which are the same for every run of a job."""
    configuration = job.configuration
    mlp = configuration.model == "mlp"
    return {
        "scale": job.scale,
        "variant": job.variant,
        "dataset": configuration.dataset,
        "configuration": configuration.name,
        "model": configuration.model,
        "hidden_layers": configuration.depth if mlp else None,
        "depth": None if mlp else configuration.depth,
        "widen_factor": None if mlp else configuration.widen_factor,
        "activation": configuration.activation,
        "optimizer": configuration.optimizer,
        "learning_rate": configuration.learning_rate,
        "regularization": configuration.regularization,
        "l2": weight_decay(job),
        "batch_size": job.settings.batch_size,
        "initialisation": job.settings.initialisation,
        "max_width": job.max_width if mlp else None,
        "seed": job.seed,
        "epochs": job.epochs,
    }


def run_identity(job: Job, run: Run) -> dict[str, Any]:
    """The columns of a run log which tell the runs of a job apart."""
    mlp = job.configuration.model == "mlp"
    return {
        "architecture": run.architecture,
        "dense_width": dense_width(job.max_width, run.percent) if mlp else None,
        "width_percent": run.percent if mlp else None,
        "density_percent": None if mlp else run.percent,
    }
