"""The claim that under EWMA a high EGF goes with a low accuracy, across the regularizations.

All units of a study share the regularizations: how each of these raises EGF and accuracy is one
draw, however many runs show it. So the regularizations are what is permuted, and what is left out.
Where these do not decide, more seeds will not: the paper has no other regularizations.
"""

from __future__ import annotations

import numpy as np
import scipy.stats

from gradflow.analysis.levels import MARGINS
from gradflow.paper.claims.decision import Decision
from gradflow.paper.claims.design import mlp
from gradflow.paper.claims.evidence import (
    ACCURACY,
    EGF,
    EWMA,
    HIGH,
    LOW,
    NON_EWMA,
    WITH_BN,
    WITHOUT_BN,
    Evidence,
)
from gradflow.paper.claims.parts import Floats, Part, missing

PERMUTATIONS = 399
WHOLE = "regularizations"
AT = ((LOW, (*WITHOUT_BN, *WITH_BN)), (HIGH, WITH_BN))


def ewma_high_egf_is_bad(evidence: Evidence) -> Decision:
    """Kendall's tau across the regularizations of EGF against accuracy, the mean over units, twins
    and both rates.

    EWMA: holds if it is below zero by a permutation of the regularizations, the same for both
    optimizers. Others: holds if it is above -0.2 by a jackknife over the regularizations, since a
    tau nearer to zero, or positive, is no such relation; opposite if it is below. Both must hold.
    A diverged run is compared with no other: that it has chance accuracy and an infinite EGF is how
    it is logged, and no relation that was found.
    """
    parts = []
    for name, optimizers in (("EWMA", EWMA), ("others", NON_EWMA)):
        lacking, signs = [], []
        for rate, regularizations in AT:
            places = [
                [mlp(optimizer, rate, one) for one in regularizations] for optimizer in optimizers
            ]
            flow, accuracy = (
                np.array(
                    [
                        [evidence.values(place, column, row)[:, :2] for place in row]
                        for row in places
                    ]
                )
                for column in (EGF, ACCURACY)
            )  # [optimizers, regularizations, B, twins, units]
            there = ~(np.isnan(flow) | np.isnan(accuracy))[:, :, 0]
            counts = there.sum(axis=(2, 3)) / 2
            lacking += [
                f"{place.optimizer} {place.regularization} at {rate:g}"
                for row, of_row in zip(places, counts, strict=True)
                for place, count in zip(row, of_row, strict=True)
                if not evidence.complete(int(count), place)
            ]
            # the units that have every regularization
            whole = there.all(axis=1)
            signs.append(_signs(flow, accuracy, whole))
        if lacking:
            parts.append(missing(name, lacking=lacking))
        else:
            parts.append(_negative(name, signs) if optimizers == EWMA else _unrelated(name, signs))
    return Decision(tuple(parts))


def _signs(flow: Floats, accuracy: Floats, whole: Floats) -> tuple[Floats, Floats]:
    """The signs of the differences of each two regularizations, scaled so that their products add
    up to tau-b.

    Returns: two arrays of shape [B, optimizers x twins x units, regularizations, regularizations].
    """
    values = np.where(np.isinf(flow), np.nan, [flow, accuracy])  # a diverged run is tied with all

    def of(values: Floats) -> Floats:
        flat = np.moveaxis(values, (2, 1), (0, -1))[:, whole]  # [B, chosen, regularizations]
        signs = np.nan_to_num(np.sign(flat[..., :, None] - flat[..., None, :]))
        untied = np.maximum((signs**2).sum(axis=(-2, -1), keepdims=True), 1)
        return (signs / np.sqrt(untied)).astype(np.float32)

    return of(values[0]), of(values[1])


def _negative(name: str, signs: list[tuple[Floats, Floats]]) -> Part:
    """Whether the mean tau is below zero: a permutation test of which EGF belongs to which
    accuracy.
    """
    observed = _mean_tau(signs)
    generator = np.random.default_rng(0)
    orders = [
        [generator.permutation(flow.shape[-1]) for flow, _ in signs] for _ in range(PERMUTATIONS)
    ]
    # tau is linear in the signs of EGF: permuting sums over units once
    tables = [_products(flow, accuracy) for flow, accuracy in signs]
    weights = [flow.shape[1] for flow, _ in signs]
    null = np.zeros((PERMUTATIONS, len(observed)))
    for row, order in zip(null, orders, strict=True):
        for table, one in zip(tables, order, strict=True):
            own = np.arange(len(one))
            row += table[:, one[:, None], one, own[:, None], own].sum(axis=(1, 2))
    null /= sum(weights)
    below = (1 + (null <= observed + 1e-9).sum(axis=0)) / (1 + PERMUTATIONS)
    above = (1 + (null >= observed - 1e-9).sum(axis=0)) / (1 + PERMUTATIONS)
    n = sum(flow.shape[-1] for flow, _ in signs)
    text = f"mean tau {observed[0]:.2f}, p {below[0]:.3f}, {n} regularizations"
    return Part(name, below, above, observed, "tau", n, text=text, whole=WHOLE)


def _products(flow: Floats, accuracy: Floats) -> Floats:
    """The sum over units of every product of two signs, [B, r, r, r, r]."""
    studies, units, count, _ = flow.shape
    flat = [part.reshape(studies, units, count**2) for part in (flow, accuracy)]
    product = flat[0].transpose(0, 2, 1) @ flat[1]
    return product.reshape(studies, count, count, count, count)


def _unrelated(name: str, signs: list[tuple[Floats, Floats]]) -> Part:
    """Whether the mean tau is above -0.2: a t interval of the jackknife over the regularizations of
    each rate.
    """
    observed = _mean_tau(signs)
    variance, freedom = np.zeros(len(observed)), 0
    for place, (flow, _) in enumerate(signs):
        count = flow.shape[-1]
        left_out = []
        for one in range(count):
            kept = np.delete(np.arange(count), one)
            fewer = list(signs)
            fewer[place] = tuple(part[..., kept, :][..., kept] for part in signs[place])  # type: ignore[assignment]
            left_out.append(_mean_tau(fewer, rescale=True))
        values = np.array(left_out)
        variance += (count - 1) / count * ((values - values.mean(axis=0)) ** 2).sum(axis=0)
        freedom += count - 1
    limit = -MARGINS["no relation"].value
    with np.errstate(divide="ignore"):
        score = (observed - limit) / np.sqrt(variance)
    holds, opposite = scipy.stats.t.sf(score, freedom), scipy.stats.t.cdf(score, freedom)
    text = (
        f"mean tau {observed[0]:.2f}, p of more than {limit:g} {holds[0]:.3f}, "
        f"{freedom + len(signs)} regularizations"
    )
    n = freedom + len(signs)
    return Part(name, holds, opposite, observed, "tau", n, text=text, whole=WHOLE)


def _mean_tau(signs: list[tuple[Floats, Floats]], rescale: bool = False) -> Floats:
    total, count = 0.0, 0
    for flow, accuracy in signs:
        products = (flow * accuracy).sum(axis=(-2, -1))
        if rescale:  # the signs left are scaled for all of them
            products = products / np.maximum(
                np.sqrt((flow**2).sum(axis=(-2, -1)) * (accuracy**2).sum(axis=(-2, -1))), 1e-9
            )
        total, count = total + products.sum(axis=1), count + products.shape[1]
    return np.asarray(total / max(1, count), dtype=float)
