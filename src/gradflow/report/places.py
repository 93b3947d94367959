"""Where the paper makes a claim, as links: `Tables 3a and 3b` names two tables of the report."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from gradflow.study.names import artifact_groups

_NAMED = re.compile(r"(Table|Figure)s? \d+[a-z]?(?:(?:, | and )\d+[a-z]?)*")
_NUMBER = re.compile(r"\d+[a-z]?")


@dataclass(frozen=True)
class Part:
    """A part of the text, and the tables or figures that it names: those that the report has."""

    text: str
    artifacts: tuple[str, ...] = ()


def places(where: str, artifacts: Collection[str]) -> list[Part]:
    """Split a claim's place in the paper into what is a link and what is not.

    Args:
        where: for example `Section 4.1.1, Figures 2a and 2c`.
        artifacts: names of those that the report has; `Figure 2` is `figure2a` to `figure2d`.
    """
    groups = artifact_groups(artifacts)
    parts: list[Part] = []
    end = 0
    for named in _NAMED.finditer(where):
        kind = named[1].lower()
        for number in _NUMBER.finditer(where, named.start(), named.end()):
            name = kind + number[0]
            found = (name,) if name in artifacts else tuple(groups.get(name, ()))
            # the first number takes the word before it along: `Tables 3a`
            start = named.start() if end <= named.start() else number.start()
            parts += [Part(where[end:start])] if start > end else []
            parts.append(Part(where[start : number.end()], found))
            end = number.end()
    return [*parts, Part(where[end:])] if end < len(where) else parts
