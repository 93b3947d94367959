"""What a plan leaves out of the full one, property by property, and in a few words.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from gradflow.study.job import Configuration, Job, Run, Settings
from gradflow.study.labels import label

FULL = "paper"  # the scale that the others are set against
# how a verdict's cell names a property: those that change what a run is, and how often there is one
_WORDS = {
    "epochs": "{here} of {full} epochs",
    "training images": "{here} training images",
    "image side": "images of {here} pixels a side",
    "maximum width": "widths up to {here} of {full}",
    "seeds": "{here} of {full} seeds",
    "network": "{here} for {full}",
}


class Plan(Protocol):
    """What is asked of a `gradflow.study.plan.Plan`."""

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """Of the study."""

    @property
    def variants(self) -> tuple[tuple[str, Settings], ...]:
        """Each with its settings."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of each configuration."""

    @property
    def epochs(self) -> int:
        """Of each run."""

    @property
    def percents(self) -> tuple[int, ...]:
        """Dense widths or densities."""

    @property
    def max_widths(self) -> Sequence[int]:
        """Of the sparse twins, of each variant."""

    def runs(self) -> Iterator[tuple[Job, Run]]:
        """Every run."""


def in_words(plan: Plan, full: Plan) -> str:
    """What a verdict of a plan has to say of its size: `6 of 500 epochs, 10,000 training
    images`.
    """
    here, there = facts(plan), facts(full)
    parts = []
    for what, words in _WORDS.items():
        more = what == "seeds" and len(plan.seeds) > len(full.seeds)  # which leaves nothing out
        if what in here and here[what] != there.get(what) and not more:
            value = here[what]
            value = f"{int(value):,}" if value.isdecimal() else value
            parts.append(words.format(here=value, full=there.get(what, "")))
    return ", ".join(parts)


def facts(plan: Plan) -> dict[str, str]:
    """The properties of a plan that scales differ in, as text."""
    settings = plan.variants[0][1]
    wide = plan.configurations[0].model == "wide_resnet"
    facts: dict[str, Any] = {
        "data set": label("dataset", plan.configurations[0].dataset),
        "epochs": f"{plan.epochs:,}",
        "seeds": len(plan.seeds),
        "training images": settings.train_images,
        "image side": settings.image_side,
        "probe images": f"{settings.probe_images:,}",
        "configurations": len(plan.configurations),
        "variants": len(plan.variants),
    }
    if wide:
        shapes = sorted({(one.depth, one.widen_factor) for one in plan.configurations})
        facts["network"] = ", ".join(f"WRN-{depth}-{widen}" for depth, widen in shapes)
        facts["densities (%)"] = ", ".join(map(str, plan.percents))
    else:
        facts["maximum width"] = ", ".join(f"{width:,}" for width in dict.fromkeys(plan.max_widths))
    facts["runs"] = f"{sum(1 for _ in plan.runs()):,}"
    return {what: str(fact) for what, fact in facts.items()}
