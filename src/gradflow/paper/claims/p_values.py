"""The claims about p-values: checks of a table of them, be it ours or the published one.

A table of p-values has a row per configuration: stands_for, learning_rate, optimizer,
regularization, activation and p_value (sparse > dense).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

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
    SIGNIFICANT,
    Direction,
    Finding,
    Outcome,
    Part,
    beyond_chance,
    conclude,
    group,
    missing,
    signed_rank_part,
)
from gradflow.paper.published import distinct_p_values, load_p_values

Place = tuple[str, float, str, str, str]  # stands_for, rate, optimizer, regularization, activation


def published_p_values(folder: Path) -> pd.DataFrame:
    """The distinct published p-values as a table for the checks."""
    cells = distinct_p_values(load_p_values(folder))
    return pd.DataFrame(
        {
            "stands_for": [cell.dataset for cell in cells],
            "learning_rate": [cell.learning_rate for cell in cells],
            "optimizer": [cell.optimizer for cell in cells],
            "regularization": [cell.regularization for cell in cells],
            "activation": [cell.activation for cell in cells],
            "p_value": [cell.p_value for cell in cells],
        }
    )


def bn_favours_sparse_table(table: pd.DataFrame) -> Finding:
    """Without BatchNorm (12 cells, low rate) no cell is S > D; with it (36 cells, both rates) more than half are."""
    return conclude(
        [
            none_favour_sparse("without BatchNorm", table, _places("cifar100", LOW, NON_EWMA, WITHOUT_BN)),
            most_favour_sparse(
                "with BatchNorm", table,
                [*_places("cifar100", LOW, NON_EWMA, WITH_BN), *_places("cifar100", HIGH, NON_EWMA, WITH_BN)],
            ),
        ]
    )  # fmt: skip


def bn_favours_sparse(evidence: Evidence) -> Finding:
    """`bn_favours_sparse_table` of our p-values."""
    return bn_favours_sparse_table(evidence.p_values)


def bn_interaction(evidence: Evidence) -> Finding:
    """Wilcoxon test of (S_BN - S_NR) - (D_BN - D_NR) > 0 for Adagrad, SGD and momentum at the low rate; all must hold.

    The high rate, where the paper shows no NR, is told beside it where its runs are there.
    """
    parts: list[Part] = []
    beside: list[Part] = []
    for rate, found in ((LOW, parts), (HIGH, beside)):
        for optimizer in NON_EWMA:
            name = f"{optimizer} at {rate:g}"
            found.append(
                signed_rank_part(
                    name, twin_interaction(evidence, optimizer, rate)["difference"], "points"
                )
            )
    told = ", ".join(part.named for part in beside if part.outcome != "missing")
    return conclude(parts, remark=f"At the high rate: {told}." if told else "")


def nr_favours_sparse_table(table: pd.DataFrame) -> Finding:
    """EWMA at the low rate: NR is S > D, and BN is not; all must hold.

    NR is opposite if D > S; BN is opposite if it too is S > D, since then nothing was lost.
    """
    return conclude([*_advantage_lost("cifar100", EWMA, table)])


def nr_favours_sparse(evidence: Evidence) -> Finding:
    """EWMA at the low rate: NR is S > D (p-value), and (S_BN - S_NR) - (D_BN - D_NR) is below zero; all must hold.

    That the advantage shrinks is tested as such, which two p-values on either side of 0.05 do not.
    """
    table = evidence.p_values
    parts = []
    for optimizer in EWMA:
        parts.append(
            favours_sparse(f"{optimizer} NR", table, ("cifar100", LOW, optimizer, "NR", "relu"))
        )
        gained = twin_interaction(evidence, optimizer, LOW)["difference"]
        parts.append(
            signed_rank_part(f"{optimizer}: advantage with BN falls", gained, "points", "falls")
        )
    return conclude(parts)


def swish_prelu_favour_sparse_table(table: pd.DataFrame) -> Finding:
    """Swish and PReLU at both rates: S > D under more than half of the five optimizers; all four must hold."""
    return conclude(
        [
            most_favour_sparse(
                f"{activation} at {rate:g}", table,
                [("cifar100", rate, optimizer, "", activation) for optimizer in (*NON_EWMA, *EWMA)],
            )
            for rate in (HIGH, LOW)
            for activation in ("swish", "prelu")
        ]
    )  # fmt: skip


def swish_prelu_favour_sparse(evidence: Evidence) -> Finding:
    """`swish_prelu_favour_sparse_table` of our p-values."""
    return swish_prelu_favour_sparse_table(evidence.p_values)


def also_elsewhere_table(table: pd.DataFrame) -> Finding:
    """The p-value claims on CIFAR-10 and Fashion-MNIST, as far as Tables 4 and 5 reach; all must hold."""
    return conclude(_elsewhere(table))


def also_elsewhere(evidence: Evidence) -> Finding:
    """`also_elsewhere_table` of our p-values, and L2's effect on accuracy at the low rate without BatchNorm.

    L2: sparse accuracy falls and dense accuracy rises from NR to L2, under the adaptive optimizers
    that the tables have. All must hold.
    """
    parts = _elsewhere(evidence.p_values)
    for stands_for, optimizers in (
        ("fashion_mnist", ("adagrad", "adam")),
        ("cifar10", ("adagrad", *EWMA)),
    ):
        effects = []
        for optimizer in optimizers:
            for architecture in reversed(TWINS):
                base, changed = (
                    evidence.mlp(
                        optimizer, LOW, regularization, "relu", stands_for, (architecture,)
                    )
                    for regularization in ("NR", "L2")
                )
                direction: Direction = "falls" if architecture == "sparse" else "rises"
                name = f"{optimizer} {architecture}"
                effects.append(effect_of(evidence, name, base, changed, ACCURACY, direction))
        parts.append(group(f"{stands_for} L2", effects, "all"))
    return conclude(parts)


def favours_sparse(name: str, table: pd.DataFrame, place: Place) -> Part:
    """A cell that holds if S > D, and is opposite if D > S by the same test (1 - p, to within ties)."""
    p_value = _p_value(table, place)
    if p_value is None:
        return missing(name)
    against = 1 - p_value
    outcome: Outcome = (
        "holds" if p_value <= SIGNIFICANT else "opposite" if against <= SIGNIFICANT else "open"
    )
    return Part(name, outcome, f"p {p_value:.3f}", n=1, p_value=p_value, p_opposite=against)


def most_favour_sparse(name: str, table: pd.DataFrame, places: Sequence[Place]) -> Part:
    """Holds if more than half of the cells are S > D; opposite if more than half have p >= 0.5; else open."""
    found, part = _found(name, table, places)
    if part:
        return part
    significant, against = int((found <= SIGNIFICANT).sum()), int((found >= 0.5).sum())
    outcome: Outcome = "open"
    if 2 * significant > len(found):
        outcome = "holds"
    elif 2 * against > len(found):
        outcome = "opposite"
    return _counted(name, outcome, significant, len(found))


def none_favour_sparse(name: str, table: pd.DataFrame, places: Sequence[Place]) -> Part:
    """Holds if no cell is S > D and more than half have p >= 0.5; opposite if more are S > D than chance gives.

    The second half of the first condition: few pairs alone would make every cell insignificant.
    Chance: were S and D alike, 5 % of the cells would be S > D.
    """
    found, part = _found(name, table, places)
    if part:
        return part
    significant, against = int((found <= SIGNIFICANT).sum()), int((found >= 0.5).sum())
    outcome: Outcome = "open"
    if significant == 0 and 2 * against > len(found):
        outcome = "holds"
    elif beyond_chance(significant, len(found)):
        outcome = "opposite"
    return _counted(name, outcome, significant, len(found))


def _elsewhere(table: pd.DataFrame) -> list[Part]:
    fashion = ("adagrad", "momentum")
    parts = [
        none_favour_sparse("cifar10 without BatchNorm", table, _places("cifar10", LOW, NON_EWMA, WITHOUT_BN)),
        most_favour_sparse(
            "cifar10 with BatchNorm", table,
            [
                *_places("cifar10", LOW, NON_EWMA, ["BN"]),
                *_places("cifar10", HIGH, NON_EWMA, ["BN", "DA_BN", "L2_BN", "SC_BN"]),
            ],
        ),
        group("cifar10 EWMA", _advantage_lost("cifar10", EWMA, table), "all"),
        none_favour_sparse(
            "fashion_mnist without BatchNorm", table, _places("fashion_mnist", LOW, fashion, WITHOUT_BN)
        ),
        most_favour_sparse(
            "fashion_mnist with BatchNorm", table,
            _places("fashion_mnist", LOW, fashion, ["BN", "DA_SC_BN", "DA_L2_SC_BN"]),
        ),
        group("fashion_mnist EWMA", _advantage_lost("fashion_mnist", ["adam"], table), "all"),
    ]  # fmt: skip
    for activation in ("swish", "prelu"):
        places: list[Place] = [
            ("cifar10", LOW, optimizer, "", activation) for optimizer in ("adam", "momentum")
        ]
        parts.append(most_favour_sparse(f"cifar10 {activation}", table, places))
    return parts


def _advantage_lost(stands_for: str, optimizers: Iterable[str], table: pd.DataFrame) -> list[Part]:
    parts = []
    for optimizer in optimizers:
        parts.append(
            favours_sparse(f"{optimizer} NR", table, (stands_for, LOW, optimizer, "NR", "relu"))
        )
        p_value = _p_value(table, (stands_for, LOW, optimizer, "BN", "relu"))
        name = f"{optimizer} BN no longer"
        if p_value is None:
            parts.append(missing(name))
        else:
            outcome: Outcome = "opposite" if p_value <= SIGNIFICANT else "holds"
            parts.append(Part(name, outcome, f"p {p_value:.3f}", n=1, p_opposite=p_value))
    return parts


def _places(
    stands_for: str, rate: float, optimizers: Iterable[str], regularizations: Sequence[str]
) -> list[Place]:
    return [
        (stands_for, rate, optimizer, name, "relu")
        for optimizer in optimizers
        for name in regularizations
    ]


def _p_value(table: pd.DataFrame, place: Place) -> float | None:
    stands_for, rate, optimizer, regularization, activation = place
    cell = table[
        (table["stands_for"] == stands_for)
        & (table["learning_rate"] == rate)
        & (table["optimizer"] == optimizer)
        & (table["activation"] == activation)
    ]
    if (
        regularization
    ):  # empty: each optimizer's own, of which there is one for an activation other than ReLU
        cell = cell[cell["regularization"] == regularization]
    return float(cell["p_value"].iloc[0]) if len(cell) else None


def _found(
    name: str, table: pd.DataFrame, places: Sequence[Place]
) -> tuple[np.ndarray, Part | None]:
    """The p-values of `places`, and a missing part that names those without one, if there are any."""
    values = {place: _p_value(table, place) for place in places}
    lacking = [
        f"{place[2]} {place[3] or place[4]} at {place[1]:g}"
        for place, value in values.items()
        if value is None
    ]
    found = np.array([value for value in values.values() if value is not None])
    if lacking:
        return found, missing(name, len(found), lacking=lacking)
    return found, None


def _counted(name: str, outcome: Outcome, significant: int, cells: int) -> Part:
    return Part(
        name,
        outcome,
        f"{significant} of {cells} cells S > D",
        significant / cells,
        f"of cells {name}",
        cells,
    )
