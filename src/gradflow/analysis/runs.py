"""From a study's table (a row per run and probe epoch) to a row per run, and to pairs of twins.

Free of scipy, matplotlib and torch: the figures need no more than this.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradflow.files import read_checksum
from gradflow.study import labels
from gradflow.training.run_log import MEASURES, STUDY_SCHEMA

# What tells two runs of a study table apart.
RUN_KEY = [
    "scale", "stands_for", "variant", "dataset", "configuration", "architecture", "width_percent",
    "density_percent",
    "seed",
]  # fmt: skip
PAIR_KEY = ["scale", "stands_for", "variant", "dataset", "configuration", "seed", "width_percent"]
# What the twins of a pair have in common besides their key.
SHARED = [
    "model", "hidden_layers", "depth", "widen_factor", "activation", "optimizer", "learning_rate",
    "regularization",
    "l2", "batch_size", "initialisation", "dense_width", "max_width", "epochs",
]  # fmt: skip
FINAL = ["epoch", "train_loss", "test_loss", "test_accuracy", "diverged", "collapsed"]
# The averages of a run's measures; see `summarise_runs`.
MEANS = [f"{mean}_{measure}" for mean in ("mean", "whole_mean") for measure in MEASURES]
LOGGED_MEASURES = [*MEASURES, *(f"minibatch_{measure}" for measure in MEASURES)]

_SCALAR_COLUMNS = [column.name for column in STUDY_SCHEMA if not pa.types.is_list(column.type)]


@dataclass(frozen=True)
class Artifact:
    """What a table or figure is made of: its entry in the config, resolved.

    `where` maps a column of the run table to the value, or the list of values, whose runs are used.
    A list also gives the order of rows, columns or panels, and keeps the place of those without any
    finished run.
    """

    name: str
    title: str
    variant: str
    columns: str = "regularization"
    panels: str = "regularization"
    rows: str = "optimizer"
    measures: tuple[str, ...] = ("test_accuracy",)
    architectures: tuple[str, ...] = ("dense", "sparse")
    where: dict[str, Any] = dataclasses.field(default_factory=dict)
    studies: tuple[str, ...] = ()  # whose runs alone are used; empty: any
    seeds: tuple[int, ...] = ()
    percents: tuple[int, ...] = ()
    planned_runs: dict[str, int] = dataclasses.field(
        default_factory=dict
    )  # by the data set that they are about
    configurations: tuple[
        dict[str, Any], ...
    ] = ()  # of a grid, initialisation or precision table only
    train_images: int | str = "all"  # that each run uses of its data set
    # to which images are averaged down, by the data set that runs are about
    image_sides: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    # what the scale leaves out of the full study, by the data set that it is about: "6 of 500
    # epochs"
    reduced: dict[str, str] = dataclasses.field(default_factory=dict)
    initialisation: str = ""  # of its variant
    precision: str = ""  # likewise
    layout: str = "report"  # of a figure; or single_column, double_column of a paper's page

    @classmethod
    def from_json(cls, text: str) -> Artifact:
        """Read the JSON that the rules pass; keys that are of no use here are passed over."""
        known = {field.name for field in dataclasses.fields(cls)}
        plain: dict[str, Any] = {}
        for key, value in json.loads(text).items():
            if key in known:
                plain[key] = tuple(value) if isinstance(value, list) else value
        return cls(**plain)

    @property
    def is_camera_ready(self) -> bool:
        """Whether a figure is drawn for a paper: in the width of a column, without title and
        note.
        """
        return self.layout != "report"

    @property
    def planned(self) -> int:
        """Runs of one configuration and architecture, that is pairs of a table's cell, when all
        have finished.
        """
        return len(self.seeds) * len(self.percents)

    def listed(self, column: str) -> list[str] | None:
        """The values of `column` that the artifact names, in its order, or None where it leaves
        them to the runs.
        """
        wanted = self.where.get(column)
        if wanted is None:
            return None
        return list(wanted) if isinstance(wanted, list) else [wanted]

    def in_order(self, column: str, runs: pd.DataFrame) -> list[str]:
        """The values of `column`: those that the artifact names, or else those of its runs in the
        paper's order.
        """
        return self.listed(column) or labels.in_order(column, runs[column])


class StudyTableError(ValueError):
    """A study table is damaged, or is none; the message is one sentence."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path}: not a study table ({reason})")
        self.path = path


def read_rows(paths: Iterable[Path]) -> pd.DataFrame:
    """Read study tables into one, a row per study, run and probe epoch, without the columns that
    hold lists.

    Raises:
        StudyTableError: a file is no study table, or has another checksum than the one beside it.
        ValueError: a file cannot be read; the message names it.
    """
    tables = []
    for path in paths:
        try:
            content = path.read_bytes()
            expected = read_checksum(path)  # written by collect_runs
            if expected not in (None, hashlib.sha256(content).hexdigest()):
                raise StudyTableError(path, "its checksum does not match")
            tables.append(
                pq.read_table(pa.BufferReader(content), columns=_SCALAR_COLUMNS, partitioning=None)
            )
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            if isinstance(error, OSError) and error.errno:
                raise ValueError(f"{path} cannot be read ({error.strerror})") from None
            raise StudyTableError(path, reason) from None
    return pa.concat_tables(tables).to_pandas() if tables else pd.DataFrame(columns=_SCALAR_COLUMNS)


def select(rows: pd.DataFrame, artifact: Artifact) -> pd.DataFrame:
    """The rows that an artifact is made of: its studies' and variant's, and those that match its
    `where`.

    Raises:
        ValueError: `where` names a column that run logs do not have.
    """
    chosen = rows["variant"] == artifact.variant
    if artifact.studies:
        chosen &= rows["study"].isin(artifact.studies)
    for column in artifact.where:
        if column not in rows.columns:
            raise ValueError(
                f"artifact {artifact.name}: where.{column} is no column of the run logs"
            )
        chosen &= rows[column].isin(artifact.listed(column) or [])
    return rows[chosen].reset_index(drop=True)


def summarise_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per run: its identity, its end, and its average gradient flow (Section 3.1).

    A run that several studies share (Table 3a is inside 6a) makes one row.

    Args:
        rows: a study table, a row per run and probe epoch, in any order; lists are not needed.

    Returns:
        A frame with RUN_KEY and SHARED; FINAL of the run's last row (losses in nats, accuracy in
        percent); and for each of the four measures, at the probe and over the epoch's minibatches,
        `mean_*` (arithmetic, the paper's) and `geometric_mean_*` over the probe epochs. Those of a
        magnitude-pruned run begin with pruning, since one dense network serves every density
        before; of the probe's measures `whole_mean_*` has all of them. A non-finite measure makes
        its mean +inf, and a non-finite loss is +inf: such a run keeps its place, at the worst rank.
    """
    rows = rows.drop_duplicates([*RUN_KEY, "epoch"]).sort_values([*RUN_KEY, "epoch"], kind="stable")
    last = rows.drop_duplicates(RUN_KEY, keep="last")
    runs = last[[*RUN_KEY, *SHARED, *FINAL]].reset_index(drop=True)
    for loss in ("train_loss", "test_loss"):
        runs[loss] = _worst_if_not_finite(runs[loss])
    runs[["diverged", "collapsed"]] = runs[["diverged", "collapsed"]].astype(bool)

    logged = rows[LOGGED_MEASURES].apply(_worst_if_not_finite)
    run = rows.groupby(RUN_KEY, dropna=False, sort=False).ngroup().to_numpy()
    whole = logged[list(MEASURES)].groupby(run).mean()
    # pruned after half of the epochs (Section 4.3)
    before = (rows["architecture"] == "magnitude") & (
        rows["epoch"] < np.maximum(1, rows["epochs"] // 2)
    )
    measures = logged.where(~before)
    arithmetic = measures.groupby(run).mean()
    with np.errstate(divide="ignore"):  # log 0 is -inf and gives a geometric mean of 0
        geometric = measures.apply(np.log).groupby(run).mean().apply(np.exp)
    geometric = geometric.where(np.isfinite(arithmetic), np.inf)
    means = {"mean_": arithmetic, "geometric_mean_": geometric, "whole_mean_": whole}
    return pd.concat([runs, *(found.add_prefix(name) for name, found in means.items())], axis=1)


def pair_twins(runs: pd.DataFrame) -> pd.DataFrame:
    """The dense and the sparse run of one configuration, dense width and seed, side by side
    (Section 2.1).

    Args:
        runs: one row per run, as `summarise_runs` gives them. Runs without a dense width have no
            twin.

    Returns:
        One row per pair of which both runs are there: PAIR_KEY, SHARED, and every value as
        `*_dense` and `*_sparse`.
    """
    with_width = runs[runs["width_percent"].notna()]
    dense = with_width[with_width["architecture"] == "dense"]
    sparse = with_width[with_width["architecture"] == "sparse"].drop(columns=SHARED)
    pairs = dense.merge(sparse, on=PAIR_KEY, suffixes=("_dense", "_sparse"), validate="one_to_one")
    return pairs.drop(
        columns=[
            name for name in map(str, pairs) if name.startswith(("architecture", "density_percent"))
        ]
    )


def refuse_mixture(runs: pd.DataFrame, place: str) -> None:
    """Check that runs, or pairs, which are about to become one cell or line are of one
    configuration.

    Raises:
        ValueError: they are of several; the message begins with `place` and names them.
    """
    if runs[["stands_for", "dataset", "configuration"]].nunique().max() > 1:
        names = sorted(
            set(runs["stands_for"] + "/" + runs["dataset"] + "/" + runs["configuration"])
        )
        raise ValueError(f"{place} would mix {', '.join(names)}; narrow `where`")


def only_about(artifact: Artifact) -> dict[str, Any]:
    """What is known of a cell that has no runs: the data set that it is about, where the artifact
    names just one.
    """
    names = artifact.listed("stands_for") or []
    return {"stands_for": names[0]} if len(names) == 1 else {}


def extent(runs: pd.DataFrame, artifact: Artifact | None = None) -> str:
    """What a table or figure is made of, in a sentence a data set: how many runs of how many
    epochs, on which images.

    Args:
        runs: one row per run.
        artifact: when given, data sets that it names are counted even without a run, and planned
            runs are stated.
    """
    planned = artifact.planned_runs if artifact else {}
    if runs.empty:
        return (
            f"No finished runs; {sum(planned.values())} are planned."
            if planned
            else "No finished runs."
        )
    names = (artifact.listed("stands_for") if artifact else None) or labels.in_order(
        "dataset", runs["stands_for"]
    )
    count = artifact.train_images if artifact else "all"
    on_images = f" on {count:,} of the training images" if isinstance(count, int) else ""
    sentences = []
    for name in names:
        own = runs[runs["stands_for"] == name]
        of_planned = f" of {planned[name]} planned" if name in planned else ""
        epochs = " or ".join(str(count) for count in sorted(own["epochs"].unique()))
        of_epochs = f" of {epochs} epochs" if epochs else ""
        sides = artifact.image_sides.get(name, []) if artifact else []
        at_side = " or ".join(f"{side}x{side}" for side in sides)
        averaged = f", averaged down to {at_side} pixels" if sides else ""
        sentences.append(
            f"{about(own, name)}: {len(own)}{of_planned} runs{of_epochs}{on_images}{averaged}."
        )
    return " ".join(sentences)


def about(runs: pd.DataFrame, stands_for: str) -> str:
    """The data set that runs are about, and which one stands in for it: `CIFAR-100 (Digits stands
    in)`.
    """
    used = [
        labels.label("dataset", name)
        for name in labels.in_order("dataset", runs["dataset"])
        if name != stands_for
    ]
    name = labels.label("dataset", stands_for)
    return f"{name} ({' and '.join(used)} stands in)" if used else name


def regularizations_used(runs: pd.DataFrame) -> str:
    """Which regularization each optimizer has, for tables and figures whose columns are
    activations.
    """
    parts = []
    for name in labels.in_order("regularization", runs["regularization"]):
        used = labels.in_order("optimizer", runs.loc[runs["regularization"] == name, "optimizer"])
        optimizers = ", ".join(labels.label("optimizer", optimizer) for optimizer in used)
        parts.append(f"{labels.label('regularization', name)} ({optimizers})")
    return f"Regularization: {'; '.join(parts)}." if parts else ""


def _worst_if_not_finite(values: pd.Series[float]) -> pd.Series[float]:
    values = values.astype(float)
    return values.where(np.isfinite(values), np.inf)
