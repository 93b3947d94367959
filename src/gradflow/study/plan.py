"""From the configuration to jobs and files: what a study at a scale trains, and where each thing lies.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from gradflow.study import own
from gradflow.study.config import (
    ArtifactEntry,
    Block,
    Config,
    max_width_of,
    settings_of,
)
from gradflow.study.datasets import SHAPES
from gradflow.study.job import (
    Architecture,
    Configuration,
    Job,
    Run,
    Settings,
    dense_width,
    own_parts,
)
from gradflow.study.kinds import KINDS
from gradflow.study.labels import label
from gradflow.study.reductions import FULL, in_words

OF_CAPTIONS = ("train_images", "initialisation", "precision")
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

    def jobs(self) -> Iterator[Job]:
        """The training jobs: for an MLP one a configuration and seed, for a Wide ResNet one a density more."""
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
                data=SHAPES[self.dataset].sha256,
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
                    )

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        return dict(self.own)

    @property
    def dataset(self) -> str:
        """The data set that is trained on."""
        return self.configurations[0].dataset

    @property
    def max_width(self) -> int:
        """That of the first variant."""
        return self.max_widths[0]

    def padding_of(self, settings: Settings) -> int:
        """Pixels to pad by before a crop: in proportion where images are averaged down, at least one of some."""
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
        """Canonical JSON: the same plan, the same text; without `own` where there is none."""
        plain = dataclasses.asdict(self)
        if not self.own:
            del plain["own"]
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
    """A checksum of runs by their specifications, in the order of a plan: what a study table was made of."""
    return hashlib.sha256("\n".join(specs).encode()).hexdigest()


def _settings(plain: dict[str, object]) -> Settings:
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()
    }
    return Settings(**values)  # type: ignore[arg-type]


def architectures_at(density: int) -> tuple[Architecture, ...]:
    """What a Wide ResNet is trained as at a density: with everything active it is dense, and nothing is to prune."""
    return ("dense",) if density == DENSE else ("sparse", "magnitude")


def plan_study(config: Config, scale_name: str, study_name: str) -> Plan:
    """Resolve a study at a scale."""
    scale, study = config.scales[scale_name], config.studies[study_name]
    here = scale.studies[study_name]
    dataset = scale.stand_ins.get(study.dataset, study.dataset)
    use = config.datasets[dataset]
    mlp = study.model == "mlp"
    configurations: dict[str, Configuration] = {}
    for block in here.blocks or study.blocks:
        for configuration in _configurations(block, dataset, study.model):
            if (
                configurations.setdefault(configuration.name, configuration) != configuration
            ):  # blocks may overlap
                raise ValueError(
                    f"scales.{scale_name}.studies.{study_name}: two learning rates are both written as "
                    f"{configuration.learning_rate:g} in paths; use at most six digits"
                )
    variants = tuple(
        (variant, settings_of(config, variant, scale_name, study_name))
        for variant in here.variants or study.variants
    )
    return Plan(
        scale=scale_name,
        study=study_name,
        stands_for=study.dataset,
        configurations=tuple(configurations.values()),
        variants=variants,
        seeds=tuple(here.seeds or scale.seeds),
        epochs=here.epochs or study.epochs,
        percents=tuple(sorted(config.percents if mlp else here.densities or study.densities or [])),
        max_widths=tuple(
            max_width_of(config, scale, dataset, settings) if mlp else 0 for _, settings in variants
        ),
        crop_padding=use.crop_padding,
        flip=use.flip,
        own=_own_files(configurations.values(), [settings for _, settings in variants]),
    )


def _own_files(
    configurations: Iterable[Configuration], settings: Sequence[Settings]
) -> tuple[tuple[str, str], ...]:
    parts = {part for one in configurations for each in settings for part in own_parts(one, each)}
    return tuple((part, own.fingerprint(*part.split("/"))) for part in sorted(parts))


def _planned_runs(plans: Sequence[Plan], artifact: ArtifactEntry) -> dict[str, int]:
    """How many runs an artifact shows when all have finished, by the data set that they are about."""
    found: dict[str, set[str]] = {plan.stands_for: set() for plan in plans}
    every_variant = KINDS[artifact.kind].runs == "every variant"
    for plan in plans:
        for job, run in plan.runs():
            values = {**vars(job.configuration), "hidden_layers": job.configuration.depth}
            if (
                (job.variant == artifact.variant or every_variant)
                and run.architecture in artifact.architectures
                and all(
                    values[column] in (wanted if isinstance(wanted, list) else [wanted])
                    for column, wanted in artifact.where.items()
                )
            ):
                found[plan.stands_for].add(job.log_path(run))
    return {dataset: len(paths) for dataset, paths in found.items()}


def _image_sides(plans: Sequence[Plan]) -> dict[str, list[int]]:
    """The sides that images are averaged down to, by the data set that the runs are about."""
    found: dict[str, set[int]] = {}
    for plan in plans:
        for _, settings in plan.variants:
            if isinstance(settings.image_side, int):
                found.setdefault(plan.stands_for, set()).add(settings.image_side)
    return {dataset: sorted(sides) for dataset, sides in found.items()}


def _grid(plans: Sequence[Plan]) -> list[dict[str, object]]:
    """Every configuration of some plans, with the data set that it is about, its dense widths and its seeds."""
    return [
        {
            **dataclasses.asdict(configuration),
            "stands_for": plan.stands_for,
            "dense_widths": [dense_width(plan.max_width, percent) for percent in plan.percents],
            "percents": plan.percents,
            "seeds": plan.seeds,
        }
        for plan in plans
        for configuration in plan.configurations
    ]


def _configurations(block: Block, dataset: str, model: str) -> Iterator[Configuration]:
    for depth, widen, rate, optimizer, regularization, activation in itertools.product(
        block.depths,
        block.widen_factors or [0],
        block.learning_rates,
        block.optimizers,
        block.regularizations,
        block.activations,
    ):
        yield Configuration(
            dataset=dataset,
            model=model,  # type: ignore[arg-type]
            depth=depth,
            widen_factor=widen,
            activation=activation,
            optimizer=optimizer,
            learning_rate=rate,
            regularization=regularization,
        )


class Grid:
    """All plans of a configuration, looked up by the names that stand in paths."""

    def __init__(self, config: Config):
        self.config = config
        self._jobs: dict[str, dict[str, Job]] = {}
        self.plan = cache(self._plan)

    def _plan(self, scale: str, study: str) -> Plan:
        return plan_study(self.config, scale, study)

    def jobs(self, scale: str) -> dict[str, Job]:
        """The jobs of a scale, by `Job.key`. Studies that share a configuration share its job.

        Raises:
            ValueError: two studies would train the same path in two ways.
        """
        if scale not in self._jobs:
            found: dict[str, Job] = {}
            for study in self.config.scales[scale].studies:
                for job in self.plan(scale, study).jobs():
                    key = job.key
                    if found.setdefault(key, job) != job:
                        raise ValueError(
                            f"scales.{scale}.studies.{study}: {key} is also in another study, with other epochs or "
                            "settings; runs of one path must be the same"
                        )
            self._jobs[scale] = found
        return self._jobs[scale]

    def artifact_json(self, scale: str, name: str) -> str:
        """An artifact's definition at a scale, as canonical JSON: what the table and figure scripts are given.

        Beside what config.yaml says it holds the planned seeds and percents, and in `where` the
        planned values of each column in their order there, so that a cell whose runs are missing
        keeps its place.
        """
        artifact = self.config.artifacts[name]
        kind = KINDS[artifact.kind]
        plans = [self.plan(scale, study) for study in self.studies(scale, name)]
        configurations = [configuration for plan in plans for configuration in plan.configurations]
        where: dict[str, object] = {
            "stands_for": list(dict.fromkeys(plan.stands_for for plan in plans))
        }
        datasets = dict.fromkeys(configuration.dataset for configuration in configurations)
        for column in ("optimizer", "regularization", "activation"):
            values = list(
                dict.fromkeys(getattr(configuration, column) for configuration in configurations)
            )
            if values:
                where[column] = values
        studies = self.studies(scale, name)
        settings = dataclasses.asdict(
            settings_of(self.config, artifact.variant, scale, studies[0] if studies else None)
        )
        if kind.takes_settings is not None:  # any other would draw it again
            settings = {name: settings[name] for name in kind.takes_settings}
        title = artifact.title.replace(
            "{dataset}", " and ".join(label("dataset", dataset) for dataset in datasets)
        )
        return json.dumps(
            {
                **artifact.model_dump(),
                "name": name,
                "title": title,
                "where": {**where, **artifact.where},
                "studies": self.studies(scale, name),
                "variants": {
                    variant: {} if variant == "paper" else self.config.variants[variant]
                    for plan in plans
                    for variant, _ in plan.variants
                },
                "settings": settings,
                **{name: settings[name] for name in OF_CAPTIONS if name in settings},
                **({} if kind.runs == "none" else {"image_sides": _image_sides(plans)}),
                **({} if kind.runs == "none" else {"reduced": self._reduced(scale, studies)}),
                "planned_runs": _planned_runs(plans, artifact),
                "seeds": sorted({seed for plan in plans for seed in plan.seeds}),
                "percents": sorted({percent for plan in plans for percent in plan.percents}),
                "configurations": _grid(plans) if kind.takes_configurations else [],
            },
            sort_keys=True,
        )

    def _reduced(self, scale: str, studies: Sequence[str]) -> dict[str, str]:
        """What a scale leaves out of the full study, by the data set that it is about."""
        full = self.config.scales.get(FULL)
        found: dict[str, list[str]] = {}
        for study in studies:
            if full is not None and study in full.studies:
                plan = self.plan(scale, study)
                words = in_words(plan, self.plan(FULL, study))
                if words and words not in found.setdefault(plan.stands_for, []):
                    found[plan.stands_for].append(words)
        return {name: "; ".join(words) for name, words in found.items()}

    def pretraining(self, scale: str, folder: str) -> Job | None:
        """The dense job that the magnitude-pruned ones of a configuration and seed start from, if there are any."""
        for key, job in self.jobs(scale).items():
            if key.startswith(f"{folder}/") and job.architectures == ("magnitude",):
                return job.pretraining()
        return None

    def configurations(self, model: str) -> list[str]:
        """Names of the configurations of a model that some scale trains."""
        jobs = (job for scale in self.config.scales for job in self.jobs(scale).values())
        return sorted({job.configuration.name for job in jobs if job.configuration.model == model})

    def check(self) -> None:
        """Resolve every scale; see `jobs` for what can be wrong."""
        for scale in self.config.scales:
            self.jobs(scale)

    def logs(self, scale: str, study: str) -> list[str]:
        """The log paths of a study at a scale, below the results folder."""
        return [job.log_path(run) for job, run in self.plan(scale, study).runs()]

    def artifacts(self, scale: str) -> list[str]:
        """Names of the artifacts of which the scale has a study, and of those that need none."""
        return [
            name
            for name, artifact in self.config.artifacts.items()
            if not artifact.studies or self.studies(scale, name)
        ]

    def study_of(self, scale: str, variant: str, dataset: str, configuration: str) -> str | None:
        """The first study of a scale that trains a configuration in a variant, if there is one."""
        for study in self.config.scales[scale].studies:
            plan = self.plan(scale, study)
            if variant in dict(plan.variants) and any(
                (one.dataset, one.name) == (dataset, configuration) for one in plan.configurations
            ):
                return study
        return None

    def studies(self, scale: str, artifact: str) -> list[str]:
        """The studies of an artifact that the scale has."""
        return [
            name
            for name in self.config.artifacts[artifact].studies
            if name in self.config.scales[scale].studies
        ]
