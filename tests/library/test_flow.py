"""Gradient flow: cases worked out by hand, autograd, and the engine's own logs."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from cohorts import (
    DEVICE,
    MEASURES,
    assert_close,
    layer_masks,
    make_data,
    make_job,
    make_wide_resnet_job,
    probe_batches,
)
from plain_networks import as_torch_weight, plain_network
from torch import Tensor, nn

from gradflow.flow import GradientFlow, gradient_flow, measure_gradient_flow, norm, norm_by_rows
from gradflow.study.job import Job, Run
from gradflow.training.cohort import Cohort

F64 = torch.float64


def tensor(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=F64)


class TestByHand:
    GRADIENTS = (tensor([3.0, -4.0]), tensor([0.0], [12.0]))

    def test_dense(self) -> None:
        flow = gradient_flow(self.GRADIENTS, [None, None])
        assert flow.layer_grad_norm[1].tolist() == flow.layer_egf[1].tolist() == [7, 12]
        assert flow.layer_grad_norm[2].tolist() == flow.layer_egf[2].tolist() == [5, 12]
        assert flow.grad_norm(1).item() == 19
        assert flow.grad_norm(2).item() == 13
        assert flow.egf(1).item() == 9.5
        assert flow.egf(2).item() == 8.5

    def test_masked(self) -> None:
        flow = gradient_flow(self.GRADIENTS, [tensor([1.0, 0.0]), tensor([1.0], [0.0])])
        assert flow.grad_norm(1).item() == 19  # gradients of masked weights count
        assert flow.grad_norm(2).item() == 13
        assert flow.layer_egf[1].tolist() == flow.layer_egf[2].tolist() == [3, 0]
        assert flow.egf(1).item() == flow.egf(2).item() == 1.5

    def test_one_masked_layer_beside_a_dense_one(self) -> None:
        flow = gradient_flow(self.GRADIENTS, [torch.tensor([[False, True]]), None])
        assert flow.layer_egf[1].tolist() == [4, 12]
        assert flow.egf(2).item() == 8

    def test_two_linear_layers(self) -> None:
        """y = x A B with loss y: the derivative by A is x' B', by B it is (x A)', at the effective
        weights.
        """
        a, b, x = tensor([1.0, 2.0], [3.0, 4.0]), tensor([5.0], [-1.0]), tensor([1.0, 2.0])
        mask = tensor([1.0, 0.0], [1.0, 1.0])

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b = nn.Parameter(a), nn.Parameter(b)

            def forward(self, x: Tensor) -> Tensor:
                return x @ self.a @ self.b

        flow = measure_gradient_flow(
            Net(), lambda y, _: y.mean(), [(x, torch.zeros(1))], ["a", "b"], {"a": mask}
        )
        # by A: [[5, -1], [10, -2]]; by B, at A with its 2 masked: [1 + 6, 0 + 8]
        assert flow.layer_grad_norm[1].tolist() == [18, 15]
        assert flow.layer_egf[1].tolist() == [17, 15]
        assert flow.egf(1).item() == 16
        assert flow.grad_norm(2).item() == pytest.approx(math.sqrt(25 + 1 + 100 + 4 + 49 + 64))
        assert flow.egf(2).item() == pytest.approx((math.sqrt(129) + math.sqrt(113)) / 2)

    def test_stacked(self) -> None:
        flow = GradientFlow(
            {2: tensor([3.0, 4.0], [5.0, 12.0])}, {2: tensor([1.0, 2.0], [3.0, 5.0])}
        )
        assert flow.grad_norm(2).tolist() == [5, 13]
        assert flow.egf(2).tolist() == [1.5, 4]


class TestNorms:
    @pytest.mark.parametrize("p", [1, 2])
    @pytest.mark.parametrize("function", [norm, norm_by_rows])
    @pytest.mark.parametrize("shape", [(3, 7, 5), (2, 4, 3, 3, 3)])
    def test_each_network_has_its_own(self, function, shape: tuple[int, ...], p: int) -> None:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        found = function(x, p)
        assert found.dtype == F64
        expected = [torch.linalg.vector_norm(network.double(), p).item() for network in x]
        assert found.tolist() == pytest.approx(
            expected, rel=1e-6 if function is norm_by_rows else 1e-12
        )

    def test_float64_accumulation(self) -> None:
        assert norm(torch.tensor([[2.0**24, 1.0]]), 1).item() == 2**24 + 1  # 2 ** 24 in float32
        assert norm(torch.tensor([[1e30, 1e30]]), 2).item() == pytest.approx(
            math.sqrt(2) * 1e30
        )  # else infinite


class Small(nn.Module):
    """A network with what a researcher's has: BatchNorm, a bias, dropout-free."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, 8, bias=False)
        self.norm = nn.BatchNorm1d(8)
        self.second = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.norm(self.first(x))))


LAYERS = ["first.weight", "second.weight"]


@pytest.fixture
def module() -> Small:
    return Small().double()


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(size, 6, generator=generator, dtype=F64),
            torch.randint(3, (size,), generator=generator),
        )
        for size in (5, 8, 2)
    ]


@pytest.fixture
def masks() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        "first.weight": torch.rand(8, 6, generator=generator) < 0.5,
        "second.weight": torch.ones(3, 8),
    }


def gradients_by_hand(
    module: Small, batches: list[tuple[Tensor, Tensor]], masks: dict[str, Tensor]
) -> list[Tensor]:
    """Mean over the examples of plain autograd's gradient at the masked weights."""
    copy = Small().double()
    copy.load_state_dict(module.state_dict())
    copy.train(module.training)
    with torch.no_grad():
        copy.first.weight.mul_(masks["first.weight"])
    total = [torch.zeros_like(copy.first.weight), torch.zeros_like(copy.second.weight)]
    for x, y in batches:
        copy.zero_grad()
        F.cross_entropy(copy(x), y, reduction="sum").backward()
        total[0] += copy.first.weight.grad
        total[1] += copy.second.weight.grad
    return [t / sum(len(y) for _, y in batches) for t in total]


class TestAnyModule:
    @pytest.mark.parametrize("training", [True, False])
    def test_against_autograd(self, module, batches, masks, training: bool) -> None:
        module.norm.running_mean.fill_(0.3)
        module.train(training)
        first, second = gradients_by_hand(module, batches, masks)
        flow = measure_gradient_flow(module, F.cross_entropy, batches, LAYERS, masks)
        masked = first * masks["first.weight"]
        for p in (1, 2):
            expected = [torch.linalg.vector_norm(g, p).item() for g in (first, second)]
            assert flow.layer_grad_norm[p].tolist() == pytest.approx(expected, rel=1e-12)
            expected[0] = torch.linalg.vector_norm(masked, p).item()
            assert flow.layer_egf[p].tolist() == pytest.approx(expected, rel=1e-12)
        assert (first != 0)[~masks["first.weight"]].any()

    def test_the_modes_differ(self, module, batches, masks) -> None:
        """So that the test above would notice BatchNorm in the wrong one."""
        training = measure_gradient_flow(module, F.cross_entropy, batches, LAYERS, masks)
        evaluation = measure_gradient_flow(module.eval(), F.cross_entropy, batches, LAYERS, masks)
        assert training.egf(2).item() != pytest.approx(evaluation.egf(2).item(), rel=1e-3)

    @pytest.mark.parametrize("training", [True, False])
    def test_the_module_stays_as_it_was(self, module, batches, masks, training: bool) -> None:
        module.train(training)
        module.first.weight.grad = torch.ones_like(module.first.weight)
        before = {name: value.clone() for name, value in module.state_dict().items()}
        first = measure_gradient_flow(module, F.cross_entropy, batches, LAYERS, masks)
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
        assert module.training == module.norm.training == training
        assert torch.equal(module.first.weight.grad, torch.ones_like(module.first.weight))
        assert all(
            p.grad is None for name, p in module.named_parameters() if name != "first.weight"
        )
        second = measure_gradient_flow(module, F.cross_entropy, batches, LAYERS, masks)
        assert first.egf(1) == second.egf(1)

    def test_masked_weights_of_the_module_do_not_matter(self, module, batches, masks) -> None:
        before = measure_gradient_flow(module, F.cross_entropy, batches, LAYERS, masks)
        with torch.no_grad():
            module.first.weight[~masks["first.weight"]] = 1e6
        after = measure_gradient_flow(module, F.cross_entropy, batches, LAYERS, masks)
        for p in (1, 2):
            assert after.layer_grad_norm[p].tolist() == before.layer_grad_norm[p].tolist()
            assert after.layer_egf[p].tolist() == before.layer_egf[p].tolist()

    def test_without_masks_nothing_is_masked(self, module, batches) -> None:
        flow = measure_gradient_flow(module, F.cross_entropy, batches, LAYERS)
        assert flow.egf(1).item() == pytest.approx(flow.grad_norm(1).item() / 2, rel=1e-14)
        assert flow.layer_egf[2].tolist() == flow.layer_grad_norm[2].tolist()

    def test_only_the_named_layers_count(self, module, batches) -> None:
        both = measure_gradient_flow(module, F.cross_entropy, batches, LAYERS)
        reverse = measure_gradient_flow(module, F.cross_entropy, batches, LAYERS[::-1])
        last = measure_gradient_flow(module, F.cross_entropy, batches, LAYERS[1:])
        assert reverse.layer_egf[1].tolist() == both.layer_egf[1].tolist()[::-1]
        assert last.layer_egf[1].tolist() == both.layer_egf[1].tolist()[1:]

    @pytest.mark.parametrize(
        ("layers", "masks", "named"),
        [
            (["first.wieght"], {}, "first.wieght"),
            (["first.weight"], {"second.weight": torch.ones(3, 8)}, "second.weight"),
        ],
    )
    def test_unknown_names(self, module, batches, layers, masks, named) -> None:
        with pytest.raises(KeyError, match=named):
            measure_gradient_flow(module, F.cross_entropy, batches, layers, masks)

    def test_no_batches(self, module) -> None:
        with pytest.raises(ValueError, match="at least one batch"):
            measure_gradient_flow(module, F.cross_entropy, [], LAYERS)


def measure_run(cohort: Cohort, run: Run) -> GradientFlow:
    """The public function on the plain twin of `run`, over the probe images."""
    network = plain_network(cohort, run, masked=False)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    layers = [names[id(weight)] for weight in network.weights]
    masks = {
        name: as_torch_weight(mask)
        for name, mask in zip(layers, layer_masks(cohort, run), strict=True)
    }
    batches = [(images[0], labels[0]) for images, labels in probe_batches(cohort.batches)]
    assert len({len(labels) for _, labels in batches}) > 1, "batches of unequal size are wanted"
    return measure_gradient_flow(network, F.cross_entropy, batches, layers, masks)


class TestTheLogs:
    @pytest.mark.parametrize(
        "job",
        [
            make_job("adam", "DA_L2_SC_BN", percents=(30, 50, 70), probe_images=60, epochs=1),
            make_job("momentum", "NR", percents=(30, 50, 70), epochs=1),
            make_job("adam", "L2_BN", activation="srelu", epochs=1),
            make_job("adam", "L2_BN", percents=(30, 50, 70), epochs=2, mask_update="set"),
            make_wide_resnet_job("adam", "DA_L2_BN", percent=20, epochs=1),
            make_wide_resnet_job("momentum", architecture="dense", percent=100, epochs=1),
        ],
        ids=lambda job: f"{job.configuration.name}-K={len(job.percents)}",
    )
    def test_are_what_the_public_function_measures(self, job: Job) -> None:
        cohort = Cohort(
            job, make_data(train=70 if job.configuration.model == "mlp" else 38, test=10), DEVICE
        )
        assert cohort.train(job.epochs)
        for run, rows in cohort.rows.items():
            flow, row = measure_run(cohort, run), rows[-1]
            for p in (1, 2):
                assert row[f"grad_norm_l{p}"] == pytest.approx(flow.grad_norm(p).item(), rel=1e-10)
                assert row[f"egf_l{p}"] == pytest.approx(flow.egf(p).item(), rel=1e-10)
                assert_close(
                    row[f"layer_grad_norm_l{p}"],
                    flow.layer_grad_norm[p].tolist(),
                    1e-10,
                    f"l{p} of {run}",
                )
                assert_close(
                    row[f"layer_egf_l{p}"], flow.layer_egf[p].tolist(), 1e-10, f"l{p} of {run}"
                )

    def test_egf_is_the_mean_norm_of_a_dense_network_and_less_of_a_sparse_one(self) -> None:
        job = make_job("adam", "L2_BN", percents=(30, 50, 70))
        cohort = Cohort(job, make_data(), DEVICE)
        cohort.train(job.epochs)
        for run, rows in cohort.rows.items():
            for row in rows:
                for prefix in ("", "minibatch_"):
                    l1, _, egf_l1, _ = (row[f"{prefix}{measure}"] for measure in MEASURES)
                    if run.architecture == "dense":
                        assert egf_l1 == pytest.approx(l1 / 5, rel=1e-12)
                    else:
                        assert egf_l1 < 0.99 * l1 / 5
                for p in (1, 2):
                    unmasked, masked = row[f"layer_grad_norm_l{p}"], row[f"layer_egf_l{p}"]
                    assert len(unmasked) == len(masked) == 5
                    if run.architecture == "dense":
                        assert masked == unmasked
                    else:
                        assert all(m < u for m, u in zip(masked, unmasked, strict=True))
