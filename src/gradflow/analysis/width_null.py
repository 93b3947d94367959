"""What a mean absolute Kendall tau, and a margin between measures, would be by dense width alone.

Width drives gradient flow and performance alike, so that a measure that follows width more steadily
correlates more with performance, whatever else it says. Permuting the seeds within each width keeps
what width alone explains. All configurations are permuted alike: a seed gives each of them the same
initial weights and minibatches, so that they lean the same way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
PERMUTATIONS = 399


def signs_of_couples(values: Floats) -> Floats:
    """The sign of the difference of each two of the last axis: [..., n] to [..., n (n - 1) / 2]."""
    first, second = np.triu_indices(values.shape[-1], k=1)
    # comparing, since inf - inf is undefined
    left, right = values[..., first], values[..., second]
    return (left > right).astype(np.float32) - (left < right).astype(np.float32)


def scaled_signs(values: Floats) -> Floats:
    """Signs of couples, divided so that the product of two such rows adds up to tau-b; NaN where
    all are tied.
    """
    signs = signs_of_couples(values)
    untied = np.sqrt((signs**2).sum(axis=-1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(untied > 0, signs / untied, np.nan).astype(np.float32)


def mean_absolute_taus(measures: Floats, targets: Floats) -> Floats:
    """The mean over configurations of |tau-b| of each measure with each target.

    Args:
        measures: signs by `scaled_signs`, shape [B, configurations, a, couples].
        targets: likewise, [B, configurations, b, couples].

    Returns:
        Shape [B, a, b]; a configuration in which a measure or target is all ties does not count.
    """
    taus = np.abs(measures @ np.swapaxes(targets, -1, -2))
    there = ~np.isnan(taus)
    with np.errstate(invalid="ignore"):
        return np.where(there, taus, 0).sum(axis=1) / there.sum(axis=1)


def permuted_within(
    units: NDArray[np.int_], permutations: int = PERMUTATIONS, seed: int = 0
) -> NDArray[np.int_]:
    """Orders of the units, shape [permutations, n], that are random within each width.

    Args:
        units: width and seed of each, shape [n, 2].
        permutations: how many.
        seed: of the random orders.
    """
    generator = np.random.default_rng(seed)
    orders = np.tile(np.arange(len(units)), (permutations, 1))
    for width in np.unique(units[:, 0]):
        places = np.flatnonzero(units[:, 0] == width)
        keys = generator.random((permutations, len(places))).argsort(axis=1)
        orders[:, places] = places[keys]
    return orders


def null_of_width(measures: Floats, targets: Floats, orders: NDArray[np.int_]) -> Floats:
    """`mean_absolute_taus` with the targets' units in each of `orders`: shape [permutations, B, a,
    b].

    Args:
        measures: signs by `scaled_signs`, shape [B, configurations, a, couples].
        targets: likewise.
        orders: by `permuted_within`.
    """
    n = orders.shape[1]
    first, second = np.triu_indices(n, k=1)
    couple = np.zeros((n, n), dtype=int)
    couple[first, second] = couple[second, first] = np.arange(len(first))
    left, right = orders[:, first].T, orders[:, second].T  # [couples, permutations]
    # a couple that a permutation turns round is found among the negated ones, behind the others
    places = np.where(left < right, 0, len(first)) + couple[left, right]
    total: Floats = np.zeros(())
    count: Floats = np.zeros(())
    for configuration in range(measures.shape[1]):
        signs = targets[:, configuration]
        both = np.concatenate([signs, -signs], axis=-1)
        permuted = np.take(both, places, axis=-1)  # [B, b, couples, permutations]
        taus = np.abs(measures[:, None, configuration] @ permuted)
        there = ~np.isnan(taus)
        total, count = total + np.where(there, taus, 0), count + there
    with np.errstate(invalid="ignore"):
        mean = total / count  # [B, b, a, permutations]
    return np.moveaxis(mean, (3, 0, 2, 1), (0, 1, 2, 3))
