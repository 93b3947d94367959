"""Mistakes in config.yaml as sentences: each names the key and the nearest valid one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from gradflow.text import nearest


def sentence(detail: ErrorDetails | dict[str, Any], root: type[BaseModel]) -> str:
    """One line for one of pydantic's errors."""
    location = list(detail["loc"])
    if location[-1:] == ["[key]"] and detail["type"] != "extra_forbidden":
        location.pop()  # pydantic's mark of a mistake in the key itself
    place = _place(location)
    value = detail.get("input")
    context = detail.get("ctx") or {}
    match detail["type"]:
        case "extra_forbidden":
            return f"{place}: unknown key{nearest(str(location[-1]), _keys_beside(location, root))}"
        case "missing":
            return f"{place}: missing; see the comments of config.yaml for what it holds"
        case "literal_error":
            valid = re.findall(r"'([^']*)'", str(context.get("expected", "")))
            return f"{place}: {shown(value)} is not valid{nearest(str(value), valid)}"
        case "string_pattern_mismatch":
            return (
                f"{place}: a name has small letters, digits and underscores only, and starts with "
                "a letter"
            )
        case "too_short":
            return f"{place}: empty; name at least one"
        case "float_type" | "int_type" | "int_from_float" if isinstance(value, str):
            return f"{place}: {shown(value)} is text, not a number{_as_number(value)}"
        case "greater_than_equal" | "greater_than" | "less_than_equal" | "less_than":
            words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
            key = next(key for key in words if key in context)
            return (
                f"{place}: {value} is out of range; it must be {words[key]} {_limit(context[key])}"
            )
    return f"{place}: {shown(value)} does not fit: {detail['msg'].lower()}"


def _limit(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def one_line(sentence: str) -> str:
    """Without line breaks, which a key or value may hold."""
    return " ".join(sentence.split())


def shown(value: Any) -> str:
    """A value as it stood there, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _place(location: Sequence[int | str]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    text = text.lstrip(".") or "config"
    return (
        text if text.isprintable() else ascii(text)[1:-1]
    )  # a key may hold anything, a sentence may not


def _as_number(value: str) -> str:
    try:
        return f"; write {float(value):g}" if "e" in value.lower() else "; write it without quotes"
    except ValueError:
        return ""


def _keys_beside(location: Sequence[int | str], root: type[BaseModel]) -> Iterable[str]:
    """The valid keys of the model in which an unknown key stood."""
    model: Any = root
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        fields = getattr(model, "model_fields", {})
        if part in fields:
            model = _model_within(fields[part].annotation)
    return list(getattr(model, "model_fields", {}))


def _model_within(annotation: Any) -> Any:
    """The model that a field's type holds: itself, or inside of dict, list, Annotated or a
    union.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _model_within(argument)
        if found is not None:
            return found
    return None
