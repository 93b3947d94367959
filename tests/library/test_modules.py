"""Masks and comparisons of modules of one's own."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

import gradflow

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(120, 10, generator=GENERATOR)
Y = (X @ torch.randn(10, 3, generator=GENERATOR)).argmax(1)
DATA = gradflow.tensor_data("modules", X[:80], Y[:80], X[80:], Y[80:])
ADAM = partial(torch.optim.Adam, lr=0.01)


def network(width: int = 16) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(10, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Linear(width, 3, bias=False),
    )


def test_snip_of_a_module_is_snip_by_hand() -> None:
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = gradflow.masks(
        module, [(X[:50], Y[:50]), (X[50:], Y[50:])], density=0.25, method="snip"
    )
    assert all(torch.equal(value, before[n]) for n, value in module.state_dict().items())
    reference = network()
    total = [0.0, 0.0]
    for x, y in ((X[:50], Y[:50]), (X[50:], Y[50:])):
        loss = F.cross_entropy(reference(x), y) * (len(y) / len(Y))
        gradients = torch.autograd.grad(loss, [reference[1].weight, reference[4].weight])
        total = [t + g for t, g in zip(total, gradients, strict=True)]
    scores = [
        (w * g).abs()
        for w, g in zip((reference[1].weight, reference[4].weight), total, strict=True)
    ]
    kept = sum(int(mask.sum()) for mask in found.values())
    assert kept == 40 + 12
    least = torch.cat([s.flatten() for s in scores]).sort(descending=True).values[kept - 1]
    for mask, score in zip(found.values(), scores, strict=True):
        assert torch.equal(mask, score >= least * (1 - 1e-5))


@pytest.mark.parametrize("name", list(gradflow.methods()))
def test_every_method_and_its_words(name: str) -> None:
    module = network().train()
    found = gradflow.masks(module, [(X, Y)], density=0.5, method=name)
    assert sum(int(mask.sum()) for mask in found.values()) == 80 + 24
    assert len(gradflow.methods()[name]) > 20
    assert all(child.training for child in module.modules())
    assert gradflow.measure(module, F.cross_entropy, [(X, Y)], None, found).egf(2) > 0


def test_modules_of_the_same_capacity() -> None:
    dense, sparse = network(8), network(16)
    before = {name: value.clone() for name, value in sparse.state_dict().items()}
    masks = gradflow.masks(sparse, [(X, Y)], density=0.5, method="magnitude")
    options = {"optimizer": ADAM, "epochs": 12, "batch_size": 20}
    table, again = (
        gradflow.compare_modules(dense, sparse, masks, DATA, **options) for _ in range(2)
    )
    assert table.equals(again)
    assert all(torch.equal(value, before[n]) for n, value in sparse.state_dict().items())
    assert table["active_weights"].tolist() == [80 + 24] * 24
    last = table[table["epoch"] == 11].set_index("architecture")
    assert (last["test_accuracy"] > 40).all()
    assert last.loc["sparse", "egf_l1"] < 0.9 * last.loc["sparse", "grad_norm_l1"] / 2
    assert last.loc["dense", "egf_l1"] == pytest.approx(last.loc["dense", "grad_norm_l1"] / 2)


def with_dropout(width: int = 16) -> nn.Sequential:
    """One layer in training mode, one in evaluation mode."""
    module = network(width)
    module.insert(4, nn.Dropout(0.5))
    module[2].eval()
    return module


@pytest.mark.parametrize("method", ["snip", "grasp", "synflow", "egf"])
def test_dropout_in_a_module_whose_masks_are_chosen(method: str) -> None:
    module = with_dropout()
    modes = [child.training for child in module.modules()]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found = gradflow.masks(module, [(X, Y)], density=0.5, method=method)
    assert torch.equal(torch.get_rng_state(), before)
    again = gradflow.masks(module, [(X, Y)], density=0.5, method=method)
    assert all(torch.equal(mask, again[name]) for name, mask in found.items())
    assert [child.training for child in module.modules()] == modes


def test_dropout_in_a_module_that_is_measured() -> None:
    """It draws in training mode, as torch stands, and neither that nor the modes are moved."""
    module = with_dropout()
    modes = [child.training for child in module.modules()]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    flow = gradflow.measure(module, F.cross_entropy, [(X, Y)])
    assert torch.equal(torch.get_rng_state(), before)
    assert [child.training for child in module.modules()] == modes
    F.cross_entropy(module(X), Y).backward()
    for place, layer in enumerate((1, 5)):
        assert flow.layer_egf[2][place] == pytest.approx(module[layer].weight.grad.norm().item())
    module.eval()
    without = gradflow.measure(module, F.cross_entropy, [(X, Y)])
    assert without.egf(2) != pytest.approx(flow.egf(2).item(), rel=1e-3)
    assert without.egf(2) == gradflow.measure(module, F.cross_entropy, [(X, Y)]).egf(2)


def test_dropout_in_modules_that_are_compared() -> None:
    dense, sparse = with_dropout(8), with_dropout(16)
    masks = gradflow.masks(sparse, [(X, Y)], density=0.5, method="magnitude")
    modes = [child.training for child in sparse.modules()]
    options = {"optimizer": ADAM, "epochs": 2, "batch_size": 20}
    torch.manual_seed(5)
    before = torch.get_rng_state()
    table = gradflow.compare_modules(dense, sparse, masks, DATA, **options)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    sparse.eval()
    assert table.equals(gradflow.compare_modules(dense, sparse, masks, DATA, **options))
    assert not any(child.training for child in sparse.modules()) and any(modes)


def test_what_does_not_fit_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="density is 0; it must be above 0"):
        gradflow.masks(network(), [(X, Y)], density=0)
    with pytest.raises(ValueError, match="there is no method snap; did you mean snip"):
        gradflow.masks(network(), [(X, Y)], density=0.5, method="snap")
    with pytest.raises(ValueError, match="at least one batch"):
        gradflow.masks(network(), [], density=0.5)
    pruned = network()
    prune.random_unstructured(pruned[1], "weight", 0.5)
    with pytest.raises(ValueError, match=r"1\.weight is pruned; give the module before it was"):
        gradflow.masks(pruned, [(X, Y)], density=0.5, method="snip")
    with pytest.raises(
        ValueError, match="dense module has 104 weights and the sparse one 208 active"
    ):
        gradflow.compare_modules(network(8), network(16), {}, DATA, optimizer=ADAM, epochs=1)


def test_a_comparison_by_a_method() -> None:
    cell = gradflow.Configuration("modules", "mlp", 1, 0, "relu", "adam", 0.01, "NR")
    options = {"max_width": 20, "epochs": 2, "seeds": [0], "percents": [50]}
    tables = [
        gradflow.compare(DATA, cell, method=name, **options) for name in ("random", "snip", "rigl")
    ]
    dense = [table["test_loss_dense"].iloc[0] for table in tables]
    # steps are compiled for some methods and not for others
    assert dense[1:] == pytest.approx(dense[:1] * 2, rel=1e-4)
    sparse = {table["test_loss_sparse"].iloc[0] for table in tables}
    assert len(sparse) == 3
