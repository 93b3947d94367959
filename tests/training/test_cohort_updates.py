"""What a cohort does between steps: it moves masks, changes the rate and writes rows."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from cohorts import (
    DEVICE,
    LEARNING_RATES,
    THREE,
    assert_masked_weights_zero,
    assert_same_bits,
    layer_weights,
    make_data,
    make_job,
    make_wide_resnet_job,
    run_tensors,
    train_cohort,
    train_steps,
    training_batch,
    without,
)
from plain_networks import plain_network
from torch import Tensor

from gradflow.study.job import Job, Run, probe_epochs
from gradflow.training.cohort import Cohort
from gradflow.training.stack import MaskUpdate, Stack, weight_decay
from gradflow.training.step import learning_rate_at
from gradflow.training.step_choice import SWITCH


class TestMaskUpdate:
    JOB = make_job("adam", "L2_SC_BN", percents=THREE)

    @staticmethod
    def moved(masks: list[Tensor]) -> list[Tensor]:
        """Masks with as many ones, all elsewhere than a shift of one input had them."""
        return [mask.roll(1, dims=1) for mask in masks]

    def test_replaced_once(self) -> None:
        before: list[Tensor] = []
        at_update: list[float] = []

        def update(stack: Stack, steps: int) -> list[Tensor] | None:
            if steps != 7:
                return None
            before.extend(mask.clone() for mask in stack.masks or [])
            # what SET and RigL need: weights as they stand, and gradients of masked weights too
            pairs = zip(stack.layers, before, strict=True)
            at_update.extend(layer.grad[mask == 0].abs().sum().item() for layer, mask in pairs)
            return self.moved(before)

        cohort = Cohort(self.JOB, make_data(), DEVICE, mask_update=MaskUpdate(update))
        counts = [count.tolist() for count in cohort.stacks[0].active()]
        train_steps(cohort, 7)
        live = [count.clone() for count in cohort.stacks[0].live]
        train_steps(cohort, 1)
        stack = cohort.stacks[0]
        for mask, moved in zip(stack.masks or [], self.moved(before), strict=True):
            assert torch.equal(mask, moved)
        assert len(at_update) == 5 and all(total > 0 for total in at_update)
        assert [count.tolist() for count in stack.active()] == counts
        assert any(not torch.equal(new, old) for new, old in zip(stack.live, live, strict=True))
        cohort.train(self.JOB.epochs)
        assert_masked_weights_zero(cohort)
        row = cohort.rows[Run("sparse", 50)][-1]
        assert row["active_weights"] == [count[1] for count in counts]
        assert row["live_weights"] == [count[1].item() for count in stack.live]

    def test_newly_active_weights_start_at_zero_with_zero_state(self) -> None:
        cohort = Cohort(self.JOB, make_data(), DEVICE)
        train_steps(cohort, 7)
        stack = cohort.stacks[0]
        old = [mask.clone() for mask in stack.masks or []]
        weights = [layer.detach().clone() for layer in stack.layers]
        states = [
            [tensor.clone() for tensor in stack.optimizer.state_of(layer)] for layer in stack.layers
        ]
        stack.replace_masks(self.moved(old))
        for layer, weight, state, mask in zip(stack.layers, weights, states, old, strict=True):
            kept = mask.bool() & self.moved([mask])[0].bool()
            pairs = [(layer, weight), *zip(stack.optimizer.state_of(layer), state, strict=True)]
            assert len(pairs) == 3
            for tensor, former in pairs:
                assert torch.equal(tensor[kept], former[kept]) and torch.any(tensor[kept] != 0)
                assert torch.all(tensor[~kept] == 0)

    def test_runs_as_before_when_there_is_nothing_to_replace(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(SWITCH, "autograd")  # the step in which a rule is called
        calls: list[tuple[tuple[Run, ...], int]] = []

        def look(stack: Stack, steps: int) -> None:
            calls.append((stack.runs, steps))

        cohort = train_cohort(self.JOB, make_data(), mask_update=MaskUpdate(look))
        reference = train_cohort(self.JOB, make_data())
        assert [steps for _, steps in calls] == list(range(20))
        assert {runs for runs, _ in calls} == {
            cohort.stacks[0].runs
        }  # dense networks have nothing to move
        for run in self.JOB.runs:
            assert_same_bits(cohort, reference, run)

    def test_a_change_of_capacity_is_refused(self) -> None:
        cohort = Cohort(self.JOB, make_data(), DEVICE)
        stack = cohort.stacks[0]
        masks = self.moved(stack.masks or [])
        masks[1] = masks[1].clone()
        masks[1][2].view(-1)[masks[1][2].view(-1).nonzero()[0]] = (
            0  # one weight of one network fewer
        )
        with pytest.raises(ValueError, match="keep the number of active weights"):
            stack.replace_masks(masks)

    def test_a_dense_stack_has_no_masks(self) -> None:
        cohort = Cohort(self.JOB, make_data(), DEVICE)
        dense = next(stack for stack in cohort.stacks if stack.masks is None)
        with pytest.raises(ValueError, match="dense"):
            dense.replace_masks([torch.ones_like(layer) for layer in dense.layers])


class TestSchedule:
    def wide_resnet(self, epochs: int, **settings: Any) -> Job:
        return make_wide_resnet_job(learning_rate=0.1, epochs=epochs, **settings)

    def test_the_wide_resnet_drops_at_60_120_and_160_of_200(self) -> None:
        rates = [learning_rate_at(self.wide_resnet(200), epoch) for epoch in range(200)]
        assert rates == pytest.approx([0.1] * 60 + [0.02] * 60 + [0.004] * 40 + [0.0008] * 40)

    def test_other_lengths_keep_the_shares(self) -> None:
        rates = [learning_rate_at(self.wide_resnet(10), epoch) for epoch in range(10)]
        assert rates == pytest.approx([0.1] * 3 + [0.02] * 3 + [0.004] * 2 + [0.0008] * 2)

    def test_schedules_are_settings(self) -> None:
        constant = self.wide_resnet(200, wide_resnet_schedule="constant")
        assert {learning_rate_at(constant, epoch) for epoch in range(200)} == {0.1}
        assert {learning_rate_at(make_job("sgd", epochs=200), epoch) for epoch in range(200)} == {
            LEARNING_RATES["sgd"]
        }
        stepping = make_job("sgd", learning_rate=1.0, epochs=200, mlp_schedule="steps")
        assert learning_rate_at(stepping, 199) == pytest.approx(0.008)

    def test_the_cohort_follows_it(self) -> None:
        """The last fifth of the epochs moves SGD by 0.008 of what the first rate would."""
        data = make_data()
        job = make_job(
            "sgd", epochs=5, mlp_schedule="steps", learning_rate=0.5, architectures=("dense",)
        )
        run = job.runs[0]
        cohort = Cohort(job, data, DEVICE)
        cohort.train(4)
        before, network = layer_weights(cohort, run), plain_network(cohort, run)
        train_steps(cohort, 1)
        images, labels = training_batch(cohort.batches, cohort.batches.epoch(4), 0)
        torch.nn.functional.cross_entropy(network(images[0]), labels[0]).backward()
        for old, new, weight in zip(
            before, layer_weights(cohort, run), network.weights, strict=True
        ):
            torch.testing.assert_close(
                old - new, 0.5 * 0.2**3 * weight.grad.T, rtol=1e-9, atol=1e-16
            )

    @pytest.mark.parametrize(
        ("epochs", "expected"),
        [
            (1000, [0, 99, 199, 299, 399, 499, 599, 699, 799, 899, 999]),
            (500, [0, 49, 99, 149, 199, 249, 299, 349, 399, 449, 499]),
            (11, list(range(11))),
            (3, [0, 1, 2]),
            (1, [0]),
        ],
    )
    def test_probe_epochs(self, epochs: int, expected: list[int]) -> None:
        assert probe_epochs(epochs) == expected

    def test_only_probe_epochs_are_logged(self) -> None:
        cohort = train_cohort(make_job("sgd", epochs=13), make_data())
        for rows in cohort.rows.values():
            assert [row["epoch"] for row in rows] == probe_epochs(13)
            assert [row["step"] for row in rows] == [5 * (epoch + 1) for epoch in probe_epochs(13)]


class TestRows:
    def test_l2_in_use(self) -> None:
        assert weight_decay(make_job("sgd", "L2_BN", l2=0.25)) == 0.25
        assert weight_decay(make_job("sgd", "DA_SC_BN", l2=0.25)) == 0.0
        assert (
            weight_decay(make_wide_resnet_job("sgd", "L2_BN", l2=0.25, wide_resnet_l2=0.5)) == 0.5
        )

    def test_identity_columns(self) -> None:
        job = make_job("adam", "DA_L2", percents=(30, 70), epochs=1)
        row = train_cohort(job, make_data()).rows[Run("sparse", 70)][0]
        expected = {
            "scale": "smoke", "variant": "paper", "dataset": "digits",
            "configuration": job.configuration.name,
            "model": "mlp", "hidden_layers": 4, "depth": None, "widen_factor": None,
            "activation": "relu",
            "optimizer": "adam", "learning_rate": 0.005, "regularization": "DA_L2", "l2": 0.01,
            "batch_size": 16,
            "initialisation": "shared_dense_fan_in", "architecture": "sparse", "dense_width": 14,
            "max_width": 20,
            "width_percent": 70, "density_percent": None, "seed": 3, "epochs": 1,
        }  # fmt: skip
        assert {column: row[column] for column in expected} == expected

    def test_identity_columns_of_a_wide_resnet(self) -> None:
        job = make_wide_resnet_job(percent=30, epochs=1)
        row = train_cohort(job, make_data(train=20, test=10)).rows[Run("sparse", 30)][0]
        expected = {
            "model": "wide_resnet", "hidden_layers": None, "depth": 10, "widen_factor": 1,
            "dense_width": None,
            "max_width": None, "width_percent": None, "density_percent": 30,
            "architecture": "sparse",
        }  # fmt: skip
        assert {column: row[column] for column in expected} == expected

    def test_a_probe_changes_nothing(self) -> None:
        """Eleven epochs, all probed, train the network as thirteen, of which some are not."""
        data = make_data()
        job = make_job("adam", "DA_L2_SC_BN", epochs=13)
        some = Cohort(job, data, DEVICE)
        every = Cohort(dataclasses.replace(job, epochs=11), data, DEVICE)
        for cohort in (some, every):
            cohort.train(11)
        for run in job.runs:
            assert len(some.rows[run]) < len(every.rows[run]) == 11
            ours, theirs = run_tensors(some, run), run_tensors(every, run)
            assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
            logged = {row["epoch"]: without(row, "epochs") for row in every.rows[run]}
            assert all(without(row, "epochs") == logged[row["epoch"]] for row in some.rows[run])
