"""The fused update: its kernels in Triton's interpreter against torch.optim, and steps that use
it.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cohorts import (
    DEVICE,
    assert_masked_weights_zero,
    assert_rows_agree,
    make_data,
    make_job,
    make_wide_resnet_job,
    train_cohort,
)
from gpu_layout import as_on_a_gpu
from plain_training import make_optimizer
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradflow.networks import rectified_norm
from gradflow.networks.batched_product import feature_major_product
from gradflow.networks.mlp import StackedBatchNorm
from gradflow.study.job import PAPER_OPTIMIZERS, Job, Settings
from gradflow.training.cohort import Cohort
from gradflow.training.fused import operations, update
from gradflow.training.fused.update import SWITCH, fused_wanted
from gradflow.training.optimizers import STATE
from gradflow.training.stack import Stack
from gradflow.training.step_choice import SWITCH as STEP

pytest.importorskip("triton", reason="Triton comes with torch for CUDA")

RATE, DECAY, ALPHA = 0.02, 0.05, 0.9
NETWORKS, INPUTS, OUTPUTS = 2, 70, 33  # tiles are 64 wide: full ones and cut ones


@pytest.fixture(autouse=True)
def by_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU's compiled step would take the place of the fused one."""
    monkeypatch.setenv(STEP, "autograd")


# --- kernels, interpreted on a CPU ----------------------------------------------------------------


class Layer:
    """A layer as the kernels see it, and its twin in the hands of torch.optim."""

    def __init__(self, rule: str, masked: bool):
        generator = torch.Generator().manual_seed(4)
        shape = (NETWORKS, INPUTS, OUTPUTS)
        self.rule = rule
        self.mask = (torch.rand(shape, generator=generator) < 0.4).to(torch.uint8)
        if not masked:
            self.mask.fill_(1)
        self.weight = torch.randn(shape, generator=generator) * self.mask
        self.given = self.mask if masked else None
        self.state = [torch.zeros_like(self.weight) for _ in STATE[rule]]
        self.step = torch.zeros(())
        self.twin = nn.Parameter(self.weight.double())
        groups = [{"params": [self.twin], "weight_decay": DECAY}]
        self.optimizer = make_optimizer(rule, groups, RATE, ALPHA)
        self.weight, self.state, self.step = (
            self.weight.to(DEVICE),
            [s.to(DEVICE) for s in self.state],
            self.step.to(DEVICE),
        )
        self.given = self.given if self.given is None else self.given.to(DEVICE)

    def twin_steps(self, gradient: Tensor) -> None:
        self.twin.grad = gradient.double().cpu() * self.mask
        self.optimizer.step()

    def assert_agrees(self) -> None:
        torch.testing.assert_close(
            self.weight.cpu().double(), self.twin.detach(), rtol=1e-5, atol=2e-6
        )
        assert torch.all(self.weight.cpu()[self.mask == 0] == 0)
        kept = self.optimizer.state[self.twin]
        names = {"momentum": ["momentum_buffer"], "adagrad": ["sum"], "rmsprop": ["square_avg"]}
        for ours, name in zip(
            self.state, names.get(self.rule, ["exp_avg", "exp_avg_sq"]), strict=False
        ):
            torch.testing.assert_close(ours.cpu().double(), kept[name], rtol=1e-5, atol=1e-6)


def minibatch(images: int, seed: int, layout: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = [
        torch.randn(NETWORKS, images, width, generator=generator).to(DEVICE)
        for width in (INPUTS, OUTPUTS)
    ]
    if layout == "feature-major":
        found = [t.mT.contiguous().mT for t in found]
    return found[0], found[1] / images


@pytest.mark.parametrize(
    ("layout", "precision"), [("batch-major", "float32"), ("feature-major", "tf32x3")]
)
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("rule", PAPER_OPTIMIZERS)
def test_product_mask_and_update_are_torch_optims(
    rule: str, masked: bool, layout: str, precision: str
) -> None:
    layer = Layer(rule, masked)
    for step, images in enumerate((40, 40, 40, 17)):  # the last minibatch is short
        x, g = minibatch(images, step, layout)
        layer.step += 1
        operations.launch_update_by_product(
            x, g, layer.weight, layer.state, layer.given, layer.step, rule, RATE, DECAY, ALPHA,
            precision,
        )  # fmt: skip
        layer.twin_steps(torch.bmm(x.mT.double(), g.double()))
    layer.assert_agrees()


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("rule", PAPER_OPTIMIZERS)
def test_mask_and_update_are_torch_optims(rule: str, masked: bool) -> None:
    layer = Layer(rule, masked)
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        gradient = torch.randn(layer.mask.shape, generator=generator).to(DEVICE)
        layer.step += 1
        operations.launch_update_by_gradient(
            gradient, layer.weight, layer.state, layer.given, layer.step, rule, RATE, DECAY, ALPHA
        )
        layer.twin_steps(gradient)
    layer.assert_agrees()


def test_bias_corrections_far_into_training() -> None:
    layer = Layer("adam", masked=False)
    x, g = minibatch(40, 0, "feature-major")
    layer.twin_steps(torch.bmm(x.mT, g))
    kept = layer.optimizer.state[layer.twin]
    layer.weight.copy_(layer.twin.detach())
    layer.state[0].copy_(kept["exp_avg"])
    layer.state[1].copy_(kept["exp_avg_sq"])
    kept["step"].fill_(390_999)
    layer.step.fill_(391_000)
    operations.launch_update_by_product(
        x, g, layer.weight, layer.state, None, layer.step, "adam", RATE, DECAY, ALPHA, "float32"
    )
    layer.twin_steps(torch.bmm(x.mT, g))
    layer.assert_agrees()


@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_alone(transposed: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(2, 33, 70, generator=generator).to(DEVICE)
    right = torch.randn(2, 70, 65, generator=generator).to(DEVICE)
    out = torch.empty(2, 33, 65, device=DEVICE)
    if transposed:
        right = right.mT.contiguous().mT
        out = torch.empty(2, 65, 33, device=DEVICE).mT
    operations.launch_product(left, right, out, "tf32x3")
    torch.testing.assert_close(out, left @ right, rtol=1e-5, atol=1e-4)


def test_tensors_that_lie_otherwise_are_refused() -> None:
    layer = Layer("sgd", masked=False)
    turned = torch.zeros(NETWORKS, OUTPUTS, INPUTS).mT
    with pytest.raises(ValueError, match="they must lie alike"):
        operations.launch_update_by_gradient(
            turned, layer.weight.cpu(), [], None, layer.step, "sgd", RATE, 0.0, ALPHA
        )


# --- steps ----------------------------------------------------------------------------------------


def train_fused(job: Job, monkeypatch: pytest.MonkeyPatch) -> Cohort:
    """Train as a GPU would."""
    cohort = as_on_a_gpu(job, monkeypatch)
    assert cohort.train(job.epochs)
    return cohort


def assert_fused_agrees(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "off")
    plain = train_cohort(job, make_data())
    fused = train_fused(job, monkeypatch)
    assert_masked_weights_zero(fused)
    for run, rows in plain.rows.items():
        assert len(rows) == 11 < job.epochs  # some epochs were not probed
        for ours, theirs in zip(fused.rows[run], rows, strict=True):
            expected = {
                name: theirs[name]
                for name in ("train_loss", "probe_loss", "test_loss", "active_weights", "diverged")
            }
            assert_rows_agree(ours, expected, rtol=2e-3)


@pytest.mark.slow
# BatchNorm is one with a ReLU, but where a skip comes between, and not with another activation
@pytest.mark.parametrize(("precision", "activation"), [("tf32", "swish"), ("float32", "relu")])
@pytest.mark.parametrize("optimizer", PAPER_OPTIMIZERS)
def test_fused_steps_train_as_others(
    optimizer: str, precision: str, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(
        optimizer, "DA_L2_SC_BN", activation=activation, percents=(30, 70), precision=precision,
        epochs=13, l2_scope="weights",
    )  # fmt: skip
    assert_fused_agrees(job, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "activation"), [("momentum", "relu"), ("rmsprop", "swish")])
def test_a_wide_resnet_fused(
    optimizer: str, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_wide_resnet_job(optimizer, activation=activation, precision="tf32", epochs=13)
    assert_fused_agrees(job, monkeypatch)


def test_learned_activations_and_moving_masks_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(
        "adam", "L2", activation="prelu", percents=(30, 70), precision="tf32x3", epochs=13,
        mask_update="set", mask_update_interval=3,
    )  # fmt: skip
    assert_fused_agrees(job, monkeypatch)


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(
            make_job("adam", "DA_L2_SC_BN", percents=(30, 70), precision="tf32x3", epochs=13),
            marks=pytest.mark.slow,
        ),
        make_job("momentum", "BN", percents=(30,), precision="float32", epochs=13),
        make_wide_resnet_job("rmsprop", precision="tf32", epochs=13),
        pytest.param(
            make_wide_resnet_job("adagrad", precision="float32", epochs=13), marks=pytest.mark.slow
        ),
    ],
    ids=["mlp-tf32x3", "mlp-float32", "wide-resnet-tf32", "wide-resnet-float32"],
)
def test_whole_steps_by_the_kernels(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpreted, on the very tensors of a step: nothing lies otherwise than a kernel is told."""
    expected, ours = (as_on_a_gpu(job, monkeypatch) for _ in range(2))
    launched: dict[str, int] = {}

    def noted(launch: Any) -> Any:
        def run(*arguments: Any) -> None:
            launched[launch.__name__] = launched.get(launch.__name__, 0) + 1
            launch(*arguments)

        return run

    train_unprobed_steps(expected)
    for place, name, launch in (
        (update, "update_by_product", operations.launch_update_by_product),
        (update, "update_by_gradient", operations.launch_update_by_gradient),
        (update, "product", operations.launch_product),
        (torch.ops.gradflow, "rectified_", rectified_norm.launch_rectified),
        (torch.ops.gradflow, "rectified_back_", rectified_norm.launch_rectified_back),
    ):
        monkeypatch.setattr(place, name, noted(launch))
    train_unprobed_steps(ours)
    mlp = job.configuration.model == "mlp"
    assert {"launch_rectified", "launch_rectified_back"} < launched.keys()
    assert ("launch_update_by_product" in launched) == mlp
    assert ("launch_update_by_gradient" in launched) != mlp
    assert ("launch_product" in launched) == (job.settings.precision == "tf32x3")
    for (name, tensor), other in zip(
        ours.tensors().items(), expected.tensors().values(), strict=True
    ):
        torch.testing.assert_close(
            tensor, other, rtol=2e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def train_unprobed_steps(cohort: Cohort) -> None:
    """A full minibatch and a short one."""
    cohort._draw()
    for size in (16, 6):
        cohort._train_step(size, 0.01, probing=False)


def test_no_gradient_is_left_and_none_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "on")
    cohort = Cohort(make_job("adam", "BN", precision="tf32", epochs=13), make_data(), DEVICE)
    seen: list[str] = []

    class Look(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            seen.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    cohort._draw()
    with Look():
        cohort._train_step(16, 0.01, probing=False)
    layers = len(cohort.stacks[0].layers)
    assert seen.count("update_by_product_") == layers * len(cohort.stacks)
    assert "_foreach_mul_" not in seen  # no pass for the masks
    for stack in cohort.stacks:
        assert all(layer.grad is None for layer in stack.layers)
        assert all(other.grad is not None for other in stack.others)


def test_a_gpu_where_no_kernel_can_be_made_trains_without_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine without a C compiler, say. Asked twice, it tries and tells once."""

    def launch(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler.\nPlease specify one")

    operations._triton_works.cache_clear()
    monkeypatch.setattr(operations, "launch_product", launch)
    monkeypatch.setattr(torch, "ones", lambda *shape, device: Tensor())
    monkeypatch.setattr(torch, "zeros", lambda *shape, device: Tensor())
    gpu = torch.device("cuda")
    assert not fused_wanted(make_job("adam", precision="float32"), gpu)
    assert not operations.has_triton(gpu)
    assert operations.has_triton(torch.device("cpu"))
    operations._triton_works.cache_clear()
    assert capsys.readouterr().err == (
        "no Triton kernels here (Failed to find C compiler.); training without them, slower\n"
    )


def test_a_kernel_that_works_is_found() -> None:
    """The interpreter's, on whatever device the tests have."""
    operations._triton_works.cache_clear()
    assert operations._triton_works(DEVICE)
    operations._triton_works.cache_clear()


def test_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    job = make_job("adam", precision="float32")
    monkeypatch.setattr(operations, "_triton_works", lambda device: True)
    monkeypatch.delenv(SWITCH, raising=False)
    assert not fused_wanted(job, cpu) and fused_wanted(job, gpu)
    monkeypatch.setenv(SWITCH, "off")
    assert not fused_wanted(job, gpu)
    monkeypatch.setenv(SWITCH, "on")
    assert fused_wanted(job, cpu)
    assert not fused_wanted(make_job("adam", precision="float64"), gpu)
    for setting in ({"nesterov": True}, {"l1": 1e-3}, {"gradient_clip": 1.0}):
        assert not fused_wanted(make_job("momentum", precision="float32", **setting), gpu)
    monkeypatch.setenv(SWITCH, "yes")
    with pytest.raises(ValueError, match="GRADFLOW_FUSED is yes; it may be auto, on or off"):
        fused_wanted(job, cpu)


# --- how activations lie --------------------------------------------------------------------------


def copies_of_batchnorm(feature_major: bool) -> tuple[int, Tensor, list[Tensor]]:
    """Copies of activations in a product and BatchNorm, forward and backward; output, gradients."""
    torch.manual_seed(0)
    norm = StackedBatchNorm(3, 20).double()
    x = torch.randn(3, 16, 8, dtype=torch.float64)
    weight = torch.randn(3, 8, 20, dtype=torch.float64, requires_grad=True)
    copied = 0

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            nonlocal copied
            copied += func.overloadpacket.__name__ in ("clone", "copy_", "_to_copy")
            return func(*args, **(kwargs or {}))

    with Count():
        z = feature_major_product(x, weight) if feature_major else torch.bmm(x, weight)
        out = torch.relu(norm(z))
        out.square().sum().backward()
    return copied, out.detach(), [weight.grad, norm.weight.grad, norm.bias.grad]


def test_batchnorm_of_feature_major_activations_copies_nothing() -> None:
    copied, out, gradients = copies_of_batchnorm(feature_major=True)
    before, expected, same = copies_of_batchnorm(feature_major=False)
    assert copied == 0 < before
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(gradients, same, strict=True):
        assert ours.is_contiguous()
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_wide_resnets_weights_and_gradients_lie_like_its_images() -> None:
    cohort = Cohort(make_wide_resnet_job(precision="tf32"), make_data(), DEVICE)
    stack: Stack = cohort.stacks[0]
    for chosen in (True, False):
        stack.network.lie_channels_last(chosen)
        form = torch.channels_last if chosen else torch.contiguous_format
        for weight in stack.layers[:-1]:
            assert weight.squeeze(0).is_contiguous(memory_format=form)
    assert Settings().precision == "float32"
