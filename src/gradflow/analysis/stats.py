"""The two statistics of the paper: the one-sided Wilcoxon signed-rank test and the mean absolute
Kendall tau.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
MINIMUM = 3  # runs, pairs or configurations; below, a statistic is undefined (NaN)
RESAMPLES = 2000  # of a bootstrap
EXACT_LIMIT = (
    500  # non-zero pairs; beyond, the normal approximation is as good and the exact one slow
)
DECIMALS = (
    9  # differences that agree so far are tied: 100 k / 360 in floating point breaks ties otherwise
)


@dataclass(frozen=True)
class SignedRankTest:
    """A one-sided Wilcoxon signed-rank test; NaN marks what is undefined."""

    n: int  # pairs, those without a difference included
    zeros: int  # pairs without a difference: left out of the ranking
    ties: int  # pairs whose absolute difference another pair has too
    p_value: float  # exact (beyond EXACT_LIMIT non-zero pairs the normal approximation)
    p_value_normal: float  # normal approximation, corrected for ties, no continuity correction
    # matched-pairs rank-biserial correlation: 1 if every difference is positive, -1 if negative
    rank_biserial: float
    median_difference: float  # in the unit of the differences
    interval_low: float  # bootstrap interval of the median difference
    interval_high: float


@dataclass(frozen=True)
class Correlation:
    """The mean absolute Kendall tau over configurations; NaN marks what is undefined."""

    mean_abs_kendall_tau: float
    configurations: int  # those with a defined tau
    undefined: int  # those without: fewer than 3 runs, or a measure or target that does not vary
    runs: int  # of all configurations
    interval_low: float  # bootstrap interval over the configurations
    interval_high: float


def signed_rank_test(differences: ArrayLike) -> SignedRankTest:
    """Test whether sparse beats dense: H0 sparse <= dense, H1 sparse > dense (Section 2.1 step 4,
    Equation 4).

    The p-value is exact, given the zeros and ties at hand: over all signs of the non-zero
    differences, how often the rank sum is as large as the observed one. Without ties that is the
    usual exact distribution.

    Args:
        differences: sparse minus dense of each pair, shape [n], in percentage points.

    Returns:
        The test. All differences zero: p = 1. Fewer than 3 pairs: all but the counts undefined.

    Raises:
        ValueError: a difference is not finite. A diverged run has chance accuracy, so this is a
            mistake upstream.
    """
    values = np.asarray(differences, dtype=float).ravel().round(DECIMALS)
    if not np.isfinite(values).all():
        raise ValueError("signed_rank_test: a difference is not finite")
    nonzero = values[values != 0]
    _, repeats = np.unique(np.abs(nonzero), return_counts=True)
    n, zeros, ties = len(values), len(values) - len(nonzero), int(repeats[repeats > 1].sum())
    if n < MINIMUM:
        return SignedRankTest(n, zeros, ties, *[math.nan] * 6)

    p_value, p_value_normal, rank_biserial = 1.0, 1.0, 0.0
    if len(nonzero) > 0:
        normal = scipy.stats.wilcoxon(
            nonzero, alternative="greater", method="approx", correction=False
        )
        p_value_normal = float(normal.pvalue)
        p_value = _exact_p_value(nonzero) if len(nonzero) <= EXACT_LIMIT else p_value_normal
        rank_biserial = 4 * float(normal.statistic) / (len(nonzero) * (len(nonzero) + 1)) - 1
    median = float(np.median(values))
    return SignedRankTest(
        n,
        zeros,
        ties,
        p_value,
        p_value_normal,
        rank_biserial,
        median,
        *bootstrap_interval(values, np.median),
    )


def configuration_taus(runs: pd.DataFrame, measure: str, target: str) -> pd.Series[float]:
    """Kendall's tau-b of average gradient flow against a final test value, by configuration
    (Section 2.2).

    Args:
        runs: one row per run (`gradflow.analysis.runs.summarise_runs`) of one data set, variant and
            architecture: the runs of a configuration differ in dense width and seed.
        measure: a gradient-flow measure, for example `egf_l2`; its arithmetic mean over the probe
            epochs is used.
        target: `test_loss` or `test_accuracy`, of the last epoch.

    Returns:
        A value per configuration, indexed by its name; NaN where there are fewer than 3 runs, or
        where the measure or the target is the same in all. Infinite values (diverged runs) take the
        highest rank.
    """
    taus = {
        str(name): _tau(group[f"mean_{measure}"].to_numpy(), group[target].to_numpy())
        for name, group in runs.groupby("configuration", sort=True)
    }
    return pd.Series(taus, dtype=float, name="tau")


def mean_absolute_tau(runs: pd.DataFrame, measure: str, target: str) -> Correlation:
    """A cell of Table 1: the mean over configurations of the absolute value of
    `configuration_taus`.

    Args:
        runs: as for `configuration_taus`.
        measure: likewise.
        target: likewise.

    Returns:
        The mean, undefined if no configuration has a tau; its interval is undefined for fewer than
        3 of them.
    """
    taus = configuration_taus(runs, measure, target)
    sizes = taus.abs().dropna().to_numpy()
    low, high = bootstrap_interval(sizes, np.mean)
    mean = float(sizes.mean()) if len(sizes) else math.nan
    return Correlation(mean, len(sizes), len(taus) - len(sizes), len(runs), low, high)


def bootstrap_interval(
    values: NDArray[np.floating[Any]], statistic: Callable[..., float]
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic of `values`, shape [n]; the same at each call.

    Args:
        values: the sample.
        statistic: takes the sample and `axis`, such as `np.median`.

    Returns:
        Lower and upper end of the 95 % interval; NaN for fewer than 3 values.
    """
    if len(values) < MINIMUM:
        return math.nan, math.nan
    result = scipy.stats.bootstrap(
        (values,),
        statistic,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=0,
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _exact_p_value(differences: NDArray[np.floating[Any]]) -> float:
    """P(W+ >= observed) over all 2^n signs, by adding one pair at a time to the distribution of the
    rank sum.

    The same number as scipy.stats.wilcoxon with PermutationMethod, which takes a second for n = 15;
    and scipy's "exact" knows no ties.
    """
    ranks = np.rint(2 * scipy.stats.rankdata(np.abs(differences))).astype(
        int
    )  # doubled, since ties have half ranks
    observed = int(ranks[differences > 0].sum())
    probability = np.zeros(int(ranks.sum()) + 1)
    probability[0] = 1.0
    for rank in ranks:
        shifted = np.zeros_like(probability)
        shifted[rank:] = probability[:-rank]
        probability = (probability + shifted) / 2
    return min(1.0, float(probability[observed:].sum()))


def _tau(measure: NDArray[np.floating[Any]], target: NDArray[np.floating[Any]]) -> float:
    if len(measure) < MINIMUM or len(np.unique(measure)) == 1 or len(np.unique(target)) == 1:
        return math.nan
    # the p-value is not used, and the asymptotic one is the cheapest
    return float(scipy.stats.kendalltau(measure, target, method="asymptotic").statistic)
