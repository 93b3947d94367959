"""User code that breaks its promises ends in a sentence that names its file, not in wrong logs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cohorts import DEVICE, make_data, make_job, train_cohort, train_steps

from gradflow.networks.activations import make_activation
from gradflow.networks.contracts import ContractError
from gradflow.study import own
from gradflow.study.job import Job, Settings
from gradflow.training.checkpoint import read_progress, restore_checkpoint, save_checkpoint
from gradflow.training.cohort import Cohort

Write = Callable[[str, str], None]
THREE = (30, 50, 70)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file of a user's own into another folder, for this test alone."""
    folder = tmp_path / "own"
    monkeypatch.setattr(own, "FOLDER", folder)

    def write(path: str, text: str) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)

    return write


OPTIMIZER = """
import torch
STATE = ("m",)
drawn = torch.Generator().manual_seed(0)
def update(parameters, gradients, state, learning_rate, weight_decay):
    for p, g, m in zip(parameters, gradients, state["m"]):
        {}
"""


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("p.sub_(g * learning_rate / g.norm())", "update couples networks"),
        ("p.sub_(torch.randn(p.shape, generator=drawn) * g)", "update gives other bits"),
        ("p.sub_((g + 0.1) * learning_rate)", "update moves masked weights"),
        ("p.sub_(g.reshape(7, 7))", "update fails with RuntimeError: shape"),
        ("m.resize_(1)", "update changes the shape"),
        ("p.sub_(g * learning_rate)", None),
        (
            "p.sub_(g / (1 + g.flatten(1).norm(dim=1).view(-1, *[1] * (g.dim() - 1)))"
            " if g.dim() > 1 else g)",
            None,  # a norm of each network is fine
        ),
    ],
)
def test_an_optimizer_is_tried_first(body: str, sentence: str | None, write: Write) -> None:
    write("optimizers/mine.py", OPTIMIZER.format(body))
    job = make_job("mine", "L2_BN", percents=THREE)
    if sentence is None:
        train_cohort(job, make_data())
        return
    with pytest.raises(ContractError, match=rf"own/optimizers/mine\.py: {sentence}"):
        Cohort(job, make_data(), DEVICE)


def test_weights_that_are_moved_later_are_found_at_the_probe(write: Write) -> None:
    """What no trial of a few steps shows."""
    write(
        "optimizers/late.py",
        OPTIMIZER.format("m.add_(1); p.sub_(torch.where(m > 7, 0.1, learning_rate * g))").replace(
            "m.add_(1)", "m.add_(1 * (g == g))"
        ),
    )
    cohort = Cohort(make_job("late", percents=THREE, epochs=4), make_data(), DEVICE)
    with pytest.raises(ContractError, match=r"masked weights of layer 0 are not zero: .* late"):
        cohort.train(4)


ACTIVATION = """
import torch
class Act(torch.nn.Module):
    def forward(self, x):
        return {}
def make(networks, settings):
    return Act()
"""


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("x / x.norm()", "the module couples networks"),
        ("torch.nn.functional.rrelu(x, training=True)", "the module gives other values"),
        ("x[:, :2]", r"the module maps \(2, 6, 5\) to \(2, 2, 5\)"),
        ("x @ x", "forward fails with RuntimeError"),
        ("torch.relu(x)", None),
    ],
)
def test_an_activation_is_tried_first(body: str, sentence: str | None, write: Write) -> None:
    write("activations/mine.py", ACTIVATION.format(body))
    if sentence is None:
        make_activation("mine", 2, Settings())
        return
    with pytest.raises(ContractError, match=rf"own/activations/mine\.py: {sentence}"):
        make_activation("mine", 2, Settings())


def job_of(rule: str) -> Job:
    return make_job("adam", "BN", percents=THREE, mask_update=rule)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            "[m.fill_(1) for m in stack.masks]",
            "update changes the stack's masks or weights in place",
        ),
        ("[m * 0.5 for m in stack.masks]", "a mask of layer 0 with other values than 0 and 1"),
        ("[torch.ones_like(m) for m in stack.masks]", "must keep the number of active weights"),
        ("stack.masks[:1]", "must return a mask"),
        ("[m[0] for m in stack.masks]", "must return a mask"),
        (
            "[m.flatten(1)[:, torch.randperm(m[0].numel())].view_as(m) for m in stack.masks]",
            "returns other masks when it is asked again",
        ),
        ("stack.nothing", "update fails with AttributeError"),
        ("[m.flatten(1).roll(1, 1).view_as(m) for m in stack.masks]", None),
        ("None", None),
    ],
)
def test_a_mask_rule_is_rehearsed(body: str, sentence: str | None, write: Write) -> None:
    write(
        "mask_updates/mine.py", f"import torch\ndef update(stack, steps, job):\n    return {body}\n"
    )
    if sentence is None:
        train_cohort(job_of("mine"), make_data())
        return
    with pytest.raises(ContractError, match=rf"own/mask_updates/mine\.py: .*{sentence}"):
        Cohort(job_of("mine"), make_data(), DEVICE)


def test_a_mask_rule_is_checked_at_each_update(write: Write) -> None:
    text = """
def update(stack, steps, job):
    if steps < 6:
        return None
    for mask in stack.masks:
        mask.fill_(1)
    return None
"""
    write("mask_updates/late.py", text)
    cohort = Cohort(job_of("late"), make_data(), DEVICE)
    train_steps(cohort, 9)
    with pytest.raises(ContractError, match="in place"):
        train_steps(cohort, 9)


def test_the_rehearsal_leaves_no_trace(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADFLOW_STEP", "autograd")  # which a rule of one's own has in any case
    write("mask_updates/none.py", "def update(stack, steps, job):\n    return None\n")
    fixed, ruled = (train_cohort(job_of(name), make_data()) for name in ("fixed", "none"))
    for run, rows in fixed.rows.items():
        for row, other in zip(rows, ruled.rows[run], strict=True):
            assert row == other


@pytest.mark.parametrize(
    ("path", "text", "sentence"),
    [
        ("optimizers/mine.py", "STATE = (\n", "not Python, line 1"),
        ("optimizers/mine.py", "def update(p, g): pass", "update has 2 parameters where 5 are"),
        ("mask_updates/mine.py", "def update(stack): pass", "update has 1 parameters where 3 are"),
        ("activations/mine.py", "def make(): pass", "make has 0 parameters where 2 are expected"),
        ("optimizers/mine.py", "def update(*all): pass", None),
    ],
)
def test_a_file_is_read_before_any_job(
    path: str, text: str, sentence: str | None, write: Write
) -> None:
    write(path, text)
    found = own.mistakes(path.split("/")[0], ())
    assert len(found) == (0 if sentence is None else 1)
    if sentence:
        assert found[0].startswith(f"{own.FOLDER / path}: {sentence}")


def test_a_file_that_cannot_be_imported_is_named(write: Write) -> None:
    write("activations/mine.py", "import no_such_module\ndef make(networks, settings): ...")
    arguments: Any = ("mine", 2, Settings())
    with pytest.raises(ValueError, match=r"mine\.py: it cannot be imported \(ModuleNotFoundError"):
        make_activation(*arguments)


def test_a_mask_of_fractions_is_refused() -> None:
    cohort = Cohort(make_job("adam"), make_data(), DEVICE)
    stack = cohort.stacks[0]
    with pytest.raises(ValueError, match="other values than 0 and 1"):
        stack.replace_masks([mask * 0.5 for mask in stack.masks or []])
    assert torch.equal(stack.masks[0].bool(), stack.masks[0] != 0)


def test_masked_weights_that_a_checkpoint_moves_are_found_on_resuming(tmp_path: Path) -> None:
    job = make_job("adam", percents=THREE)
    stopped, resumed = (Cohort(job, make_data(), DEVICE) for _ in range(2))
    train_steps(stopped, 2)
    stack = stopped.stacks[0]
    assert stack.masks is not None
    with torch.no_grad():
        stack.layers[1].add_(0.1 * (stack.masks[1] == 0))
    save_checkpoint(tmp_path / "job.json", stopped, 1.0)
    progress = read_progress(tmp_path / "job.json")
    assert progress is not None
    with pytest.raises(ContractError, match="masked weights of layer 1 are not zero"):
        restore_checkpoint(tmp_path / "job.json", progress, resumed)
