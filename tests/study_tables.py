"""Made-up study tables for tests: the columns of run logs, with values that behave roughly as real
ones do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradflow.study.job import Configuration, dense_width
from gradflow.study.plan import Plan
from gradflow.training.run_log import MEASURES, STUDY_SCHEMA

MAX_WIDTH = 256


def make_study_table(
    optimizers: Sequence[str] = ("adagrad", "adam", "momentum"),
    regularizations: Sequence[str] = ("NR", "L2", "BN"),
    activations: Sequence[str] = ("relu",),
    *,
    model: str = "mlp",
    dataset: str = "digits",
    stands_for: str | None = None,
    study: str = "made_up",
    depth: int = 4,
    learning_rate: float = 0.001,
    architectures: Sequence[str] = ("dense", "sparse"),
    percents: Sequence[int] = (10, 30, 50, 70, 90),
    seeds: Sequence[int] = (1, 2, 3),
    epochs: int = 5,
    advantage: float = 0.0,
    diverged: Sequence[tuple[str, str, int]] = (),
) -> pd.DataFrame:
    """A study table, a row per run and epoch, the same at each call with the same arguments.

    Args:
        optimizers: a configuration for each of these, each of `regularizations` and each of
            `activations`.
        regularizations: likewise.
        activations: likewise.
        model: `mlp`, or `wide_resnet`: then `percents` are densities, and the dense architecture
            has 100 alone.
        dataset: a name known to `gradflow.study.datasets`; digits has 360 test images, so that
            accuracies tie.
        stands_for: the data set that the study is about; `dataset` itself unless given.
        study: the study's name.
        depth: hidden layers of an MLP.
        learning_rate: of every configuration.
        architectures: of each configuration and percent.
        percents: dense widths or densities.
        seeds: of each run.
        epochs: all are probe epochs.
        advantage: percentage points that the sparse networks are better by.
        diverged: (optimizer, architecture, seed) of runs that are not finite from the second epoch
            on.
    """
    names = [(o, r, a) for o in optimizers for r in regularizations for a in activations]
    rows: list[dict[str, Any]] = []
    for optimizer, regularization, activation in names:
        configuration = Configuration(
            dataset=dataset, model=model, depth=depth if model == "mlp" else 10,
            widen_factor=0 if model == "mlp" else 1,
            activation=activation, optimizer=optimizer, learning_rate=learning_rate,
            regularization=regularization,
        )  # fmt: skip
        for architecture in architectures:
            for percent in (
                (100,) if model == "wide_resnet" and architecture == "dense" else percents
            ):
                for seed in seeds:
                    broken = (optimizer, architecture, seed) in diverged
                    rows += _run_rows(
                        configuration, architecture, percent, seed, epochs, advantage, broken
                    )
    return _table(rows, study, stands_for or dataset)


def make_table_of_plan(plan: Plan) -> pd.DataFrame:
    """The study table of a plan whose every run has finished, with at most two probe epochs."""
    rows: list[dict[str, Any]] = []
    for job, run in plan.runs():
        epochs = min(plan.epochs, 2)
        made = _run_rows(
            job.configuration,
            run.architecture,
            run.percent,
            job.seed,
            epochs,
            1.0,
            False,
            plan.max_width,
        )
        rows += [
            row | {"scale": plan.scale, "variant": job.variant, "epochs": plan.epochs}
            for row in made
        ]
    return _table(rows, plan.study, plan.stands_for)


def _table(rows: list[dict[str, Any]], study: str, stands_for: str) -> pd.DataFrame:
    rows = [{"study": study, "stands_for": stands_for, **row} for row in rows]
    # through Arrow, so that types and missing values are those of a real study table
    return pa.Table.from_pylist(rows, schema=STUDY_SCHEMA).to_pandas()


def write_study_table(path: Path, rows: pd.DataFrame) -> Path:
    """Write `rows` as the workflow writes a study table."""
    pq.write_table(pa.Table.from_pandas(rows, schema=STUDY_SCHEMA, preserve_index=False), path)
    return path


def _run_rows(
    configuration: Configuration,
    architecture: str,
    percent: int,
    seed: int,
    epochs: int,
    advantage: float,
    broken: bool,
    max_width: int = MAX_WIDTH,
) -> list[dict[str, Any]]:
    is_mlp = configuration.model == "mlp"
    generator = np.random.default_rng(
        [*configuration.name.encode(), *architecture.encode(), percent, seed]
    )
    better = advantage if architecture == "sparse" else 0.0
    final = (
        70
        + 15 * configuration.has("BN")
        - 5 * configuration.has("L2")
        + 8 * np.log10(percent / 10)
        + better
    )
    flow = 10.0 ** (-1 - configuration.has("BN") + 0.5 * (architecture == "sparse")) * percent**0.3
    rows = []
    for epoch in range(epochs):
        gone = broken and epoch > 0
        accuracy = final * (1 - 0.5 ** (epoch + 2)) + generator.normal(0, 1.0)
        accuracy = 10.0 if gone else np.clip(round(accuracy * 3.6), 0, 360) / 3.6
        loss = np.nan if gone else 2.3 * (1 - accuracy / 100) + 0.05 * generator.random()
        norms = np.nan if gone else flow * np.exp(generator.normal(-0.1 * epoch, 0.2))
        measures = dict(zip(MEASURES, (30 * norms, 2 * norms, 6 * norms, norms), strict=True))
        row = {
            "scale": "smoke",
            "variant": "paper",
            "dataset": configuration.dataset,
            "configuration": configuration.name,
            "model": configuration.model,
            "hidden_layers": configuration.depth if is_mlp else None,
            "depth": None if is_mlp else configuration.depth,
            "widen_factor": None if is_mlp else configuration.widen_factor,
            "activation": configuration.activation,
            "optimizer": configuration.optimizer,
            "learning_rate": configuration.learning_rate,
            "regularization": configuration.regularization,
            "l2": 0.0001 if configuration.has("L2") else 0.0,
            "batch_size": 128,
            "initialisation": "shared_dense_fan_in",
            "architecture": architecture,
            "dense_width": dense_width(max_width, percent) if is_mlp else None,
            "max_width": max_width if is_mlp else None,
            "width_percent": percent if is_mlp else None,
            "density_percent": None if is_mlp else percent,
            "seed": seed,
            "epochs": epochs,
            "epoch": epoch,
            "step": 12 * (epoch + 1),
            "train_loss": loss,
            "probe_loss": loss,
            "test_loss": np.inf if gone else loss * 1.1,
            "test_accuracy": float(accuracy),
            **measures,
            **{f"layer_{measure}": [value] * 5 for measure, value in measures.items()},
            **{f"minibatch_{measure}": 2 * value for measure, value in measures.items()},
            "other_grad_norm_l1": 0.1,
            "other_grad_norm_l2": 0.01,
            "active_weights": [100] * 5,
            "live_weights": [100] * 5,
            "total_weights": [1000] * 5,
            "trainable_parameters": 500,
            "diverged": gone,
            "collapsed": gone,
        }
        rows.append(row)
    return rows
