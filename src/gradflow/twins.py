"""The same-capacity comparison of section 2.1 on data in memory, without Snakemake or a results
folder.

For a notebook: `tensor_data` wraps one's own tensors, `train_twins` trains every pair of twins and
returns a row a pair, whose differences `stats.signed_rank_test` judges. Nothing is written, and
nothing is resumed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gradflow.analysis.runs import pair_twins, summarise_runs
from gradflow.data.store import ImageData
from gradflow.study.choices import (
    ConfigError,
    check_comparison,
    check_configuration,
    check_settings,
    minibatch_mistake,
)
from gradflow.study.job import MASK_UPDATES, Configuration, Job, Settings
from gradflow.training.cohort import Cohort

ArrayLike = Tensor | np.ndarray[Any, Any]

PERCENTS = (10, 30, 50, 70, 90)  # of the maximum width; section 3.3


def tensor_data(
    name: str,
    train_inputs: ArrayLike,
    train_labels: ArrayLike,
    test_inputs: ArrayLike,
    test_labels: ArrayLike,
) -> ImageData:
    """A data set of one's own, normalised in training by its training part's mean and standard
    deviation.

    Args:
        name: of the data set; random streams are keyed by it.
        train_inputs: tensor or array [N, features], each feature normalised by itself, or images
            [N, C, H, W], each channel likewise.
        train_labels: [N], whole numbers from 0.
        test_inputs: [M, ...] of the same shape, at least one.
        test_labels: [M].

    Raises:
        ValueError: the shapes do not fit together, an input is not finite, or a label is no whole
            number from 0.
    """
    inputs = [_as_inputs(part, x) for part, x in (("train", train_inputs), ("test", test_inputs))]
    if inputs[0].shape[1:] != inputs[1].shape[1:] or inputs[0].dim() not in (2, 4):
        raise ValueError(
            f"inputs of shape {tuple(inputs[0].shape)} and {tuple(inputs[1].shape)} do not fit; "
            "both must be [N, features] or [N, C, H, W]"
        )
    labels = [
        _as_labels(part, y, len(x))
        for part, y, x in (
            ("train", train_labels, inputs[0]),
            ("test", test_labels, inputs[1]),
        )
    ]
    images, tests = (x if x.dim() == 4 else x[:, :, None, None] for x in inputs)
    values = images.double()
    std = values.std((0, 2, 3), correction=0)
    return ImageData(
        name=name,
        classes=int(max(labels[0].max(), labels[1].max())) + 1,
        train_images=images,
        train_labels=labels[0],
        test_images=tests,
        test_labels=labels[1],
        mean=values.mean((0, 2, 3)),
        std=torch.where(std > 0, std, 1.0),  # a constant feature becomes zero
    )


def _as_inputs(part: str, given: ArrayLike) -> Tensor:
    inputs = torch.as_tensor(given)
    if len(inputs.shape) == 0 or len(inputs) == 0:
        raise ValueError(f"{part}_inputs is empty; there must be at least one input")
    if inputs.is_complex() or not torch.isfinite(inputs).all():
        raise ValueError(
            f"{part}_inputs holds values that are not finite real numbers; remove or replace them"
        )
    return inputs


def _as_labels(part: str, given: ArrayLike, count: int) -> Tensor:
    labels = torch.as_tensor(given)
    if labels.shape != (count,):
        remedy = ""
        if labels.shape == (count, 1):
            remedy = f"; take {part}_labels[:, 0]"
        elif labels.dim() == 2 and len(labels) == count:
            remedy = f"; if they are one-hot, take {part}_labels.argmax(1)"
        raise ValueError(
            f"{count} inputs have labels of shape {tuple(labels.shape)}; it must be one "
            f"each{remedy}"
        )
    whole = labels.long()
    if not torch.equal(whole.double(), labels.double()) or whole.min() < 0:
        wrong = labels[(whole.double() != labels.double()) | (labels < 0)][0].item()
        raise ValueError(f"{part}_labels holds {wrong}; labels must be whole numbers from 0")
    return whole


def train_twins(
    data: ImageData,
    configuration: Configuration,
    *,
    max_width: int,
    epochs: int,
    seeds: Sequence[int] = (0, 1, 2),
    percents: Sequence[int] = PERCENTS,
    settings: Settings | None = None,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """Train the dense and the sparse MLP of each width and seed on the same minibatches.

    Args:
        data: from `tensor_data` or `data.load_dataset`.
        configuration: of an MLP; its `dataset` is taken from `data`.
        max_width: hidden width of the sparse networks.
        epochs: gradient flow is measured at the end of up to 11 of them.
        seeds: one cohort each.
        percents: dense widths in percent of `max_width`.
        settings: every other choice; the paper's unless given.
        device: where.

    Returns:
        A row per pair, as `runs.pair_twins` gives them: among others `seed`, `width_percent`,
        `dense_width`, `test_accuracy_dense` and `test_accuracy_sparse` in percent,
        `mean_egf_l2_dense` and `mean_egf_l2_sparse`.

    Raises:
        ValueError: the configuration is no MLP's, or config.yaml could not hold what is asked; the
            sentences are those that config.yaml gets.
    """
    if configuration.model != "mlp":
        raise ValueError(
            "twins of the same capacity are MLPs; the configuration's model is "
            f"{configuration.model}"
        )
    settings = settings or Settings()
    check_configuration(configuration)
    check_settings(settings)
    check_comparison(max_width, epochs, seeds, percents)
    if mistake := minibatch_mistake(settings, len(data.train_images), data.name):
        raise ConfigError(f"settings: {mistake}")
    data = data.as_used(settings)
    rows = []
    for seed in seeds:
        job = Job(
            scale="notebook",
            variant="paper" if settings == Settings() else "own",
            configuration=Configuration(**{**configuration.__dict__, "dataset": data.name}),
            seed=seed,
            epochs=epochs,
            architectures=("dense", "sparse"),
            percents=tuple(percents),
            max_width=max_width,
            settings=settings,
        )
        cohort = Cohort(job, data, torch.device(device))
        cohort.train(epochs)
        rows += [row for of_run in cohort.rows.values() for row in of_run]
    return pair_twins(summarise_runs(pd.DataFrame(rows).assign(stands_for=data.name)))


def compare(
    data: ImageData, configuration: Configuration, *, method: str = "random", **options: Any
) -> pd.DataFrame:
    """`train_twins` with masks by a method: `gradflow.methods()`, or `set` or `rigl`, whose masks
    move.

    Args:
        data: from `tensor_data` or `load_dataset`.
        configuration: of an MLP.
        method: how the sparse networks' weights are chosen, at the dense twin's capacity.
        options: those of `train_twins`.

    Raises:
        ValueError: there is no such method, or as `train_twins`.
    """
    field = "mask_update" if method in MASK_UPDATES else "initial_mask"
    settings = dataclasses.replace(options.pop("settings", None) or Settings(), **{field: method})
    return train_twins(data, configuration, settings=settings, **options)
