"""How far rounding alone moves a run: dense networks that are the same by specification, trained in
different jobs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

# Rules that give a dense network the same weights: its fan-in is its own, and all inputs are
# active.
USUAL, SAME_FOR_DENSE = "shared_dense_fan_in", ("own_shape", "active_fan_in")
_NETWORK = [
    "dataset", "configuration", "dense_width", "max_width", "width_percent", "seed", "l2",
    "batch_size", "epochs",
]  # fmt: skip


@dataclass(frozen=True)
class RoundingNoise:
    """Differences of final test accuracy between twice the same training, in percentage points."""

    pairs: int
    identical: int
    median: float  # of their sizes
    largest: float

    @property
    def sentence(self) -> str:
        """For below a table."""
        known = f"{self.pairs} pairs of dense networks that are the same by specification"
        if self.identical == self.pairs:
            return f"Rounding alone: {known} are identical."
        return (
            f"Rounding alone moves final test accuracy by {self.median:.2f} percentage points in "
            f"the median and {self.largest:.2f} at most: {known}, trained in different jobs; "
            f"{self.identical} of them are identical."
        )


def rounding_noise(runs: pd.DataFrame) -> RoundingNoise | None:
    """Compare the dense networks of variant paper with those of variants that change sparse ones
    alone.

    Args:
        runs: one row per run (`gradflow.analysis.runs.summarise_runs`), of every variant.

    Returns:
        None where there is no such pair.
    """
    dense = runs[(runs["architecture"] == "dense") & (runs["model"] == "mlp")]
    # a run may stand for several data sets; it is one run all the same
    dense = dense.drop_duplicates(["variant", *_NETWORK])
    first = dense[(dense["variant"] == "paper") & (dense["initialisation"] == USUAL)]
    # variants of initialisation, which are named like the rule, differ in nothing else
    second = dense[
        dense["initialisation"].isin(SAME_FOR_DENSE) & (dense["variant"] == dense["initialisation"])
    ]
    pairs = first.merge(second, on=_NETWORK, suffixes=("_1", "_2"))
    sizes = (pairs["test_accuracy_1"] - pairs["test_accuracy_2"]).abs().to_numpy(dtype=float)
    if not len(sizes):
        return None
    identical = int((sizes == 0).sum())
    return RoundingNoise(len(sizes), identical, float(np.median(sizes)), float(sizes.max()))
