"""Runs of the studies behind the claims, made up so that a claim is true, false or open."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from gradflow.analysis.runs import Artifact
from gradflow.paper.claims.correlations import (
    TABLE_1,
)
from gradflow.paper.claims.design import design_of
from gradflow.paper.claims.evidence import (
    ALL_OPTIMIZERS,
    HIGH,
    LOW,
    LOWEST,
    SPREAD,
    WITHOUT_BN,
    RunEvidence,
)
from gradflow.study.job import PAPER_ACTIVATIONS, Configuration
from gradflow.training.run_log import MEASURES

PERCENTS, SEEDS = (10, 30, 50, 70, 90), (0, 1, 2)
DENSITIES = (1, 5, 10, 20, 50, 100)

World = Callable[[pd.DataFrame], pd.DataFrame]  # changes runs


def configurations() -> Iterable[tuple[str, str, str, float, str, str]]:
    """What the studies behind the claims have: stands_for, model, optimizer, rate, regularization,
    activation.
    """
    for stands_for, blocks in TABLE_1.items():
        for rate, optimizers, names in blocks:
            for optimizer, name in itertools.product(optimizers, names):
                yield stands_for, "mlp", optimizer, rate, name, "relu"
    for optimizer, name in itertools.product(ALL_OPTIMIZERS, WITHOUT_BN):
        yield "cifar100", "mlp", optimizer, HIGH, name, "relu"
    for name in ("L2_BN", "DA_L2_SC_BN"):
        yield "cifar100", "mlp", "adamw", HIGH, name, "relu"
    for rate, optimizer, activation in itertools.product(
        (LOW, HIGH), ALL_OPTIMIZERS, PAPER_ACTIVATIONS
    ):
        name = "DA_L2_SC_BN" if rate == HIGH and optimizer in ("sgd", "momentum") else "DA_SC_BN"
        if activation != "relu":
            yield "cifar100", "mlp", optimizer, rate, name, activation
    for optimizer, activation in itertools.product(
        ("adam", "momentum"), ("srelu", "swish", "prelu")
    ):
        yield "cifar10", "mlp", optimizer, LOW, "DA_SC_BN", activation
    for optimizer, name in itertools.product(
        ("adagrad", "adam", "momentum"), ("BN", "DA_BN", "L2_BN", "DA_L2_SC_BN")
    ):
        yield "cifar100", "wide_resnet", optimizer, HIGH, name, "relu"
    for optimizer in ("adagrad", "adam", "momentum", "adamw"):
        yield "cifar100", "wide_resnet", optimizer, HIGH, "DA_L2_SC_BN", "swish"


def plan(
    stands_for: str, model: str, optimizer: str, rate: float, name: str, activation: str
) -> dict[str, Any]:
    """One of `configurations` as an artifact has it, with three seeds."""
    return {
        "model": model, "depth": 4 if model == "mlp" else 28, "stands_for": stands_for,
        "optimizer": optimizer, "learning_rate": rate, "regularization": name,
        "activation": activation, "seeds": SEEDS,
        "percents": PERCENTS if model == "mlp" else DENSITIES, "second_look": False,
    }  # fmt: skip


PLANNED = tuple(plan(*one) for one in configurations())
ARTIFACT = Artifact(
    "claims", "The paper's claims", "paper", seeds=SEEDS, percents=PERCENTS, configurations=PLANNED
)


@cache
def neutral_runs() -> pd.DataFrame:
    """Every run behind the claims, summarised: all about as good as each other, in the columns of
    the real thing.
    """
    rows = []
    for stands_for, model, optimizer, rate, name, activation in configurations():
        is_mlp = model == "mlp"
        full = Configuration(
            dataset=stands_for, model=model, depth=4 if is_mlp else 28,
            widen_factor=0 if is_mlp else 10,
            activation=activation, optimizer=optimizer, learning_rate=rate, regularization=name,
        )  # fmt: skip
        places = (
            itertools.product(("dense", "sparse"), PERCENTS, SEEDS)
            if is_mlp
            else [
                *itertools.product(("dense",), (100,), SEEDS),
                *itertools.product(("sparse", "magnitude"), (1, 5, 10, 20, 50), SEEDS),
            ]
        )
        for architecture, percent, seed in places:
            rows.append(
                {
                    "scale": "paper", "stands_for": stands_for, "variant": "paper",
                    "dataset": stands_for,
                    "configuration": full.name, "architecture": architecture,
                    "width_percent": percent if is_mlp else None,
                    "density_percent": None if is_mlp else percent,
                    "seed": seed, "model": model, "hidden_layers": 4 if is_mlp else None,
                    "depth": None if is_mlp else 28, "widen_factor": None if is_mlp else 10,
                    "activation": activation,
                    "optimizer": optimizer, "learning_rate": rate, "regularization": name,
                    "l2": 0.0,
                    "batch_size": 128, "initialisation": "shared_dense_fan_in",
                    "dense_width": percent if is_mlp else None,
                    "max_width": 3076 if is_mlp else None, "epochs": 1000, "epoch": 999,
                    "train_loss": 1.0,
                    "test_loss": 2.0, "test_accuracy": 30.0 + percent / 20, "diverged": False,
                    "collapsed": False,
                }
            )  # fmt: skip
    runs = pd.DataFrame(rows)
    for measure in MEASURES:
        runs[f"mean_{measure}"] = 1.0
    runs[SPREAD] = runs[LOWEST] = 1.0
    # small, different in every run, and fixed: the pairs neither tie nor lean to a side
    noise = np.random.default_rng(7)
    columns = [
        "test_accuracy",
        "test_loss",
        *(f"mean_{measure}" for measure in MEASURES),
        SPREAD,
        LOWEST,
    ]
    for column in columns:
        runs[column] *= 1 + 0.002 * noise.standard_normal(len(runs))
    return runs


def changed(*changes: World) -> pd.DataFrame:
    runs = neutral_runs().copy()
    for change in changes:
        runs = change(runs)
    return runs.reset_index(drop=True)


def made(*changes: World) -> RunEvidence:
    return RunEvidence(changed(*changes), design_of(PLANNED))


def where(runs: pd.DataFrame, **wanted: object) -> pd.Series:
    chosen = pd.Series(True, index=runs.index)
    for column, values in wanted.items():
        chosen &= runs[column].isin(list(values) if isinstance(values, (tuple, list)) else [values])
    return chosen


def better(points: float, **wanted: object) -> World:
    def change(runs: pd.DataFrame) -> pd.DataFrame:
        runs.loc[where(runs, **wanted), "test_accuracy"] += points
        return runs

    return change


def flow(factor: float, column: str = "mean_egf_l2", **wanted: object) -> World:
    def change(runs: pd.DataFrame) -> pd.DataFrame:
        runs.loc[where(runs, **wanted), column] *= factor
        return runs

    return change


def without(**wanted: object) -> World:
    def change(runs: pd.DataFrame) -> pd.DataFrame:
        return runs[~where(runs, **wanted)]

    return change


def follows_loss(measure: str, share: float, **wanted: object) -> World:
    """Within each configuration, `share` of the runs' `measure` is ranked as their loss and
    accuracy are.
    """

    def change(runs: pd.DataFrame) -> pd.DataFrame:
        chosen = where(runs, model="mlp", **wanted)
        # of |tau|, so that a share of one is the highest: the order is broken by swapping halves
        groups = runs[chosen].groupby(["configuration", "dataset", "architecture"])["seed"]
        # in no order of widths, which explain none of it, and in another one in each configuration
        rank = groups.transform(
            lambda seeds: np.random.default_rng(seeds.index[0]).permutation(len(seeds)) + 1.0
        )
        broken = (rank * 7) % 16
        mixed = np.where(rank <= 15 * share, rank, 15 * share + broken)
        runs.loc[chosen, f"mean_{measure}"] = mixed
        runs.loc[chosen, "test_loss"] = rank
        runs.loc[chosen, "test_accuracy"] = 50 - rank
        return runs

    return change


def all_measures(share: float, **wanted: object) -> list[World]:
    return [follows_loss(measure, share, **wanted) for measure in MEASURES]
