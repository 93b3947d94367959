"""The Wide ResNet of Zagoruyko and Komodakis (2016), without biases: depth 28 and widen factor 10
in section 3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.networks.activations import make_activation
from gradflow.networks.dropout import Dropout
from gradflow.networks.rectified_norm import rectified_norm
from gradflow.study.job import Configuration, Settings
from gradflow.study.shapes import Layer


class ProbeableBatchNorm(nn.BatchNorm2d):
    """BatchNorm which leaves its running statistics alone while a probe looks on."""

    update_statistics = True

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [B, C, H, W]; by batch statistics in training mode, by running ones
        otherwise.
        """
        running = self.update_statistics or not self.training
        mean, var = (self.running_mean, self.running_var) if running else (None, None)
        return F.batch_norm(x, mean, var, self.weight, self.bias, self.training)

    def rectified(self, x: Tensor) -> Tensor:
        """The ReLU of `forward`; in training mode in one pass, see `rectified_norm`."""
        if not self.training or x.dtype != torch.float32:
            return torch.relu(self.forward(x))
        running, mean, variance = None, self.running_mean, self.running_var
        if self.update_statistics and mean is not None and variance is not None:
            running = (mean, variance)
        return rectified_norm(x, self.weight, self.bias, self.eps, running, self.momentum or 0.0)


class WideResNet(nn.Module):
    """One Wide ResNet with the interface of K = 1 stacked networks: inputs [1, B, C, H, W] to
    logits [1, B, classes].

    Weights are effective ones (zero where masked), as in `mlp.StackedMLP`.
    """

    def __init__(
        self,
        configuration: Configuration,
        settings: Settings,
        layers: Sequence[Layer],
        weights: Sequence[Tensor],
    ):
        """Build from `layers` and their `weights`, each [1, *layer.shape]."""
        super().__init__()
        self.plan = list(layers)
        self.layers = nn.ParameterList(nn.Parameter(weight) for weight in weights)
        # pre-activation: BatchNorm and activation stand before each of a block's convolutions and
        # before the classifier
        places = [layer.shape[1] for layer in layers if layer.role == "blocks"] + [
            layers[-1].shape[0]
        ]
        self.norms = nn.ModuleList(ProbeableBatchNorm(channels) for channels in places)
        self.activations = nn.ModuleList(
            make_activation(configuration.activation, 1, settings) for _ in places
        )

        self.is_rectified = configuration.activation == "relu"
        self.rectify_at_once = False  # with BatchNorm; true on a GPU
        self.channels_last = True  # how images lie in memory; a CPU is faster so

    def lie_channels_last(self, chosen: bool) -> None:
        """Let images, and the kernels as well, lie channels last or as they come, before an
        optimizer has seen them.
        """
        self.channels_last = chosen
        form = torch.channels_last if chosen else torch.contiguous_format
        for weight in self.layers:
            if weight.dim() == 5:
                weight.data = weight.data.squeeze(0).contiguous(memory_format=form).unsqueeze(0)

    def forward(self, images: Tensor, drop: Dropout | None = None) -> Tensor:
        """Logits [1, B, classes] of images [1, B, C, H, W].

        `drop` takes units between the two convolutions of a block, where its authors have dropout.
        """

        def activate(x: Tensor, place: int) -> Tensor:
            if self.rectify_at_once:
                norm = self.norms[place]
                if isinstance(norm, ProbeableBatchNorm):
                    return norm.rectified(x)
            return self.activations[place](self.norms[place](x))

        def between(x: Tensor, place: int) -> Tensor:
            active = activate(x, place)
            return active if drop is None else drop(place, active.unsqueeze(0)).squeeze(0)

        x = images.squeeze(0)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)  # which every layer keeps
        return self._pass(x, list(self.layers), activate, between).unsqueeze(0)

    def linear_paths(self, weights: list[Tensor]) -> Tensor:
        """Outputs for inputs of one, without activations and BatchNorm; see
        `masks.live_weights`.
        """
        stem = weights[0]
        ones = torch.ones(1, stem.shape[2], 8, 8, dtype=stem.dtype, device=stem.device)
        return self._pass(ones, weights, lambda x, _: x, lambda x, _: x)

    def _pass(
        self,
        x: Tensor,
        weights: list[Tensor],
        activate: Callable[[Tensor, int], Tensor],
        between: Callable[[Tensor, int], Tensor],
    ) -> Tensor:
        remaining = iter(zip(self.plan, weights, strict=True))
        following = next(remaining)

        def convolve(x: Tensor) -> Tensor:
            nonlocal following
            layer, weight = following
            following = next(remaining)
            return F.conv2d(x, weight.squeeze(0), stride=layer.stride, padding=layer.shape[-1] // 2)

        x, place = convolve(x), 0
        while following[0].role != "classifier":
            active = activate(x, place)
            y = convolve(active)
            y = convolve(between(y, place + 1))
            # the shortcut of a block that changes shape starts after the block's first activation
            x = y + (convolve(active) if following[0].role == "shortcuts" else x)
            place += 2
        return activate(x, place).mean((2, 3)) @ following[1].squeeze(0)
