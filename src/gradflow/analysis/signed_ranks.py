"""The one-sided Wilcoxon signed-rank test of many samples at once, in both directions.

Simulated studies need it thousands of times, and a study once: both take it from here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from gradflow.analysis.stats import DECIMALS

# beyond, the normal approximation: the exact distribution is no better there, and slow with ties
EXACT_PAIRS = 30

Floats = NDArray[np.floating[Any]]


def tails_of_rows(differences: Floats) -> tuple[Floats, Floats]:
    """The p-values of every row for differences above and below zero.

    Args:
        differences: shape [rows, n], finite. As in `stats.signed_rank_test` zeros are left out,
            and ties share their ranks.

    Returns:
        Two arrays of shape [rows]: `greater`, P(W+ >= observed), and `less`, P(W+ <= observed).
        Exact, given zeros and ties, up to EXACT_PAIRS columns; beyond by the normal approximation.
        A row of zeros has 1 in both.
    """
    values = np.asarray(differences, dtype=float).round(DECIMALS)
    sizes = np.abs(values)
    n = values.shape[1]
    order = sizes.argsort(axis=1)
    ordered = np.take_along_axis(sizes, order, axis=1)
    plain = (np.diff(ordered, axis=1) > 0).all(axis=1) & (ordered[:, 0] > 0)
    if not plain.all() or n > EXACT_PAIRS:
        greater, less = np.empty(len(values)), np.empty(len(values))
        rest = ~plain if n <= EXACT_PAIRS else np.ones(len(values), dtype=bool)
        greater[rest], less[rest] = _tied(values[rest])
        if not rest.all():
            greater[~rest], less[~rest] = tails_of_rows(values[~rest])
        return greater, less
    # the rank sum of the positive differences: in order of size the ranks are 1 to n
    positive = np.take_along_axis(values, order, axis=1) > 0
    rank_sum = positive @ np.arange(1, n + 1)
    probability = _distribution(n)
    below = probability.cumsum()
    above = probability[::-1].cumsum()[::-1]
    return np.minimum(above[rank_sum], 1), np.minimum(below[rank_sum], 1)


@cache
def _distribution(n: int) -> Floats:
    """The probability of each rank sum 0 to n (n + 1) / 2 of n untied differences."""
    probability = np.zeros(n * (n + 1) // 2 + 1)
    probability[0] = 1
    for rank in range(1, n + 1):
        shifted = np.zeros_like(probability)
        shifted[rank:] = probability[:-rank]
        probability = (probability + shifted) / 2
    return probability


def _tied(values: Floats) -> tuple[Floats, Floats]:
    """The same where there are zeros or ties, or many pairs."""
    rows, n = values.shape
    zero = values == 0
    ranks = scipy.stats.rankdata(np.abs(values), axis=1) - zero.sum(axis=1, keepdims=True)
    ranks = np.where(zero, 0, ranks)  # the zeros have the lowest ranks, and are left out
    observed = np.where(values > 0, ranks, 0).sum(axis=1)
    if n > EXACT_PAIRS:
        # given the ranks, each sign is a fair coin: ties included
        deviation = np.sqrt((ranks**2).sum(axis=1) / 4)
        with np.errstate(invalid="ignore", divide="ignore"):
            score = (observed - ranks.sum(axis=1) / 2) / deviation
        known = deviation > 0
        return (
            np.where(known, scipy.stats.norm.sf(score), 1.0),
            np.where(known, scipy.stats.norm.cdf(score), 1.0),
        )
    doubled = np.rint(2 * ranks).astype(int)  # ties have half ranks
    reached = np.rint(2 * observed).astype(int)[:, None]
    places = np.arange(n * (n + 1) + 1)
    probability = np.zeros((rows, len(places)))
    probability[:, 0] = 1
    for column in range(n):
        source = places - doubled[:, column, None]
        moved = np.take_along_axis(probability, np.maximum(source, 0), axis=1)
        probability = (probability + np.where(source >= 0, moved, 0)) / 2
    greater = np.where(places >= reached, probability, 0).sum(axis=1)
    less = np.where(places <= reached, probability, 0).sum(axis=1)
    return np.minimum(greater, 1), np.minimum(less, 1)
