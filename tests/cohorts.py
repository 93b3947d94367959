"""Small jobs, their cohorts, and comparisons of their tensors and rows."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

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


THREE = (30, 50, 70)  # dense widths of a small cohort, in percent


def without(row: dict[str, Any], *columns: str) -> dict[str, Any]:
    return {column: value for column, value in row.items() if column not in columns}
