"""What a check of a claim looks at: runs by configuration, as arrays over the units that repeat
them.

A unit is a dense width and a seed (`design`): the pair of twins there shares data and minibatches,
and different units share nothing. Twins of one unit lean the same way (from one regularization to
another their changes correlate by 0.3 in the kept results), so that a comparison of configurations
takes the mean of both as one value. A study has one value a run; simulated studies have B at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradflow.analysis.levels import MIN_PAIRS, NEEDED
from gradflow.analysis.runs import FINAL, MEANS, RUN_KEY, SHARED, summarise_runs
from gradflow.analysis.signed_ranks import tails_of_rows
from gradflow.paper.claims.design import PLACE_COLUMNS, Design, Place, mlp
from gradflow.paper.claims.parts import Direction, Floats, Part, finite, missing, signed_rank_part

LOW, HIGH = 0.001, 0.1
EWMA = ("adam", "rmsprop")
NON_EWMA = ("adagrad", "sgd", "momentum")
ADAPTIVE = ("adagrad", "adam", "rmsprop")
ALL_OPTIMIZERS = ("adagrad", "adam", "rmsprop", "sgd", "momentum")
WITHOUT_BN = ("NR", "DA", "L2", "SC")
WITH_BN = ("BN", "DA_BN", "L2_BN", "SC_BN", "DA_SC_BN", "DA_L2_SC_BN")
TWINS = ("dense", "sparse")
ARCHITECTURES = ("dense", "sparse", "magnitude")

ACCURACY = "test_accuracy"
LOSS = "test_loss"
EGF = "mean_egf_l2"
SPREAD = "spread_egf_l2"
LOWEST = "lowest_egf_l2"
UNITS = {
    ACCURACY: "points", EGF: "EGF ratio", SPREAD: "spread ratio", LOWEST: "lowest EGF ratio",
}  # fmt: skip


class Evidence:
    """Runs by configuration. A subclass says which there are and what they came to."""

    def __init__(self, design: Design, studies: int = 1) -> None:
        """Args: `design`: what is planned; `studies`: B."""
        self.design = design
        self.studies = studies
        self.compared: set[frozenset[Place]] = set()  # what has been asked for together
        self._tails: dict[Place, tuple[Floats, Floats] | None] = {}

    def places(self) -> set[Place]:
        """Every configuration of which there are runs."""
        raise NotImplementedError

    def units(self, model: str) -> NDArray[np.int_]:
        """Percent (dense width or density) and seed of each unit of a model, shape [units, 2]."""
        raise NotImplementedError

    def runs_of(self, place: Place, column: str) -> Floats:
        """A column of a configuration's runs, shape [B, architectures, units]; NaN where there is
        no run.
        """
        raise NotImplementedError

    def values(self, place: Place, column: str, beside: Iterable[Place] = ()) -> Floats:
        """`runs_of`, taking down what is asked for and what it is compared with, unit by unit."""
        self.compared.add(frozenset({place, *beside}))
        if place not in self.places():
            return np.full((self.studies, 3, len(self.units(place.model))), np.nan)
        return self.runs_of(place, column)

    def wide_resnet(self, optimizer: str, regularization: str, activation: str = "relu") -> Place:
        """A Wide ResNet's configuration; all of them have one learning rate."""
        rates = sorted(place.rate for place in self.places() if place.model == "wide_resnet")
        rate = rates[0] if rates else HIGH
        return Place("wide_resnet", "cifar100", optimizer, rate, regularization, activation)

    def own(
        self, optimizer: str, rate: float, activation: str, stands_for: str = "cifar100"
    ) -> Place:
        """An optimizer's configuration with an activation: its own regularization, of which it has
        one.
        """
        found = {
            place.regularization
            for place in self.places()
            if place[:4] == ("mlp", stands_for, optimizer, rate) and place.activation == activation
        }
        return mlp(optimizer, rate, min(found, default=""), activation, stands_for)

    def twins(self, place: Place, column: str = ACCURACY) -> Floats:
        """Sparse minus dense of each unit that has both, shape [B, n], as `change` gives it."""
        runs = self.values(place, column)
        return _there(change(runs[:, 0], runs[:, 1], column))

    def contrast(
        self,
        base: Place,
        changed: Place,
        column: str,
        architectures: Sequence[str] = TWINS,
        percents: Sequence[int] | None = None,
    ) -> Floats:
        """The change from one configuration to another, a value a unit, the mean over
        architectures; [B, n].
        """
        chosen = [ARCHITECTURES.index(name) for name in architectures]
        places = (base, changed)
        before, after = (self.values(place, column, places)[:, chosen] for place in places)
        gaps = change(before, after, column)
        if percents is not None:
            gaps = gaps[..., np.isin(self.units(base.model)[:, 0], percents)]
        # infinite changes of either sign are far, and their mean is not undefined
        return _there(np.clip(gaps, -1e3, 1e3).mean(axis=1))

    def tails(self, place: Place) -> tuple[Floats, Floats] | None:
        """P of sparse > dense, and of dense > sparse, shape [B] each; None without (nearly) all
        pairs.
        """
        if place not in self._tails:
            gaps = self.twins(place)
            self._tails[place] = (
                tails_of_rows(finite(gaps)) if self.complete(gaps.shape[1], place) else None
            )
        self.compared.add(frozenset({place}))
        return self._tails[place]

    def pairs(self, place: Place) -> int:
        """The pairs that are planned of a configuration."""
        return self.design.count([place])

    def complete(self, n: int, *places: Place, percents: Sequence[int] | None = None) -> bool:
        """Whether n are enough of the units that are planned of all these MLPs' configurations; of
        some dense widths, if given.
        """
        return n >= max(MIN_PAIRS, NEEDED * self.design.count(places, percents))


class RunEvidence(Evidence):
    """The runs of a study, one row each (`summarise_with_probes`)."""

    def __init__(self, runs: pd.DataFrame, design: Design) -> None:
        """Args: `runs`; `design`: what was planned."""
        super().__init__(design)
        used = runs[(runs["model"] == "wide_resnet") | (runs["hidden_layers"] == 4)].copy()
        used["percent"] = used["width_percent"].fillna(used["density_percent"])
        self._groups: dict[Place, pd.DataFrame] = (
            {Place(*key): group for key, group in used.groupby(PLACE_COLUMNS)} if len(used) else {}  # type: ignore[arg-type]
        )
        self._units = {
            model: np.unique(of_model[["percent", "seed"]].to_numpy(dtype=int), axis=0)
            for model, of_model in used.groupby("model")
        }

    def places(self) -> set[Place]:
        """Those with a run."""
        return set(self._groups)

    def units(self, model: str) -> NDArray[np.int_]:
        """Those of any run of the model."""
        return self._units.get(model, np.empty((0, 2), dtype=int))

    def runs_of(self, place: Place, column: str) -> Floats:
        """Of the one study."""
        group, units = self._groups[place], self.units(place.model)
        values = np.full((1, len(ARCHITECTURES), len(units)), np.nan)
        where = {tuple(unit): i for i, unit in enumerate(units.tolist())}
        rows = zip(
            group["architecture"], group["percent"], group["seed"], group[column], strict=True
        )
        for architecture, percent, seed, value in rows:
            values[0, ARCHITECTURES.index(architecture), where[int(percent), int(seed)]] = value
        return values

    def datasets(self) -> dict[str, str]:
        """What was trained on, by the data set that it is about."""
        return {
            place.stands_for: str(group["dataset"].iloc[0]) for place, group in self._groups.items()
        }


def summarise_with_probes(rows: pd.DataFrame) -> pd.DataFrame:
    """`summarise_runs`, and of EGF_2 over the probe epochs two more columns a run.

    `spread_egf_l2` is its standard deviation; `lowest_egf_l2` its lowest value in the second half
    of training, in which a magnitude-pruned network is sparse. A run that diverged has an infinite
    spread.
    """
    if rows.empty:
        return pd.DataFrame(columns=[*RUN_KEY, *SHARED, *FINAL, *MEANS, SPREAD, LOWEST])
    runs = summarise_runs(rows)
    ordered = rows.drop_duplicates([*RUN_KEY, "epoch"]).sort_values(
        [*RUN_KEY, "epoch"], kind="stable"
    )
    run = ordered.groupby(RUN_KEY, dropna=False, sort=False).ngroup().to_numpy()
    flow = ordered["egf_l2"].astype(float)
    spread = flow.groupby(run).std(ddof=0)
    finite_probes = pd.Series(np.isfinite(flow), index=flow.index)
    broken = ~finite_probes.groupby(run).all()
    late = flow.where(finite_probes & (ordered["epoch"] >= ordered["epochs"] // 2))
    return runs.assign(
        **{
            SPREAD: spread.mask(broken, np.inf).to_numpy(),
            LOWEST: late.groupby(run).min().fillna(np.inf).to_numpy(),
        }
    )


def change(first: Any, second: Any, column: str) -> Any:
    """From `first` to `second`: percentage points of accuracy, or the decimal logarithm of a ratio
    of gradient flow.

    NaN only where one of them is: 0 and infinity stand for vanished and diverged.
    """
    if column == ACCURACY:
        return second - first
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log10(second) - np.log10(first)
    both = np.isfinite(first) | np.isinf(first)
    both &= np.isfinite(second) | np.isinf(second)
    return np.where(both, np.nan_to_num(ratio, nan=0.0, posinf=np.inf, neginf=-np.inf), np.nan)


def effect_of(
    evidence: Evidence,
    name: str,
    base: Place,
    changed: Place,
    column: str,
    direction: Direction,
    architectures: Sequence[str] = TWINS,
    percents: Sequence[int] | None = None,
) -> Part:
    """A part that holds if `column` rises, or falls, from one MLP's configuration to another.

    Args:
        evidence: the runs.
        name: of the part.
        base: a configuration.
        changed: another.
        column: a column of the runs.
        direction: what the claim says.
        architectures: whose mean in a unit is its value.
        percents: the dense widths that are meant; all unless given.
    """
    gaps = evidence.contrast(base, changed, column, architectures, percents)
    planned = evidence.design.count([base, changed], percents)
    if not evidence.complete(gaps.shape[1], base, changed, percents=percents):
        return missing(
            f"{name} {direction}", gaps.shape[1], planned if gaps.shape[1] < planned else 0
        )
    return signed_rank_part(f"{name} {direction}", gaps, UNITS[column], direction)


def twin_interaction(
    evidence: Evidence, optimizer: str, rate: float, stands_for: str = "cifar100"
) -> Floats:
    """(S_BN - S_NR) - (D_BN - D_NR) in accuracy, a value a unit, [B, n]; empty if too few are
    complete.
    """
    places = [mlp(optimizer, rate, name, "relu", stands_for) for name in ("NR", "BN")]
    plain, norm = (evidence.values(place, ACCURACY, places) for place in places)
    gained = norm - plain
    gaps = _there(gained[:, 1] - gained[:, 0])
    return gaps if evidence.complete(gaps.shape[1], *places) else gaps[:, :0]


def _there(gaps: Floats) -> Floats:
    """The units that have a value; which these are is the same in every study."""
    return gaps[:, ~np.isnan(gaps[0])]
