"""What the maker of a table or figure is asked for: an artifact, and the study tables of its
runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradflow.analysis.runs import Artifact, read_rows, select, summarise_runs

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Request:
    """What `scripts/draw.py` gives a maker."""

    artifact: Artifact
    definition: dict[str, Any]  # the artifact's whole entry in the config, resolved
    paths: list[Path]  # of study tables
    origins: list[Path] = field(default_factory=list)  # of their provenance tables
    every_variant: bool = False  # whether the kind takes runs of all variants

    def runs(self) -> pd.DataFrame:
        """One row per run of the artifact (`runs.summarise_runs`)."""
        return summarise_runs(select(read_rows(self.paths), self.artifact))

    def runs_of_all_variants(self) -> pd.DataFrame:
        """One row per run of the study tables, whatever the artifact's variant."""
        return summarise_runs(read_rows(self.paths))
