"""Gradient flow of modules as people have them: pruned, parametrized, tied, with hooks; and what it
leaves behind.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torchvision.models import resnet18

from gradflow.flow import GradientFlow, measure_gradient_flow

X = torch.randn(24, 10, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, 3, (24,), generator=torch.Generator().manual_seed(1))
BATCHES = [(X[:16], Y[:16]), (X[16:], Y[16:])]


class Mask(nn.Module):
    """A parametrization by a fixed mask."""

    def __init__(self, mask: Tensor):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 3))


def two_masks() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        f"{index}.weight": (torch.rand(plain()[index].weight.shape, generator=generator) < 0.3)
        for index in (0, 2)
    }


def measure(module: nn.Module, *args: Any, batches: Any = BATCHES) -> GradientFlow:
    return measure_gradient_flow(module, F.cross_entropy, batches, *args)


def assert_same(flow: GradientFlow, expected: GradientFlow, rtol: float = 1e-6) -> None:
    for p in (1, 2):
        torch.testing.assert_close(
            flow.layer_grad_norm[p], expected.layer_grad_norm[p], rtol=rtol, atol=0
        )
        torch.testing.assert_close(flow.layer_egf[p], expected.layer_egf[p], rtol=rtol, atol=0)


def pruned() -> nn.Module:
    module = plain()
    for name, mask in two_masks().items():
        prune.custom_from_mask(module[int(name[0])], "weight", mask)
    return module


def pruned_twice() -> nn.Module:
    """In two steps, which prune keeps in a container."""
    module = plain()
    for name, mask in two_masks().items():
        layer = module[int(name[0])]
        half = torch.ones_like(mask)
        half[: len(half) // 2] = mask[: len(half) // 2]
        prune.custom_from_mask(layer, "weight", half)
        prune.custom_from_mask(layer, "weight", mask)
    return module


def parametrized() -> nn.Module:
    module = plain()
    for name, mask in two_masks().items():
        parametrize.register_parametrization(module[int(name[0])], "weight", Mask(mask.float()))
    return module


NAMES = {
    "pruned": "{}.weight_orig",
    "pruned_twice": "{}.weight_orig",
    "parametrized": "{}.parametrizations.weight.original",
}


@pytest.mark.parametrize("build", [pruned, pruned_twice, parametrized], ids=lambda f: f.__name__)
class TestMaskedElsewhere:
    def test_is_what_plain_weights_with_masks_have(self, build: Callable[[], nn.Module]) -> None:
        expected = measure(plain(), ["0.weight", "2.weight"], two_masks())
        assert (expected.layer_grad_norm[2] > 1.05 * expected.layer_egf[2]).all()
        module = build()
        assert_same(measure(module), expected)
        assert measure(module).layers == ("0.weight", "2.weight")
        assert_same(measure(module, ["0.weight", "2.weight"]), expected)
        assert_same(measure(module, ["0.weight", "2.weight"], two_masks()), expected)
        other = [NAMES[build.__name__].format(index) for index in (0, 2)]
        masks = dict(zip(other, two_masks().values(), strict=True))
        assert_same(measure(module, other, masks), expected)

    def test_the_module_goes_on_as_before(self, build: Callable[[], nn.Module]) -> None:
        with_look, without = build(), build()
        for module in (with_look, without):
            module(X)  # prune's weight is then a tensor of some graph
        held = {name: id(p) for name, p in with_look.named_parameters()}
        measure(with_look)
        assert {name: id(p) for name, p in with_look.named_parameters()} == held
        assert train(with_look, 5) == train(without, 5)


def train(module: nn.Module, steps: int, optimizer: Any = None) -> list[float]:
    """Losses of some steps of momentum."""
    optimizer = optimizer or torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    losses = []
    dtype = next(module.parameters()).dtype
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(module(X.to(dtype)), Y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.slow
def test_a_pruned_resnet_18() -> None:
    torch.manual_seed(0)
    module = resnet18(num_classes=5).eval()
    images = torch.randn(8, 3, 32, 32)
    batches = [(images, torch.arange(8) % 5)]
    reference = copy.deepcopy(module)
    convolutions = [n for n, m in module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    masks = {}
    for name in convolutions:
        layer = prune.random_unstructured(module.get_submodule(name), "weight", amount=0.8)
        masks[f"{name}.weight"] = layer.weight_mask
    # the oracle: plain autograd by the weights that the forward pass uses
    with torch.no_grad():
        for name, mask in masks.items():
            reference.get_parameter(name).mul_(mask)
    F.cross_entropy(reference(images), batches[0][1]).backward()
    expected = [reference.get_parameter(name).grad for name in masks]
    flow = measure(module, batches=batches)
    assert flow.layers == tuple(masks)
    assert flow.layer_grad_norm[2].tolist() == pytest.approx(
        [g.norm().item() for g in expected], rel=1e-4
    )
    assert flow.layer_egf[2].tolist() == pytest.approx(
        [(g * m).norm().item() for g, m in zip(expected, masks.values(), strict=True)], rel=1e-4
    )


class Aliased(nn.Module):
    """One layer under two names, BatchNorm, dropout, a tied weight and a counter."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(10, 10, bias=False)
        self.again = self.first
        self.norm = nn.BatchNorm1d(10)
        self.tied = nn.Linear(10, 10, bias=False)
        self.tied.weight = self.first.weight
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(10, 3)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.drop(torch.relu(self.norm(self.again(torch.relu(self.first(x))))))
        return self.out(self.tied(x))


class TestNothingIsLeftBehind:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("as_bool", [True, False])
    def test_aliased_and_tied_layers(self, dtype: torch.dtype, as_bool: bool) -> None:
        mask = torch.rand(10, 10, generator=torch.Generator().manual_seed(3)) < 0.4
        mask = mask if as_bool else mask.float()
        results = []
        for looks in (False, True):
            module = Aliased().to(dtype)
            optimizer = torch.optim.Adam(module.parameters(), lr=0.01, eps=1e-3)
            torch.manual_seed(7)
            losses = train(module, 2, optimizer)
            if looks:
                before = {name: value.clone() for name, value in module.state_dict().items()}
                calls = module.calls
                batches = [(x.to(dtype), y) for x, y in BATCHES]
                flow = measure(module, None, {"first.weight": mask}, batches=batches)
                assert flow.layers == ("first.weight", "out.weight") and flow.egf(2) > 0
                assert flow.layer_egf[2][0] < flow.layer_grad_norm[2][0]
                for name, value in module.state_dict().items():
                    assert torch.equal(value, before[name]), name
                assert isinstance(module.first.weight, nn.Parameter)
                assert module.tied.weight is module.first.weight is module.again.weight
                assert module.calls == calls
            results.append(losses + train(module, 4, optimizer))
        assert results[0] == results[1]

    def test_the_gradient_by_a_weight_used_three_times(self) -> None:
        module = Aliased().double().eval()
        mask = (torch.rand(10, 10, generator=torch.Generator().manual_seed(3)) < 0.4).double()
        weight = (module.first.weight.detach() * mask).requires_grad_()
        hidden = module.norm(F.linear(torch.relu(F.linear(X.double(), weight)), weight))
        loss = F.cross_entropy(module.out(F.linear(torch.relu(hidden), weight)), Y)
        (expected,) = torch.autograd.grad(loss, weight)
        for name in ("first.weight", "again.weight", "tied.weight"):
            flow = measure(module, [name], {name: mask}, batches=[(X.double(), Y)])
            assert flow.layer_grad_norm[2].item() == pytest.approx(expected.norm().item())
            assert flow.layer_egf[2].item() == pytest.approx((expected * mask).norm().item())

    def test_hooks_stay_and_in_their_order(self) -> None:
        module = pruned()
        seen: list[str] = []
        module[0].register_forward_pre_hook(lambda *_: seen.append("pre"))
        module[0].weight_orig.register_hook(lambda _: seen.append("gradient"))
        module[2].bias.register_post_accumulate_grad_hook(lambda _: seen.append("accumulated"))
        hooks = list(module[0]._forward_pre_hooks)
        measure(module)
        assert list(module[0]._forward_pre_hooks) == hooks
        assert "gradient" not in seen and "accumulated" not in seen
        F.cross_entropy(module(X), Y).backward()
        assert "gradient" in seen and "accumulated" in seen

    def test_after_an_error_too(self) -> None:
        module = Aliased()
        before = {name: value.clone() for name, value in module.state_dict().items()}
        batches = [BATCHES[0], (X[:, :3], Y)]
        with pytest.raises(RuntimeError):
            measure(module, batches=batches)
        assert all(torch.equal(value, before[n]) for n, value in module.state_dict().items())
        assert module.tied.weight is module.first.weight

    def test_spectral_norm_learns_nothing(self) -> None:
        module = plain()
        parametrizations.spectral_norm(module[0])
        before = {name: value.clone() for name, value in module.state_dict().items()}
        measure(module)
        assert all(torch.equal(value, before[n]) for n, value in module.state_dict().items())

    def test_a_recurrent_network(self) -> None:
        """It keeps its weights in a list of its own too."""
        torch.manual_seed(0)

        class Last(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.rnn, self.out = nn.GRU(5, 4, batch_first=True), nn.Linear(4, 3)

            def forward(self, x: Tensor) -> Tensor:
                return self.out(self.rnn(x.view(-1, 2, 5))[0][:, -1])

        module, reference = Last(), Last()
        reference.load_state_dict(module.state_dict())
        F.cross_entropy(reference(X), Y).backward()
        flow = measure(module, batches=[(X, Y)])
        assert flow.layer_grad_norm[2].tolist() == pytest.approx(
            [reference.get_parameter(name).grad.norm().item() for name in flow.layers], rel=1e-5
        )
        assert train(module, 3) == train(reference, 3)


def test_garbage_in_masked_places_does_not_matter() -> None:
    module, masks = plain(), two_masks()
    expected = measure(module, None, masks)
    with torch.no_grad():
        module[0].weight[~masks["0.weight"]] = float("nan")
    assert_same(measure(module, None, masks), expected, rtol=0)


def test_a_layer_off_the_path_has_no_gradient() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(10, 3), nn.Linear(10, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    flow = measure(Head())
    assert flow.layer_egf[2][0] > 0 and flow.layer_egf[2][1] == 0
    assert flow.egf(2) == flow.layer_egf[2][0] / 2


def test_layers_are_found() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.PReLU(), nn.Flatten(), nn.LayerNorm((256,))
    )
    module.append(nn.Linear(256, 3))
    flow = measure(module, batches=[(torch.randn(4, 1, 10, 10), torch.tensor([0, 1, 2, 0]))])
    assert flow.layers == ("0.weight", "5.weight")


def integers() -> nn.Module:
    module = plain()
    module[0].weight = nn.Parameter(torch.ones(16, 10, dtype=torch.int64), requires_grad=False)
    return module


def old_weight_norm() -> nn.Module:
    module = plain()
    nn.utils.weight_norm(module[0])
    return module


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).detach()


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("build", "arguments", "sentence"),
    [
        (
            plain,
            {"masks": {"0.weight": torch.ones(10)}},
            r"shape \(10,\) and its weight \(16, 10\)",
        ),
        (plain, {"masks": {"0.weight": torch.full((16, 10), 0.5)}}, "other values than 0 and 1"),
        (plain, {"layers": ["0.weight", "0.weight"]}, "0.weight is among the layers twice"),
        (Aliased, {"layers": ["first.weight", "tied.weight"]}, "among the layers twice"),
        (integers, {}, "0.weight holds int64 numbers"),
        (old_weight_norm, {}, "neither torch.nn.utils.prune's nor a parametrization"),
        (old_weight_norm, {"layers": ["0.weight"]}, "neither torch.nn.utils.prune's"),
        (Detached, {}, "does not depend on any layer"),
        (nn.ReLU, {}, "the module has no layer"),
        (lambda: torch.jit.script(plain()), {}, "give the module itself"),
        (lambda: torch.jit.trace(plain(), X), {}, "give the module itself"),
        (plain, {"batches": [(X * float("nan"), Y)]}, "the inputs hold values that are not finite"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(
    build: Callable[[], nn.Module], arguments: dict[str, Any], sentence: str
) -> None:
    arguments = {"batches": BATCHES, **arguments}
    with pytest.raises(ValueError, match=sentence):
        measure_gradient_flow(build(), F.cross_entropy, **arguments)


def test_an_unknown_layer_is_named_beside_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"7\.weight is not a layer .* parameters are 0\.weight"):
        measure_gradient_flow(plain(), F.cross_entropy, BATCHES, layers=["7.weight"])


def test_a_cache_of_old_weights_is_refused() -> None:
    with parametrize.cached(), pytest.raises(ValueError, match=r"outside of parametrize\.cached"):
        measure(plain())


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_without_gradients_there_is_no_flow(off: Any) -> None:
    with off(), pytest.raises(ValueError, match=r"outside of torch\.no_grad"):
        measure(plain())
