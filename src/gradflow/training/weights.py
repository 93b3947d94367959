"""Final weights and masks of a run, as safetensors beside its log: where the setting `keep_weights`
of a scale asks.

Keeping them is no part of a run's identity. A run that is finished is not trained again for its
weights, so only the runs trained since the setting is on have them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from gradflow.files import remove_asides, replacing, save_tensors
from gradflow.networks.wide_resnet import ProbeableBatchNorm
from gradflow.study.job import ENGINE_VERSION, Job, Run
from gradflow.training.cohort import Cohort


def weights_path(job: Job, run: Run, results: Path) -> Path:
    """Where the weights of a run lie: beside its log, under its name."""
    return (results / job.log_path(run)).with_suffix(".safetensors")


def run_tensors(cohort: Cohort, run: Run) -> dict[str, Tensor]:
    """A run's own tensors, without the axis K.

    Returns:
        `layer.0` and on, effective weights, which are zero where masked; `mask.0` and on, bool, of
        a network that has masks; and under their module's name the parameters and statistics of
        BatchNorm (`norms.`) and the parameters of activations (`activations.`).
    """
    stack = next(stack for stack in cohort.stacks if run in stack.runs)
    k = stack.runs.index(run)
    found: dict[str, Tensor] = {}
    for index, layer in enumerate(stack.layers):
        found[f"layer.{index}"] = layer[k]
        if stack.masks is not None:
            mask = stack.masks[index][k].bool()
            # a network that diverged has not-a-number where it should be zero
            found[f"layer.{index}"] = torch.where(mask, layer[k], 0.0)
            found[f"mask.{index}"] = mask
    unstacked = tuple(
        f"{name}."
        for name, module in stack.network.named_modules()
        if isinstance(module, ProbeableBatchNorm)
    )
    for name, tensor in stack.network.state_dict().items():
        if not name.startswith("layers."):
            found[name] = tensor if name.startswith(unstacked) else tensor[k]
    # copies, since views of a stack would be written whole
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in found.items()}


def write_weights(path: Path, cohort: Cohort, run: Run) -> None:
    """Write a run's tensors whole or not at all, with its specification as metadata; the caller has
    the job's lock.
    """
    remove_asides(path.parent, path.name)
    metadata = {"spec": cohort.job.only(run).to_json(), "engine_version": str(ENGINE_VERSION)}
    with replacing(path) as aside:
        save_tensors(aside, run_tensors(cohort, run), metadata)
