"""The form of config.yaml: what is broken is told with its line, in one sentence."""

from pathlib import Path

import pytest

from gradflow.study.config import ConfigError
from gradflow.study.config_file import check_config_file

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
        ("a: &x [*x]\n? [1, 2]\n: 3\n", "found unhashable key"),
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
