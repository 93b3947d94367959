"""The same-capacity comparison of section 2.1 on data in memory, without Snakemake or a results folder.

For a notebook: `tensor_data` wraps one's own tensors, `train_twins` trains every pair of twins and
returns a row a pair, whose differences `stats.signed_rank_test` judges. Nothing is written, and
nothing is resumed.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from gradflow.analysis.runs import pair_twins, summarise_runs
from gradflow.data.store import ImageData
from gradflow.study.job import Configuration, Job, Settings, dense_width
from gradflow.training.cohort import Cohort

PERCENTS = (10, 30, 50, 70, 90)  # of the maximum width; section 3.3


def tensor_data(
    name: str, train_inputs: Tensor, train_labels: Tensor, test_inputs: Tensor, test_labels: Tensor
) -> ImageData:
    """A data set of one's own, normalised in training by its training part's mean and standard deviation.

    Args:
        name: of the data set; random streams are keyed by it.
        train_inputs: [N, features], each feature normalised by itself, or images [N, C, H, W], each
            channel likewise.
        train_labels: [N], whole numbers from 0.
        test_inputs: [M, ...] of the same shape.
        test_labels: [M].

    Raises:
        ValueError: the shapes do not fit together, or a label is negative.
    """
    if train_inputs.shape[1:] != test_inputs.shape[1:] or train_inputs.dim() not in (2, 4):
        raise ValueError(
            f"inputs of shape {tuple(train_inputs.shape)} and {tuple(test_inputs.shape)} do not fit; both must be "
            "[N, features] or [N, C, H, W]"
        )
    for inputs, labels in ((train_inputs, train_labels), (test_inputs, test_labels)):
        if labels.shape != inputs.shape[:1]:
            raise ValueError(
                f"{len(inputs)} inputs have labels of shape {tuple(labels.shape)}; it must be one each"
            )
        if len(labels) == 0 or labels.min() < 0:
            raise ValueError("labels must be whole numbers from 0, at least one")
    images, tests = (
        x if x.dim() == 4 else x[:, :, None, None] for x in (train_inputs, test_inputs)
    )
    values = images.double()
    std = values.std((0, 2, 3), correction=0)
    return ImageData(
        name=name,
        classes=int(max(train_labels.max(), test_labels.max())) + 1,
        train_images=images,
        train_labels=train_labels.long(),
        test_images=tests,
        test_labels=test_labels.long(),
        mean=values.mean((0, 2, 3)),
        std=torch.where(std > 0, std, 1.0),  # a constant feature becomes zero
    )


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
        ValueError: the configuration is no MLP's, a width is less than 1, or a minibatch would hold
            one input.
    """
    if configuration.model != "mlp":
        raise ValueError(
            f"twins of the same capacity are MLPs; the configuration's model is {configuration.model}"
        )
    if min(dense_width(max_width, percent) for percent in percents) < 1:
        raise ValueError(
            f"max_width is {max_width}: {min(percents)} % of it is less than one unit; take a larger one"
        )
    settings = settings or Settings()
    for count in (len(data.train_images), min(settings.probe_images, len(data.train_images))):
        if count % settings.batch_size == 1:
            raise ValueError(
                f"a batch_size of {settings.batch_size} leaves a last minibatch of one input out of {count}, which "
                "BatchNorm cannot normalise; take another"
            )
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
