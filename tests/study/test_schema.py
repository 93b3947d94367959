"""config.schema.json is what the model of config.yaml gives, and tells what an editor shows."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml
from project import ROOT

from gradflow.study.schema import SENTENCES, schema

KEPT: dict[str, Any] = json.loads((ROOT / "config.schema.json").read_text())
SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())


def test_the_file_is_what_the_model_gives() -> None:
    assert json.loads(json.dumps(schema())) == KEPT, (
        "PYTHONPATH=src python -m gradflow.study.schema > config.schema.json makes it anew"
    )


def test_the_editor_finds_it() -> None:
    first = (ROOT / "config.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=config.schema.json"


def test_the_shipped_configuration_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(KEPT)
    jsonschema.validate(SHIPPED, KEPT)


@pytest.mark.parametrize(
    "wrong",
    [
        {"percent": [10]},
        {"percents": [0]},
        {"variants": {"paper": {"batchsize": 64}}},
        {"variants": {"paper": {"batch_size": 0}}},
        {"variants": {"paper": {"label_smoothing": 1.0}}},
        {"scales": {"quick": {"seeds": [0], "studies": {"a": {}}, "setting": {}}}},
    ],
)
def test_a_mistake_is_marked(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(SHIPPED | wrong, KEPT)


def test_a_name_of_ones_own_is_none() -> None:
    raw = json.loads(json.dumps(SHIPPED))
    next(iter(raw["studies"].values()))["blocks"][0]["optimizers"] = ["adam", "lion"]
    jsonschema.validate(raw, KEPT)


def test_every_field_has_a_sentence() -> None:
    models = {**KEPT["$defs"], "Config": KEPT}
    assert models.keys() == SENTENCES.keys()
    for model, sentences in SENTENCES.items():
        assert list(models[model]["properties"]) == list(sentences), model
        for field, property_ in models[model]["properties"].items():
            text = property_["description"]
            assert text == sentences[field] and text.endswith(".") and ". " not in text, field
