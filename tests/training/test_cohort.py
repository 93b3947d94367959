"""The engine against the plain loop (`plain_training`), and what the design promises of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from cohorts import (
    DEVICE,
    THREE,
    assert_close,
    assert_masked_weights_zero,
    assert_rows_agree,
    assert_same_bits,
    find_run,
    layer_weights,
    make_data,
    make_job,
    make_wide_resnet_job,
    run_tensors,
    train_cohort,
    train_steps,
)
from plain_training import assert_agrees_with_plain
from torch import Tensor

from gradflow.study.job import OPTIMIZERS, Run, dense_width
from gradflow.study.shapes import capacity, mlp_layer_shapes
from gradflow.training.cohort import Cohort
from gradflow.training.stack import Stack
from gradflow.training.step_choice import SWITCH


class TestOracle:
    @pytest.mark.parametrize("percents", [(50,), THREE], ids=["K=1", "K=3"])
    @pytest.mark.parametrize("regularization", ["NR", "L2", "BN", "SC"])
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_every_optimizer(
        self, optimizer: str, regularization: str, percents: tuple[int, ...]
    ) -> None:
        assert_agrees_with_plain(
            make_job(optimizer, regularization, percents=percents), make_data()
        )

    @pytest.mark.parametrize("regularization", ["NR", "DA_L2_SC_BN"])
    @pytest.mark.parametrize("activation", ["prelu", "elu", "swish", "srelu", "sigmoid"])
    def test_every_other_activation(self, activation: str, regularization: str) -> None:
        # a sigmoid network without BatchNorm needs a higher rate to move at all
        job = make_job(
            "adam", regularization, activation=activation, percents=THREE, learning_rate=0.02
        )
        assert_agrees_with_plain(job, make_data())

    @pytest.mark.parametrize(
        "settings",
        [
            {"skip_place": "after_activation"},
            {"skip_overlap": True},
            {
                "skip_overlap": True,
                "skip_place": "after_activation",
                "batchnorm_place": "after_activation",
            },
            {"batchnorm_place": "after_activation"},
            {"l2_scope": "weights"},
            {"probe_images": 33},  # in batches of 16, 16 and 1: see below
        ],
        ids=lambda settings: "-".join(settings),
    )
    def test_every_setting_that_changes_the_network(self, settings: dict[str, Any]) -> None:
        # BatchNorm cannot normalise a minibatch of one image, in PyTorch either
        regularization = "DA_L2_SC" if "probe_images" in settings else "DA_L2_SC_BN"
        assert_agrees_with_plain(
            make_job("adam", regularization, percents=THREE, **settings), make_data()
        )

    def test_rmsprop_alpha(self) -> None:
        assert_agrees_with_plain(make_job("rmsprop", "L2", rmsprop_alpha=0.9), make_data())

    @pytest.mark.parametrize("depth", [1, 2, 5])
    def test_other_depths(self, depth: int) -> None:
        assert_agrees_with_plain(
            make_job("momentum", "SC_BN", depth=depth, percents=THREE), make_data()
        )

    @pytest.mark.parametrize("architecture", ["sparse", "dense"])
    @pytest.mark.parametrize("optimizer", ["momentum", "adagrad", "adam"])
    def test_wide_resnet(self, optimizer: str, architecture: str) -> None:
        percent = 30 if architecture == "sparse" else 100
        job = make_wide_resnet_job(
            optimizer,
            "DA_L2_BN",
            architecture=architecture,
            percent=percent,
            wide_resnet_schedule="constant",
            activation="swish" if optimizer == "adam" else "relu",
        )
        assert_agrees_with_plain(job, make_data(train=38, test=10, channels=3), rtol=1e-9)

    def test_learned_activations_differ_from_network_to_network(self) -> None:
        cohort = train_cohort(make_job("adam", activation="prelu", percents=THREE), make_data())
        slopes = torch.stack(
            [run_tensors(cohort, run)["activations.0.slope"] for run in cohort.stacks[0].runs]
        )
        assert len(slopes.unique()) == len(THREE)
        assert torch.all(slopes != 0.25)


class TestSameCapacity:
    @pytest.mark.parametrize("regularization", ["NR", "DA_L2_SC_BN"])
    def test_twins_have_the_same_active_weights_in_every_layer(self, regularization: str) -> None:
        cohort = Cohort(make_job("adam", regularization, percents=THREE), make_data(), DEVICE)

        def check() -> None:
            for percent in THREE:
                shapes = mlp_layer_shapes(64, dense_width(20, percent), 4, 5)
                sparse, k = find_run(cohort, Run("sparse", percent))
                dense, _ = find_run(cohort, Run("dense", percent))
                assert [tuple(layer.shape[1:]) for layer in dense.layers] == shapes
                assert [count[k].item() for count in sparse.active()] == capacity(shapes)
                assert [count.item() for count in dense.active()] == capacity(shapes)
                nonzero = [
                    int(weight.count_nonzero())
                    for weight in layer_weights(cohort, Run("sparse", percent))
                ]
                assert nonzero == capacity(shapes)

        check()
        cohort.train(4)
        check()
        for percent in THREE:
            sparse, dense = (cohort.rows[Run(name, percent)][-1] for name in ("sparse", "dense"))
            assert sparse["active_weights"] == dense["active_weights"]
            assert sparse["total_weights"] == [64 * 20, 400, 400, 400, 100]
            assert dense["total_weights"] == dense["active_weights"]

    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_masked_weights_stay_zero(self, optimizer: str) -> None:
        """After 50 steps with L2; also where BatchNorm and learned activations join in."""
        for regularization, activation in (("L2", "relu"), ("L2_SC_BN", "srelu")):
            job = make_job(
                optimizer, regularization, activation=activation, percents=THREE, epochs=10
            )
            assert_masked_weights_zero(train_cohort(job, make_data()))

    def test_masked_weights_of_a_wide_resnet_stay_zero(self) -> None:
        cohort = train_cohort(make_wide_resnet_job("adam"), make_data(train=38, test=10))
        assert_masked_weights_zero(cohort)

    def test_batchnorm_and_activations_are_trainable_but_not_active(self) -> None:
        cohort = train_cohort(make_job("sgd", "BN", activation="srelu", epochs=1), make_data())
        for run, width in ((Run("sparse", 50), 20), (Run("dense", 50), 10)):
            row = cohort.rows[run][0]
            assert sum(row["active_weights"]) == 64 * 10 + 3 * 100 + 50
            assert row["trainable_parameters"] == sum(row["active_weights"]) + 4 * (2 * width + 4)


class TestCompany:
    """Promise 3: a run's numbers do not depend on the runs beside it."""

    @pytest.mark.parametrize(("precision", "rtol"), [("float64", 1e-10), ("float32", 1e-4)])
    @pytest.mark.parametrize(
        ("optimizer", "regularization", "activation"),
        [("momentum", "NR", "relu"), ("adam", "DA_L2_SC_BN", "relu"), ("adagrad", "L2", "srelu")],
    )
    def test_alone_as_in_the_cohort(
        self, optimizer: str, regularization: str, activation: str, precision: str, rtol: float
    ) -> None:
        job = make_job(
            optimizer, regularization, activation=activation, percents=THREE, precision=precision
        )
        cohort = train_cohort(job, make_data())
        for run in job.runs:
            alone = train_cohort(job.only(run), make_data())
            assert list(alone.rows) == [run]
            ours, theirs = run_tensors(alone, run), run_tensors(cohort, run)
            assert ours.keys() == theirs.keys()
            for name, tensor in ours.items():
                assert_close(tensor, theirs[name], rtol, f"{name} of {run}")
            for row, expected in zip(alone.rows[run], cohort.rows[run], strict=True):
                assert_rows_agree(row, expected, rtol)

    @pytest.mark.skipif(DEVICE.type == "cpu", reason="GRADFLOW_TEST_DEVICE names no GPU")
    @pytest.mark.parametrize(("precision", "rtol"), [("float64", 1e-8), ("float32", 1e-3)])
    @pytest.mark.parametrize(
        ("optimizer", "regularization"),
        [("momentum", "BN"), ("adam", "DA_L2_SC_BN"), ("adagrad", "NR")],
    )
    def test_a_gpu_agrees_with_a_cpu(
        self, optimizer: str, regularization: str, precision: str, rtol: float
    ) -> None:
        """Masks, draws and order are equal, so a few epochs differ by rounding alone."""
        job = make_job(optimizer, regularization, percents=THREE, precision=precision)
        on_gpu, on_cpu = (
            train_cohort(job, make_data()),
            Cohort(job, make_data(), torch.device("cpu")),
        )
        assert on_cpu.train(job.epochs)
        for run in job.runs:
            for row, expected in zip(on_gpu.rows[run], on_cpu.rows[run], strict=True):
                assert_rows_agree(row, expected, rtol)

    @pytest.mark.parametrize("precision", ["float64", "float32"])
    @pytest.mark.parametrize(
        ("optimizer", "regularization"), [("adam", "DA_L2_SC_BN"), ("momentum", "NR")]
    )
    def test_repeated_job_is_bit_identical(
        self, optimizer: str, regularization: str, precision: str
    ) -> None:
        job = make_job(optimizer, regularization, percents=THREE, precision=precision)
        first, second = train_cohort(job, make_data()), train_cohort(job, make_data())
        for run in job.runs:
            assert_same_bits(first, second, run)

    def test_repeated_wide_resnet_is_bit_identical(self) -> None:
        job = make_wide_resnet_job("adam", "DA_L2_BN", precision="float32")
        data = make_data(train=38, test=10)
        assert_same_bits(train_cohort(job, data), train_cohort(job, data), job.runs[0])

    @pytest.mark.parametrize("wanted", [Run("dense", 50), Run("sparse", 50)])
    def test_some_of_the_runs_are_bit_identical_to_all(self, wanted: Run) -> None:
        job = make_job("adam", "DA_L2_SC_BN", percents=THREE)
        everything = train_cohort(job, make_data())
        part = Cohort(job, make_data(), DEVICE, runs=[wanted])
        part.train(job.epochs)
        # a stack whose networks share products is trained whole
        together = (
            [wanted]
            if wanted.architecture == "dense" or part.native is not None
            else [Run("sparse", percent) for percent in THREE]
        )
        assert list(part.rows) == together
        for run in together:
            assert_same_bits(part, everything, run)

    def test_twins_train_on_the_same_images_and_widths_on_others(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(SWITCH, "autograd")  # whose networks are modules, with hooks
        cohort = Cohort(make_job("sgd", "DA", percents=THREE, epochs=1), make_data(), DEVICE)
        seen: dict[Run, list[Tensor]] = {run: [] for run in cohort.rows}
        for stack in cohort.stacks:

            def record(_module: object, inputs: tuple[Tensor], stack: Stack = stack) -> None:
                for run, images in zip(stack.runs, inputs[0], strict=True):
                    seen[run].append(images)

            stack.network.register_forward_pre_hook(record)
        train_steps(cohort, 3)
        for percent in THREE:
            for sparse, dense in zip(
                seen[Run("sparse", percent)], seen[Run("dense", percent)], strict=True
            ):
                assert torch.equal(sparse, dense)
        assert not torch.equal(seen[Run("sparse", 30)][0], seen[Run("sparse", 50)][0])


class TestFailure:
    """Promise 5: failure is a row, and nobody else's."""

    def test_high_learning_rate_is_logged_as_diverged(self) -> None:
        job = make_job("sgd", learning_rate=10.0, percents=THREE, epochs=12, precision="float32")
        cohort = train_cohort(job, make_data())
        assert any(rows[-1]["diverged"] for rows in cohort.rows.values())
        for rows in cohort.rows.values():
            assert len(rows) == 11
            # the weights grow without bound, unless every unit dies first: then the logits are zero
            # for good
            assert rows[-1]["diverged"] != rows[-1]["collapsed"]
            for row in rows:
                if row["diverged"]:
                    assert (row["test_accuracy"], row["test_loss"]) == (100 / 5, math.inf)
                else:
                    assert math.isfinite(row["test_loss"])

    @pytest.mark.parametrize("value", [math.inf, math.nan])
    @pytest.mark.parametrize("regularization", ["NR", "DA_L2_SC_BN"])
    def test_a_diverged_network_does_not_touch_its_stack(
        self, regularization: str, value: float
    ) -> None:
        job = make_job("adam", regularization, percents=THREE)
        sick, data = Run("sparse", 50), make_data()
        untouched, poked = Cohort(job, data, DEVICE), Cohort(job, data, DEVICE)
        for cohort in (untouched, poked):
            train_steps(cohort, 7)
        stack, k = find_run(poked, sick)
        with torch.no_grad():
            stack.layers[2][k, 0, 0] = value
        for cohort in (untouched, poked):
            cohort.train(job.epochs)
        assert [row["diverged"] for row in poked.rows[sick]] == [False, True, True, True]
        for run in job.runs:
            if run != sick:
                assert_same_bits(untouched, poked, run)
                assert not any(row["diverged"] for row in poked.rows[run])

    def test_diverged_is_for_good(self) -> None:
        job = make_job("sgd", percents=THREE)
        sick = Run("sparse", 30)
        cohort = Cohort(job, make_data(), DEVICE)
        stack, k = find_run(cohort, sick)
        healthy = [layer.detach().clone() for layer in stack.layers]
        with torch.no_grad():
            stack.layers[0][k] = math.nan
        cohort.train(1)
        with torch.no_grad():
            for layer, weight in zip(stack.layers, healthy, strict=True):
                layer.copy_(weight)
        cohort.train(2)
        last = cohort.rows[sick][-1]
        assert math.isfinite(last["train_loss"])
        assert last["diverged"] and last["test_loss"] == math.inf and last["test_accuracy"] == 20.0
        # its twin and its neighbours learn
        assert not any(cohort.rows[run][-1]["diverged"] for run in job.runs if run != sick)

    def test_a_running_statistic_that_is_not_finite_is_found_by_the_test_loss(self) -> None:
        cohort = Cohort(make_job("sgd", "BN"), make_data(), DEVICE)
        stack, k = find_run(cohort, Run("sparse", 50))
        stack.network.norms[0].running_mean[k, 0] = math.nan
        cohort.train(1)
        assert cohort.rows[Run("sparse", 50)][0]["diverged"]

    def test_collapsed_never_left_chance(self) -> None:
        chance = math.log(5)
        still = train_cohort(
            make_job("sgd", "BN", activation="sigmoid", learning_rate=0.0), make_data()
        )
        for run in still.rows:
            with torch.no_grad():  # logits of zero: the loss is log C exactly
                stack, k = find_run(still, run)
                stack.layers[-1][k] = 0
        still.epoch = 3
        still.train(4)
        for rows in still.rows.values():
            assert rows[-1]["train_loss"] == pytest.approx(chance)
            assert rows[-1]["collapsed"] and not rows[-1]["diverged"]
        learning = train_cohort(make_job("adam", "BN"), make_data())
        for rows in learning.rows.values():
            assert rows[-1]["train_loss"] < 0.98 * chance
            assert not rows[-1]["collapsed"]
