"""What a configuration, its settings and a grid of widths may be: one check for config.yaml and for
Python.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gradflow.study.config_sentences import sentence
from gradflow.study.job import (
    Activation,
    Configuration,
    Model,
    Optimizer,
    Regularization,
    Settings,
    dense_width,
)
from gradflow.text import nearest

Percent = Annotated[int, Field(ge=1, le=100)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# Beyond these nothing is meant, and something fails late: a log's integers have 64 bits, and a
# layer of MOST_WIDTH units takes all memory.
MOST, MOST_WIDTH, MOST_SEED = 1_000_000, 100_000, 2**63 - 1
Positive = Annotated[int, Field(ge=1, le=MOST)]
Width = Annotated[int, Field(ge=1, le=MOST_WIDTH)]
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]


class ConfigError(ValueError):
    """The configuration is wrong; the message is one line a mistake."""


class _Cell(BaseModel):
    """A configuration by itself, as Python code writes one; any data set's name will do."""

    model_config = ConfigDict(strict=True)

    dataset: str
    model: Model
    depth: Positive
    widen_factor: Annotated[int, Field(ge=0, le=MOST)]
    activation: Activation
    optimizer: Optimizer
    learning_rate: Rate
    regularization: Regularization


class _Comparison(BaseModel):
    """How a comparison from Python is run."""

    model_config = ConfigDict(strict=True)

    max_width: Width
    epochs: Positive
    seeds: Annotated[list[Seed], Field(min_length=1)]
    percents: Annotated[list[Percent], Field(min_length=1)]


def check_configuration(configuration: Configuration) -> None:
    """Raise ConfigError, with a line a mistake, unless config.yaml could hold this
    configuration.
    """
    plain = _plain(dataclasses.asdict(configuration))
    _check(_Cell, plain, "configuration")
    wide = configuration.model == "wide_resnet"
    _raise(
        f"configuration.{mistake}"
        for mistake in (
            *depth_mistakes("depth", configuration.depth, wide),
            *regularization_mistakes("regularization", configuration.regularization, wide),
            *(
                ["widen_factor: an MLP has none; write 0"]
                if plain["widen_factor"] and not wide
                else []
            ),
        )
    )


def check_comparison(
    max_width: int, epochs: int, seeds: Sequence[int], percents: Sequence[int]
) -> None:
    """Raise ConfigError, with a line a mistake, unless a scale could train these widths, epochs and
    seeds.
    """
    values = _plain(
        {"max_width": max_width, "epochs": epochs, "seeds": seeds, "percents": percents}
    )
    _check(_Comparison, values, "")
    _raise(
        (
            *repeats("seeds", values["seeds"]),
            *repeats("percents", values["percents"]),
            *width_mistakes(values["percents"], max_width, "max_width"),
        )
    )


def check_settings(settings: Settings) -> None:
    """Raise ConfigError unless config.yaml could hold these settings."""
    settings_from(_plain(dataclasses.asdict(settings)), "settings")


# Settings are a plain dataclass, for the sake of the trainer; its field types are checked here.
_FIELD_TYPES = get_type_hints(Settings)
# the least and the most of a setting; of a share the most is left out
LIMITS: dict[str, tuple[float, float]] = {
    "batch_size": (1, MOST),
    "probe_images": (1, MOST),
    "warmup_epochs": (0, MOST),
    "label_smoothing": (0, 1),
    "l1": (0, math.inf),
    "dropout": (0, 1),
    "gradient_clip": (0, math.inf),
    "l2": (0, math.inf),
    "wide_resnet_l2": (0, math.inf),
    "rmsprop_alpha": (0, 1),
    "train_images": (1, MOST),
    "image_side": (1, MOST),
    "max_width": (1, MOST_WIDTH),
    "mask_update_interval": (1, MOST),
    "mask_update_fraction": (0, 1),
}


def settings_from(raw: dict[str, Any], place: str) -> Settings:
    """Settings from plain values; those that are not given are at their defaults.

    Raises:
        ConfigError: an unknown setting, or a value that it cannot have; `place` is where it stood.
    """
    values = {}
    for key, value in raw.items():
        if key not in _FIELD_TYPES:
            raise ConfigError(f"{place}.{key}: unknown setting{nearest(key, _FIELD_TYPES)}")
        adapter: TypeAdapter[Any] = TypeAdapter(_FIELD_TYPES[key])
        try:
            values[key] = adapter.validate_python(
                tuple(value) if isinstance(value, list) else value, strict=True
            )
        except ValidationError as error:
            # of a union there is one error a type: text is told of the words that are valid
            detail = error.errors()[-1 if isinstance(value, str) else 0]
            indices = [part for part in detail["loc"] if isinstance(part, int)]
            raise ConfigError(
                sentence({**detail, "loc": (*place.split("."), key, *indices)}, BaseModel)
            ) from None
        numbers = values[key] if isinstance(values[key], tuple) else (values[key],)
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise ConfigError(f"{place}.{key}: {value} is not a finite number")
        number = values[key]
        if key in LIMITS and not isinstance(number, str):
            least, most = LIMITS[key]
            if not (least <= number < most if most == 1 else least <= number <= most):
                limit = f"at least {least:g}" if number < least else f"at most {most:,}"
                if most == 1:
                    limit = "between 0 and 1"
                raise ConfigError(f"{place}.{key}: {value} is out of range; it must be {limit}")
    return dataclasses.replace(Settings(), **values)


def width_mistakes(percents: Sequence[int], max_width: int, place: str) -> Iterable[str]:
    """Dense widths that would be less than one unit, or the same."""
    widths = [dense_width(max_width, percent) for percent in set(percents)]
    if min(widths) < 1 or len(set(widths)) < len(widths):
        yield (
            f"{place}: {max_width} is too narrow; {min(percents)} % of it must be a width of its "
            "own of at least 1"
        )


def depth_mistakes(place: str, depth: int, wide: bool) -> Iterable[str]:
    """A depth that the network does not come in."""
    if wide and (depth < 10 or (depth - 4) % 6):
        other = max(10, (depth - 1) // 6 * 6 + 4)
        yield f"{place}: a Wide ResNet's depth is 6 n + 4; instead of {depth} take {other}"
    if not wide and depth not in (1, 2, 4):
        other = min((1, 2, 4), key=lambda valid: abs(valid - depth))
        yield f"{place}: an MLP has 1, 2 or 4 hidden layers; instead of {depth} take {other}"


def regularization_mistakes(place: str, regularization: str, wide: bool) -> Iterable[str]:
    """A Wide ResNet without BatchNorm."""
    if wide and "BN" not in regularization.split("_"):
        kept = [part for part in regularization.split("_") if part not in ("NR", "LN")]
        better = "_".join([*kept, "BN"])
        yield f"{place}: a Wide ResNet has BatchNorm; instead of {regularization} take {better}"


def minibatch_mistake(
    settings: Settings, images: int, dataset: str, others: Iterable[int] = ()
) -> str | None:
    """More training images than a data set of `images` has, or a last minibatch of one.

    Args:
        settings: of the runs.
        images: training images of the data set.
        dataset: its name.
        others: training images of other data sets, for which the advice must hold, too.
    """
    if settings.train_images != "all":
        if settings.train_images > images:
            return (
                f"train_images is {settings.train_images}, but {dataset} has {images} training "
                "images; take fewer"
            )
        if settings.train_images == 1:
            return (
                "train_images is 1, a minibatch of one image, which BatchNorm cannot normalise; "
                "take more"
            )
    if settings.probe_images == 1:
        return (
            "probe_images is 1, a minibatch of one image, which BatchNorm cannot normalise; take "
            "more"
        )
    batch = settings.batch_size
    for count in _counts(settings, images):
        if not _divides(count, batch):
            counts = {one for size in (images, *others) for one in _counts(settings, size)} - {1}
            better = next(
                size
                for size in itertools.count(batch + 1)
                if all(_divides(one, size) for one in counts)
            )
            return (
                f"a batch_size of {batch} leaves a last minibatch of one image out of {count}, "
                f"which BatchNorm cannot normalise; take {better}"
            )
    return None


def _counts(settings: Settings, images: int) -> tuple[int, int]:
    """How many images an epoch and a probe go over."""
    used = images if settings.train_images == "all" else min(settings.train_images, images)
    return used, min(settings.probe_images, used)


def _divides(count: int, batch: int) -> bool:
    """Whether no minibatch has a single image."""
    return batch > 1 and count % batch != 1


def repeats(place: str, values: Sequence[Any]) -> Iterable[str]:
    """Values that stand in a list twice."""
    for value in sorted({value for value in values if values.count(value) > 1}):
        yield f"{place}: {value} stands there twice; name it once"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As YAML would give it: lists for tuples and ranges."""
    return {
        key: list(value) if isinstance(value, tuple | range) else value
        for key, value in values.items()
    }


def _check(model: type[BaseModel], values: dict[str, Any], place: str) -> None:
    try:
        model.model_validate(values)
    except ValidationError as error:
        at = (place,) if place else ()
        _raise(sentence({**e, "loc": (*at, *e["loc"])}, model) for e in error.errors())


def _raise(mistakes: Iterable[str]) -> None:
    found = list(mistakes)
    if found:
        raise ConfigError("\n".join(found))
