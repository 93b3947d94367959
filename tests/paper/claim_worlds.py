"""For each claim made-up runs in which it is true, opposed and open."""

from __future__ import annotations

import pandas as pd
from made_claims import World, all_measures, better, flow, follows_loss, where, without

from gradflow.paper.claims.evidence import (
    ADAPTIVE,
    ALL_OPTIMIZERS,
    EWMA,
    HIGH,
    LOW,
    LOWEST,
    NON_EWMA,
    SPREAD,
    WITH_BN,
    WITHOUT_BN,
)

MLP = {"model": "mlp", "activation": "relu"}
C100 = {**MLP, "stands_for": "cifar100"}
WRN = {"model": "wide_resnet"}
L2_BN = ("L2_BN", "DA_L2_SC_BN")

sparse_wins_with_bn = better(
    3, **MLP, architecture="sparse", optimizer=NON_EWMA, regularization=WITH_BN
)
dense_wins_without_bn = better(
    3, **MLP, architecture="dense", optimizer=NON_EWMA, regularization=WITHOUT_BN
)
sparse_wins_nr = better(
    3, **MLP, architecture="sparse", optimizer=EWMA, regularization="NR", learning_rate=LOW
)
# the noise alone may make a few of BN's cells significant
even_bn = better(
    -0.3, **MLP, architecture="sparse", optimizer=EWMA, regularization="BN", learning_rate=LOW
)
swish_prelu_sparse = better(3, model="mlp", architecture="sparse", activation=("swish", "prelu"))
l2_low = [
    better(
        -4,
        **MLP,
        architecture="sparse",
        optimizer=ADAPTIVE,
        regularization="L2",
        width_percent=(10, 30, 50),
    ),
    better(-1, **MLP, architecture="sparse", optimizer=ADAPTIVE, regularization="L2"),
    better(2, **MLP, architecture="dense", optimizer=ADAPTIVE, regularization="L2"),
]
bn_calms = [flow(0.3, column, **C100, regularization=WITH_BN) for column in ("mean_egf_l2", SPREAD)]
l2_hurts = [
    better(-4, **C100, optimizer=EWMA, learning_rate=HIGH, regularization=L2_BN),
    flow(3, **C100, learning_rate=HIGH, regularization=L2_BN),
]
adamw_good = [better(3, **C100, optimizer="adamw"), flow(0.3, **C100, optimizer="adamw")]
da_high = [
    flow(3, **C100, learning_rate=HIGH, regularization="DA_BN"),
    better(-3, **C100, learning_rate=HIGH, regularization="DA_BN", optimizer=EWMA),
    better(3, **C100, learning_rate=HIGH, regularization="DA_BN", optimizer=NON_EWMA),
]


def opposed(optimizers: tuple[str, ...]) -> World:
    """Accuracy falls as EGF rises across regularizations; without this both are noise, and tau is
    about zero.
    """

    def change(runs: pd.DataFrame) -> pd.DataFrame:
        chosen = where(runs, **C100, optimizer=optimizers)
        order = runs.loc[chosen, "regularization"].map(
            {name: i for i, name in enumerate((*WITH_BN, *WITHOUT_BN))}
        )
        runs.loc[chosen, "test_accuracy"] -= order
        runs.loc[chosen, "mean_egf_l2"] *= 2.0**order
        return runs

    return change


def unrelated(optimizers: tuple[str, ...]) -> World:
    """Accuracy rises with EGF across regularizations."""

    def change(runs: pd.DataFrame) -> pd.DataFrame:
        chosen = where(runs, **C100, optimizer=optimizers)
        order = runs.loc[chosen, "regularization"].map(
            {name: i for i, name in enumerate((*WITH_BN, *WITHOUT_BN))}
        )
        runs.loc[chosen, "test_accuracy"] += order
        runs.loc[chosen, "mean_egf_l2"] *= 2.0**order
        return runs

    return change


swish_best = [
    better(4, stands_for="cifar100", model="mlp", activation="swish", optimizer=ADAPTIVE),
    flow(0.3, stands_for="cifar100", model="mlp", activation="swish", optimizer=ADAPTIVE),
    better(2, stands_for="cifar100", model="mlp", activation="prelu", optimizer="sgd"),
]
srelu_bad = [
    better(-4, stands_for="cifar100", model="mlp", activation="srelu", optimizer="adam"),
    flow(5, stands_for="cifar100", model="mlp", activation="srelu", optimizer="adam"),
]
wrn_l2 = [better(-4, **WRN, regularization="L2_BN"), flow(4, **WRN, regularization="L2_BN")]
wrn_swish = [
    flow(0.3, **WRN, activation="swish"),
    better(4, **WRN, activation="swish", optimizer="adamw"),
]
pruned_l2 = [better(-4, **WRN, regularization=L2_BN), flow(4, **WRN, regularization=L2_BN)]
elsewhere = [
    sparse_wins_with_bn, dense_wins_without_bn, sparse_wins_nr, even_bn, swish_prelu_sparse,
    *l2_low,
]  # fmt: skip
egf_wins = [
    *all_measures(0.4, architecture="sparse"),
    follows_loss("egf_l2", 1, architecture="sparse", stands_for=("cifar10", "cifar100")),
    follows_loss("egf_l1", 1, architecture="sparse", stands_for="fashion_mnist"),
]
norm_wins = [
    *all_measures(0.4, architecture="sparse"),
    follows_loss("grad_norm_l2", 1, architecture="sparse"),
]
few = without(width_percent=(30, 50, 70, 90))

# claim: (what satisfies it, what contradicts it, what leaves it undecided)
WORLDS: dict[str, tuple[list[World], list[World], list[World]]] = {
    "egf-correlates-best": (egf_wins, norm_wins, all_measures(0.6, architecture="sparse")),
    "dense-measures-alike": (
        all_measures(0.6, architecture="dense"),
        [*all_measures(0.3, architecture="dense"), follows_loss("egf_l2", 1, architecture="dense")],
        [*all_measures(0.6, architecture="dense"), follows_loss("egf_l2", 1, architecture="dense",
                                                                regularization=("SC", "BN"))],
    ),
    "bn-favours-sparse-non-ewma": (
        [sparse_wins_with_bn, dense_wins_without_bn],
        [better(3, **MLP, architecture="sparse", optimizer=NON_EWMA, regularization=WITHOUT_BN)],
        [],
    ),
    "bn-interaction": (
        [sparse_wins_with_bn],
        [better(-3, **MLP, architecture="sparse", regularization="BN")],
        [],
    ),
    "nr-favours-sparse-ewma": (
        [sparse_wins_nr],
        [better(3, **MLP, architecture="sparse", regularization="BN"), dense_wins_without_bn],
        [sparse_wins_nr, better(3, **MLP, architecture="sparse", regularization="BN")],
    ),
    "ewma-bn-twins-alike": (
        [],
        [better(5, **MLP, architecture="sparse", regularization="BN")],
        [better(4, **MLP, architecture="sparse", regularization="BN", seed=(0,),
                width_percent=(10, 30, 50)),
         better(4, **MLP, architecture="sparse", regularization="BN", seed=(1,))],
    ),
    "bn-over-skip": (
        [better(4, **C100, regularization=("BN", "SC_BN"))],
        [better(4, **C100, regularization=("SC", "SC_BN"))],
        [],
    ),
    "bn-lowers-egf": (bn_calms, [flow(3, **C100, regularization=WITH_BN)], bn_calms[:1]),
    "l2-hurts-sparse-adaptive": (l2_low,
                                 [better(4, **C100, architecture="sparse", regularization="L2")],
                                 l2_low[:2]),
    "l2-bn-hurts-ewma": (
        l2_hurts, [better(4, **C100, optimizer=EWMA, regularization=L2_BN)], l2_hurts[:1],
    ),
    "adamw-lowers-egf": (adamw_good, [flow(3, **C100, optimizer="adamw")], adamw_good[1:]),
    "da-without-bn-poor-ewma": (
        [better(-4, **C100, regularization="DA", optimizer=EWMA)],
        [better(4, **C100, regularization="DA", optimizer=EWMA)],
        [better(-4, **C100, regularization="DA", optimizer="adam")],
    ),
    "da-bn-helps-low-lr": (
        [better(2, **C100, regularization="DA_BN", learning_rate=LOW)],
        [better(-2, **C100, regularization="DA_BN", optimizer="sgd")],
        [better(2, **C100, regularization="DA_BN", optimizer=EWMA)],
    ),
    "da-bn-high-lr": (da_high, [better(3, **C100, regularization="DA_BN")], da_high[:2]),
    "ewma-high-egf-is-bad": (
        [opposed(EWMA), unrelated(NON_EWMA)],
        [opposed(ALL_OPTIMIZERS)],
        [],
    ),
    "swish-prelu-favour-sparse": (
        [swish_prelu_sparse],
        [better(-3, model="mlp", architecture="sparse", activation="swish")],
        [better(3, model="mlp", architecture="sparse", activation=("swish", "prelu"),
                learning_rate=LOW),
         better(3, model="mlp", architecture="sparse", activation="swish", optimizer=EWMA,
                learning_rate=HIGH),
         better(-3, model="mlp", architecture="sparse", activation="swish",
                optimizer=("sgd", "adagrad"),
                learning_rate=HIGH),
         better(3, model="mlp", architecture="sparse", activation="prelu", learning_rate=HIGH)],
    ),
    "swish-best-adaptive": (
        swish_best,
        [better(-4, model="mlp", activation="swish")],
        swish_best[:2],
    ),
    "srelu-worst-adam": (srelu_bad, [better(4, model="mlp", activation="srelu")], srelu_bad[:1]),
    "also-cifar10-fmnist": (
        elsewhere,
        [*elsewhere,
         better(-8, stands_for="cifar10", architecture="sparse", regularization=WITH_BN,
                model="mlp")],
        [sparse_wins_with_bn, dense_wins_without_bn, sparse_wins_nr, even_bn, swish_prelu_sparse],
    ),
    "wrn-l2-hurts-adaptive": (wrn_l2, [better(4, **WRN, regularization="L2_BN"), wrn_l2[1]],
                              wrn_l2[:1]),
    "wrn-swish-adamw": (wrn_swish,
                        [flow(4, **WRN, activation="swish"), better(-4, **WRN, optimizer="adamw")],
                        wrn_swish[:1]),
    "magnitude-like-random": (
        pruned_l2,
        [better(4, **WRN, regularization=L2_BN), flow(0.3, **WRN, regularization=L2_BN)],
        pruned_l2[:1],
    ),
    "magnitude-vanishing": (
        [flow(0.2, LOWEST, **WRN, architecture="magnitude")],
        [flow(5, LOWEST, **WRN, architecture="magnitude")],
        [],
    ),
}  # fmt: skip
