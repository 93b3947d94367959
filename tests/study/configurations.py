"""config.yaml, changed by a test, and what is said of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradflow.study.config import ConfigError
from gradflow.study.config_checks import load_config
from gradflow.study.grid import Grid
from gradflow.workflow.target_names import rule_names

ROOT = Path(__file__).parents[2]
SHIPPED: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
RULES = rule_names(ROOT / "Snakefile")
MLP, WIDE = "fashion_mnist_low", "wide_resnet_cifar100"


def changed(place: str, value: Any) -> dict[str, Any]:
    """The shipped configuration with another value at `place`, keys and list indices joined by
    dots.
    """
    raw = copy.deepcopy(SHIPPED)
    *keys, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    within = raw
    for key in keys:
        within = within.setdefault(key, {}) if isinstance(within, dict) else within[key]
    within[last] = value
    return raw


def grid_of(raw: dict[str, Any]) -> Grid:
    """Check a configuration as the Snakefile does."""
    grid = Grid(load_config(raw, RULES))
    grid.check()
    return grid


def refusal(raw: Any) -> str:
    """What is said of a wrong configuration."""
    with pytest.raises((ConfigError, ValueError)) as caught:
        grid_of(raw)
    return str(caught.value)


# --- wrong configurations -------------------------------------------------------------------------

BLOCK, WIDE_BLOCK = f"studies.{MLP}.blocks.0", f"studies.{WIDE}.blocks.0"
AT_BLOCK, AT_WIDE_BLOCK = BLOCK.replace(".0", "[0]"), WIDE_BLOCK.replace(".0", "[0]")
