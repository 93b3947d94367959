"""The comparison on data in memory: it is refused where config.yaml would refuse it, in the same
sentence.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from gradflow.data.store import ImageData
from gradflow.study.config import ConfigError
from gradflow.study.config_checks import load_config
from gradflow.study.job import Configuration, Settings
from gradflow.twins import tensor_data, train_twins

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(90, 12, generator=GENERATOR)
Y = (X @ torch.randn(12, 3, generator=GENERATOR)).argmax(1)
PARTS = {
    "train_inputs": X[:60],
    "train_labels": Y[:60],
    "test_inputs": X[60:],
    "test_labels": Y[60:],
}
CELL = Configuration("mine", "mlp", 1, 0, "relu", "adam", 0.01, "BN")
SMALL = {"max_width": 20, "epochs": 1, "seeds": [0], "percents": [50]}


def data(**change: Any) -> ImageData:
    return tensor_data("mine", **{**PARTS, **change})


def train(
    cell: dict[str, Any] | None = None, settings: dict[str, Any] | None = None, **options: Any
) -> pd.DataFrame:
    configuration = dataclasses.replace(CELL, **(cell or {}))
    return train_twins(
        data(), configuration, **{**SMALL, **options}, settings=Settings(**(settings or {}))
    )


def said_of_config(change: dict[str, Any], *, block: bool) -> str:
    """What config.yaml is told of the same choice, without its place."""
    raw = yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text())
    if block:
        for key, value in change.items():
            raw["studies"]["fashion_mnist_low"]["blocks"][0][key] = [value]
    else:
        raw["variants"]["paper"] |= change
    with pytest.raises(ConfigError) as caught:
        load_config(raw)
    return str(caught.value).splitlines()[0].partition(": ")[2]


@pytest.mark.parametrize(
    ("key", "plural", "value"),
    [
        ("regularization", "regularizations", "LNN"),
        ("regularization", "regularizations", "bn"),
        ("optimizer", "optimizers", "adamm"),
        ("activation", "activations", "relu6"),
        ("learning_rate", "learning_rates", -1.0),
        ("learning_rate", "learning_rates", float("nan")),
        ("depth", "depths", 0),
        ("depth", "depths", 3),
    ],
)
def test_a_configuration_is_checked_as_in_config_yaml(key: str, plural: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        train({key: value})
    place, _, said = str(caught.value).partition(": ")
    assert place == f"configuration.{key}"
    assert said == said_of_config({plural: value}, block=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("precision", "fp16"),
        ("l2_scope", "none"),
        ("mlp_schedule", "linear"),
        ("batch_size", 0),
        ("l2", -0.1),
        ("l2", float("nan")),
        ("mask_update", "seet"),
        ("probe_images", 0),
        ("initialisation", "he"),
        ("skip_overlap", 1),
    ],
)
def test_settings_are_checked_as_in_config_yaml(key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        train(settings={key: value})
    place, _, said = str(caught.value).partition(": ")
    assert place == f"settings.{key}"
    assert said == said_of_config({key: value}, block=False)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"epochs": 0}, "epochs: 0 is out of range; it must be at least 1"),
        ({"max_width": 0}, "max_width: 0 is out of range; it must be at least 1"),
        ({"max_width": 2, "percents": [10]}, "max_width: 2 is too narrow"),
        ({"seeds": []}, "seeds: empty; name at least one"),
        ({"seeds": [1, 1]}, "seeds: 1 stands there twice"),
        ({"percents": [50, 101]}, "percents[1]: 101 is out of range; it must be at most 100"),
        ({"settings": {"batch_size": 59}}, "settings: a batch_size of 59 leaves a last minibatch"),
        ({"cell": {"widen_factor": 2}}, "configuration.widen_factor: an MLP has none"),
        ({"cell": {"model": "cnn"}}, "twins of the same capacity are MLPs"),
    ],
)
def test_what_is_asked_is_checked(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        train(**options)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"train_labels": Y[:60, None]},
            r"shape \(60, 1\); it must be one each; take train_labels",
        ),
        (
            {"test_labels": torch.nn.functional.one_hot(Y[60:])},
            r"shape \(30, 3\); it must be one each; if they are one-hot, take test_labels\.argmax",
        ),
        ({"train_labels": Y[:60] + 0.5}, r"train_labels holds \d\.5; labels must be whole numbers"),
        ({"train_labels": Y[:60] - 1}, "train_labels holds -1; labels must be whole"),
        ({"train_inputs": X[:60] / 0}, "train_inputs holds values that are not finite"),
        ({"test_inputs": X[60:] * float("nan")}, "test_inputs holds values that are not finite"),
        ({"test_inputs": X[:0], "test_labels": Y[:0]}, "test_inputs is empty"),
        ({"test_inputs": X[60:, :5]}, r"shape \(60, 12\) and \(30, 5\) do not fit"),
    ],
)
def test_tensors_are_checked(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        data(**change)


def test_arrays_are_as_good_as_tensors() -> None:
    of_arrays = data(**{name: np.asarray(part) for name, part in PARTS.items()})
    options: dict[str, Any] = {**SMALL, "percents": [30, 60]}
    pairs, again = (train_twins(d, CELL, **options) for d in (data(), of_arrays))
    pd.testing.assert_frame_equal(pairs, again)
    assert len(pairs) == 2 and not pairs.diverged_sparse.any()
