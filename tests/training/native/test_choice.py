"""Which kernels are chosen, and that the choice stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gradflow.training.native import choice
from gradflow.training.native.choice import (
    Choice,
    kept_choice,
    machine,
    operands_of,
    representative,
    shape_class,
)
from gradflow.training.native.products import PRODUCTS


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "THIS_PROCESS", Choice())


def times(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """Let each way take so long."""
    monkeypatch.setattr(choice, "PRODUCTS", dict.fromkeys(seconds))
    monkeypatch.setattr(choice, "in_turns", lambda turns: dict(seconds))


def test_the_faster_product_is_taken_where_it_is_clearly_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "operands_of", lambda *_: ())
    monkeypatch.setattr(choice, "partial", lambda do, *_: do)
    times(monkeypatch, mm=1.0, onednn=0.5)
    assert Choice().product("forward", 100, 100) == "onednn"
    times(monkeypatch, mm=1.0, onednn=0.95)
    assert Choice().product("forward", 100, 100) == "mm"
    times(monkeypatch, mm=1.0, onednn=4.6)
    assert Choice().product("forward", 100, 100) == "mm"


@pytest.mark.parametrize("role", choice.ROLES)
def test_every_way_gives_the_same_product(role: str) -> None:
    a, b, out = operands_of(role, 24, 12)
    for product in PRODUCTS.values():
        out.zero_()
        product(a, b, out)
        torch.testing.assert_close(out, a @ b)


def test_a_class_is_measured_in_its_middle() -> None:
    for inputs, outputs in ((196, 10), (784, 788), (8, 1), (59, 59)):
        assert shape_class(*representative(inputs, outputs)) == shape_class(inputs, outputs)


def test_the_break_even_is_where_the_two_lines_cross(monkeypatch: pytest.MonkeyPatch) -> None:
    times(monkeypatch, mm=1.0)
    monkeypatch.setattr(choice, "PRODUCTS", PRODUCTS)
    low, high = choice.DENSITIES
    monkeypatch.setattr(
        choice, "in_turns", lambda turns: {"dense": 2.0, low: 1.0 + low, high: 1.0 + high}
    )
    fixed = Choice(products={f"{role} 5x5": "mm" for role in choice.ROLES})
    assert fixed.sparse_below(16, 16) == 0.5  # at most: 1.0 by the line
    monkeypatch.setattr(choice, "in_turns", lambda turns: {"dense": 0.2, low: low, high: high})
    fixed.densities.clear()
    assert fixed.sparse_below(16, 16) == pytest.approx(0.2)


def test_what_is_kept_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kernels.json"
    with kept_choice(path) as first:
        first.products["forward 8x8"] = "mm"
        first.densities["8x8"] = 0.25
    plain = json.loads(path.read_text())
    assert plain == {machine(): {"products": {"forward 8x8": "mm"}, "densities": {"8x8": 0.25}}}
    monkeypatch.setattr(choice, "in_turns", None)  # it would be called
    monkeypatch.setattr(choice, "PRODUCTS", {"mm": None, "onednn": None})
    with kept_choice(path) as second:
        assert second.product("forward", 200, 200) == "mm"
        assert second.sparse_below(200, 200) == 0.25


@pytest.mark.parametrize("text", ["", "[]", "{", '{"another machine": {}}', '{"x": 1}'])
def test_a_damaged_file_or_another_machines_is_no_hindrance(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kernels.json"
    path.write_text(text)
    with kept_choice(path) as found:
        assert found == Choice()
        found.densities["8x8"] = 0.25
    kept = json.loads(path.read_text())
    assert kept[machine()]["densities"] == {"8x8": 0.25}
    if "another" in text:
        assert "another machine" in kept


def test_active_weights_give_the_masked_product() -> None:
    from gradflow.training.native.active_products import ActiveWeights, multiply, weight_gradient

    generator = np.random.default_rng(0)
    mask = generator.random((13, 9)) < 0.4
    weight = generator.standard_normal((13, 9)) * mask
    h, d = generator.standard_normal((13, 5)), generator.standard_normal((9, 5))
    active = ActiveWeights(mask)
    z, below = np.empty((9, 5)), np.empty((13, 5))
    gradient = np.empty(int(mask.sum()))
    multiply(active.by_output, active.inputs, active.places_by_output, weight.reshape(-1), h, z)
    multiply(active.by_input, active.outputs, active.places, weight.reshape(-1), d, below)
    weight_gradient(active.by_input, active.outputs, h, d, gradient, np.float64(0))
    np.testing.assert_allclose(z, weight.T @ h, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(below, weight @ d, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradient, (h @ d.T)[mask], rtol=1e-12, atol=1e-12)
