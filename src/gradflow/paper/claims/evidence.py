"""What a check of a claim looks at: the summarised runs, selected by configuration and compared in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from gradflow.analysis.runs import FINAL, RUN_KEY, SHARED, pair_twins, summarise_runs
from gradflow.analysis.stats import signed_rank_test
from gradflow.paper.claims.parts import (
    MIN_PAIRS,
    NEEDED,
    Direction,
    Part,
    missing,
    signed_rank_part,
)
from gradflow.training.run_log import MEASURES

LOW, HIGH = 0.001, 0.1
EWMA = ("adam", "rmsprop")
NON_EWMA = ("adagrad", "sgd", "momentum")
ADAPTIVE = ("adagrad", "adam", "rmsprop")
ALL_OPTIMIZERS = ("adagrad", "adam", "rmsprop", "sgd", "momentum")
WITHOUT_BN = ("NR", "DA", "L2", "SC")
WITH_BN = ("BN", "DA_BN", "L2_BN", "SC_BN", "DA_SC_BN", "DA_L2_SC_BN")
TWINS = ("dense", "sparse")

ACCURACY = "test_accuracy"
EGF = "mean_egf_l2"
SPREAD = "spread_egf_l2"
LOWEST = "lowest_egf_l2"

# What makes two runs of different configurations a pair. Dense and sparse runs are compared within
# themselves.
UNIT = ["scale", "dataset", "variant", "architecture", "width_percent", "density_percent", "seed"]


@dataclass(frozen=True)
class Evidence:
    """The runs at hand, one row each (`summarise_with_probes`), and how many were planned."""

    runs: pd.DataFrame
    planned: int  # runs of one configuration of an MLP and one architecture: dense widths x seeds

    def mlp(
        self,
        optimizer: str,
        rate: float,
        regularization: str,
        activation: str = "relu",
        stands_for: str = "cifar100",
        architectures: Sequence[str] = TWINS,
    ) -> pd.DataFrame:
        """The runs of one configuration with four hidden layers."""
        place = ("mlp", stands_for, optimizer, rate, regularization, activation)
        return self._of(place, architectures)

    def wide_resnet(
        self,
        optimizer: str,
        regularization: str,
        activation: str = "relu",
        architectures: Sequence[str] = TWINS,
    ) -> pd.DataFrame:
        """The Wide ResNet runs of one configuration; all of them have one learning rate."""
        rates = {place[3] for place in self._places if place[0] == "wide_resnet"}
        places = [
            ("wide_resnet", "cifar100", optimizer, rate, regularization, activation)
            for rate in sorted(rates)
        ]
        return pd.concat(
            [self._of(place, architectures) for place in places] or [self.runs.iloc[:0]]
        )

    @cached_property
    def _places(self) -> dict[tuple[Any, ...], Any]:
        """Where the runs of a configuration are: a check with 80 parts selects hundreds of times."""
        runs = self.runs
        used = runs[(runs["model"] == "wide_resnet") | (runs["hidden_layers"] == 4)]
        columns = [
            "model",
            "stands_for",
            "optimizer",
            "learning_rate",
            "regularization",
            "activation",
        ]
        groups: dict[Any, Any] = used.groupby(columns).groups if len(used) else {}
        return groups

    @cached_property
    def p_values(self) -> pd.DataFrame:
        """The p-value of sparse > dense of every MLP with four hidden layers that has (nearly) all its pairs.

        In the columns of `claim_p_values.published_p_values`, so that a check reads either.
        """
        runs = self.runs
        pairs = pair_twins(runs[(runs["model"] == "mlp") & (runs["hidden_layers"] == 4)])
        columns = ["stands_for", "learning_rate", "optimizer", "regularization", "activation"]
        cells = []
        for key, cell in pairs.groupby(columns, sort=False):
            if self.complete(cell):
                test = signed_rank_test(cell[f"{ACCURACY}_sparse"] - cell[f"{ACCURACY}_dense"])
                cells.append((*key, test.p_value))
        return pd.DataFrame(cells, columns=[*columns, "p_value"])

    def _of(self, place: tuple[Any, ...], architectures: Sequence[str]) -> pd.DataFrame:
        found = self.runs.loc[self._places.get(place, [])]
        return found[found["architecture"].isin(list(architectures))]

    def complete(self, runs: pd.DataFrame, architectures: int = 1, share: float = 1.0) -> bool:
        """Whether enough of the planned runs of one MLP configuration are there; `share`: of its dense widths."""
        return len(runs) >= max(MIN_PAIRS, NEEDED * self.planned * architectures * share)


def summarise_with_probes(rows: pd.DataFrame) -> pd.DataFrame:
    """`summarise_runs`, and of EGF_2 over the probe epochs two more columns a run.

    `spread_egf_l2` is its standard deviation; `lowest_egf_l2` its lowest value in the second half
    of training, in which a magnitude-pruned network is sparse. A run that diverged has an infinite
    spread.
    """
    if rows.empty:
        means = [f"mean_{measure}" for measure in MEASURES]
        return pd.DataFrame(columns=[*RUN_KEY, *SHARED, *FINAL, *means, SPREAD, LOWEST])
    runs = summarise_runs(rows)
    ordered = rows.drop_duplicates([*RUN_KEY, "epoch"]).sort_values(
        [*RUN_KEY, "epoch"], kind="stable"
    )
    run = ordered.groupby(RUN_KEY, dropna=False, sort=False).ngroup().to_numpy()
    flow = ordered["egf_l2"].astype(float)
    spread = flow.groupby(run).std(ddof=0)
    finite = pd.Series(np.isfinite(flow), index=flow.index)
    broken = ~finite.groupby(run).all()
    late = flow.where(finite & (ordered["epoch"] >= ordered["epochs"] // 2))
    return runs.assign(
        **{
            SPREAD: spread.mask(broken, np.inf).to_numpy(),
            LOWEST: late.groupby(run).min().fillna(np.inf).to_numpy(),
        }
    )


def differences(base: pd.DataFrame, changed: pd.DataFrame, column: str) -> pd.DataFrame:
    """Pair the runs of two configurations; `difference` is changed minus base, or the log10 of the ratio for EGF."""
    both = base[[*UNIT, column]].merge(
        changed[[*UNIT, column]], on=UNIT, suffixes=("_base", "_changed")
    )
    first, second = (
        both[f"{column}_base"].to_numpy(dtype=float),
        both[f"{column}_changed"].to_numpy(dtype=float),
    )
    return both[UNIT].assign(difference=change(first, second, column))


def change(first: Any, second: Any, column: str) -> Any:
    """From `first` to `second`: percentage points of accuracy, or the decimal logarithm of a ratio of gradient flow."""
    if column == ACCURACY:
        return second - first
    with np.errstate(
        divide="ignore", invalid="ignore"
    ):  # 0 and infinity stand for vanished and diverged
        return np.nan_to_num(
            np.log10(second) - np.log10(first), nan=0.0, posinf=np.inf, neginf=-np.inf
        )


def unit_of(column: str) -> str:
    """The unit of `change`."""
    return {
        ACCURACY: "points",
        EGF: "EGF ratio",
        SPREAD: "spread ratio",
        LOWEST: "lowest EGF ratio",
    }[column]


def effect_of(
    evidence: Evidence,
    name: str,
    base: pd.DataFrame,
    changed: pd.DataFrame,
    column: str,
    direction: Direction,
    share: float = 1.0,
) -> Part:
    """A part that holds if `column` rises, or falls, from the runs of one configuration to those of another.

    Args:
        evidence: for the planned number of runs.
        name: of the part.
        base: runs of a configuration, of one or both architectures.
        changed: runs of another.
        column: a column of the runs.
        direction: what the claim says.
        share: of the dense widths are in `base` and `changed`.
    """
    pairs = differences(base, changed, column)
    architectures = (
        1 if base["architecture"].nunique() == 1 and changed["architecture"].nunique() == 1 else 2
    )
    is_mlp = (base["model"] == "mlp").any() or (changed["model"] == "mlp").any()
    planned = (
        round(evidence.planned * architectures * share) if is_mlp else max(len(base), len(changed))
    )
    if len(pairs) < max(MIN_PAIRS, NEEDED * planned):
        return missing(f"{name} {direction}", len(pairs), planned if len(pairs) < planned else 0)
    return signed_rank_part(f"{name} {direction}", pairs["difference"], unit_of(column), direction)


def twin_interaction(
    evidence: Evidence, optimizer: str, rate: float, stands_for: str = "cifar100"
) -> pd.DataFrame:
    """(S_BN - S_NR) - (D_BN - D_NR) in accuracy, by dense width and seed; empty if too few of them are complete."""
    change_of = {}
    for architecture in TWINS:
        plain = evidence.mlp(optimizer, rate, "NR", "relu", stands_for, (architecture,))
        norm = evidence.mlp(optimizer, rate, "BN", "relu", stands_for, (architecture,))
        change_of[architecture] = differences(plain, norm, ACCURACY)
    key = [column for column in UNIT if column not in ("architecture", "density_percent")]
    both = change_of["sparse"].merge(change_of["dense"], on=key, suffixes=("_sparse", "_dense"))
    both["difference"] = both["difference_sparse"] - both["difference_dense"]
    return both if evidence.complete(both) else both.iloc[:0]
