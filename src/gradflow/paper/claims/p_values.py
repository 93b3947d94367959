"""The claims about p-values: checks of a table of them, be it ours or the published one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import scipy.stats

from gradflow.analysis.levels import significant
from gradflow.paper.claims.decision import Decision
from gradflow.paper.claims.design import Place, mlp
from gradflow.paper.claims.evidence import (
    ACCURACY,
    EWMA,
    HIGH,
    LOW,
    NON_EWMA,
    TWINS,
    WITH_BN,
    WITHOUT_BN,
    Evidence,
    effect_of,
    twin_interaction,
)
from gradflow.paper.claims.parts import (
    Direction,
    Floats,
    Part,
    counted,
    grouped,
    missing,
    signed_rank_part,
)
from gradflow.paper.published import BEST, PAIRS, distinct_p_values, load_p_values

PRINTED = 0.0005  # half of the last of three decimals: what a printed 0.000 may be


class PValues(Protocol):
    """A table of p-values."""

    def pairs(self, place: Place) -> int:
        """Of a configuration's test."""

    def tails(self, place: Place) -> tuple[Floats, Floats] | None:
        """P of sparse > dense, and of dense > sparse, shape [B] each; None where there is none."""

    def own(self, optimizer: str, rate: float, activation: str, stands_for: str) -> Place:
        """An optimizer's configuration with an activation."""


class PublishedPValues:
    """The distinct published p-values."""

    def __init__(self, p_values: dict[Place, float]) -> None:
        """Args: `p_values`, by configuration."""
        self._p_values = p_values

    def pairs(self, place: Place) -> int:
        """The paper's, of every test."""
        return PAIRS

    def tails(self, place: Place) -> tuple[Floats, Floats] | None:
        """Of the one study; the other direction is 1 - p, to within ties and the printed
        decimals.
        """
        p_value = self._p_values.get(place)
        if p_value is None:
            return None
        # 0.050 stays where it is: only what is printed as 0 or 1 is moved off it
        printed = min(max(p_value, PRINTED), 1 - PRINTED)
        return np.array([printed]), np.array([1 - printed])

    def own(
        self, optimizer: str, rate: float, activation: str, stands_for: str = "cifar100"
    ) -> Place:
        """The one that is printed for it."""
        for place in self._p_values:
            if place[:4] == ("mlp", stands_for, optimizer, rate) and place.activation == activation:
                return place
        return mlp(optimizer, rate, BEST, activation, stands_for)


def published_p_values(folder: Path) -> PublishedPValues:
    """The distinct published p-values as a table for the checks."""
    return PublishedPValues(
        {
            mlp(cell.optimizer, cell.learning_rate, cell.regularization, cell.activation,
                cell.dataset): cell.p_value
            for cell in distinct_p_values(load_p_values(folder))
        }
    )  # fmt: skip


def bn_favours_sparse(table: PValues) -> Decision:
    """Without BatchNorm (12 cells, low rate) no cell is S > D; with it (36 cells, both rates) more
    than half are.
    """
    with_bn = [
        *_places("cifar100", LOW, NON_EWMA, WITH_BN),
        *_places("cifar100", HIGH, NON_EWMA, WITH_BN),
    ]
    return Decision(
        (
            none_favour_sparse(
                "without "
                "BatchNorm", table, _places("cifar100", LOW, NON_EWMA, WITHOUT_BN)),
            most_favour_sparse("with BatchNorm", table, with_bn),
        )
    )  # fmt: skip


def bn_interaction(evidence: Evidence) -> Decision:
    """Wilcoxon test of (S_BN - S_NR) - (D_BN - D_NR) > 0 for Adagrad, SGD and momentum at the low
    rate; all must hold.

    The high rate, where the paper shows no NR, is told beside it where its runs are there.
    """
    parts: list[Part] = []
    beside: list[Part] = []
    for rate, found in ((LOW, parts), (HIGH, beside)):
        for optimizer in NON_EWMA:
            gaps = twin_interaction(evidence, optimizer, rate)
            found.append(signed_rank_part(f"{optimizer} at {rate:g}", gaps, "points"))
    told = ", ".join(part.named for part in beside if part.state != "missing")
    return Decision(tuple(parts), f"At the high rate: {told}." if told else "")


def nr_favours_sparse_table(table: PValues) -> Decision:
    """EWMA at the low rate: NR is S > D, BN is not, and the advantage falls from one to the other;
    all must hold.
    """
    return Decision(tuple(_advantage_lost("cifar100", EWMA, table)))


def nr_favours_sparse(evidence: Evidence) -> Decision:
    """EWMA at the low rate: NR is S > D (p-value), and (S_BN - S_NR) - (D_BN - D_NR) is below zero;
    all must hold.

    That the advantage shrinks is tested as such, which two p-values on either side of 0.05 do not.
    """
    parts = []
    for optimizer in EWMA:
        parts.append(favours_sparse(f"{optimizer} NR", evidence, mlp(optimizer, LOW, "NR")))
        gained = twin_interaction(evidence, optimizer, LOW)
        parts.append(
            signed_rank_part(f"{optimizer}: advantage with BN falls", gained, "points", "falls")
        )
    return Decision(tuple(parts))


def swish_prelu_favour_sparse(table: PValues) -> Decision:
    """Swish and PReLU at both rates: S > D under more than half of the five optimizers; all four
    must hold.
    """
    return Decision(
        tuple(
            most_favour_sparse(
                f"{activation} at {rate:g}", table,
                [table.own(optimizer, rate, activation, "cifar100") for optimizer in (*NON_EWMA,
                    *EWMA)],
            )
            for rate in (HIGH, LOW)
            for activation in ("swish", "prelu")
        )
    )  # fmt: skip


def also_elsewhere_table(table: PValues) -> Decision:
    """The p-value claims on CIFAR-10 and Fashion-MNIST, as far as Tables 4 and 5 reach; all must
    hold.
    """
    return Decision(tuple(_elsewhere(table)))


def also_elsewhere(evidence: Evidence) -> Decision:
    """`also_elsewhere_table` of our p-values, and L2's effect on accuracy at the low rate without
    BatchNorm.

    L2: sparse accuracy falls and dense accuracy rises from NR to L2, under the adaptive optimizers
    that the tables have. All must hold.
    """
    parts = _elsewhere(evidence)
    for stands_for, optimizers in (
        ("fashion_mnist", ("adagrad", "adam")),
        ("cifar10", ("adagrad", *EWMA)),
    ):
        effects = []
        for optimizer in optimizers:
            for architecture in reversed(TWINS):
                base, changed = (
                    mlp(optimizer, LOW, regularization, "relu", stands_for)
                    for regularization in ("NR", "L2")
                )
                direction: Direction = "falls" if architecture == "sparse" else "rises"
                effects.append(
                    effect_of(
                        evidence,
                            f"{optimizer} "
                            f"{architecture}", base, changed, ACCURACY, direction, (architecture,)
                    )
                )  # fmt: skip
        parts.append(grouped(f"{stands_for} L2", effects))
    return Decision(tuple(parts))


def favours_sparse(name: str, table: PValues, place: Place) -> Part:
    """A cell that holds if S > D, and is opposite if D > S by the same test."""
    tails = table.tails(place)
    if tails is None:
        return missing(name)
    return _cell(name, table.pairs(place), *tails)


def most_favour_sparse(name: str, table: PValues, places: Sequence[Place]) -> Part:
    """Holds if more than half of the cells are S > D, opposite if more than half are D > S;
    `parts.counted`.
    """
    return counted(
        name, [favours_sparse(_named(place), table, place) for place in places], "cells S > D"
    )


def none_favour_sparse(name: str, table: PValues, places: Sequence[Place]) -> Part:
    """Holds if no cell is S > D and more than half are D > S; opposite if one is S > D after
    Bonferroni's correction.

    The second half of the first condition: few pairs alone would make every cell insignificant.
    """
    cells = [favours_sparse(_named(place), table, place) for place in places]
    lacking = [cell.name for cell in cells if cell.state == "missing"]
    if lacking:
        return missing(name, len(cells) - len(lacking), lacking=lacking)
    held = np.array([cell.held for cell in cells])
    against = np.asarray(significant(np.array([cell.opposite for cell in cells])))
    smallest = np.array([cell.holds for cell in cells]).min(axis=0)
    return Part(
        name, np.full(held.shape[1], np.nan), np.minimum(smallest * len(cells), 1),
        held.mean(axis=0),
        f"of cells {name}", len(cells), text=f"{held[:, 0].sum()} of {len(cells)} cells S > D",
        counts=~held.any(axis=0) & (2 * against.sum(axis=0) > len(cells)), parts=tuple(cells),
    )  # fmt: skip


def _elsewhere(table: PValues) -> list[Part]:
    fashion = ("adagrad", "momentum")
    parts = [
        none_favour_sparse(
            "cifar10 "
            "without BatchNorm", table, _places("cifar10", LOW, NON_EWMA, WITHOUT_BN)),
        most_favour_sparse(
            "cifar10 with BatchNorm", table,
            [
                *_places("cifar10", LOW, NON_EWMA, ["BN"]),
                *_places("cifar10", HIGH, NON_EWMA, ["BN", "DA_BN", "L2_BN", "SC_BN"]),
            ],
        ),
        grouped("cifar10 EWMA", _advantage_lost("cifar10", EWMA, table)),
        none_favour_sparse(
            "fashion_mnist "
            "without BatchNorm", table, _places("fashion_mnist", LOW, fashion, WITHOUT_BN)
        ),
        most_favour_sparse(
            "fashion_mnist with BatchNorm", table,
            _places("fashion_mnist", LOW, fashion, ["BN", "DA_SC_BN", "DA_L2_SC_BN"]),
        ),
        grouped("fashion_mnist EWMA", _advantage_lost("fashion_mnist", ["adam"], table)),
    ]  # fmt: skip
    for activation in ("swish", "prelu"):
        places = [
            table.own(optimizer, LOW, activation, "cifar10") for optimizer in ("adam", "momentum")
        ]
        parts.append(most_favour_sparse(f"cifar10 {activation}", table, places))
    return parts


def _advantage_lost(stands_for: str, optimizers: Iterable[str], table: PValues) -> list[Part]:
    """NR is S > D; from NR to BN the advantage falls; and BN is not S > D.

    The fall is tested by the difference of the two cells' standard scores: their being on either
    side of 0.05 says nothing of it. It is opposite if BN is S > D, since then nothing was taken
    away.
    """
    parts = []
    for optimizer in optimizers:
        before_bn, with_bn = (
            mlp(optimizer, LOW, name, "relu", stands_for) for name in ("NR", "BN")
        )
        parts.append(favours_sparse(f"{optimizer} NR", table, before_bn))
        name = f"{optimizer} BN no longer"
        plain, norm = table.tails(before_bn), table.tails(with_bn)
        if plain is None or norm is None:
            parts.append(missing(name))
            continue
        before, after = (
            scipy.stats.norm.isf(np.clip(one[0], 1e-6, 1 - 1e-6)) for one in (plain, norm)
        )
        falls = scipy.stats.norm.sf((before - after) / np.sqrt(2))
        still = significant(norm[0])
        text = f"p {norm[0][0]:.3f}, p of the fall {falls[0]:.3f}"
        parts.append(
            Part(
                name,
                np.maximum(falls, still),
                norm[0],
                before - after,
                n=1,
                pairs=table.pairs(with_bn),
                text=text,
            )
        )
    return parts


def _cell(name: str, pairs: int, greater: Floats, less: Floats) -> Part:
    return Part(
        name,
        greater,
        less,
        np.full(len(greater), np.nan),
        n=1,
        pairs=pairs,
        text=f"p {greater[0]:.3f}",
    )


def _places(
    stands_for: str, rate: float, optimizers: Iterable[str], regularizations: Sequence[str]
) -> list[Place]:
    return [
        mlp(optimizer, rate, name, "relu", stands_for)
        for optimizer in optimizers
        for name in regularizations
    ]


def _named(place: Place) -> str:
    return f"{place.optimizer} {place.regularization or place.activation} at {place.rate:g}"
