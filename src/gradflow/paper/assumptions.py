"""The table of what the paper settles and what it leaves open, with the value of each choice that
is in force.
"""

from __future__ import annotations

import html
from importlib.resources import files
from typing import Any

import pandas as pd
import yaml

from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact
from gradflow.analysis.tables import Page, latex_text

ASSUMPTIONS = files("gradflow.paper") / "assumptions.yaml"

COLUMNS = ["choice", "status", "setting", "value", "changed", "alternatives", "evidence"]
SHOWN = {"status": "Status", "setting": "Setting", "value": "Value", "evidence": "Evidence"}
# a page's cells do not break lines; sentences must
WRAPPED = "white-space: normal; text-align: left; vertical-align: top;"


def list_assumptions(request: Request) -> tuple[pd.DataFrame, Page]:
    """Set the choices of assumptions.yaml beside the settings of the artifact's variant; no run is
    needed.
    """
    entries = yaml.safe_load(ASSUMPTIONS.read_text(encoding="utf-8"))
    table = assumption_rows(entries, request.definition.get("settings", {}))
    return table, assumptions_page(table, request.artifact)


def assumption_rows(entries: list[dict[str, Any]], settings: dict[str, Any]) -> pd.DataFrame:
    """One row per choice, in the order of `entries`.

    Args:
        entries: the content of assumptions.yaml.
        settings: those in force, by name; a choice that is no setting shows its default.

    Returns:
        COLUMNS; `changed` is true where a setting in force is not the default.
    """
    rows = []
    for entry in entries:
        defaults: dict[str, Any] = entry["default"]
        values = {name: settings.get(name, default) for name, default in defaults.items()}
        alone = len(values) == 1 or set(values) <= {"fixed", "analysis"}
        parts = [
            _shown(value) if alone or name in ("fixed", "analysis") else f"{name}: {_shown(value)}"
            for name, value in values.items()
        ]
        setting = ", ".join(entry["setting"])
        rows.append(
            {
                "choice": entry["choice"],
                "status": entry["status"],
                "setting": f"{setting} ({entry['fixed'].rstrip('.')})"
                if "fixed" in entry
                else setting,
                "value": "; ".join(parts),
                "changed": values != defaults,
                "alternatives": "; ".join(entry["alternatives"]),
                "evidence": entry["evidence"],
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def assumptions_page(table: pd.DataFrame, artifact: Artifact) -> Page:
    """Arrange the choices, a row each; a value that is not the default is bold."""
    shown = table.set_index("choice")[list(SHOWN)].rename(columns=SHOWN).rename_axis(None)
    styles = pd.DataFrame(WRAPPED, index=shown.index, columns=shown.columns)
    styles[["Setting", "Value", "Evidence"]] += " min-width: 14em;"
    styles.loc[table["changed"].to_numpy(), "Value"] += " font-weight: bold;"
    latex = shown.map(latex_text).rename(index=lambda text: _box(latex_text(text), 0.15))
    for column, share in (("Setting", 0.2), ("Value", 0.2), ("Evidence", 0.28)):
        latex[column] = [_box(text, share) for text in latex[column]]
    notes = (
        "Settled: by the text or by arithmetic. Open: the paper does not say; every such choice "
        "that is a setting can be changed in config.yaml, and what no setting holds is marked "
        "fixed, with the reason.",
        f"Settings have their value in the variant {artifact.variant} at this scale, bold where "
        "it is not the default; for places in config.yaml the value is that of scale paper.",
        "The project's own words; cited: Tessera, Hooker and Rosman (2021).",
    )
    texts = {"html": shown.map(html.escape).rename(index=html.escape), "latex": latex}
    return Page(artifact.title, texts, styles, notes, scale=False, long=True)  # type: ignore[arg-type]


def _box(latex: str, share: float) -> str:
    """A cell whose text wraps, also within the long names of settings."""
    breakable = latex.replace(r"\_", r"\_\allowbreak ")
    return rf"\parbox[t]{{{share}\linewidth}}{{\raggedright {breakable}}}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
