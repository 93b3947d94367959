"""The counted H100: what an operation moves and computes, and the table of docs/performance.md."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from benchmark.counted import META, Counter, all_cells, cell, count_step, rewrite, tables, templates
from gradflow.study.job import Job

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
LIMIT = 1.6


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device=META)


def moved(operation, *tensors: torch.Tensor) -> tuple[float, float]:
    with Counter(1e12) as counter:
        operation(*tensors)
    return counter.count.moved, counter.count.flops


def test_what_operations_move_by_hand() -> None:
    a, b = empty(2, 3, 5), empty(2, 5, 7)
    assert moved(torch.bmm, a, b) == (4 * (30 + 70 + 42), 2 * 2 * 3 * 5 * 7)
    assert moved(lambda x: x.mT.reshape(2, 15), a) == (4 * 60, 0)  # a copy
    assert moved(lambda x: x.mT[:, 1:].squeeze(), a) == (0, 0)  # views
    assert moved(lambda x: x.add_(1), a) == (4 * 60, 0)
    assert moved(lambda x: x.zero_(), a) == (4 * 30, 0)
    assert moved(lambda x: x.expand(100, 5) + 1, empty(1, 5)) == (4 * (5 + 500), 0)
    table, places = empty(1000, 8), empty(4, dtype=torch.int64)
    assert moved(lambda x, i: x[i], table, places) == (8 * 4 + 4 * 2 * 32, 0)
    norm = empty(16)
    x = empty(1, 16, 10)
    read = moved(
        lambda x, n: torch.native_batch_norm(x, n, n, None, None, True, 0.1, 1e-5), x, norm
    )
    assert 4 * 3 * 160 < read[0] < 4 * (3 * 160 + 8 * 16)
    image, channel = empty(2, 3, 4, 5), empty(3)
    back = torch.ops.gradflow.rectified_back_
    read = moved(back, image, image, *[channel] * 4, image, channel, channel)
    assert read == (4 * (5 * 120 + 6 * 3), 0)


def test_images_gradients_lie_as_the_images_do() -> None:
    """As cuDNN's, and otherwise than those of tensors without values: a copy of none is counted."""
    image = empty(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    kernel = empty(4, 3, 3, 3).contiguous(memory_format=torch.channels_last)
    seen: list[torch.Tensor] = []
    with Counter(1e12):
        for tensor in (image, kernel):
            tensor.requires_grad_().register_hook(seen.append)
        torch.conv2d(image, kernel, padding=1).sum().backward()
    assert len(seen) == 2
    assert all(grad.is_contiguous(memory_format=torch.channels_last) for grad in seen)


def fashion() -> Job:
    return next(job for name, job in templates() if name == "Fashion-MNIST")


@pytest.mark.parametrize(("optimizer", "states"), [("sgd", 0), ("momentum", 1), ("adamw", 2)])
def test_one_kernel_spares_what_it_says(optimizer: str, states: int) -> None:
    """A sparse weight: read twice in products, read and written, its state likewise, a byte of
    mask.
    """
    job = dataclasses.replace(
        fashion(),
        architectures=("sparse",),
        settings=dataclasses.replace(fashion().settings, precision="tf32"),
    )
    job = dataclasses.replace(
        job, configuration=dataclasses.replace(job.configuration, optimizer=optimizer)
    )
    weights = 784 * 788 + 3 * 788 * 788 + 788 * 10
    fused, apart = count_step(job).moved / 5, count_step(job, fused=False).moved / 5
    by_weight = 4 * (4 + 2 * states) + 1
    activations = fused - by_weight * weights
    assert 0 < activations < 0.35 * fused
    # a gradient written, read and written by the mask's pass, read by the update; its mask's byte
    # stays
    assert apart - fused == pytest.approx(4 * 4 * weights, rel=0.02)


def test_no_cell_of_the_page_is_above_the_limit() -> None:
    counted = PAGE.read_text().split("<!-- counted -->")[1].split("<!-- /counted -->")[0]
    found = [float(value) for value in re.findall(r"MB, ([0-9.]+)\)", counted)]
    assert len(found) == 6 * (2 * 4 * 3 + 2)  # of two MLPs four stacks, in three precisions
    assert min(found) >= 1.0 and max(found) <= LIMIT


def test_a_cell_of_the_page_is_what_is_counted() -> None:
    ours = cell("Fashion-MNIST", fashion(), "adam", "tf32")
    assert tables([ours]).splitlines()[-1].split("| ")[-1] in PAGE.read_text()
    assert ours.over <= LIMIT < cell("Fashion-MNIST", fashion(), "sgd", "tf32", fused=False).over


@pytest.mark.slow
def test_the_page_holds_the_table() -> None:
    page = PAGE.read_text()
    assert rewrite(page, tables(list(all_cells()))) == page
