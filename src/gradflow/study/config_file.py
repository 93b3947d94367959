"""The text of config.yaml, before its meaning: broken YAML and keys that stand there twice are told
with their line.

`python -m gradflow.study.config_file FILE` looks at a file and prints what is wrong with it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from gradflow.study.choices import ConfigError
from gradflow.study.config import Config
from gradflow.study.config_checks import load_config

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


# by libyaml, where there is one: the other takes ten times as long
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# values that a file may hold, aliases written out; the shipped config.yaml has two thousand
MOST_VALUES = 100_000
ALIAS = re.compile(r"(^|[\s\[{,:-])\*\w", re.MULTILINE)


def config_path() -> Path:
    """config.yaml of the working directory, or else the project's own, beside src/."""
    here, project = Path("config.yaml"), Path(__file__).parents[3] / "config.yaml"
    return project if project.is_file() and not here.exists() else here


def check_config_file(path: Path) -> None:
    """Parse a configuration file for its form alone.

    Raises:
        ConfigError: the file is missing, no YAML or no mapping, repeats a key or asks to run code;
            with the line, where there is one.
    """
    try:
        text = path.read_text(encoding="utf-8")
        _bound_aliases(path, text)
        content = yaml.load(text, UniqueKeys)
    except ConfigError:
        raise
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


def _bound_aliases(path: Path, text: str) -> None:
    """Refuse aliases of aliases: a few lines of them stand for more values than a machine can
    hold.
    """
    if not ALIAS.search(text):
        return
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MOST_VALUES + 1  # until it is known: a node that holds itself
            parts = node.value if isinstance(node, yaml.CollectionNode) else ()
            flat = [
                part for pair in parts for part in (pair if isinstance(pair, tuple) else [pair])
            ]
            sizes[id(node)] = 1 + sum(map(size, flat))
        return sizes[id(node)]

    root = yaml.compose(text, LOADER)
    if root is not None and size(root) > MOST_VALUES:
        raise ConfigError(
            f"{path}: its aliases (*NAME) stand for more than {MOST_VALUES:,} values; write them "
            "out, or fewer of them"
        )


def read_config(path: Path, *more: Path) -> Config:
    """Read and check a configuration, without Snakemake.

    Args:
        path: the file to begin with.
        *more: files that extend it one after the other, as Snakemake's `--configfile` does: a
            mapping is merged into the one before, any other value replaces it.

    Raises:
        ConfigError: something is wrong with it; one line for each mistake.
    """
    content = read_values(path)
    for file in more:
        check_config_file(file)  # closely, since a person wrote it by hand
        _extend(content, read_values(file))
    return load_config(content)


def read_values(path: Path) -> dict[str, Any]:
    """What a configuration file holds, unchecked but for its form.

    Raises:
        ConfigError: as `check_config_file`.
    """
    try:
        text = path.read_text(encoding="utf-8")
        _bound_aliases(path, text)
        content = yaml.load(text, LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        check_config_file(path)
        raise
    return content if isinstance(content, dict) else {}


def _extend(before: dict[Any, Any], more: dict[Any, Any]) -> None:
    """Merge as `snakemake.utils.update_config` does, where an empty mapping changes nothing."""
    for key, value in more.items():
        if isinstance(value, dict):
            inner = before.get(key, {})
            if value and not isinstance(inner, dict):
                inner = {}
            if value:
                _extend(inner, value)
            before[key] = inner
        else:
            before[key] = value


def typed(value: Any) -> Any:
    """Numbers and truth values where `--config 'a={"b": [3]}'` has text, as a file would have
    them.
    """
    if isinstance(value, dict):
        return {key: typed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [typed(one) for one in value]
    if isinstance(value, str):
        try:
            plain = yaml.safe_load(value)
        except (ValueError, yaml.YAMLError):
            return value
        return plain if isinstance(plain, bool | int | float) else value
    return value


def main() -> int:
    """Look at the files that are named; 1 and a sentence at the first that is wrong."""
    try:
        for path in sys.argv[1:]:
            check_config_file(Path(path))
    except ConfigError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
