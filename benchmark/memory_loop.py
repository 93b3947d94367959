"""The best simple loop for a CPU: normalised images as one tensor in memory, `nn.Linear`,
`torch.optim`, no loader.

The mask multiplies the gradient before the optimizer's step, once, instead of the weight in each
forward pass. A masked weight is zero from the start and stays so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.plain_loops import OPTIMIZERS, TEST_BATCH, PlainLoop, layer_norms
from gradflow.data.store import ImageData
from gradflow.networks.build import mlp_shapes
from gradflow.study.job import Job, Run
from gradflow.study.shapes import capacity


class MemoryNetwork(nn.Module):
    """One ReLU MLP of a job, with its BatchNorm and skip connections (every two layers)."""

    def __init__(self, job: Job, shapes: Sequence[tuple[int, int]]):
        super().__init__()
        hidden = shapes[:-1]
        self.layers = nn.ModuleList(nn.Linear(*shape, bias=False) for shape in shapes)
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(outputs) if job.configuration.has("BN") else nn.Identity()
            for _, outputs in hidden
        )
        # hidden layers, from 0, to which what lies two before is added
        stride = 1 if job.settings.skip_overlap else 2
        self.skips = range(2, len(hidden), stride) if job.configuration.has("SC") else range(0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, classes] of images [B, C, H, W]."""
        h = x.flatten(1)
        before: list[Tensor] = []
        for index, norm in enumerate(self.norms):
            h = norm(self.layers[index](h))
            h = F.relu(h + before[index - 2] if index in self.skips else h)
            before.append(h)
        return self.layers[-1](h)


class MemoryLoop(PlainLoop):
    """The plain loop with normalised images in memory."""

    def __init__(self, job: Job, run: Run, data: ImageData):
        shapes, twin = mlp_shapes(job, run, data)
        super().__init__(job, MemoryNetwork(job, shapes), torch.device("cpu"))
        configuration, settings = job.configuration, job.settings
        self.optimizer = OPTIMIZERS[configuration.optimizer](
            self.network.parameters(),
            lr=configuration.learning_rate,
            weight_decay=settings.l2 if configuration.has("L2") else 0.0,
        )
        self.masks: list[Tensor] = []
        if run.architecture == "sparse":
            for layer, active in zip(self.layers, capacity(twin), strict=True):
                mask = torch.zeros(layer.weight.numel())
                mask[torch.randperm(mask.numel())[:active]] = 1.0
                self.masks.append(mask.view_as(layer.weight))
                layer.weight.data.mul_(self.masks[-1])
        self.batch_size, self.flip = settings.batch_size, job.flip
        self.padding = job.crop_padding if configuration.has("DA") else 0
        mean, std = (part.float().view(-1, 1, 1) for part in (data.mean, data.std))
        self.side = data.train_images.shape[-1]
        padded = F.pad(data.train_images.float(), [self.padding] * 4)
        self.padded = (padded - mean) / std
        whole = (data.train_images.float() - mean) / std if self.padding else self.padded
        self.probe_pieces = list(
            zip(
                whole[: settings.probe_images].split(self.batch_size),
                data.train_labels[: settings.probe_images].split(self.batch_size),
                strict=True,
            )
        )
        test = (data.test_images.float() - mean) / std
        self.test_pieces = list(
            zip(test.split(TEST_BATCH), data.test_labels.split(TEST_BATCH), strict=True)
        )
        self.labels = data.train_labels

    def batches(self) -> Iterator[Sequence[Tensor]]:
        """Pick the images of a random order; crop and flip with DA."""
        for chosen in torch.randperm(len(self.labels)).split(self.batch_size):
            yield (
                self.augmented(chosen) if self.padding else self.padded[chosen],
                self.labels[chosen],
            )

    def augmented(self, chosen: Tensor) -> Tensor:
        """Crop each chosen image at a random place, and flip half of them."""
        columns = torch.arange(self.side).expand(len(chosen), -1)
        corner = torch.randint(2 * self.padding + 1, (2, len(chosen), 1))
        if self.flip:
            flipped = torch.rand(len(chosen), 1) < 0.5
            columns = torch.where(flipped, columns.flip(1), columns)
        rows, columns = corner[0] + torch.arange(self.side), corner[1] + columns
        picked = self.padded[chosen[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return picked.movedim(-1, 1)

    def probe_batches(self) -> Sequence[Sequence[Tensor]]:
        """The probe images in pieces."""
        return self.probe_pieces

    def test_batches(self) -> Sequence[Sequence[Tensor]]:
        """The test images in pieces."""
        return self.test_pieces

    def train_steps(self, measuring: bool) -> Iterator[tuple[float, dict[str, float]]]:
        """A minibatch's loss and, if wanted, the norms of its gradient."""
        for images, labels in self.batches():
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.network(images), labels)
            loss.backward()
            norms = self.gradient_norms(self.gradients()) if measuring else {}
            for layer, mask in zip(self.layers, self.masks, strict=False):  # none of a dense one
                assert layer.weight.grad is not None
                layer.weight.grad.mul_(mask)
            self.optimizer.step()
            yield loss.item(), norms

    def gradients(self) -> list[Tensor]:
        """Each layer's gradient after a backward pass, unmasked."""
        return [layer.weight.grad for layer in self.layers if layer.weight.grad is not None]

    def masked_norms(self, gradients: Sequence[Tensor]) -> tuple[list[float], list[float]] | None:
        """The norms by layer over the active weights; None of a dense network."""
        if not self.masks:
            return None
        return layer_norms([g * m for g, m in zip(gradients, self.masks, strict=True)])
