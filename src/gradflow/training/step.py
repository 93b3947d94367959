"""What is done to a stack at one minibatch. Functions of device tensors alone, so that a GPU can
replay them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from gradflow.flow import EXPONENTS, GradientFlow, norm, norm_by_rows
from gradflow.networks.dropout import Dropout
from gradflow.networks.mlp import StackedMLP
from gradflow.study.job import Job
from gradflow.training.fused.update import FusedUpdate
from gradflow.training.stack import Stack, forget_gradients, gradient, probing_mode


def learning_rate_at(job: Job, epoch: int) -> float:
    """Constant; in steps, times 0.2 after 30, 60 and 80 % of the epochs (60, 120 and 160 of 200;
    section 3.4); or a cosine.

    In the warm-up epochs it rises in equal steps; the cosine falls to zero over the others.
    """
    mlp = job.configuration.model == "mlp"
    schedule = job.settings.mlp_schedule if mlp else job.settings.wide_resnet_schedule
    warm = job.settings.warmup_epochs
    if epoch < warm:
        return float(job.configuration.learning_rate * (epoch + 1) / warm)
    if schedule == "cosine":
        done = (epoch - warm) / (job.epochs - warm)
        return float(job.configuration.learning_rate * 0.5 * (1 + math.cos(math.pi * done)))
    drops = (
        0
        if schedule == "constant"
        else sum(epoch * 10 >= job.epochs * tenths for tenths in (3, 6, 8))
    )
    return float(job.configuration.learning_rate * 0.2**drops)


def network_losses(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy [K] of each network: logits [K, B, C], labels [K, B]."""
    return (
        F.cross_entropy(
            logits.flatten(0, 1),
            labels.flatten(),
            reduction="none",
            label_smoothing=label_smoothing,
        )
        .view(labels.shape)
        .mean(1)
    )


def train_step(
    stack: Stack,
    images: Tensor,
    labels: Tensor,
    learning_rate: float,
    *,
    precision: str,
    probing: bool,
    update_masks: Callable[[Stack], None] | None = None,
    drop: Dropout | None = None,
) -> None:
    """One optimizer step of every network of a stack.

    Args:
        stack: the networks.
        images: [K, B, C, H, W], normalised.
        labels: [K, B].
        learning_rate: of this step.
        precision: of the products, a setting; weights, sums and norms of bf16 stay float32.
        probing: add the losses and the flow of this minibatch to the stack's sums.
        update_masks: called between the backward pass and the update.
        drop: which units this step drops.
    """
    forget_gradients(stack.network)
    fused = None
    if stack.fused and not probing and update_masks is None:
        fused = FusedUpdate(stack.layers, stack.masks, stack.optimizer, learning_rate, precision)
    with mixed_products(images.device, precision):
        if fused and isinstance(stack.network, StackedMLP):
            logits = stack.network(images, fused, drop=drop)
        else:
            logits = stack.network(images, drop=drop)
        losses, objective = _losses_and_objective(stack, logits, labels)
    # a sum, so that each network's gradient is that of its own mean loss
    objective.sum().backward()
    if fused:
        fused.apply_gradients()
        stack.optimizer.step(learning_rate, first_group=1)
        return
    if update_masks is not None:
        update_masks(stack)
    if probing:
        flow = masked_flow(stack, norm_by_rows)
        stack.train_loss += losses.detach()
        stack.minibatch += torch.stack(measures(flow))
    else:
        stack.mask_gradients()
    regularise(stack)
    stack.optimizer.step(learning_rate)


def _losses_and_objective(stack: Stack, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The cross-entropies [K], which are logged, and what is minimised: with label smoothing, if
    there is any.
    """
    losses, smoothing = network_losses(logits, labels), stack.optimizer.settings.label_smoothing
    return losses, network_losses(logits, labels, smoothing) if smoothing else losses


@torch.no_grad()
def regularise(stack: Stack) -> None:
    """Add L1's gradient to the masked ones, then clip each network's to its largest norm, as
    `clip_grad_norm_`.

    After gradient flow was measured: as L2, L1 is no part of it.
    """
    settings = stack.optimizer.settings
    if settings.l1:
        for layer in stack.layers:
            gradient(layer).add_(layer.sign(), alpha=settings.l1)
    if settings.gradient_clip:
        networks = len(stack.runs)
        gradients = [gradient(p) for p in stack.network.parameters()]
        norms = torch.stack(
            [torch.linalg.vector_norm(g.reshape(networks, -1), dim=1) for g in gradients]
        ).norm(dim=0)
        share = (settings.gradient_clip / (norms + 1e-6)).clamp(max=1.0)
        for one in gradients:
            one.mul_(share.view(-1, *[1] * (one.dim() - 1)))


def mixed_products(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Products in bfloat16 where the precision says so."""
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def probe_step(stack: Stack, images: Tensor, labels: Tensor, share: float) -> None:
    """Add `share` times the loss [K] and the gradients of one minibatch to `probe_loss` and to each
    `.grad`.

    Args:
        stack: the networks; every parameter has a `.grad`.
        images: [1, B, C, H, W], normalised.
        labels: [1, B].
        share: of this minibatch in all the probe images.
    """
    images, labels = (t.expand(len(stack.runs), *t.shape[1:]) for t in (images, labels))
    with probing_mode(stack.network), ieee_float32():
        losses, objective = _losses_and_objective(stack, stack.network(images), labels)
        (objective * share).sum().backward()
    stack.probe_loss += losses.detach() * share


def masked_flow(stack: Stack, norm: Callable[[Tensor, int], Tensor] = norm) -> GradientFlow:
    """The flow of a stack's gradients, which are masked on the way."""
    unmasked = norms_by_layer(stack.layers, norm)
    stack.mask_gradients()
    return GradientFlow(unmasked, norms_by_layer(stack.layers, norm) if stack.masks else unmasked)


def norms_by_layer(
    layers: Sequence[Tensor], norm: Callable[[Tensor, int], Tensor]
) -> dict[int, Tensor]:
    """Norms [K, L] of the layers' gradients as they are, for each p."""
    return {
        p: torch.stack([norm(gradient(layer), p) for layer in layers], dim=-1) for p in EXPONENTS
    }


def measures(flow: GradientFlow) -> list[Tensor]:
    """The four measures [K], in the order of `runlog.MEASURES`."""
    return [flow.grad_norm(1), flow.grad_norm(2), flow.egf(1), flow.egf(2)]


@contextmanager
def ieee_float32() -> Iterator[None]:
    """Measure in IEEE float32 whatever the training uses: TF32 moves norms by up to 3e-3."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
