"""The networks of a job with their masks, drawn from each run's own streams and stacked by
shape.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor

from gradflow.data.store import ImageData
from gradflow.networks.initialisation import initial_weight
from gradflow.networks.masks import random_mask
from gradflow.networks.mlp import StackedMLP
from gradflow.networks.pruning import initial_masks
from gradflow.networks.wide_resnet import WideResNet
from gradflow.study.job import Job, Run, dense_width
from gradflow.study.shapes import capacity, mlp_layer_shapes, wide_resnet_layers
from gradflow.study.streams import stream

Network = StackedMLP | WideResNet
Group = tuple[tuple[Run, ...], Network, list[Tensor] | None]


def build_networks(
    job: Job, data: ImageData, runs: Collection[Run] | None = None
) -> Iterator[Group]:
    """Yield (runs, network, masks) for each stack of the job, on the CPU in float32; masks [K, ...]
    a layer, or None.

    The sparse twins of all widths have one shape, so they are one stack; each dense width is its
    own.

    Args:
        job: what is trained.
        data: the data set, for its shapes.
        runs: those of the job's runs to build; all by default.
    """
    wanted = tuple(run for run in job.runs if runs is None or run in runs)
    if job.configuration.model == "mlp":
        sparse = tuple(run for run in wanted if run.architecture == "sparse")
        if sparse:
            yield _mlp_stack(job, sparse, data)
        for run in wanted:
            if run.architecture == "dense":
                yield _mlp_stack(job, (run,), data)
    else:
        for run in wanted:
            yield _wide_resnet(job, run, data)


def mlp_shapes(
    job: Job, run: Run, data: ImageData
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Layer shapes of a run's network and of its dense twin's."""
    depth, inputs = job.configuration.depth, data.train_images[0].numel()
    twin = mlp_layer_shapes(inputs, dense_width(job.max_width, run.percent), depth, data.classes)
    widest = mlp_layer_shapes(inputs, job.max_width, depth, data.classes)
    return (widest if run.architecture == "sparse" else twin), twin


def _key(job: Job, run: Run) -> tuple[str | int, ...]:
    return (job.configuration.dataset, job.seed, run.percent)


def _mlp_stack(job: Job, runs: tuple[Run, ...], data: ImageData) -> Group:
    weights: list[list[Tensor]] = []
    masks: list[list[Tensor]] = []
    for run in runs:
        key = _key(job, run)
        shapes, twin = mlp_shapes(job, run, data)
        widest = mlp_layer_shapes(twin[0][0], job.max_width, job.configuration.depth, data.classes)
        run_weights: list[Tensor] = []
        run_masks: list[Tensor] = []
        if run.architecture == "sparse":
            fan_ins = [shape[0] for shape in shapes]
            run_masks = _masks(
                job,
                key,
                shapes,
                fan_ins,
                capacity(twin),
                data,
                lambda start: StackedMLP(job.configuration, job.settings, start),
            )
        for index, shape in enumerate(shapes):
            mask = run_masks[index] if run_masks else None
            draws = stream(*key, "initialisation", run.architecture, index)
            run_weights.append(
                initial_weight(shape, mask, twin[index][0], widest[index][0], job.settings, draws)
            )
        weights.append(run_weights)
        masks.append(run_masks)
    stacked = [torch.stack(layer) for layer in zip(*weights, strict=True)]
    stacked_masks = [torch.stack(layer) for layer in zip(*masks, strict=True)]
    return runs, StackedMLP(job.configuration, job.settings, stacked), stacked_masks or None


def _wide_resnet(job: Job, run: Run, data: ImageData) -> Group:
    key = _key(job, run)
    configuration = job.configuration
    channels = data.train_images.shape[1]
    layers = wide_resnet_layers(
        configuration.depth, configuration.widen_factor, channels, data.classes
    )
    masks: list[Tensor] = []
    if run.architecture == "sparse":
        masks = _masks(
            job,
            key,
            [layer.shape for layer in layers],
            [layer.fan_in for layer in layers],
            [active_at(job, run, layer.role, layer.shape) for layer in layers],
            data,
            lambda start: WideResNet(configuration, job.settings, layers, start),
        )
    elif run.architecture == "magnitude":  # everything, until it is pruned
        masks = [torch.ones(layer.shape, dtype=torch.bool) for layer in layers]
    weights = []
    for index, layer in enumerate(layers):
        mask = masks[index] if masks else None
        draws = stream(*key, "initialisation", run.architecture, index)
        weights.append(
            initial_weight(
                layer.shape, mask, layer.fan_in, layer.fan_in, job.settings, draws
            ).unsqueeze(0)
        )
    stacked = [mask.unsqueeze(0) for mask in masks]
    return (run,), WideResNet(configuration, job.settings, layers, weights), stacked or None


def _masks(
    job: Job,
    key: tuple[str | int, ...],
    shapes: Sequence[tuple[int, ...]],
    fan_ins: Sequence[int],
    active: Sequence[int],
    data: ImageData,
    build: Callable[[list[Tensor]], Network],
) -> list[Tensor]:
    """The masks of one sparse run, a bool tensor a layer; see `pruning.initial_masks`."""
    if job.settings.initial_mask == "random":  # without a network to look at, which takes time
        return [
            random_mask(shape, count, stream(*key, "mask", index))
            for index, (shape, count) in enumerate(zip(shapes, active, strict=True))
        ]
    masks = initial_masks(job, key, shapes, fan_ins, active, data, build)
    return [mask.bool() for mask in masks]


def active_at(job: Job, run: Run, role: str, shape: tuple[int, ...]) -> int:
    """Active weights of a Wide ResNet's layer: the density in percent of its places, at least one,
    rounded half up.
    """
    places = capacity([shape])[0]
    if role in job.settings.wide_resnet_keep_dense:
        return places
    return max(1, (places * run.percent + 50) // 100)
