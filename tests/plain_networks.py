"""The paper's networks as plain torch modules, with the weights of a network of a stack."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from cohorts import DEVICE, find_run, layer_masks, layer_weights
from torch import Tensor, nn

from gradflow.study.job import Run
from gradflow.training.cohort import Cohort

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
