"""K bias-free MLPs of one shape, trained as one: weights stacked on a leading axis, one bmm a
layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.networks.activations import make_activation
from gradflow.networks.batched_product import feature_major_product, stacked_product
from gradflow.networks.dropout import Dropout
from gradflow.networks.rectified_norm import rectified_norm
from gradflow.study.job import Configuration, Settings

EPSILON, MOMENTUM = 1e-5, 0.1  # of BatchNorm, PyTorch's
# of a layer's inputs [K, B, in] and its weights [K, in, out]
Product = Callable[[Tensor, Tensor], Tensor]


class StackedBatchNorm(nn.Module):
    """Batch normalisation of K networks, folded into the channels of one `batch_norm` call.

    Statistics are per network and unit over the minibatch; epsilon and momentum are PyTorch's.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, networks: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(networks, width))
        self.bias = nn.Parameter(torch.zeros(networks, width))
        self.register_buffer("running_mean", torch.zeros(networks, width))
        self.register_buffer("running_var", torch.ones(networks, width))
        self.update_statistics = True  # off while a probe looks on

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [K, B, width]; by batch statistics in training mode, by running ones
        otherwise.
        """
        networks, batch, width = x.shape
        running = self.update_statistics or not self.training
        if batch > 1 and x.mT.is_contiguous():  # no copy on either side: one image, B positions
            folded = F.batch_norm(
                x.mT.view(1, networks * width, batch),
                self.running_mean.view(-1) if running else None,
                self.running_var.view(-1) if running else None,
                self.weight.view(-1),
                self.bias.view(-1),
                self.training,
            )
            return folded.view(networks, width, batch).mT
        folded = F.batch_norm(
            x.transpose(0, 1).reshape(batch, networks * width),
            self.running_mean.view(-1) if running else None,
            self.running_var.view(-1) if running else None,
            self.weight.view(-1),
            self.bias.view(-1),
            self.training,
        )
        return folded.view(batch, networks, width).transpose(0, 1)

    def rectified(self, x: Tensor) -> Tensor:
        """The ReLU of `forward`; of activations that lie as [K, width, B] in one pass, see
        `rectified_norm`.
        """
        networks, batch, width = x.shape
        if not self.training or x.dtype != torch.float32 or not x.mT.is_contiguous() or batch == 1:
            return torch.relu(self.forward(x))
        running = (self.running_mean.view(-1), self.running_var.view(-1))
        out = rectified_norm(
            x.mT.view(1, networks * width, batch, 1),
            self.weight.view(-1),
            self.bias.view(-1),
            EPSILON,
            running if self.update_statistics else None,
            MOMENTUM,
        )
        return out.view(networks, width, batch).mT


class StackedLayerNorm(nn.Module):
    """Layer normalisation of K networks: over the units of each input; epsilon is PyTorch's."""

    def __init__(self, networks: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(networks, width))
        self.bias = nn.Parameter(torch.zeros(networks, width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [K, B, width] over its last axis."""
        return F.layer_norm(x, x.shape[-1:]) * self.weight.unsqueeze(1) + self.bias.unsqueeze(1)


class StackedMLP(nn.Module):
    """K MLPs of equal shape: inputs [K, B, ...] to logits [K, B, classes].

    The weights given are effective ones (zero where masked), so the forward pass needs no mask, and
    after a backward pass their `.grad` is the unmasked gradient with respect to the effective
    weight.
    """

    def __init__(self, configuration: Configuration, settings: Settings, weights: Sequence[Tensor]):
        """Build from `weights`, one tensor [K, in, out] a layer."""
        super().__init__()
        networks, hidden_layers = weights[0].shape[0], len(weights) - 1
        self.layers = nn.ParameterList(nn.Parameter(weight) for weight in weights)
        widths = [weight.shape[2] for weight in weights[:-1]]
        norm = StackedBatchNorm if configuration.has("BN") else StackedLayerNorm
        normalised = configuration.has("BN") or configuration.has("LN")
        self.norms = nn.ModuleList(norm(networks, w) for w in widths if normalised)
        self.activations = nn.ModuleList(
            make_activation(configuration.activation, networks, settings) for _ in widths
        )
        self.skips = (
            skip_connections(hidden_layers, settings.skip_overlap)
            if configuration.has("SC")
            else {}
        )
        self.skip_early = settings.skip_place == "before_activation"
        self.norm_early = settings.batchnorm_place == "before_activation"
        self.feature_major = False  # how activations lie in memory; true on a GPU
        self.is_rectified = (
            configuration.activation == "relu" and configuration.has("BN") and self.norm_early
        )
        self.rectify_at_once = False  # with BatchNorm; true on a GPU

    def forward(
        self, images: Tensor, product: Product | None = None, drop: Dropout | None = None
    ) -> Tensor:
        """Logits [K, B, classes] of images [K, B, C, H, W]; `product` in the place of the layers'
        own.

        `drop` takes units of every hidden layer, behind its activation and before what skips to it
        there.
        """
        if product is None:
            product = feature_major_product if self.feature_major else stacked_product
        hidden = [images.flatten(2)]  # hidden[l] is h_l; h_0 are the inputs
        for index in range(len(self.activations)):
            skipped = hidden[self.skips[index + 1]] if index + 1 in self.skips else None
            z = product(hidden[-1], self.layers[index])
            hidden.append(self._hidden(index, z, skipped, drop))
        return product(hidden[-1], self.layers[-1])

    def _hidden(
        self, index: int, z: Tensor, skipped: Tensor | None, drop: Dropout | None
    ) -> Tensor:
        """A hidden layer of its product z: normalised, skipped to and activated, in the order of
        the settings.
        """
        norm = self.norms[index] if self.norms else None
        early = skipped is not None and self.skip_early
        if self.rectify_at_once and not early and isinstance(norm, StackedBatchNorm):
            z = norm.rectified(z)
        else:
            if norm is not None and self.norm_early:
                z = norm(z)
            if skipped is not None and early:
                z = z + skipped
            z = self.activations[index](z)
            if norm is not None and not self.norm_early:
                z = norm(z)
        if drop is not None:
            z = drop(index, z)
        return z if skipped is None or early else z + skipped

    def linear_paths(self, weights: list[Tensor]) -> Tensor:
        """Outputs [K, 1, classes] for inputs of one, without activations and BatchNorm; see
        `masks.live_weights`.
        """
        first = weights[0]
        hidden = [
            torch.ones(first.shape[0], 1, first.shape[1], dtype=first.dtype, device=first.device)
        ]
        for index, weight in enumerate(weights[:-1]):
            z = torch.bmm(hidden[-1], weight)
            hidden.append(z + hidden[self.skips[index + 1]] if index + 1 in self.skips else z)
        return torch.bmm(hidden[-1], weights[-1])


def skip_connections(hidden_layers: int, overlap: bool) -> dict[int, int]:
    """Identity skips "every two layers": {l + 2: l} among hidden layers 1 to `hidden_layers`.

    Without overlap the next skip starts where the last one ended. There is none with fewer than
    three hidden layers.
    """
    return {source + 2: source for source in range(1, hidden_layers - 1, 1 if overlap else 2)}
