"""What a scale plans for the claims: configurations, and the units that repeat each of them.

A unit is a dense width (of Wide ResNets a density) and a seed.

A scale may plan a second look: more seeds of some configurations, trained after the verdicts on
the first ones were read. Each look is then made at its share of the level (`looks`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Place(NamedTuple):
    """A configuration: of MLPs the one with four hidden layers."""

    model: str
    stands_for: str
    optimizer: str
    rate: float
    regularization: str
    activation: str = "relu"


# of a run, in the order of a place's fields
PLACE_COLUMNS = [
    "model", "stands_for", "optimizer", "learning_rate", "regularization", "activation",
]  # fmt: skip

Unit = tuple[int, int]  # percent and seed


def mlp(
    optimizer: str,
    rate: float,
    regularization: str,
    activation: str = "relu",
    stands_for: str = "cifar100",
) -> Place:
    """An MLP's configuration."""
    return Place("mlp", stands_for, optimizer, rate, regularization, activation)


@dataclass(frozen=True)
class Design:
    """The units that are planned of each configuration; `first_look`: without the second look's,
    where there is one.
    """

    planned: Mapping[Place, frozenset[Unit]]
    first_look: Design | None = None

    @property
    def places(self) -> frozenset[Place]:
        """Every configuration."""
        return frozenset(self.planned)

    @property
    def looks(self) -> int:
        """How often verdicts are read while seeds are added: once or twice."""
        return 1 if self.first_look is None else 2

    @cached_property
    def _units(self) -> dict[str, NDArray[np.int_]]:
        found: dict[str, set[Unit]] = {}
        for place, units in self.planned.items():
            found.setdefault(place.model, set()).update(units)
        return {model: np.array(sorted(units), dtype=int) for model, units in found.items()}

    @property
    def models(self) -> list[str]:
        """Those that it has configurations of."""
        return sorted(self._units)

    def units(self, model: str) -> NDArray[np.int_]:
        """Percent and seed of each unit that any configuration of a model has: [units, 2]."""
        return self._units.get(model, np.empty((0, 2), dtype=int))

    def count(self, places: Iterable[Place], percents: Collection[int] | None = None) -> int:
        """How many units some configurations have in common; at some of the percents, if given."""
        units = self._in_common(places)
        return sum(percents is None or percent in percents for percent, _ in units)

    def shared(self, places: Iterable[Place], units: NDArray[np.int_]) -> NDArray[np.bool_]:
        """Which of some units ([n, 2]) some configurations have in common."""
        common = self._in_common(places)
        return np.array([tuple(unit) in common for unit in units.tolist()], dtype=bool)

    def _in_common(self, places: Iterable[Place]) -> frozenset[Unit]:
        return frozenset.intersection(*(self.planned.get(place, frozenset()) for place in places))

    def looks_again_at(self, compared: Iterable[Collection[Place]]) -> bool:
        """Whether the second look has more units in common of any of these that are compared."""
        first = self.first_look or self
        return any(self.count(places) > first.count(places) for places in compared)


def design_of(configurations: Iterable[Mapping[str, Any]]) -> Design:
    """The design of a scale's configurations.

    Args:
        configurations: each with its model, depth, stands_for, optimizer, learning_rate,
            regularization, activation, `seeds`, `percents` (dense widths, or densities) and
            whether they are of a `second_look`.
    """
    first: dict[Place, frozenset[Unit]] = {}
    whole: dict[Place, frozenset[Unit]] = {}
    again = False
    for one in configurations:
        if one["model"] == "mlp" and one["depth"] != 4:
            continue
        place = Place(*(one[column] for column in PLACE_COLUMNS))
        units = frozenset((percent, seed) for percent in one["percents"] for seed in one["seeds"])
        whole[place] = whole.get(place, frozenset()) | units
        if one["second_look"]:
            again = True
        else:
            first[place] = first.get(place, frozenset()) | units
    return Design(whole, Design(first) if again else None)
