"""The model of config.yaml: strict, each field of its type.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from gradflow.study.choices import ConfigError as ConfigError
from gradflow.study.choices import Percent, Positive, Rate, Seed, Width, settings_from
from gradflow.study.datasets import SHAPES
from gradflow.study.job import (
    Activation,
    Architecture,
    Dataset,
    Model,
    Optimizer,
    Regularization,
    Settings,
)
from gradflow.study.kinds import KINDS

if TYPE_CHECKING:
    ArtifactKind: TypeAlias = str
else:
    ArtifactKind = Literal[tuple(KINDS)]

# of a scale, study, variant or artifact: they become parts of paths and target names
NAME = r"^[a-z][a-z0-9_]*$"
Name = Annotated[str, Field(pattern=NAME)]
Column = Literal["learning_rate", "hidden_layers", "optimizer", "regularization", "activation"]
Measure = Literal["test_accuracy", "test_loss", "grad_norm_l1", "grad_norm_l2", "egf_l1", "egf_l2"]


class Strict(BaseModel):
    """A model without tolerance: no unknown key, no converted type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DatasetChoice(Strict):
    """How a data set is used."""

    max_width: Width | None = None  # None: n + 4 for n inputs
    crop_padding: Annotated[int, Field(ge=0, le=16)]
    flip: bool


class Block(Strict):
    """Configurations as a product of lists."""

    depths: Annotated[list[Positive], Field(min_length=1)]
    widen_factors: Annotated[list[Positive], Field(min_length=1)] | None = (
        None  # of Wide ResNets only
    )
    learning_rates: Annotated[list[Rate], Field(min_length=1)]
    optimizers: Annotated[list[Optimizer], Field(min_length=1)]
    regularizations: Annotated[list[Regularization], Field(min_length=1)]
    activations: Annotated[list[Activation], Field(min_length=1)]


class Study(Strict):
    """A set of configurations on one data set."""

    dataset: Dataset
    model: Model
    epochs: Positive
    blocks: Annotated[list[Block], Field(min_length=1)]
    densities: Annotated[list[Percent], Field(min_length=1)] | None = None  # of Wide ResNets only
    variants: Annotated[list[Name], Field(min_length=1)] = ["paper"]
    magnitude: bool = True  # of Wide ResNets only: whether they are pruned by magnitude too
    second_look: bool = False  # more seeds for claims that those of other studies left open


class StudyAtScale(Strict):
    """Where a study differs at a scale."""

    epochs: Positive | None = None
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = None
    densities: Annotated[list[Percent], Field(min_length=1)] | None = None
    blocks: Annotated[list[Block], Field(min_length=1)] | None = None
    variants: Annotated[list[Name], Field(min_length=1)] | None = None
    settings: dict[str, Any] = {}


class Scale(Strict):
    """A size of the whole study."""

    seeds: Annotated[list[Seed], Field(min_length=1)]
    studies: Annotated[dict[Name, StudyAtScale], Field(min_length=1)]
    stand_ins: dict[Dataset, Dataset] = {}
    max_widths: dict[Dataset, Width] = {}
    image_sides: dict[Dataset, Positive] = {}
    settings: dict[str, Any] = {}
    keep_weights: bool = (
        False  # no part of a run's identity: what is finished without them is not trained again
    )


class ArtifactEntry(Strict):
    """A table or figure, and what it is drawn from."""

    kind: ArtifactKind
    title: str
    studies: list[Name] = []
    variant: Name = "paper"
    columns: Literal["regularization", "activation"] = "regularization"  # of a significance table
    panels: Literal["regularization", "activation"] = "regularization"  # of a plot by width
    rows: Literal["optimizer", "hidden_layers_and_optimizer"] = "optimizer"  # of a plot by width
    measures: Annotated[list[Measure], Field(min_length=1)] = ["test_accuracy", "egf_l2"]
    architectures: list[Architecture] = ["dense", "sparse"]  # of a plot by density
    where: dict[Column, Any] = {}  # a value, or a list of them


# how figures are drawn: for the report, or camera-ready in one or both columns of a page
Layout = Literal["report", "single_column", "double_column"]


class Config(Strict):
    """All of config.yaml."""

    percents: Annotated[list[Percent], Field(min_length=1)]
    datasets: dict[Dataset, DatasetChoice]
    variants: dict[Name, dict[str, Any]]
    studies: dict[Name, Study]
    scales: dict[Name, Scale]
    artifacts: dict[Name, ArtifactEntry]
    figures: Layout = "report"
    partial: Annotated[bool, Field(strict=False)] = (
        False  # on the command line: make everything from existing logs
    )


def settings_of(config: Config, variant: str, scale: str, study: str | None = None) -> Settings:
    """The settings of a variant at a scale: those of `paper`, then what variant, scale and study
    change.
    """
    raw = raw_settings(config, variant, config.scales[scale], study)
    return settings_from(raw, f"variants.{variant}")


def raw_settings(config: Config, variant: str, scale: Scale, study: str | None) -> dict[str, Any]:
    """What `settings_of` makes settings of, unchecked."""
    raw = {**config.variants["paper"], **config.variants[variant], **scale.settings}
    if study is None:
        return raw
    raw |= scale.studies[study].settings
    dataset = config.studies[study].dataset
    side = scale.image_sides.get(scale.stand_ins.get(dataset, dataset))
    if side is not None and raw.get("image_side", "original") == "original":
        raw["image_side"] = side
    return raw


def max_width_of(config: Config, scale: Scale, dataset: str, settings: Settings) -> int:
    """The maximum width of a variant's MLPs: its own, the data set's, or n + 4 for n inputs
    (appendix A.1).
    """
    if isinstance(settings.max_width, int):
        return settings.max_width
    named = scale.max_widths.get(dataset) or config.datasets[dataset].max_width
    return named or SHAPES[dataset].at_side(settings.image_side).inputs + 4
