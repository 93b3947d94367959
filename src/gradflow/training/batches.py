"""Minibatches for stacked networks: the data set lies on the device as uint8, each run has its own
order and draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gradflow.data.store import ImageData
from gradflow.study.job import Job
from gradflow.study.streams import stream


@dataclass(frozen=True)
class Epoch:
    """What one epoch draws, on the device: `order` [K, N], with augmentation `draws` [K, N, 3] (dy,
    dx, flip).

    And with dropout `seeds` [K], see `networks.dropout`.
    """

    order: Tensor
    draws: Tensor | None
    seeds: Tensor | None = None

    def replace(self, other: Epoch) -> None:
        """Take another epoch's draws; the tensors stay where they are."""
        self.order.copy_(other.order)
        if self.draws is not None and other.draws is not None:
            self.draws.copy_(other.draws)
        if self.seeds is not None and other.seeds is not None:
            self.seeds.copy_(other.seeds)


class Batches:
    """Serves a cohort's K dense widths (or densities); twins share theirs, since no stream is keyed
    by architecture.
    """

    def __init__(self, data: ImageData, job: Job, device: torch.device, dtype: torch.dtype):
        self.job = job
        self.device = device
        self.dtype = dtype
        self.padding = job.crop_padding if job.configuration.has("DA") else 0
        self.train_images = data.train_images.to(device)
        self.train_labels = data.train_labels.to(device)
        self.test_images = data.test_images.to(device)
        self.test_labels = data.test_labels.to(device)
        self.padded = F.pad(self.train_images, [self.padding] * 4)  # with black, before normalising
        # the same images for every run and epoch
        probes = min(job.settings.probe_images, len(data.train_images))
        chosen = stream(job.configuration.dataset, "probe").permutation(len(data.train_images))[
            :probes
        ]
        self.probe_order = torch.from_numpy(np.sort(chosen)).to(device)
        self.mean = data.mean.to(device, dtype).view(-1, 1, 1)
        self.std = data.std.to(device, dtype).view(-1, 1, 1)

    def epoch(self, epoch: int) -> Epoch:
        """Draw the order, the augmentation and dropout's seeds of one epoch for each of the job's
        percents.
        """
        images = len(self.train_images)
        key = (self.job.configuration.dataset, self.job.seed)
        orders = [
            stream(*key, percent, "order", epoch).permutation(images)
            for percent in self.job.percents
        ]
        draws = None
        if self.job.configuration.has("DA"):
            limits = (2 * self.padding + 1, 2 * self.padding + 1, 2 if self.job.flip else 1)
            draws = torch.from_numpy(
                np.stack(
                    [
                        stream(*key, percent, "augmentation", epoch).integers(
                            limits, size=(images, 3), dtype=np.uint8
                        )
                        for percent in self.job.percents
                    ]
                )
            ).to(self.device)
        seeds = None
        if self.job.settings.dropout:
            drawn = [
                stream(*key, percent, "dropout", epoch).integers(2**32)
                for percent in self.job.percents
            ]
            seeds = torch.tensor(drawn, dtype=torch.int64).to(self.device)
        return Epoch(torch.from_numpy(np.stack(orders)).to(self.device), draws, seeds)

    def training(self, epoch: Epoch, places: Tensor) -> tuple[Tensor, Tensor]:
        """Images [K, B, C, H, W], normalised and augmented, and labels [K, B] at `places` [B] of
        the epoch's order.
        """
        chosen = epoch.order.index_select(1, places)
        if epoch.draws is None:
            images = self.train_images[chosen]
        else:
            images = self._crop(chosen, epoch.draws.index_select(1, places).long())
        return self._normalise(images), self.train_labels[chosen]

    def probe(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Images [1, B, C, H, W], normalised but not augmented, and labels [1, B] at `places` of
        the probe images.
        """
        chosen = self.probe_order.index_select(0, places)
        return self._normalise(self.train_images[chosen]).unsqueeze(0), self.train_labels[
            chosen
        ].unsqueeze(0)

    def test(self, size: int = 1000) -> Iterator[tuple[Tensor, Tensor]]:
        """The test set in pieces: [1, B, C, H, W] and labels [1, B]."""
        for images, labels in zip(
            self.test_images.split(size), self.test_labels.split(size), strict=True
        ):
            yield self._normalise(images).unsqueeze(0), labels.unsqueeze(0)

    def _crop(self, chosen: Tensor, draws: Tensor) -> Tensor:
        down, across = (
            torch.arange(pixels, device=self.device) for pixels in self.train_images.shape[-2:]
        )
        dy, dx, flip = draws.unbind(-1)
        rows = dy.unsqueeze(-1) + down
        columns = dx.unsqueeze(-1) + torch.where(flip.bool().unsqueeze(-1), across.flip(0), across)
        # indices that broadcast to [K, B, height, width]; the channel axis, a slice between them,
        # comes last
        picked = self.padded[chosen[..., None, None], :, rows[..., :, None], columns[..., None, :]]
        return picked.movedim(-1, -3)

    def _normalise(self, images: Tensor) -> Tensor:
        return (images.to(self.dtype) - self.mean) / self.std
