"""Studies that never ran: runs of a scale's own plan, drawn at random, in a world where the truth
is known.

A run's deviation has three parts: what all configurations share at a unit (data set, architecture,
width, seed: initial weights, mask and minibatches are the same), what twins share, and its own. In
the kept results sparse minus dense correlates by 0.12 between configurations, and a change of
regularization by 0.30 between twins; here by 0.29 and 0.38, to be on the safe side.

A run that diverges has what the logs give it: chance accuracy, and an infinite loss and gradient
flow. Whether it does depends on its optimizer, rate and own luck, and not on what a claim compares.
"""

from __future__ import annotations

import zlib

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from gradflow.paper.claims.design import Design, Place
from gradflow.paper.claims.evidence import (
    ACCURACY,
    ARCHITECTURES,
    EGF,
    LOSS,
    LOWEST,
    SPREAD,
    Evidence,
)
from gradflow.paper.claims.parts import Floats
from gradflow.paper.claims.worlds import World
from gradflow.training.run_log import MEASURES

SHARED, OF_TWINS = 0.2, 0.3  # shares of the variance
RUN = float(np.sqrt(1 / (2 * (1 - OF_TWINS))))  # so that sparse minus dense has a deviation of 1
# a deviation in the column's own unit: about what the kept results have
SCALE = {ACCURACY: 1.0, LOSS: 0.03, SPREAD: 0.1, LOWEST: 0.05}
FLOW = 0.05  # likewise, of every measure's decimal logarithm
MEASURES_SHARE = 0.8  # of the variance of a measure that all four have in common
WIDTH = 5.0  # deviations from the narrowest to the widest
CHANCE = -20.0  # points of accuracy below the others
ALL_DIVERGE = 1 / 3  # of the optimizers that diverge; of the others' runs every second one


class SimulatedEvidence(Evidence):
    """Studies of a design in a world; each number depends on `seed` and its own place alone."""

    def __init__(
        self,
        design: Design,
        world: World,
        size: float,
        studies: int,
        seed: int | tuple[int, ...] = 0,
    ):
        """Args: `size`: of the world's effects, in standard deviations; `studies`: B."""
        super().__init__(design, studies)
        self._world, self._size = world, size
        self._seed = (seed,) if isinstance(seed, int) else seed
        self._noise: dict[tuple[object, ...], Floats] = {}
        self._own: dict[Place, NDArray[np.bool_]] = {}

    def places(self) -> set[Place]:
        """All that are planned."""
        return set(self.design.places)

    def units(self, model: str) -> NDArray[np.int_]:
        """All that are planned."""
        return self.design.units(model)

    def runs_of(self, place: Place, column: str) -> Floats:
        """Drawn at random; a measure of gradient flow as 10 to the power of what is drawn."""
        planned = self._has(place)
        units = self.units(place.model)[planned]
        percents = units[:, 0] / 100
        world, size = self._world, self._size
        measure = column.removeprefix("mean_")
        if measure in MEASURES:
            values = self._flow(place, measure, percents)
            scale = FLOW
        elif column == LOSS:
            # as accuracy says it: Table 1's targets are two views of one thing
            values = -self._of_run(place, ACCURACY) - WIDTH * percents
            scale = SCALE[LOSS]
        else:
            values = self._of_run(place, column) + WIDTH * percents * (column == ACCURACY)
            scale = SCALE[column]
        if world.levels and column in (ACCURACY, EGF):
            values = values + self._level(place, column)
        values = values * scale
        for effect in world.effects:
            if effect.touches(place, column):
                of_architecture = np.array(
                    [
                        not effect.architectures or name in effect.architectures
                        for name in ARCHITECTURES
                    ]
                )
                of_unit = (
                    np.isin(units[:, 0], list(effect.percents))
                    if effect.percents
                    else np.ones(len(units), bool)
                )
                amount = effect.size if effect.fixed else effect.size * size * scale
                values = values + amount * (of_architecture[:, None] & of_unit)
        if column not in (ACCURACY, LOSS):
            values = 10.0**values
        if place.model == "wide_resnet":
            dense = units[:, 0] == 100
            values = values.copy()
            values[:, 0, ~dense] = values[:, 1:, dense] = np.nan
        else:
            values = np.concatenate([values[:, :2], np.full_like(values[:, :1], np.nan)], axis=1)
        if world.diverging:
            worst = CHANCE if column == ACCURACY else np.inf
            values = np.where(self._diverged(place) & ~np.isnan(values), worst, values)
        if planned.all():
            return values
        among_all = np.full((*values.shape[:2], len(planned)), np.nan)
        among_all[..., planned] = values
        return among_all

    def _has(self, place: Place) -> NDArray[np.bool_]:
        """Which units of its model a configuration has."""
        if place not in self._own:
            self._own[place] = self.design.shared([place], self.units(place.model))
        return self._own[place]

    def _diverged(self, place: Place) -> NDArray[np.bool_]:
        """Which runs do: [B, architectures, units]."""
        optimizer = "adam" if place.optimizer == "adamw" else place.optimizer
        key = (place.model, place.stands_for, optimizer, place.rate, "diverges")
        share = scipy.stats.norm.cdf(self._draw(key, (self.studies, 1, 1)))
        some = share < self._world.diverging
        all_of_them = share < self._world.diverging * ALL_DIVERGE
        unlucky = self._of_run(place, "divergence") < 0
        return np.asarray(all_of_them | some & unlucky)

    def _flow(self, place: Place, measure: str, percents: Floats) -> Floats:
        """A measure of gradient flow: what width gives, what all four share, its own, and what
        follows accuracy.
        """
        world = self._world
        favoured = measure == ("egf_l1" if place.stands_for == "fashion_mnist" else "egf_l2")
        in_common = self._of_run(place, "flow")
        own = self._of_run(place, measure)
        values = np.sqrt(MEASURES_SHARE) * in_common + np.sqrt(1 - MEASURES_SHARE) * own
        follow = world.follow if favoured else world.others
        grows = self._size if max(world.follow, world.others) == 1.0 else 1.0
        values = values + follow * grows * self._of_run(place, ACCURACY)
        values = values + WIDTH * (world.trend if favoured else 1.0) * percents
        if measure in ("grad_norm_l1", "grad_norm_l2"):  # in dense networks next to EGF_p
            twin = self._dense_twin(place, measure, percents)
            values[:, 0] = twin
        return values

    def _dense_twin(self, place: Place, measure: str, percents: Floats) -> Floats:
        """norm_p of dense networks: EGF_p exactly for p = 1, nearly for p = 2."""
        same = self._flow(place, measure.replace("grad_norm", "egf"), percents)[:, 0]
        if measure.endswith("l1"):
            return same
        apart = self._world.apart
        apart *= self._size if apart == 1.0 else 1.0
        return same + apart * self._of_run(place, "apart")[:, 0]

    def _of_run(self, place: Place, column: str) -> Floats:
        """A run's deviation, of variance RUN squared: [B, architectures, the place's units]."""
        planned = self._has(place)
        count = int(planned.sum())
        of_all = (self.studies, len(ARCHITECTURES), len(planned))
        shared = self._draw((place.model, place.stands_for, column), of_all)
        if not planned.all():
            shared = shared[..., planned]
        of_twins = self._draw((*place, column, "twins"), (self.studies, 1, count))
        own = self._draw((*place, column), (self.studies, len(ARCHITECTURES), count))
        return RUN * (
            np.sqrt(SHARED) * shared + np.sqrt(OF_TWINS) * of_twins
            + np.sqrt(1 - SHARED - OF_TWINS) * own
        )  # fmt: skip

    def _level(self, place: Place, column: str) -> Floats:
        """What a configuration has for itself, the same in all its runs: [B, 1, 1]."""
        world = self._world
        accuracy = self._draw((*place, "level"), (self.studies, 1, 1))
        if column == ACCURACY:
            return world.levels * accuracy
        flow = self._draw((*place, "flow level"), (self.studies, 1, 1))
        if place.optimizer in world.together:  # the correlation grows with the size of the world
            share = self._size / np.sqrt(1 + self._size**2)
            flow = -share * accuracy + np.sqrt(1 - share**2) * flow
        return world.levels * flow

    def _draw(self, key: tuple[object, ...], shape: tuple[int, ...]) -> Floats:
        """Standard normal numbers that are the same whenever they are asked for."""
        if key not in self._noise:
            place = zlib.crc32("/".join(map(str, key)).encode())
            generator = np.random.default_rng([*self._seed, place])
            self._noise[key] = generator.standard_normal(shape, dtype=np.float32)
        return self._noise[key]
