"""How far one measure's correlation with performance is above the others', and what dense width
alone gives of that.

Table 1, its comparison with the published one, and the claim about it ask for the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradflow.analysis.levels import MIN_PAIRS, significant
from gradflow.analysis.signed_ranks import tails_of_rows
from gradflow.analysis.stats import MINIMUM
from gradflow.analysis.width_null import (
    PERMUTATIONS,
    Floats,
    mean_absolute_taus,
    null_of_width,
    permuted_within,
    scaled_signs,
)
from gradflow.training.run_log import MEASURES

TARGETS = ("test_loss", "test_accuracy")
# Permutations of each of many studies. The smallest p-value that they can give, times the six parts
# of the claim (Holm), must be significant at one of two looks.
SIMULATED = 249


def favourite(stands_for: str) -> str:
    """The measure that the paper finds the best on a data set."""
    return "egf_l1" if stands_for == "fashion_mnist" else "egf_l2"


@dataclass(frozen=True)
class Margin:
    """How far a measure's mean |tau| is above that of the best other one, in each of B studies."""

    margin: Floats
    null: Floats  # [permutations, B]: the margin that width alone gives
    better: Floats  # p of its being above each other one, over configurations
    worse: Floats  # p of some other one's being above it
    above_width: Floats  # p of the margin's being above the null
    below_width: Floats
    configurations: int

    @property
    def explained(self) -> NDArray[np.bool_]:
        """Where what a test over configurations says is no more than width alone gives."""
        above, below = significant(self.above_width), significant(self.below_width)
        return significant(self.better) & ~above | significant(self.worse) & ~below

    @property
    def null_range(self) -> tuple[float, float]:
        """Of 95 % of the permutations in the first study; NaN where there is nothing to permute."""
        if np.isnan(self.null[:, 0]).any():
            return float("nan"), float("nan")
        low, high = np.quantile(self.null[:, 0], (0.025, 0.975))
        return float(low), float(high)


def margin_of(
    own: str, target: int, measures: Floats, targets: Floats, units: NDArray[np.int_]
) -> Margin:
    """The margin of a measure and its tests; arguments as of `highest`."""
    mine = MEASURES.index(own)
    others = [place for place in range(len(MEASURES)) if place != mine]
    chosen = targets[:, :, [target]]
    taus = np.nan_to_num(np.abs(measures @ np.swapaxes(chosen, -1, -2))[..., 0])
    tails = [tails_of_rows(taus[..., mine] - taus[..., other]) for other in others]
    better = np.max([greater for greater, _ in tails], axis=0)
    worse = np.minimum(len(others) * np.min([less for _, less in tails], axis=0), 1)

    def of(means: Floats) -> Floats:
        return means[..., mine] - means[..., others].max(axis=-1)

    margin = of(mean_absolute_taus(measures, chosen)[..., 0])
    if len(np.unique(units[:, 0])) == len(units):  # one seed: nothing to permute
        null, above, below = (
            np.full((1, len(margin)), np.nan),
            np.ones(len(margin)),
            np.ones(len(margin)),
        )
    else:
        orders = permuted_within(units, PERMUTATIONS if len(margin) == 1 else SIMULATED)
        null = of(null_of_width(measures, chosen, orders)[..., 0])
        above = (1 + (null >= margin - 1e-6).sum(axis=0)) / (1 + len(null))
        below = (1 + (null <= margin + 1e-6).sum(axis=0)) / (1 + len(null))
    return Margin(margin, null, better, worse, above, below, taus.shape[1])


def signs_of(runs: pd.DataFrame) -> tuple[Floats, Floats, NDArray[np.int_]] | None:
    """Signs of the measures and the targets of every configuration, over the units that all of them
    have.

    Args:
        runs: one row per run (`summarise_runs`), of one data set, variant and architecture.

    Returns:
        Signs [1, configurations, 4, couples] and [1, configurations, 2, couples], and the units
        (width and seed), or None if fewer than 5 units are whole.
    """
    columns = [*(f"mean_{measure}" for measure in MEASURES), *TARGETS]
    unit = ["width_percent", "seed"]
    if runs.empty:
        return None
    wide = runs.pivot_table(index=unit, columns="configuration", values=columns, dropna=False)
    wide = wide.reindex(columns=columns, level=0).dropna()
    if len(wide) < MIN_PAIRS:
        return None
    values = np.array([wide[column].to_numpy().T for column in columns]).swapaxes(0, 1)[None]
    signs = scaled_signs(values)
    units = wide.index.to_frame().to_numpy(dtype=int)
    return signs[:, :, : len(MEASURES)], signs[:, :, len(MEASURES) :], units


def taus_within_widths(runs: pd.DataFrame) -> Floats:
    """The mean over configurations and widths of |tau-b| over the seeds of one width, where width
    explains nothing.

    Args:
        runs: as of `signs_of`.

    Returns:
        Shape [4, 2], measures by TARGETS; NaN where no width has 3 runs that differ. Three untied
        seeds have 0.556 by chance.
    """
    taus = [np.full((len(MEASURES), len(TARGETS)), np.nan)]
    columns = [*(f"mean_{measure}" for measure in MEASURES), *TARGETS]
    for _, group in runs.groupby(["configuration", "width_percent"]):
        if len(group) >= MINIMUM:
            signs = scaled_signs(group[columns].to_numpy(dtype=float).T)
            taus.append(np.abs(signs[: len(MEASURES)] @ signs[len(MEASURES) :].T))
    found = np.array(taus)
    there = ~np.isnan(found)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, found, 0).sum(axis=0) / there.sum(axis=0))
