"""What is true in the studies that the checks are tried on: nothing, each claim, its contrary.

A world is a list of effects on the runs of some configurations. Sizes are in standard deviations of
sparse minus dense over the units of one configuration, unless an effect is fixed in the column's
own unit: then it is a margin of the claim.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from gradflow.analysis.levels import MARGINS
from gradflow.paper.claims.design import Place
from gradflow.paper.claims.evidence import (
    ACCURACY,
    ADAPTIVE,
    EGF,
    EWMA,
    HIGH,
    LOW,
    LOWEST,
    NON_EWMA,
    SPREAD,
    WITH_BN,
    WITHOUT_BN,
)

DIVERGING = 0.3


@dataclass(frozen=True)
class Effect:
    """What a column of some runs is shifted by. Empty collections stand for all."""

    columns: Collection[str]
    size: float
    models: Collection[str] = ("mlp",)
    data: Collection[str] = ()
    optimizers: Collection[str] = ()
    rates: Collection[float] = ()
    regularizations: Collection[str] = ()
    activations: Collection[str] = ("relu",)
    architectures: Collection[str] = ()
    percents: Collection[int] = ()
    fixed: bool = False  # in the column's own unit, whatever the size of the world

    def touches(self, place: Place, column: str) -> bool:
        """Whether it shifts a column of a configuration."""
        return (
            column in self.columns
            and place.model in self.models
            and all(
                not wanted or value in wanted
                for wanted, value in (
                    (self.data, place.stands_for),
                    (self.optimizers, place.optimizer),
                    (self.rates, place.rate),
                    (self.regularizations, place.regularization),
                    (self.activations, place.activation),
                )
            )
        )


@dataclass(frozen=True)
class World:
    """What holds in a simulated study.

    `follow` and `others`: by how much the favoured measure of gradient flow, and the other three,
    follow performance within a width; a share of a run's deviation. `trend`: how much more steadily
    the favoured measure follows dense width. `apart`: how far EGF_2 is from norm_2 in dense
    networks, as a share of a run's deviation. `levels`: standard deviation of what each
    configuration has for itself, of accuracy and gradient flow independently. `together`: instead,
    gradient flow falls as accuracy rises under these optimizers. `diverging`: share of the
    optimizers, at each rate, some or all of whose runs diverge.
    """

    effects: tuple[Effect, ...] = ()
    follow: float = 0.0
    others: float = 0.0
    trend: float = 1.0
    apart: float = 0.02
    levels: float = 0.0
    together: Collection[str] = ()
    diverging: float = 0.0

    def with_divergence(self) -> World:
        """The same, where three in ten optimizers diverge at a rate."""
        return replace(self, diverging=DIVERGING)


@dataclass(frozen=True)
class ClaimWorlds:
    """The worlds of a claim: where it is just not true, where it is true, and where its contrary
    is.

    `nulls`: by name. `true` and `contrary` grow with the size of the effect.
    """

    nulls: dict[str, World]
    true: World
    contrary: World | None = None  # unless given, the true world's effects turned around
    grows: bool = field(default=True)  # whether the true world does
    diverges: bool = True  # whether the nulls stay what they are where runs diverge

    @property
    def all_nulls(self) -> list[tuple[str, World]]:
        """Every null by name, with whole and with diverged runs."""
        ways = (False, True) if self.diverges else (False,)
        return [
            (name, world.with_divergence() if diverged else world)
            for name, world in self.nulls.items()
            for diverged in ways
        ]


NOTHING = {"no effect": World()}


def _claim(*effects: Effect) -> ClaimWorlds:
    turned = tuple(Effect(**{**vars(one), "size": -one.size}) for one in effects)
    return ClaimWorlds(NOTHING, World(effects), World(turned))


def _better(size: float, **wanted: Collection[object]) -> Effect:
    return Effect((ACCURACY,), size, **wanted)  # type: ignore[arg-type]


def _flow(size: float, **wanted: Collection[object]) -> Effect:
    return Effect((EGF,), size, **wanted)  # type: ignore[arg-type]


_WRN: dict[str, Any] = {"models": ("wide_resnet",), "activations": ()}
_C100 = {"data": ("cifar100",)}
_SPARSE: dict[str, Any] = {"architectures": ("sparse",)}
_ACTIVE = {**_C100, "activations": ("swish", "prelu")}

_sparse_with_bn = _better(1, optimizers=NON_EWMA, regularizations=WITH_BN, **_SPARSE)
_dense_without_bn = _better(-1, optimizers=NON_EWMA, regularizations=WITHOUT_BN, **_SPARSE)
_sparse_nr = _better(1, optimizers=EWMA, regularizations=("NR",), rates=(LOW,), **_SPARSE)
_dense_bn = _better(-1, optimizers=EWMA, regularizations=("BN",), rates=(LOW,), **_SPARSE)
_l2_sparse = _better(
    -1, optimizers=ADAPTIVE, regularizations=("L2",), rates=(LOW,), percents=(10, 30, 50), **_SPARSE
)
_l2_dense = _better(
    1, optimizers=ADAPTIVE, regularizations=("L2",), rates=(LOW,), architectures=("dense",)
)
_swish_prelu = _better(1, activations=("swish", "prelu"), **_SPARSE)
_close = MARGINS["close accuracy"].value
_close_flow = math.log10(MARGINS["close EGF"].value)
_no_gain = MARGINS["no better"].value
_ALL_BN: dict[str, Any] = {"regularizations": ("BN",), "optimizers": EWMA}

WORLDS: dict[str, ClaimWorlds] = {
    "egf-correlates-best": ClaimWorlds(
        {
            "width alone": World(trend=2.0),
            "all measures alike": World(follow=0.6, others=0.6),
        },
        World(follow=1.0),
        World(others=1.0),
    ),
    "dense-measures-alike": ClaimWorlds(
        {"a difference of 0.02": World(apart=0.42, follow=1.0, others=1.0)},
        World(follow=1.0, others=1.0),
        World(apart=1.0, follow=1.0, others=1.0),
        grows=False,
        diverges=False,  # all measures of a diverged run are infinite, and so alike
    ),
    "bn-favours-sparse-non-ewma": _claim(_sparse_with_bn, _dense_without_bn),
    "bn-interaction": _claim(
        _better(1, optimizers=NON_EWMA, regularizations=("BN",), **_SPARSE)
    ),
    "nr-favours-sparse-ewma": _claim(_sparse_nr),
    "ewma-bn-twins-alike": ClaimWorlds(
        {
            "apart by the margin": World(
                (
                    Effect((ACCURACY,), _close, fixed=True, **_ALL_BN, **_SPARSE),
                    Effect((EGF,), _close_flow, fixed=True, **_ALL_BN, **_SPARSE),
                )
            )
        },
        World(),
        World(
            (
                Effect((ACCURACY,), _close, fixed=True, **_ALL_BN, **_SPARSE),
                Effect((EGF,), _close_flow, fixed=True, **_ALL_BN, **_SPARSE),
                Effect((ACCURACY, EGF), 1, **_ALL_BN, **_SPARSE),
            )
        ),
        grows=False,
    ),
    "bn-over-skip": ClaimWorlds(
        {
            "no effect": World(),
            "SC with BN gains 1 point": World(
                (
                    _better(2, regularizations=("BN", "SC_BN")),
                    Effect((ACCURACY,), _no_gain, regularizations=("SC_BN",), fixed=True),
                )
            ),
        },
        World((_better(1, regularizations=("BN", "SC_BN")),)),
        World((_better(1, regularizations=("SC",)),)),
    ),
    "bn-lowers-egf": _claim(
        Effect((EGF, SPREAD), -1, regularizations=WITH_BN)
    ),
    "l2-hurts-sparse-adaptive": _claim(_l2_sparse, _l2_dense),
    "l2-bn-hurts-ewma": _claim(
        _better(-1, optimizers=EWMA, rates=(HIGH,), regularizations=("L2_BN", "DA_L2_SC_BN")),
        _flow(1, rates=(HIGH,), regularizations=("L2_BN", "DA_L2_SC_BN")),
    ),
    "adamw-lowers-egf": _claim(
        _better(1, optimizers=("adamw",)), _flow(-1, optimizers=("adamw",))
    ),
    "da-without-bn-poor-ewma": _claim(
        _better(-1, optimizers=EWMA, rates=(LOW,), regularizations=("DA",))
    ),
    "da-bn-helps-low-lr": _claim(_better(1, rates=(LOW,), regularizations=("DA_BN",))),
    "da-bn-high-lr": _claim(
        _flow(1, rates=(HIGH,), regularizations=("DA_BN",)),
        _better(-1, optimizers=EWMA, rates=(HIGH,), regularizations=("DA_BN",)),
        _better(1, optimizers=NON_EWMA, rates=(HIGH,), regularizations=("DA_BN",)),
    ),
    "ewma-high-egf-is-bad": ClaimWorlds(
        {"no relation anywhere": World(levels=5)},
        World(levels=5, together=EWMA),
        World(levels=5, together=NON_EWMA),
    ),
    "swish-prelu-favour-sparse": _claim(_swish_prelu),
    "swish-best-adaptive": _claim(
        _better(1, optimizers=ADAPTIVE, **{**_C100, "activations": ("swish",)}),
        _flow(-1, optimizers=ADAPTIVE, **{**_C100, "activations": ("swish",)}),
        _better(1, optimizers=("sgd",), **{**_C100, "activations": ("prelu",)}),
    ),
    "srelu-worst-adam": _claim(
        _better(-1, optimizers=("adam",), **{**_C100, "activations": ("srelu",)}),
        _flow(1, optimizers=("adam",), **{**_C100, "activations": ("srelu",)}),
    ),
    "also-cifar10-fmnist": _claim(
        _sparse_with_bn, _dense_without_bn, _sparse_nr, _dense_bn, _l2_sparse, _l2_dense,
        _swish_prelu,
    ),
    "wrn-l2-hurts-adaptive": _claim(
        _better(-1, regularizations=("L2_BN",), **_WRN),
        _flow(1, regularizations=("L2_BN",), **_WRN)
    ),
    "wrn-swish-adamw": _claim(
        _flow(-1, models=("wide_resnet",), activations=("swish",)),
        _better(1, models=("wide_resnet",), activations=("swish",), optimizers=("adamw",)),
    ),
    "magnitude-like-random": _claim(
        _better(-1, regularizations=("L2_BN", "DA_L2_SC_BN"), **_WRN),
        _flow(1, regularizations=("L2_BN", "DA_L2_SC_BN"), **_WRN),
    ),
    "magnitude-vanishing": _claim(
        Effect((LOWEST,), -1, architectures=("magnitude",), **_WRN)
    ),
}  # fmt: skip
