"""Which jobs have compiled steps on a CPU; trainer and plan ask, without torch or numba."""

from __future__ import annotations

import dataclasses

from gradflow.study.job import PAPER_ACTIVATIONS, PAPER_OPTIMIZERS, Job, Settings

METHODS = {"NR", "DA", "L2", "SC", "BN"}
# settings that the steps follow or that do not concern them; any other must be at its default
FOLLOWED = {
    "batch_size", "mlp_schedule", "initialisation", "init_distribution", "init_gain", "l2",
    "l2_scope", "skip_place", "skip_overlap", "batchnorm_place", "prelu_slope", "srelu_left",
    "srelu_right", "rmsprop_alpha", "probe_images", "flip", "train_images", "mask_update",
    "mask_update_interval", "mask_update_fraction", "precision", "image_side", "max_width",
    "wide_resnet_l2", "wide_resnet_schedule", "wide_resnet_keep_dense", "finetune_optimizer",
    "initial_mask",
}  # fmt: skip


def why_not(job: Job) -> str:
    """Why a job's steps are not native ones, in a few words; empty where they are."""
    configuration, settings = job.configuration, job.settings
    if configuration.model != "mlp":
        return "not an MLP"
    if settings.precision == "bf16":
        return "bfloat16"
    if configuration.optimizer not in PAPER_OPTIMIZERS:
        return f"optimizer {configuration.optimizer}"
    if configuration.activation not in PAPER_ACTIVATIONS:
        return f"activation {configuration.activation}"
    other = set(configuration.regularization.split("_")) - METHODS
    if other:
        return f"regularization {min(other)}"
    default = Settings()
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name not in FOLLOWED and value != getattr(default, field.name):
            return f"setting {field.name}"
    return ""
