"""What a table's agreement with the published one comes to, in a word."""

from __future__ import annotations

import math

from gradflow.analysis.levels import MARGINS, significant
from gradflow.paper.claims.decision import Verdict

NEAR = MARGINS["means near"].value
FAR = MARGINS["means far"].value


def agreement_verdict(kappa: float, ceiling: float, more: float, less: float) -> Verdict:
    """What decisions come to: more agreement than in another order, or less.

    Args:
        kappa: with the published ones.
        ceiling: the lower end of kappa under resamples of our own pairs.
        more: the p-value of as much agreement.
        less: of as little.
    """
    if math.isnan(kappa):
        return "inconclusive"
    if significant(more) and kappa >= ceiling:
        return "reproduced"
    return "contradicted" if significant(less) else "inconclusive"


def means_verdict(near: int, compared: int) -> Verdict:
    """What it comes to that so many means of those compared are near the published ones."""
    if not compared:
        return "not run"
    if near >= NEAR * compared:
        return "reproduced"
    return "contradicted" if near < FAR * compared else "inconclusive"
