"""The kinds of artifacts, each on one line: what makes it, what it needs, where the report has it.

A new kind of table or figure is one module with a function of the kind's name, and one line here:
the rules, the configuration, the report and `snakemake help` take it from this list. Free of torch
and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Part = Literal["paper", "comparison", "open"]


@dataclass(frozen=True)
class Kind:
    """A kind of table or figure.

    `module` lies below `gradflow`. Its function of the kind's name takes a `Request` and returns
    what is shown: a frame and a `Page` for a table, a `Figure` for a figure.
    """

    name: str
    module: str
    shape: Literal["table", "figure"]
    # of the report: tables and figures of the paper; ours beside its numbers; what it leaves open
    part: Part
    # that the maker reads beside study tables, below src/gradflow
    files: tuple[str, ...] = ()
    # of its studies: those of its variant, those of every variant, or none
    runs: Literal["variant", "every variant", "none"] = "variant"
    needs_study: bool = True
    model: Literal["mlp", "wide_resnet", "any"] = "mlp"  # of its studies
    # whether `architectures` of its entry choose its runs: dense and one other
    chooses_architectures: bool = False
    takes_configurations: bool = False  # all that are planned
    takes_settings: tuple[str, ...] | None = None  # of its variant; None: all
    compared_in: str = ""  # the kind that sets its numbers beside the published ones

    @property
    def folder(self) -> str:
        """Of a scale's results, in which its files lie."""
        return f"{self.shape}s"

    @property
    def endings(self) -> tuple[str, ...]:
        """Of its files."""
        return ENDINGS[self.folder]

    @property
    def reads(self) -> tuple[str, ...]:
        """What its script reads beside study tables, below src/gradflow."""
        return (*self.files, *(TEMPLATES if self.shape == "table" else ()))

    @property
    def maker(self) -> str:
        """Module and function, as `scripts/draw.py` takes them."""
        return f"gradflow.{self.module}:{self.name}"


TEMPLATES = tuple(f"analysis/templates/{name}.html" for name in ("table", "cells"))
ENDINGS = {"tables": ("csv", "html", "tex"), "figures": ("pdf", "png")}

_P_VALUES = ("paper/published_numbers/pvalues.csv",)
_PUBLISHED = (
    *_P_VALUES,
    "paper/published_numbers/correlations.csv",
    "paper/published_numbers/cifar100_means.csv",
)
_ACTIVATION_PARAMETERS = ("prelu_slope", "srelu_left", "srelu_right")

_KINDS = (
    Kind(
        "correlation_table", "analysis.correlation_table", "table", "paper",
        compared_in="compare_correlations",
    ),
    Kind(
        "significance_table", "paper.significance_table", "table", "paper", _P_VALUES,
        compared_in="agreement_table",
    ),
    Kind(
        "grid_table", "analysis.grid_table", "table", "paper",
        runs="none", model="any", takes_configurations=True,
    ),
    Kind("means_table", "analysis.means_table", "table", "paper", compared_in="compare_means"),
    Kind("plot_by_width", "analysis.figures_by_width", "figure", "paper"),
    Kind(
        "plot_by_density", "analysis.figures_by_density", "figure", "paper",
        model="wide_resnet", chooses_architectures=True,
    ),
    Kind(
        "plot_activations", "analysis.figure_of_activations", "figure", "paper",
        runs="none", needs_study=False, model="any", takes_settings=_ACTIVATION_PARAMETERS,
    ),
    Kind("compare_p_values", "paper.comparison", "table", "comparison", _PUBLISHED),
    Kind("compare_correlations", "paper.permutation_null", "table", "comparison", _PUBLISHED),
    Kind("compare_means", "paper.comparison", "table", "comparison", _PUBLISHED),
    Kind("agreement_table", "paper.agreement", "table", "comparison", _PUBLISHED),
    Kind(
        "effect_table", "paper.agreement", "table", "comparison", _PUBLISHED,
        runs="every variant",
    ),
    Kind(
        "check_claims", "paper.claims.verdicts", "table", "comparison",
        (*_PUBLISHED, "paper/claims/claims.yaml"), model="any", takes_configurations=True,
    ),
    Kind(
        "operating_table", "paper.operating", "table", "comparison",
        (*_PUBLISHED, "paper/claims/claims.yaml"),
        runs="none", model="any", takes_configurations=True,
    ),
    Kind(
        "list_assumptions", "paper.assumptions", "table", "open", ("paper/assumptions.yaml",),
        runs="none", needs_study=False, model="any",
    ),
    Kind("sensitivity_table", "analysis.sensitivity", "table", "open", runs="every variant"),
    Kind(
        "initialisation_table", "analysis.initialisation_table", "table", "open",
        runs="every variant", takes_configurations=True,
    ),
    Kind("bridge_table", "analysis.bridge_table", "table", "open", runs="every variant"),
    Kind(
        "plot_width_and_length", "analysis.figure_of_width_and_length", "figure", "open",
        runs="every variant",
    ),
    Kind(
        "precision_table", "analysis.precision_table", "table", "open",
        runs="every variant", takes_configurations=True,
    ),
    Kind(
        "methods_table", "analysis.methods_table", "table", "open",
        runs="every variant", takes_configurations=True,
    ),
    Kind("plot_methods", "analysis.figure_of_methods", "figure", "open", runs="every variant"),
    Kind(
        "calibration_table", "paper.calibration", "table", "open", _PUBLISHED,
        runs="every variant",
    ),
)  # fmt: skip
KINDS = {kind.name: kind for kind in _KINDS}
