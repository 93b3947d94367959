"""Words and figures as a person reads them: durations, counts, the nearest of some names."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Sequence

COLUMNS = 80  # of what is printed on a terminal


def duration(seconds: float) -> str:
    """Of two figures or so: `40 s`, `12 min`, `3.4 h`, `12 days`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return in_hours(seconds) if seconds < 48 * 3600 else f"{seconds / 86400:,.0f} days"


def in_hours(seconds: float) -> str:
    """Work by the hour, however much it is: `3 min`, `3.4 h`, `980 h`."""
    if seconds < 60:
        return "< 1 min"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.0f} h" if seconds >= 36000 else f"{seconds / 3600:.1f} h"


def clock(seconds: float) -> str:
    """The time of day in so many seconds, with the day where it is another."""
    then = time.time() + seconds
    same_day = time.strftime("%F") == time.strftime("%F", time.localtime(then))
    return time.strftime("%H:%M" if same_day else "%d %b %H:%M", time.localtime(then))


def count(number: int, noun: str) -> str:
    """`1 job`, `2,000 jobs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(noun: str, names: Sequence[str]) -> str:
    """Names behind their noun: `scale a`, `scales a and b`, `scales a, b and c`."""
    if len(names) == 1:
        return f"{noun} {names[0]}"
    return f"{noun}s {', '.join(names[:-1])} and {names[-1]}"


def cut(text: str, length: int) -> str:
    """The text, or its beginning with three dots."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def nearest_name(word: str, valid: Iterable[str]) -> str:
    """The valid name nearest to a misspelt one; empty where none is near."""
    names = {name.lower(): name for name in valid}
    for name in names.values():
        if sorted(name.split("_")) == sorted(word.split("_")):  # SC_DA_BN is DA_SC_BN
            return name
    close = difflib.get_close_matches(word.lower(), sorted(names), n=1, cutoff=0.5)
    return names[close[0]] if close else ""


def nearest(word: str, valid: Iterable[str], otherwise: str | None = None) -> str:
    """The end of a sentence on a misspelt word.

    Args:
        word: as it was written.
        valid: the names that there are.
        otherwise: what to say where none is near; all valid names unless given.
    """
    names = list(valid)
    if near := nearest_name(word, names):
        return f"; did you mean {near}?"
    if otherwise is not None:
        return f"; {otherwise}"
    return f"; valid are {', '.join(names)}" if names else ""


def first_paragraph(docstring: str | None) -> str:
    """The summary of a docstring, on one line; empty where there is none."""
    return " ".join((docstring or "").strip().partition("\n\n")[0].split())
