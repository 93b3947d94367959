"""The Wide ResNet against an independent one, written as the original is."""

from __future__ import annotations

import pytest
import torch
from cohorts import DEVICE, assert_close, make_data, make_wide_resnet_job
from plain_networks import PlainWideResNet, load_network, other_parameters, plain_network
from torch import nn

from gradflow.networks.wide_resnet import WideResNet
from gradflow.study.job import Configuration, Settings
from gradflow.study.shapes import capacity, wide_resnet_layers
from gradflow.training.cohort import Cohort
from gradflow.training.stack import probing_mode


def build(
    depth: int, widen_factor: int, channels: int, classes: int, device: str = "meta"
) -> WideResNet:
    layers = wide_resnet_layers(depth, widen_factor, channels, classes)
    weights = [torch.empty(1, *layer.shape, device=device) for layer in layers]
    configuration = Configuration(
        "cifar100", "wide_resnet", depth, widen_factor, "relu", "sgd", 0.1, "L2_BN"
    )
    with torch.device(device):
        return WideResNet(configuration, Settings(), layers, weights)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


class TestArchitecture:
    def test_parameters_of_wrn_28_10(self) -> None:
        """36.5 million in the original's Table, which has a bias in its classifier."""
        with torch.device("meta"):
            original = PlainWideResNet(28, 10, 3, 100, bias=True)
            plain = PlainWideResNet(28, 10, 3, 100)
        network = build(28, 10, 3, 100)
        assert round(count(original) / 1e6, 1) == 36.5
        assert count(network) == count(plain) == count(original) - 100
        weights = capacity([layer.shape for layer in network.plan])
        assert weights == [weight.numel() for weight in plain.weights]
        assert sum(weights) == count(network) - sum(p.numel() for p in other_parameters(plain))
        assert (
            len(weights) == 1 + 12 * 2 + 3 + 1
        )  # the stem, two a block, three shortcuts, the classifier

    @pytest.mark.parametrize("widen_factor", [1, 2])
    @pytest.mark.parametrize("depth", [10, 16])
    def test_layers_in_forward_order(self, depth: int, widen_factor: int) -> None:
        network = build(depth, widen_factor, 1, 5)
        with torch.device("meta"):
            plain = PlainWideResNet(depth, widen_factor, 1, 5)
        shapes = [weight.shape if weight.dim() == 4 else weight.T.shape for weight in plain.weights]
        assert [tuple(layer.shape) for layer in network.plan] == [tuple(shape) for shape in shapes]
        roles = [layer.role for layer in network.plan]
        assert roles[0] == "stem" and roles[-1] == "classifier"
        assert roles.count("shortcuts") == (2 if widen_factor == 1 else 3)
        assert roles.count("blocks") == depth - 4

    @pytest.mark.parametrize("depth", [4, 9, 11, 27, 29, -2])
    def test_impossible_depths(self, depth: int) -> None:
        with pytest.raises(ValueError, match=f"not {depth}$"):
            wide_resnet_layers(depth, 1, 3, 10)


class TestForward:
    @pytest.mark.parametrize(
        ("depth", "widen_factor", "activation"),
        [(10, 1, "relu"), (10, 2, "swish"), (16, 1, "relu"), (16, 2, "prelu"), (10, 1, "srelu")],
    )
    @pytest.mark.parametrize("training", [True, False])
    def test_as_the_original(
        self, depth: int, widen_factor: int, activation: str, training: bool
    ) -> None:
        job = make_wide_resnet_job(
            depth=depth,
            widen_factor=widen_factor,
            activation=activation,
            architecture="dense",
            percent=100,
        )
        cohort = Cohort(job, make_data(channels=3), DEVICE)
        network, run = cohort.stacks[0].network, job.runs[0]
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for norm in network.norms:
                for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                    tensor += torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
        plain = plain_network(cohort, run)
        images = torch.randn((1, 5, 3, 16, 16), generator=generator, dtype=torch.float64)
        for module in (network, plain):
            module.train(training)
        logits, expected = network(images), plain(images[0])
        assert logits.shape == (1, 5, 5)
        assert_close(logits[0].detach(), expected.detach(), 1e-12, "logits")
        logits.square().sum().backward()
        expected.square().sum().backward()
        for layer, weight in zip(network.layers, plain.weights, strict=True):
            gradient = layer.grad[0].T if layer.dim() == 3 else layer.grad[0]
            assert_close(gradient, weight.grad, 1e-11, "gradient")
        for norm, other in zip(network.norms, plain.norms, strict=True):
            assert_close(norm.weight.grad, other.weight.grad, 1e-10, "gradient of BatchNorm")
            assert_close(norm.running_mean, other.running_mean, 1e-12, "running mean")
            assert_close(norm.running_var, other.running_var, 1e-12, "running variance")


class TestBatchNorm:
    def test_a_probe_leaves_no_trace(self) -> None:
        job = make_wide_resnet_job(architecture="dense", percent=100)
        cohort = Cohort(job, make_data(), DEVICE)
        network = cohort.stacks[0].network
        plain = plain_network(cohort, job.runs[0])
        images = torch.randn(
            (1, 6, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
        before = {name: value.clone() for name, value in network.state_dict().items()}
        with probing_mode(network):
            probed = network(images)
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        assert_close(
            probed[0].detach(), plain(images[0]).detach(), 1e-12, "logits by batch statistics"
        )
        network(images)
        assert not torch.equal(network.norms[0].running_mean, before["norms.0.running_mean"])

    def test_the_loader_of_the_oracle_reads_the_network(self) -> None:
        """An oracle that kept its own random weights would agree with nothing."""
        job = make_wide_resnet_job(architecture="dense", percent=100)
        cohort = Cohort(job, make_data(), DEVICE)
        plain = PlainWideResNet(10, 1, 1, 5).double()
        images = torch.randn(
            (1, 6, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
        assert not torch.allclose(plain(images[0]), cohort.stacks[0].network(images)[0])
        load_network(cohort, job.runs[0], plain)
        assert torch.allclose(plain(images[0]), cohort.stacks[0].network(images)[0])
