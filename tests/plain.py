"""The oracle: one network, one optimizer class, one loop, as a researcher would write it; and small
jobs to hold to it.

Nothing here shares code with the engine but the minibatches, which come from
`gradflow.training.batches.Batches`.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.data.store import ImageData
from gradflow.study.job import Configuration, Job, Run, Settings
from gradflow.training.batches import Batches, Epoch
from gradflow.training.cohort import Cohort
from gradflow.training.stack import MaskUpdate, Stack
from gradflow.training.train_job import choose_repeatable_kernels

# `GRADFLOW_TEST_DEVICE=cuda pytest tests/training/test_cohort.py` holds the engine to the plain
# loop on a GPU
DEVICE = torch.device(os.environ.get("GRADFLOW_TEST_DEVICE", "cpu"))
if DEVICE.type == "cuda":
    choose_repeatable_kernels()
MEASURES = ("grad_norm_l1", "grad_norm_l2", "egf_l1", "egf_l2")

# rates at which the small networks learn without leaving the range where rounding stays rounding
LEARNING_RATES = {
    "sgd": 0.05,
    "momentum": 0.02,
    "adagrad": 0.02,
    "rmsprop": 0.002,
    "adam": 0.005,
    "adamw": 0.005,
}


# --- small jobs -----------------------------------------------------------------------------------


def make_data(
    train: int = 70,
    test: int = 40,
    channels: int = 1,
    side: int | tuple[int, int] = 8,
    classes: int = 5,
    seed: int = 0,
) -> ImageData:
    """Noisy images around one random image a class, so that there is something to learn."""
    generator = torch.Generator().manual_seed(seed)
    sides = (side, side) if isinstance(side, int) else side
    centres = torch.randint(40, 216, (classes, channels, *sides), generator=generator)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(count) % classes
        noise = torch.randint(-40, 40, (count, channels, *sides), generator=generator)
        return (centres[labels] + noise).to(torch.uint8), labels

    train_images, train_labels = draw(train)
    test_images, test_labels = draw(test)
    values = train_images.double()
    return ImageData(
        name="digits",
        classes=classes,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        mean=values.mean((0, 2, 3)),
        std=values.std((0, 2, 3), correction=0),
    )


def make_job(
    optimizer: str = "momentum",
    regularization: str = "NR",
    *,
    activation: str = "relu",
    learning_rate: float | None = None,
    depth: int = 4,
    seed: int = 3,
    epochs: int = 4,
    percents: Sequence[int] = (50,),
    architectures: Sequence[str] = ("dense", "sparse"),
    max_width: int = 20,
    crop_padding: int = 1,
    flip: bool = True,
    **settings: Any,
) -> Job:
    """A job on `make_data`: five steps an epoch, the last on 6 images where the others have 16;
    float64.
    """
    rate = LEARNING_RATES.get(optimizer, 0.005) if learning_rate is None else learning_rate
    return Job(
        scale="smoke",
        variant="paper",
        configuration=Configuration(
            "digits", "mlp", depth, 0, activation, optimizer, rate, regularization
        ),
        seed=seed,
        epochs=epochs,
        architectures=tuple(architectures),
        percents=tuple(percents),
        max_width=max_width,
        crop_padding=crop_padding,
        flip=flip,
        # an L2 coefficient large enough to be seen in twenty steps
        settings=Settings(
            **{
                "batch_size": 16,
                "precision": "float64",
                "l2": 0.01,
                "wide_resnet_l2": 0.01,
                **settings,
            }
        ),
    )


def make_wide_resnet_job(
    optimizer: str = "momentum",
    regularization: str = "L2_BN",
    *,
    architecture: str = "sparse",
    percent: int = 30,
    depth: int = 10,
    widen_factor: int = 1,
    epochs: int = 2,
    **options: Any,
) -> Job:
    """The same for a Wide ResNet, whose job is one run."""
    job = make_job(
        optimizer,
        regularization,
        epochs=epochs,
        percents=(percent,),
        architectures=(architecture,),
        **options,
    )
    configuration = dataclasses.replace(
        job.configuration, model="wide_resnet", depth=depth, widen_factor=widen_factor
    )
    return dataclasses.replace(job, configuration=configuration, max_width=0)


def train_cohort(job: Job, data: ImageData, mask_update: MaskUpdate | None = None) -> Cohort:
    cohort = Cohort(job, data, DEVICE, mask_update=mask_update)
    assert cohort.train(job.epochs)
    return cohort


def training_batch(batches: Batches, drawn: Epoch, start: int) -> tuple[Tensor, Tensor]:
    """The minibatch that starts at a place of an epoch's order."""
    places = torch.arange(drawn.order.shape[1], device=batches.device)
    return batches.training(drawn, places[start : start + batches.job.settings.batch_size])


def probe_batches(batches: Batches) -> list[tuple[Tensor, Tensor]]:
    """All minibatches of the probe."""
    places = torch.arange(len(batches.probe_order), device=batches.device)
    return [batches.probe(chosen) for chosen in places.split(batches.job.settings.batch_size)]


def train_steps(cohort: Cohort, steps: int) -> None:
    """Train for `steps` more steps and stop at that boundary."""
    done = 0

    def at_step() -> bool:
        nonlocal done
        done += 1
        return done == steps

    assert not cohort.train(cohort.job.epochs, at_step)


def find_run(cohort: Cohort, run: Run) -> tuple[Stack, int]:
    """The stack that trains `run`, and its place there."""
    return next((stack, stack.runs.index(run)) for stack in cohort.stacks if run in stack.runs)


def run_tensors(cohort: Cohort, run: Run) -> dict[str, Tensor]:
    """Parameters and buffers of one run's network, by name."""
    stack, k = find_run(cohort, run)
    alone = (
        cohort.job.configuration.model == "wide_resnet"
    )  # then BatchNorm's tensors are not stacked
    return {
        name: (tensor if alone else tensor[k]).clone()
        for name, tensor in stack.network.state_dict().items()
    }


def layer_masks(cohort: Cohort, run: Run) -> list[Tensor]:
    """Masks of one run; ones where it is dense."""
    stack, k = find_run(cohort, run)
    return [
        mask[k].clone()
        for mask in stack.masks or [torch.ones_like(layer) for layer in stack.layers]
    ]


def layer_weights(cohort: Cohort, run: Run) -> list[Tensor]:
    stack, k = find_run(cohort, run)
    return [layer.detach()[k].clone() for layer in stack.layers]


def assert_close(actual: Any, expected: Any, rtol: float, what: str, size: float = 0.0) -> None:
    """Relative to the largest value, or to `size`: one weight among many may be as good as zero."""
    actual, expected = (torch.as_tensor(value, dtype=torch.float64) for value in (actual, expected))
    assert actual.shape == expected.shape, what
    scale = max(expected.abs().max().item(), size)
    torch.testing.assert_close(
        actual, expected, rtol=rtol, atol=rtol * scale, msg=lambda m: f"{what}: {m}"
    )


def assert_rows_agree(actual: dict[str, Any], expected: dict[str, Any], rtol: float) -> None:
    """Every column of `expected`, numbers within `rtol`, anything else exactly."""
    for column, value in expected.items():
        what = f"{column} at epoch {actual['epoch']}"
        if isinstance(value, float) or (isinstance(value, list) and isinstance(value[0], float)):
            # few parameters besides weights, as slopes, may have a gradient that is as good as zero
            whole = expected.get(column.removeprefix("other_"), 0.0)
            assert_close(
                actual[column], value, rtol, what, whole if isinstance(whole, float) else 0.0
            )
        else:
            assert actual[column] == value, what


def assert_masked_weights_zero(cohort: Cohort) -> None:
    for run in cohort.rows:
        for weight, mask in zip(layer_weights(cohort, run), layer_masks(cohort, run), strict=True):
            assert torch.all(weight[mask == 0] == 0)
            assert torch.any(weight[mask == 1] != 0)


def assert_same_bits(first: Cohort, second: Cohort, run: Run) -> None:
    ours, theirs = run_tensors(first, run), run_tensors(second, run)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), f"{name} of {run}"
    assert first.rows[run] == second.rows[run]


# --- the plain networks ---------------------------------------------------------------------------


class SReLU(nn.Module):
    """S-shaped rectifier as in Jin et al. (2015), Equation 1; one set of values."""

    def __init__(
        self, t_left: float = 0.0, a_left: float = 0.2, t_right: float = 1.0, a_right: float = 1.0
    ):
        super().__init__()
        self.t_left = nn.Parameter(torch.tensor([t_left]))
        self.a_left = nn.Parameter(torch.tensor([a_left]))
        self.t_right = nn.Parameter(torch.tensor([t_right]))
        self.a_right = nn.Parameter(torch.tensor([a_right]))

    def forward(self, x: Tensor) -> Tensor:
        right, left = (
            x >= self.t_right,
            x <= self.t_left,
        )  # at a threshold the outer line, as in the paper
        above = self.t_right + self.a_right * (x - self.t_right)
        below = self.t_left + self.a_left * (x - self.t_left)
        return right * above + left * below + ~(right | left) * x


ACTIVATION_MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "swish": nn.SiLU,
    "srelu": SReLU,
    "sigmoid": nn.Sigmoid,
}


class PlainMLP(nn.Module):
    """A bias-free MLP; with masks, every forward pass multiplies each weight by its mask."""

    def __init__(
        self,
        widths: Sequence[int],
        *,
        activation: str = "relu",
        batch_norm: bool = False,
        batch_norm_last: bool = False,  # after the activation
        skip: bool = False,
        skip_last: bool = False,  # likewise
        skip_overlap: bool = False,
        masks: Sequence[Tensor] | None = None,  # [out, in]
    ):
        super().__init__()
        hidden = widths[1:-1]
        self.linears = nn.ModuleList(
            nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in hidden if batch_norm)
        self.activations = nn.ModuleList(ACTIVATION_MODULES[activation]() for _ in hidden)
        self.batch_norm, self.batch_norm_last = batch_norm, batch_norm_last
        self.skip, self.skip_last, self.skip_overlap = skip, skip_last, skip_overlap
        self.masks = masks
        self.effective: list[
            Tensor
        ] = []  # of the last forward pass: their `.grad` is the unmasked gradient

    @property
    def weights(self) -> list[nn.Parameter]:
        return [linear.weight for linear in self.linears]

    def forward(self, x: Tensor) -> Tensor:
        masks = self.masks or [torch.ones_like(weight) for weight in self.weights]
        self.effective = [weight * mask for weight, mask in zip(self.weights, masks, strict=True)]
        for weight in self.effective:
            if weight.requires_grad:
                weight.retain_grad()
        outputs = [x.flatten(1)]
        for layer in range(1, len(self.linears)):
            z = F.linear(outputs[-1], self.effective[layer - 1])
            # from h_1 to h_3, h_3 to h_5, ...; overlapping: from h_2 to h_4 as well, ...
            skips = self.skip and layer >= 3 and (self.skip_overlap or layer % 2 == 1)
            if self.batch_norm and not self.batch_norm_last:
                z = self.norms[layer - 1](z)
            if skips and not self.skip_last:
                z = z + outputs[layer - 2]
            z = self.activations[layer - 1](z)
            if self.batch_norm and self.batch_norm_last:
                z = self.norms[layer - 1](z)
            if skips and self.skip_last:
                z = z + outputs[layer - 2]
            outputs.append(z)
        return F.linear(outputs[-1], self.effective[-1])


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and activation (Zagoruyko and Komodakis, 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: str):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.act1 = ACTIVATION_MODULES[activation]()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.act2 = ACTIVATION_MODULES[activation]()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, padding=1, bias=False)
        self.equal = inputs == outputs
        self.shortcut = (
            None if self.equal else nn.Conv2d(inputs, outputs, 1, stride, padding=0, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.equal:
            out = self.act1(self.bn1(x))
        else:
            x = self.act1(self.bn1(x))
            out = x
        out = self.conv2(self.act2(self.bn2(self.conv1(out))))
        return (x if self.shortcut is None else self.shortcut(x)) + out


class PlainWideResNet(nn.Module):
    """The original pre-activation Wide ResNet; `bias` is the classifier's, which the original
    has.
    """

    def __init__(
        self,
        depth: int,
        widen_factor: int,
        channels: int,
        classes: int,
        *,
        activation: str = "relu",
        bias: bool = False,
    ):
        super().__init__()
        widths = [16, 16 * widen_factor, 32 * widen_factor, 64 * widen_factor]
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.blocks = nn.Sequential(
            *(
                BasicBlock(
                    widths[group] if block == 0 else widths[group + 1],
                    widths[group + 1],
                    2 if block == 0 and group > 0 else 1,
                    activation,
                )
                for group in range(3)
                for block in range(blocks)
            )
        )
        self.bn = nn.BatchNorm2d(widths[3])
        self.act = ACTIVATION_MODULES[activation]()
        self.fc = nn.Linear(widths[3], classes, bias=bias)

    @property
    def weights(self) -> list[nn.Parameter]:
        found = [self.conv1.weight]
        for block in self.blocks:
            found += [block.conv1.weight, block.conv2.weight]
            found += [] if block.shortcut is None else [block.shortcut.weight]
        return [*found, self.fc.weight]

    @property
    def norms(self) -> list[nn.BatchNorm2d]:
        return [norm for block in self.blocks for norm in (block.bn1, block.bn2)] + [self.bn]

    @property
    def activations(self) -> list[nn.Module]:
        return [activation for block in self.blocks for activation in (block.act1, block.act2)] + [
            self.act
        ]

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn(self.blocks(self.conv1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


PlainNetwork = PlainMLP | PlainWideResNet


def other_parameters(network: PlainNetwork) -> list[nn.Parameter]:
    """BatchNorm's and activations' parameters."""
    layers = {id(weight) for weight in network.weights}
    return [p for p in network.parameters() if id(p) not in layers]


# --- from the engine's layout to PyTorch's --------------------------------------------------------


def as_torch_weight(tensor: Tensor) -> Tensor:
    """A matrix is [in, out] in the engine and [out, in] in `nn.Linear`; kernels are alike."""
    return tensor.T if tensor.dim() == 2 else tensor


@torch.no_grad()
def load_network(cohort: Cohort, run: Run, target: PlainNetwork) -> None:
    """Copy what `run` has learned so far into `target`."""
    stack, k = find_run(cohort, run)
    network = stack.network
    for weight, layer in zip(target.weights, layer_weights(cohort, run), strict=True):
        weight.copy_(as_torch_weight(layer))
    for plain, stacked in zip(target.norms, network.norms, strict=True):
        for name in ("weight", "bias", "running_mean", "running_var"):
            value = getattr(stacked, name).detach()
            getattr(plain, name).copy_(value if isinstance(target, PlainWideResNet) else value[k])
    for plain, stacked in zip(target.activations, network.activations, strict=True):
        for own, shared in zip(plain.parameters(), stacked.parameters(), strict=True):
            own.copy_(shared.detach()[k : k + 1])


def plain_network(cohort: Cohort, run: Run, *, masked: bool = True) -> PlainNetwork:
    """The plain twin of `run`, with its present parameters; `masked`: an MLP that masks itself in
    each forward.
    """
    job = cohort.job
    configuration, settings = job.configuration, job.settings
    data_channels = cohort.batches.train_images.shape[1]
    if configuration.model == "wide_resnet":
        target: PlainNetwork = PlainWideResNet(
            configuration.depth,
            configuration.widen_factor,
            data_channels,
            cohort.classes,
            activation=configuration.activation,
        )
    else:
        masks = [as_torch_weight(mask) for mask in layer_masks(cohort, run)] if masked else None
        shapes = [tuple(weight.shape) for weight in layer_weights(cohort, run)]
        target = PlainMLP(
            [shapes[0][0], *(out for _, out in shapes)],
            activation=configuration.activation,
            batch_norm="BN" in configuration.regularization,
            batch_norm_last=settings.batchnorm_place == "after_activation",
            skip="SC" in configuration.regularization,
            skip_last=settings.skip_place == "after_activation",
            skip_overlap=settings.skip_overlap,
            masks=masks,
        )
    target = target.to(DEVICE, cohort.batches.dtype)
    load_network(cohort, run, target)
    return target


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
