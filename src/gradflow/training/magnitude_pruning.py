"""Magnitude pruning (section 4.3): train dense for half of the epochs, prune once, fine-tune for
the other half.
"""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path

import torch

from gradflow.files import lock, lock_path
from gradflow.networks.build import active_at
from gradflow.networks.masks import magnitude_mask
from gradflow.networks.wide_resnet import WideResNet
from gradflow.study.finished_jobs import record_job
from gradflow.study.job import Job, Run, superseded_path
from gradflow.training.checkpoint import (
    CheckpointError,
    read_progress,
    remove_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from gradflow.training.cohort import Cohort
from gradflow.training.displaced import move, set_aside_damaged
from gradflow.training.made_by import are_native
from gradflow.training.stack import place_mask
from gradflow.training.train_job import advance, load_job_data, read_checkpoint, train_job

DENSE = Run("dense", 100)


def pretrain(job: Job, results: Path, device: torch.device, _keep_weights: bool = False) -> None:
    """Train the dense network of `job` for the first half of its epochs and keep its state for
    every density.

    Args:
        job: a dense job; see `spec.Job.pretraining`.
        results: the results folder.
        device: where to train.
        _keep_weights: of no meaning here, the state is kept in any case.

    Raises:
        training.Stopped: SIGTERM, SIGINT or SIGHUP arrived; the checkpoint holds what was done.
    """
    pretrained, state = results / job.pretrained_path, results / f"{job.pretrained_path}.state.json"
    with lock(lock_path(state)):
        done = read_progress(pretrained)
        if (
            done is not None
            and done.spec == job.to_json()
            and pretrained.with_name(done.tensors).exists()
        ):
            return
        if take_back_pretrained(job, results):
            return
        progress = read_checkpoint(state)
        if progress is not None and progress.spec != job.to_json():
            progress = None
        cohort = Cohort(job, load_job_data(job, results), device)
        seconds = advance(cohort, pretraining_epochs(job), state, progress)
        displace_pretrained(job, results)
        save_checkpoint(pretrained, cohort, seconds)
        native = are_native(cohort.made_by)
        record_job(results, job, cohort.rows, seconds, device.type, native, pretraining=True)
        remove_checkpoint(state)


def prune_and_finetune(
    job: Job, results: Path, device: torch.device, keep_weights: bool = False
) -> None:
    """Train a magnitude job from its pretrained network to the end and publish its log.

    Raises:
        checkpoint.CheckpointError: the pretrained state is damaged; it is moved aside, so that the
            same command makes it again.
        training.Stopped: SIGTERM, SIGINT or SIGHUP arrived; the checkpoint holds what was done.
    """
    train_job(
        job,
        results,
        device,
        keep_weights,
        start=lambda cohort: start_from_pretrained(cohort, results),
    )


def displace_pretrained(job: Job, results: Path) -> None:
    """Make room for a pretrained network: move one of another specification aside, and a damaged
    one.
    """
    place = job.pretrained_path
    done = read_progress(results / place)
    if done is None:
        if (results / place).exists():
            set_aside_damaged(results, place, "the pretrained network is damaged")
    elif done.spec != job.to_json():
        aside = results / superseded_path(place, done.spec)
        with suppress(FileNotFoundError):
            move((results / place).with_name(done.tensors), aside.with_name(done.tensors))
        move(results / place, aside)


def take_back_pretrained(job: Job, results: Path) -> bool:
    """Put a superseded pretrained network back, if there is one; whether it is there now."""
    spec, place = job.to_json(), results / job.pretrained_path
    aside = results / superseded_path(job.pretrained_path, spec)
    done = read_progress(aside)
    if done is None or done.spec != spec or not aside.with_name(done.tensors).exists():
        return False
    displace_pretrained(job, results)
    move(aside.with_name(done.tensors), place.with_name(done.tensors))
    move(aside, place)
    return True


def pretraining_epochs(job: Job) -> int:
    """Epochs before pruning: half of them, at least one."""
    return max(1, job.epochs // 2)


def start_from_pretrained(cohort: Cohort, results: Path) -> None:
    """Bring a magnitude job's new cohort to where fine-tuning starts: the dense network's state,
    pruned.
    """
    job, run = cohort.job, cohort.job.runs[0]
    path = results / job.pretrained_path
    cohort.stacks[0].masks = None  # as in the dense network's state
    try:
        progress = read_progress(path)
        if progress is None or progress.spec != job.pretraining().to_json():
            raise CheckpointError(
                f"{path}: the pretrained network is missing, damaged or another one"
            )
        # the dense network's log so far is the beginning of this run's
        rows = [
            {**row, "architecture": run.architecture, "density_percent": run.percent}
            for row in progress.rows[DENSE]
        ]
        restore_checkpoint(path, dataclasses.replace(progress, rows={run: rows}), cohort)
    except CheckpointError as error:
        displace_pretrained(job.pretraining(), results)
        if path.exists():
            set_aside_damaged(results, job.pretrained_path, str(error))
        raise CheckpointError(
            f"{error}; it is moved aside, run the same command again to make it anew"
        ) from None
    prune(cohort)


@torch.no_grad()
def prune(cohort: Cohort) -> None:
    """Mask each layer of a Wide ResNet to its largest weights, as many as a random mask of that
    density has.

    The optimizer's state goes on for the weights that stay, or starts afresh (setting
    `finetune_optimizer`).
    """
    stack, run = cohort.stacks[0], cohort.job.runs[0]
    if not isinstance(stack.network, WideResNet):
        raise TypeError("magnitude pruning is for Wide ResNets")
    stack.masks = []
    for layer, weight in zip(stack.network.plan, stack.layers, strict=True):
        active = active_at(cohort.job, run, layer.role, layer.shape)
        mask = place_mask(magnitude_mask(weight[0], active).unsqueeze(0), weight)
        stack.masks.append(mask)
        for tensor in (weight, *stack.optimizer.state_of(weight)):
            tensor.mul_(mask)
    if cohort.job.settings.finetune_optimizer == "fresh":
        for tensor in stack.optimizer.tensors().values():
            tensor.zero_()
    stack.count_live()
