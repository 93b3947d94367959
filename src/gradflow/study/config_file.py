"""The text of config.yaml, before its meaning: broken YAML and keys that stand there twice are told with their line."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from gradflow.study.config import Config, ConfigError, load_config

CODE = "__use_yte__"  # Snakemake hands a file with this key to a template engine that runs Python


class UniqueKeys(yaml.SafeLoader):
    """YAML's own loader lets the last of two equal keys win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that stands twice in one mapping."""
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.MarkedYAMLError(None, None, "found unhashable key", key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(
                    None, None, f"{key} stands there twice; keep one", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def check_config_file(path: Path) -> None:
    """Parse a configuration file for its form alone.

    Raises:
        ConfigError: the file is missing, no YAML or no mapping, repeats a key or asks to run code;
            with the line, where there is one.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.load(file, UniqueKeys)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: {error.problem or error.context or 'not YAML'}") from None
    # PyYAML's constructors raise whatever their conversions do: 2021-99-99 is a ValueError
    except Exception as error:
        raise ConfigError(
            f"{path}: not YAML that can be read ({' '.join(str(error).split())})"
        ) from None
    if isinstance(content, dict) and CODE in content:
        raise ConfigError(
            f"{path}: {CODE} would run code of the configuration; remove it, and its ?expressions"
        )
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: it must hold keys and values; see the shipped config.yaml")


def read_config(path: Path) -> Config:
    """Read and check a configuration file, without Snakemake.

    Raises:
        ConfigError: something is wrong with it; one line for each mistake.
    """
    try:
        # by libyaml, where there is one: the other loader takes ten times as long
        content = yaml.load(
            path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        check_config_file(path)
        raise
    return load_config(content)
