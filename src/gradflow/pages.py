"""Pages of HTML from templates; each page stands alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from gradflow.files import replacing


def fill(package: str, template: str, **values: Any) -> Markup:
    """A template of a package's folder `templates`, filled in; a name that it lacks is an error."""
    return Markup(_environment(package).get_template(template).render(**values))


def write_page(path: Path, package: str, template: str, **values: Any) -> None:
    """Fill a template in and write it, whole or not at all."""
    with replacing(path) as aside:
        aside.write_text(fill(package, template, **values), encoding="utf-8")


@cache
def _environment(package: str) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
