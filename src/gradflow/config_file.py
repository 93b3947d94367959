"""The text of config.yaml, before its meaning: broken YAML and keys that stand there twice are told with their line."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from gradflow.config import ConfigError


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
                raise yaml.MarkedYAMLError(None, None, f"{key} stands there twice; keep one", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def check_config_file(path: Path) -> None:
    """Parse a configuration file for its form alone.

    Raises:
        ConfigError: the file is missing, no YAML or no mapping, or repeats a key; with the line, where there is one.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.load(file, UniqueKeys)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: {error.problem or error.context or 'not YAML'}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: it must hold keys and values; see the shipped config.yaml")
