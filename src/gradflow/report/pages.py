"""A page of the report, from its template; each stands alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from gradflow.files import replacing


def write_page(path: Path, template: str, **values: Any) -> None:
    """Fill a template of templates/ in; a name that it lacks is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gradflow.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    with replacing(path) as aside:
        aside.write_text(environment.get_template(template).render(**values), encoding="utf-8")
