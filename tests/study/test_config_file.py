"""The form of config.yaml: what is broken is told with its line, in one sentence."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from snakemake.utils import update_config

from gradflow.study.config import ConfigError
from gradflow.study.config_file import MOST_VALUES, check_config_file, read_config, typed

ROOT = Path(__file__).parents[2]


def test_the_shipped_file_is_well_formed():
    check_config_file(ROOT / "config.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("percents: [10\nseeds: 1\n", "line 2: expected ',' or ']', but got ':'"),
        ("percents: [10]\nscales:\n  a: 1\n  a: 2\n", "line 4: a stands there twice; keep one"),
        ("percents: [10]\npercents: [20]\n", "line 2: percents stands there twice; keep one"),
        ("- 1\n- 2\n", "it must hold keys and values; see the shipped config.yaml"),
        ("", "it must hold keys and values; see the shipped config.yaml"),
        ("a: !!python/object:os.system {}\n", "could not determine a constructor"),
        ("? [1, 2]\n: 3\n", "found unhashable key"),
        ("a: &x [*x]\n", "its aliases (*NAME) stand for more than 100,000 values"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        check_config_file(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_merged_keys_may_be_overridden(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: &base {x: 1, y: 2}\nb: {<<: *base, x: 3}\n")
    check_config_file(path)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        check_config_file(tmp_path / "config.yaml")


@pytest.mark.parametrize("width", [9, 40])
def test_aliases_of_aliases_are_bounded(tmp_path, width):
    """Nine levels of nine stand for 400 million values in a kilobyte."""
    lines = [f"a0: &a0 [{', '.join('x' for _ in range(width))}]"]
    for level in range(1, 9):
        lines.append(f"a{level}: &a{level} [{', '.join(f'*a{level - 1}' for _ in range(width))}]")
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(lines))
    for read in (check_config_file, read_config):
        with pytest.raises(ConfigError, match="aliases") as error:
            read(path)
        assert f"{MOST_VALUES:,}" in str(error.value) and "\n" not in str(error.value)


def test_second_files_are_looked_at_as_closely(tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("scales:\n  mine: {seeds: [0]}\n  mine: {seeds: [1]}\n")
    with pytest.raises(ConfigError, match=r"more.yaml, line 3: mine stands there twice"):
        read_config(ROOT / "config.yaml", more)
    with pytest.raises(ConfigError, match="No such file"):
        read_config(ROOT / "config.yaml", tmp_path / "none.yaml")


def test_a_second_file_extends_the_configuration(tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text(
        "scales:\n  mine:\n    seeds: [0]\n    stand_ins: {fashion_mnist: digits}\n"
        "    studies: {fashion_mnist_low: {epochs: 1}}\n"
    )
    config = read_config(ROOT / "config.yaml", more)
    assert config.scales["mine"].studies["fashion_mnist_low"].epochs == 1
    assert set(config.scales) > {"mine", "paper"}


VALUES = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text("ab", max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=12,
)
FILES = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


@given(FILES, st.lists(FILES, max_size=3))
def test_files_extend_each_other_as_in_snakemake(first, more):
    from gradflow.study.config_file import _extend

    ours, theirs = yaml.safe_load(yaml.safe_dump(first)), yaml.safe_load(yaml.safe_dump(first))
    for one in more:
        _extend(ours, yaml.safe_load(yaml.safe_dump(one)))
        update_config(theirs, yaml.safe_load(yaml.safe_dump(one)))
    assert ours == theirs


@given(VALUES)
def test_text_of_the_command_line_gets_its_type_back(value):
    """Snakemake reads what stands behind --config with a loader that knows text alone."""
    text = yaml.load(yaml.safe_dump([value]), yaml.BaseLoader)
    assert typed(text) == [value]
