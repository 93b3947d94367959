"""The benchmark's baselines: the loops that a researcher writes for one network, without and with
care for the data.

Both train a bias-free MLP of `nn.Linear`, with the mask multiplied into the weight at each forward
pass where it is sparse, by a class of `torch.optim`, and read the loss back at each step. In an
epoch that measures they log what the engine logs: the norms of each minibatch's gradient, those
over the probe images, and the test set. Nothing here is shared with the engine.
"""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from gradflow.data.store import ImageData
from gradflow.networks.build import mlp_shapes
from gradflow.study.job import Job, Run
from gradflow.study.shapes import capacity

OPTIMIZERS: dict[str, Any] = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
TEST_BATCH = 1000


class MaskedLinear(nn.Linear):
    """A bias-free layer of which each weight is active with probability `density`, fixed."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, density: float):
        super().__init__(inputs, outputs, bias=False)
        self.register_buffer("mask", (torch.rand(outputs, inputs) < density).float())
        self.keep_unmasked = (
            False  # the gradient by the effective weight; that by `weight` is masked
        )
        self.effective = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [B, out] of x [B, in]."""
        effective = self.weight * self.mask
        if self.keep_unmasked:
            effective.retain_grad()
            self.effective = effective
        return F.linear(x, effective)


def plain_network(job: Job, run: Run, data: ImageData) -> nn.Sequential:
    """One MLP of a job, images [B, C, H, W] to logits [B, classes], on the CPU; skip connections
    are left out.
    """
    shapes, twin = mlp_shapes(job, run, data)
    modules: list[nn.Module] = [nn.Flatten()]
    for index, ((inputs, outputs), active) in enumerate(zip(shapes, capacity(twin), strict=True)):
        if run.architecture == "sparse":
            modules.append(MaskedLinear(inputs, outputs, active / (inputs * outputs)))
        else:
            modules.append(nn.Linear(inputs, outputs, bias=False))
        if index < len(shapes) - 1:
            modules += [nn.BatchNorm1d(outputs)] if job.configuration.has("BN") else []
            modules.append(nn.ReLU())
    return nn.Sequential(*modules)


class PlainLoop(ABC):
    """Trains one network, an epoch at a time.

    Args:
        job: its configuration names the optimizer and its learning rate.
        network: on the CPU.
        device: where to train.
    """

    def __init__(self, job: Job, network: nn.Module, device: torch.device):
        self.network = network.to(device)
        self.layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
        self.device = device
        configuration = job.configuration
        self.optimizer = OPTIMIZERS[configuration.optimizer](
            network.parameters(), lr=configuration.learning_rate
        )

    @abstractmethod
    def batches(self) -> Iterable[Sequence[Tensor]]:
        """An epoch's minibatches: images [B, C, H, W], normalised and augmented, and labels [B]."""

    @abstractmethod
    def probe_batches(self) -> Iterable[Sequence[Tensor]]:
        """The probe images, which are training images, normalised but not augmented, and their
        labels.
        """

    @abstractmethod
    def test_batches(self) -> Iterable[Sequence[Tensor]]:
        """The test set likewise, in larger pieces."""

    def train_epoch(self) -> float:
        """Train for an epoch; the mean of the minibatches' losses."""
        return statistics.fmean(loss for loss, _ in self.train_steps(measuring=False))

    def measured_epoch(self) -> dict[str, float]:
        """Train for an epoch and measure gradient flow, loss and accuracy; what is logged, by the
        engine's names.
        """
        self.keep_unmasked(True)
        losses, minibatches = zip(*self.train_steps(measuring=True), strict=True)
        means = {
            f"minibatch_{name}": statistics.fmean(m[name] for m in minibatches)
            for name in minibatches[0]
        }
        flow = self.probe()
        self.keep_unmasked(False)
        return {"train_loss": statistics.fmean(losses), **means, **flow, **self.test()}

    def train_steps(self, measuring: bool) -> Iterator[tuple[float, dict[str, float]]]:
        """A minibatch's loss and, if wanted, the norms of its gradient."""
        for images, labels in self.on_device(self.batches()):
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.network(images), labels)
            loss.backward()
            norms = self.gradient_norms(self.gradients()) if measuring else {}
            self.optimizer.step()
            yield loss.item(), norms

    def probe(self) -> dict[str, float]:
        """The mean loss over the probe images and the norms of its gradient."""
        loss, count = 0.0, 0
        totals = [torch.zeros_like(layer.weight) for layer in self.layers]
        for images, labels in self.on_device(self.probe_batches()):
            self.optimizer.zero_grad()
            summed = F.cross_entropy(self.network(images), labels, reduction="sum")
            summed.backward()
            for total, gradient in zip(totals, self.gradients(), strict=True):
                total += gradient
            loss += summed.item()
            count += len(labels)
        self.optimizer.zero_grad()
        return {
            "probe_loss": loss / count,
            **self.gradient_norms([total / count for total in totals]),
        }

    @torch.no_grad()
    def test(self) -> dict[str, float]:
        """Mean loss and accuracy in percent over the test set."""
        loss, correct, count = 0.0, 0.0, 0
        self.network.eval()
        for images, labels in self.on_device(self.test_batches()):
            logits = self.network(images)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            correct += (logits.argmax(1) == labels).sum().item()
            count += len(labels)
        self.network.train()
        return {"test_loss": loss / count, "test_accuracy": 100 * correct / count}

    def on_device(self, batches: Iterable[Sequence[Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Minibatches where the network is."""
        for images, labels in batches:
            yield (
                images.to(self.device, non_blocking=True),
                labels.to(self.device, non_blocking=True),
            )

    def keep_unmasked(self, keep: bool) -> None:
        """Whether the masked layers keep the gradients of masked weights too."""
        for layer in self.layers:
            if isinstance(layer, MaskedLinear):
                layer.keep_unmasked = keep
                layer.effective = torch.empty(0)

    def gradients(self) -> list[Tensor]:
        """Each layer's gradient by its effective weight after a backward pass, unmasked."""
        effective = (
            layer.effective if isinstance(layer, MaskedLinear) else layer.weight
            for layer in self.layers
        )
        return [weight.grad for weight in effective if weight.grad is not None]

    def gradient_norms(self, gradients: Sequence[Tensor]) -> dict[str, float]:
        """||g||_p (Equation 5) and EGF_p (Equation 7), p = 1 and 2, of unmasked gradients by
        layer.
        """
        l1, l2 = layer_norms(gradients)
        masked_l1, masked_l2 = self.masked_norms(gradients) or (l1, l2)
        return {
            "grad_norm_l1": sum(l1),
            "grad_norm_l2": math.hypot(*l2),
            "egf_l1": statistics.fmean(masked_l1),
            "egf_l2": statistics.fmean(masked_l2),
        }

    def masked_norms(self, gradients: Sequence[Tensor]) -> tuple[list[float], list[float]] | None:
        """The norms by layer over the active weights; None of a dense network."""
        sparse = [layer for layer in self.layers if isinstance(layer, MaskedLinear)]
        if not sparse:
            return None
        return layer_norms([g * layer.mask for g, layer in zip(gradients, sparse, strict=True)])


def layer_norms(gradients: Sequence[Tensor]) -> tuple[list[float], list[float]]:
    """The norms of each gradient, p = 1 and p = 2."""
    return [g.abs().sum().item() for g in gradients], [g.norm().item() for g in gradients]


class PilImages(Dataset[tuple[Tensor, int]]):
    """A data set as torchvision's are: an image becomes a PIL image when it is asked for, and is
    transformed then.
    """

    def __init__(self, images: Tensor, labels: Tensor, transform: transforms.Compose):
        pixels = images.permute(0, 2, 3, 1).numpy()
        self.images: np.ndarray[Any, Any] = pixels.squeeze(-1) if images.shape[1] == 1 else pixels
        self.labels: list[int] = labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


class ImageLoaders(NamedTuple):
    """What an `ImageLoop` reads; several loops may take turns at it."""

    train: DataLoader[tuple[Tensor, int]]
    probe: DataLoader[tuple[Tensor, int]]
    test: DataLoader[tuple[Tensor, int]]


def image_loaders(
    job: Job, data: ImageData, device: torch.device, workers: int = 0, shuffle: bool = True
) -> ImageLoaders:
    """The images through torchvision's transforms, in minibatches.

    Args:
        job: says the batch size, the number of probe images and, with DA, the crop and the flip of
            training images.
        data: the data set.
        device: where the minibatches will go; on the way to a GPU they are pinned.
        workers: processes a loader that prepare minibatches, kept from epoch to epoch; 0 prepares
            them in this one.
        shuffle: the training images, anew for each epoch.
    """
    augment: list[Any] = []
    if job.configuration.has("DA"):
        augment.append(transforms.RandomCrop(data.train_images.shape[-1], padding=job.crop_padding))
        augment += [transforms.RandomHorizontalFlip()] if job.flip else []
    # ToTensor divides by 255
    normalise = [
        transforms.ToTensor(),
        transforms.Normalize((data.mean / 255).tolist(), (data.std / 255).tolist()),
    ]

    def make(
        images: Tensor, labels: Tensor, steps: list[Any], size: int, shuffle: bool
    ) -> DataLoader[Any]:
        return DataLoader(
            PilImages(images, labels, transforms.Compose(steps)),
            batch_size=size,
            shuffle=shuffle,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
        )

    size, probes = job.settings.batch_size, job.settings.probe_images
    return ImageLoaders(
        train=make(data.train_images, data.train_labels, augment + normalise, size, shuffle),
        probe=make(data.train_images[:probes], data.train_labels[:probes], normalise, size, False),
        test=make(data.test_images, data.test_labels, normalise, TEST_BATCH, False),
    )


class ImageLoop(PlainLoop):
    """The plain loop: minibatches come from DataLoaders over PIL images."""

    def __init__(self, job: Job, network: nn.Module, loaders: ImageLoaders, device: torch.device):
        super().__init__(job, network, device)
        self.loaders = loaders

    def batches(self) -> Iterable[Sequence[Tensor]]:
        """What the training images' loader gives."""
        return self.loaders.train

    def probe_batches(self) -> Iterable[Sequence[Tensor]]:
        """What the probe images' loader gives."""
        return self.loaders.probe

    def test_batches(self) -> Iterable[Sequence[Tensor]]:
        """What the test images' loader gives."""
        return self.loaders.test


class DeviceLoop(PlainLoop):
    """The plain loop with the data set on the device as uint8, normalised and augmented there by
    the minibatch.
    """

    def __init__(
        self,
        job: Job,
        network: nn.Module,
        data: ImageData,
        device: torch.device,
        shuffle: bool = True,
    ):
        super().__init__(job, network, device)
        self.batch_size, self.shuffle, self.flip = job.settings.batch_size, shuffle, job.flip
        self.probe_images = job.settings.probe_images
        self.padding = job.crop_padding if job.configuration.has("DA") else None
        self.images, self.labels = data.train_images.to(device), data.train_labels.to(device)
        self.test_images, self.test_labels = (
            data.test_images.to(device),
            data.test_labels.to(device),
        )
        self.mean = data.mean.to(device, torch.float32).view(-1, 1, 1)
        self.std = data.std.to(device, torch.float32).view(-1, 1, 1)

    def batches(self) -> Iterator[Sequence[Tensor]]:
        """Index, augment, normalise."""
        count = len(self.labels)
        make_order = torch.randperm if self.shuffle else torch.arange
        for chosen in make_order(count, device=self.device).split(self.batch_size):
            images = self.images[chosen].float()
            if self.padding is not None:
                images = self.augment(images, self.padding)
            yield self.normalise(images), self.labels[chosen]

    def probe_batches(self) -> Iterator[Sequence[Tensor]]:
        """Slices of the training images."""
        return self.pieces(
            self.images[: self.probe_images], self.labels[: self.probe_images], self.batch_size
        )

    def test_batches(self) -> Iterator[Sequence[Tensor]]:
        """Slices of the test images."""
        return self.pieces(self.test_images, self.test_labels, TEST_BATCH)

    def pieces(self, images: Tensor, labels: Tensor, size: int) -> Iterator[Sequence[Tensor]]:
        """In order, `size` at a time."""
        for some, true in zip(images.split(size), labels.split(size), strict=True):
            yield self.normalise(some.float()), true

    def normalise(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] of pixels from 0 to 255 as the networks see them."""
        return (images - self.mean) / self.std

    def augment(self, images: Tensor, padding: int) -> Tensor:
        """Pad with black, crop each image [C, H, W] of a minibatch at a random place, and flip half
        of them.
        """
        batch, side = len(images), images.shape[-1]
        padded = F.pad(images, [padding] * 4).movedim(1, -1)
        corner = torch.randint(2 * padding + 1, (2, batch, 1), device=self.device)
        rows, columns = corner + torch.arange(side, device=self.device)
        which = torch.arange(batch, device=self.device)[:, None, None]
        cropped = padded[which, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
        if not self.flip:
            return cropped
        flipped = torch.rand(batch, 1, 1, 1, device=self.device) < 0.5
        return torch.where(flipped, cropped.flip(-1), cropped)
