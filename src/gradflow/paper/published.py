"""The paper's own numbers, as transcribed into published_numbers/: p-values, correlations and
means.

Of the 254 p-values that the paper prints 209 are distinct: Table 3a is inside 6a (40 cells), and
the ReLU column of 3c is 3b's (5). `distinct_p_values` gives these, each with the tables that print
it.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gradflow.study.job import ACTIVATIONS, OPTIMIZERS, REGULARIZATIONS
from gradflow.study.labels import ARCHITECTURE_LABELS, DATASET_LABELS, TARGET_LABELS
from gradflow.training.run_log import MEASURES

if TYPE_CHECKING:
    import pandas as pd

    from gradflow.analysis.runs import Artifact

# the regularization of Tables 3c, 5c and 6b: each optimizer's best, which the paper does not name
BEST = "best"

# Where our runs for such a cell are: the study says which regularization each optimizer takes
# there.
BEST_STUDIES = {
    "3c": "cifar100_high_activations",
    "5c": "cifar10_activations",
    "6b": "cifar100_low_activations",
}

# The regularization of Table 3c, whose ReLU column equals these of Table 3b; those of 5c and 6b
# stay unknown.
TABLE_3C = {
    "adagrad": "DA_SC_BN", "adam": "DA_SC_BN", "rmsprop": "DA_SC_BN", "sgd": "DA_L2_SC_BN",
    "momentum": "DA_L2_SC_BN",
}  # fmt: skip

PUBLISHED = Path(str(files("gradflow.paper") / "published_numbers"))

PAIRS = 15  # runs of a published mean, and pairs of a published test: 5 widths x 3 seeds

Row = TypeVar("Row")


class PublishedError(ValueError):
    """A file of published numbers is wrong; the message names the file and line."""


@dataclass(frozen=True)
class PublishedPValue:
    """One p-value of the one-sided Wilcoxon test, sparse > dense (Tables 3 to 6)."""

    tables: tuple[str, ...]  # that print it: one as loaded, more in `distinct_p_values`
    dataset: str
    hidden_layers: int
    learning_rate: float
    optimizer: str
    regularization: str  # or BEST
    activation: str
    p_value: float  # three decimals

    @property
    def best_study(self) -> str | None:
        """The study that has our runs for it, where the paper leaves the regularization open;
        otherwise None.
        """
        return BEST_STUDIES[self.tables[0]] if self.regularization == BEST else None


@dataclass(frozen=True)
class PublishedCorrelation:
    """One mean absolute Kendall tau of Table 1."""

    dataset: str
    measure: str  # of runlog.MEASURES
    architecture: str
    target: str  # test_loss or test_accuracy
    mean_abs_kendall_tau: float


@dataclass(frozen=True)
class PublishedMean:
    """Mean and standard deviation of the final test accuracy over widths and seeds (the paper's
    earlier version).
    """

    dataset: str
    learning_rate: float
    optimizer: str
    regularization: str
    architecture: str
    mean: float  # percent
    std: float  # percentage points


def load_p_values(folder: Path = PUBLISHED) -> tuple[PublishedPValue, ...]:
    """The 254 printed p-values, in the paper's order.

    Args:
        folder: with pvalues.csv.

    Raises:
        PublishedError: the file is missing, or a line is no p-value of a known configuration or
            printed twice.
    """
    columns = (
        "table,dataset,hidden_layers,learning_rate,optimizer,regularization,activation,p_value,note"
    )

    def parse(row: dict[str, str]) -> PublishedPValue:
        table, regularization = row["table"], row["regularization"]
        return PublishedPValue(
            tables=(
                _one_of(table, ("3a", "3b", "3c", "4", "5a", "5b", "5c", "6a", "6b"), "table"),
            ),
            dataset=_one_of(row["dataset"], DATASET_LABELS, "dataset"),
            hidden_layers=int(row["hidden_layers"]),
            learning_rate=_within(row["learning_rate"], 0, 1, "learning_rate"),
            optimizer=_one_of(row["optimizer"], OPTIMIZERS, "optimizer"),
            regularization=_one_of(
                regularization,
                (BEST,) if table in BEST_STUDIES else REGULARIZATIONS,
                "regularization",
            ),
            activation=_one_of(row["activation"], ACTIVATIONS, "activation"),
            p_value=_within(row["p_value"], 0, 1, "p_value"),
        )

    return _load(
        folder / "pvalues.csv",
        columns,
        parse,
        lambda value: dataclasses.replace(value, p_value=0.0),
    )


def distinct_p_values(printed: Iterable[PublishedPValue]) -> tuple[PublishedPValue, ...]:
    """The 209 distinct cells of the printed ones, in the order in which they first appear.

    Raises:
        PublishedError: two tables print different values for one cell.
    """
    found: dict[PublishedPValue, PublishedPValue] = {}
    for value in printed:
        if value.tables == ("3c",) and value.activation == "relu":
            value = dataclasses.replace(value, regularization=TABLE_3C[value.optimizer])
        # what is BEST in two tables need not be the same
        tables = value.tables if value.regularization == BEST else ()
        key = dataclasses.replace(value, tables=tables, p_value=0.0)
        if key not in found:
            found[key] = value
        elif found[key].p_value == value.p_value:
            found[key] = dataclasses.replace(found[key], tables=found[key].tables + value.tables)
        else:
            places = " and ".join(found[key].tables + value.tables)
            raise PublishedError(
                f"tables {places} differ at {value.optimizer}, {value.regularization}"
            )
    return tuple(found.values())


def with_published(
    cells: pd.DataFrame, printed: Iterable[PublishedPValue], artifact: Artifact
) -> pd.DataFrame:
    """The cells of `significance_cells` with what the paper's table of this name prints for each.

    Args:
        cells: of the artifact.
        printed: every published p-value.
        artifact: `table4`, say; for one that the paper does not have nothing is added.

    Returns:
        The cells with a last column `published`, NaN where the paper's table has no such cell. The
        data set is the one that a cell is about, whatever stands in for it.
    """
    column = artifact.columns
    theirs = {
        (
            cell.dataset,
            cell.hidden_layers,
            cell.learning_rate,
            cell.optimizer,
            getattr(cell, column),
        ): cell.p_value
        for cell in printed
        if f"table{cell.tables[0]}" == artifact.name
    }
    if not theirs:
        return cells
    key = ["stands_for", "hidden_layers", "learning_rate", "optimizer", column]
    places = cells[key].fillna(_of_the_table(theirs)).itertuples(index=False, name=None)
    return cells.assign(published=[theirs.get(place, math.nan) for place in places])


def _of_the_table(theirs: Mapping[tuple[Any, ...], float]) -> dict[str, Any]:
    """What all cells of a published table have in common: cells without runs are about that."""
    columns = zip(*theirs, strict=True)
    shared = dict(zip(("stands_for", "hidden_layers", "learning_rate"), columns, strict=False))
    return {name: values[0] for name, values in shared.items() if len(set(values)) == 1}


def load_correlations(folder: Path = PUBLISHED) -> tuple[PublishedCorrelation, ...]:
    """The 48 values of Table 1, in its order; arguments and errors as of `load_p_values`."""
    columns = "table,dataset,measure,architecture,target,mean_abs_kendall_tau"

    def parse(row: dict[str, str]) -> PublishedCorrelation:
        _one_of(row["table"], ("1",), "table")
        return PublishedCorrelation(
            dataset=_one_of(row["dataset"], DATASET_LABELS, "dataset"),
            measure=_one_of(row["measure"], MEASURES, "measure"),
            architecture=_one_of(row["architecture"], ARCHITECTURE_LABELS, "architecture"),
            target=_one_of(row["target"], TARGET_LABELS, "target"),
            mean_abs_kendall_tau=_within(row["mean_abs_kendall_tau"], 0, 1, "mean_abs_kendall_tau"),
        )

    return _load(
        folder / "correlations.csv",
        columns,
        parse,
        lambda value: dataclasses.replace(value, mean_abs_kendall_tau=0.0),
    )


def load_means(folder: Path = PUBLISHED) -> tuple[PublishedMean, ...]:
    """The 48 means of CIFAR-100 at learning rate 0.001; arguments and errors as of
    `load_p_values`.
    """
    columns = "dataset,learning_rate,optimizer,regularization,architecture,metric,mean,std"

    def parse(row: dict[str, str]) -> PublishedMean:
        _one_of(row["metric"], ("test_accuracy",), "metric")
        return PublishedMean(
            dataset=_one_of(row["dataset"], DATASET_LABELS, "dataset"),
            learning_rate=_within(row["learning_rate"], 0, 1, "learning_rate"),
            optimizer=_one_of(row["optimizer"], OPTIMIZERS, "optimizer"),
            regularization=_one_of(row["regularization"], REGULARIZATIONS, "regularization"),
            architecture=_one_of(row["architecture"], ARCHITECTURE_LABELS, "architecture"),
            mean=_within(row["mean"], 0, 100, "mean"),
            std=_within(row["std"], 0, 100, "std"),
        )

    return _load(
        folder / "cifar100_means.csv",
        columns,
        parse,
        lambda value: dataclasses.replace(value, mean=0.0, std=0.0),
    )


def implied_dead_runs(mean: float, std: float, chance: float, runs: int = PAIRS) -> float:
    """The largest number of runs at chance accuracy that a mean and a spread leave room for.

    With a share f of the runs at chance c and the others at a, the mean is c + (1 - f)(a - c) and
    the variance f (1 - f)(a - c)^2, so f = r / (1 + r), r = (std / (mean - c))^2. Any spread among
    the others takes from f.

    Args:
        mean: of the test accuracy, percent.
        std: its standard deviation, percentage points.
        chance: accuracy of a dead run, percent.
        runs: how many the mean is over.

    Returns:
        A number of runs, 0 to `runs`, not rounded; NaN for a mean at or below chance.
    """
    if not mean > chance:
        return math.nan
    ratio = (std / (mean - chance)) ** 2
    return runs * ratio / (1 + ratio)


def _load(
    path: Path, columns: str, parse: Callable[[dict[str, str]], Row], key: Callable[[Row], Row]
) -> tuple[Row, ...]:
    """Parse each line; `key` blanks out the numbers, so that a place that occurs twice is found."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PublishedError(f"{path}: cannot be read ({error.strerror})") from None
    reader = csv.DictReader(text.splitlines(), strict=True)
    if reader.fieldnames != columns.split(","):
        raise PublishedError(f"{path}: the columns must be {columns}")
    rows: dict[Row, Row] = {}
    for row in reader:
        try:
            if None in row or None in row.values():
                raise ValueError("not as many values as columns")
            value = parse(row)
            if key(value) in rows:
                raise ValueError("this place occurs twice")
        except ValueError as error:
            raise PublishedError(f"{path}, line {reader.line_num}: {error}") from None
        rows[key(value)] = value
    return tuple(rows.values())


def _one_of(name: str, known: Iterable[str], column: str) -> str:
    if name not in known:
        raise ValueError(f"{column} {name!r} is none of {', '.join(known)}")
    return name


def _within(text: str, low: float, high: float, column: str) -> float:
    value = float(text)
    if not low <= value <= high:
        raise ValueError(f"{column} {text} is not within {low:g} and {high:g}")
    return value
