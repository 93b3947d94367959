"""From the configuration to jobs: what a study at a scale trains.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gradflow.study.content import own_content
from gradflow.study.datasets import SHAPES
from gradflow.study.job import Architecture, Configuration, Job, Run, Settings, own_parts

DENSE = 100  # the density, in percent, at which a Wide ResNet is its own dense network


@dataclass(frozen=True)
class Plan:
    """A study at a scale: all that determines its runs. Its JSON is what collect_runs is given."""

    scale: str
    study: str
    # the data set that config.yaml names; its stand-in at this scale is in the configurations
    stands_for: str
    configurations: tuple[Configuration, ...]
    variants: tuple[tuple[str, Settings], ...]
    seeds: tuple[int, ...]
    epochs: int
    percents: tuple[int, ...]  # dense widths of an MLP, densities of a Wide ResNet
    max_widths: tuple[int, ...]  # of the sparse twins, by variant; 0 for a Wide ResNet
    crop_padding: int  # of the original images
    flip: bool
    # the user's own files of all its jobs, each with its `own.fingerprint`
    own: tuple[tuple[str, str], ...] = ()
    data: str = ""  # of a user's own data set, as it was fetched; see `study.content`
    magnitude: bool = True  # whether Wide ResNets are pruned by magnitude too

    def jobs(self) -> Iterator[Job]:
        """The training jobs: for an MLP one a configuration and seed, for a Wide ResNet one a
        density more.
        """
        variants = zip(self.variants, self.max_widths, strict=True)
        for ((variant, settings), max_width), configuration, seed in itertools.product(
            variants, self.configurations, self.seeds
        ):
            base = Job(
                scale=self.scale,
                variant=variant,
                configuration=configuration,
                seed=seed,
                epochs=self.epochs,
                architectures=("dense", "sparse"),
                percents=self.percents,
                max_width=max_width,
                crop_padding=self.padding_of(settings),
                flip=self.flip and settings.flip == "by_data_set",
                data=self.data or SHAPES[self.dataset].sha256,
                own=tuple(
                    (part, self._fingerprints[part]) for part in own_parts(configuration, settings)
                ),
                settings=settings,
            )
            if configuration.model == "mlp":
                yield base
            else:
                for percent in self.percents:
                    yield from (
                        dataclasses.replace(
                            base, architectures=(architecture,), percents=(percent,)
                        )
                        for architecture in architectures_at(percent)
                        if self.magnitude or architecture != "magnitude"
                    )

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        return dict(self.own)

    @property
    def dataset(self) -> str:
        """The data set that is trained on."""
        return self.configurations[0].dataset

    def as_fetched(self, results: Path) -> Plan:
        """The same plan with the data that are there."""
        return dataclasses.replace(self, data=own_content(self.dataset, results))

    def as_planned(self) -> Plan:
        """The same plan as it is before and after a user's own data are fetched."""
        return dataclasses.replace(self, data="")

    @property
    def max_width(self) -> int:
        """That of the first variant."""
        return self.max_widths[0]

    def padding_of(self, settings: Settings) -> int:
        """Pixels to pad by before a crop: in proportion where images are averaged down, at least
        one of some.
        """
        if isinstance(settings.image_side, str) or self.crop_padding == 0:
            return self.crop_padding
        side = SHAPES[self.dataset].height
        return max(1, (2 * self.crop_padding * settings.image_side + side) // (2 * side))

    def runs(self) -> Iterator[tuple[Job, Run]]:
        """Every run, with its job."""
        for job in self.jobs():
            for run in job.runs:
                yield job, run

    def to_json(self) -> str:
        """Canonical JSON: the same plan, the same text; usual values are left out."""
        plain = dataclasses.asdict(self)
        for name, usual in (("own", ()), ("data", ""), ("magnitude", True)):
            if plain[name] == usual:
                del plain[name]
        return json.dumps(plain, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Inverse of `to_json`."""
        plain = json.loads(text)
        plain["configurations"] = tuple(
            Configuration(**configuration) for configuration in plain["configurations"]
        )
        plain["variants"] = tuple(
            (name, _settings(settings)) for name, settings in plain["variants"]
        )
        plain["own"] = [tuple(part) for part in plain.get("own", [])]
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()
        }
        return cls(**values)


def runs_digest(specs: Iterable[str]) -> str:
    """A checksum of runs by their specifications, in the order of a plan: what a study table was
    made of.
    """
    return hashlib.sha256("\n".join(specs).encode()).hexdigest()


def _settings(plain: dict[str, object]) -> Settings:
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()
    }
    return Settings(**values)  # type: ignore[arg-type]


def architectures_at(density: int) -> tuple[Architecture, ...]:
    """What a Wide ResNet is trained as at a density: with everything active it is dense, and
    nothing is to prune.
    """
    return ("dense",) if density == DENSE else ("sparse", "magnitude")
