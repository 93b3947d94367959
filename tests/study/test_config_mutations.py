"""Whatever is done to config.yaml, it is read or refused in a sentence."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from configurations import SHIPPED, grid_of
from hypothesis import given, settings
from hypothesis import strategies as st

from gradflow.study.config import ConfigError

# --- any configuration ----------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [
            0,
            1,
            -1,
            7,
            10**40,
            10**400,
            0.0,
            1.5,
            -2.0,
            1e300,
            float("nan"),
            float("inf"),
            -float("inf"),
        ]
    ),
    st.sampled_from(["", "a\nb", "paper", "adam", "1e-1", "é", "data", "x" * 500]),
    st.dates(),  # as YAML has them
)
KEYS = st.one_of(
    st.sampled_from(
        ["epochs", "paper", "seeds", "a\nb", "Ünknown", "", "studies", "[key]", "x" * 200]
    ),
    st.integers(0, 3),
    st.booleans(),
    st.none(),
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) within a configuration."""
    items: Any = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in list(items):
        yield value, key
        yield from places(inner)


def drop(container: Any, key: Any, _draw: Callable[[Any], Any]) -> None:
    del container[key]


def replace(container: Any, key: Any, draw: Callable[[Any], Any]) -> None:
    container[key] = draw(JUNK)


def misspell(container: Any, key: Any, draw: Callable[[Any], Any]) -> None:
    if isinstance(container, dict):
        container[draw(KEYS) if draw(st.booleans()) else f"{key}"[:-1]] = container.pop(key)
    elif isinstance(container[key], str):
        container[key] = container[key][1:]


def double(container: Any, key: Any, draw: Callable[[Any], Any]) -> None:
    if isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    else:
        container[draw(KEYS)] = copy.deepcopy(container[key])


MUTATIONS = st.sampled_from([drop, replace, misspell, double])


@pytest.mark.slow
@settings(max_examples=400, derandomize=True)
@given(st.data())
def test_no_mutation_breaks_anything_but_the_configuration(data: st.DataObject) -> None:
    raw = copy.deepcopy(SHIPPED)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(list(places(raw)) or [(raw, "percents")]))
        data.draw(MUTATIONS)(container, key, data.draw)
    try:
        grid = grid_of(raw)
    except (ConfigError, ValueError) as error:
        lines = str(error).split("\n")
        assert all(": " in line and line.isprintable() and len(line) < 1000 for line in lines), (
            lines
        )
    else:
        assert all(grid.jobs(scale) for scale in grid.config.scales)
