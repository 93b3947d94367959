"""What a configuration, its settings and a grid of widths may be: one check for config.yaml and for Python.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import dataclasses
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
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]


class ConfigError(ValueError):
    """The configuration is wrong; the message is one line a mistake."""


class _Cell(BaseModel):
    """A configuration by itself, as Python code writes one; any data set's name will do."""

    model_config = ConfigDict(strict=True)

    dataset: str
    model: Model
    depth: Positive
    widen_factor: Annotated[int, Field(ge=0)]
    activation: Activation
    optimizer: Optimizer
    learning_rate: Rate
    regularization: Regularization


class _Comparison(BaseModel):
    """How a comparison from Python is run."""

    model_config = ConfigDict(strict=True)

    max_width: Positive
    epochs: Positive
    seeds: Annotated[list[Seed], Field(min_length=1)]
    percents: Annotated[list[Percent], Field(min_length=1)]


def check_configuration(configuration: Configuration) -> None:
    """Raise ConfigError, with a line a mistake, unless config.yaml could hold this configuration."""
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
    """Raise ConfigError, with a line a mistake, unless a scale could train these widths, epochs and seeds."""
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
_LIMITS = {
    "batch_size": "at least 1",
    "probe_images": "at least 1",
    "l2": "at least 0",
    "wide_resnet_l2": "at least 0",
    "rmsprop_alpha": "between 0 and 1",
    "train_images": "at least 1",
    "image_side": "at least 1",
    "max_width": "at least 1",
    "mask_update_interval": "at least 1",
    "mask_update_fraction": "between 0 and 1",
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
        limit, number = _LIMITS.get(key), values[key]
        low = 1 if limit == "at least 1" else 0
        if (
            limit
            and not isinstance(number, str)
            and (number < low or (limit == "between 0 and 1" and number >= 1))
        ):
            raise ConfigError(f"{place}.{key}: {value} is out of range; it must be {limit}")
    return dataclasses.replace(Settings(), **values)


def width_mistakes(percents: Sequence[int], max_width: int, place: str) -> Iterable[str]:
    """Dense widths that would be less than one unit, or the same."""
    widths = [dense_width(max_width, percent) for percent in set(percents)]
    if min(widths) < 1 or len(set(widths)) < len(widths):
        yield f"{place}: {max_width} is too narrow; {min(percents)} % of it must be a width of its own of at least 1"


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
        better = regularization.replace("NR", "") + ("_BN" if regularization != "NR" else "BN")
        yield f"{place}: a Wide ResNet has BatchNorm; instead of {regularization} take {better}"


def minibatch_mistake(settings: Settings, images: int, dataset: str) -> str | None:
    """More training images than a data set of `images` has, or a last minibatch of one."""
    if settings.train_images != "all":
        if settings.train_images > images:
            return f"train_images is {settings.train_images}, but {dataset} has {images} training images; take fewer"
        images = settings.train_images
    batch = settings.batch_size
    for count in (images, min(settings.probe_images, images)):
        if batch == 1 or count % batch == 1:
            return (
                f"a batch_size of {batch} leaves a last minibatch of one image out of {count}, which BatchNorm cannot "
                f"normalise; take {batch + 1}"
            )
    return None


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
