"""All plans of a configuration, by the names in paths, and what artifacts are given of them.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import cache

from gradflow.study.config import ArtifactEntry, Config, settings_of
from gradflow.study.job import Job, dense_width
from gradflow.study.kinds import KINDS
from gradflow.study.labels import label
from gradflow.study.plan import Plan
from gradflow.study.reductions import FULL, in_words
from gradflow.study.resolve import plan_study

OF_CAPTIONS = ("train_images", "initialisation", "precision")


def _planned_runs(plans: Sequence[Plan], artifact: ArtifactEntry) -> dict[str, int]:
    """How many runs an artifact shows when all have finished, by the data set that they are
    about.
    """
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


def _grid(plans: Sequence[Plan], config: Config) -> list[dict[str, object]]:
    """Every configuration of some plans, with the data set that it is about, its dense widths, its
    seeds and whether these are of a second look.
    """
    return [
        {
            **dataclasses.asdict(configuration),
            "stands_for": plan.stands_for,
            "dense_widths": [dense_width(plan.max_width, percent) for percent in plan.percents],
            "percents": plan.percents,
            "seeds": plan.seeds,
            "second_look": config.studies[plan.study].second_look,
        }
        for plan in plans
        for configuration in plan.configurations
    ]


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
                            f"scales.{scale}.studies.{study}: {key} is also in another study, "
                            "with other epochs or settings; runs of one path must be the same"
                        )
            self._jobs[scale] = found
        return self._jobs[scale]

    def artifact_json(self, scale: str, name: str) -> str:
        """An artifact's definition at a scale, as canonical JSON: what the table and figure scripts
        are given.

        Beside what config.yaml says it holds the planned seeds and percents, and in `where` the
        planned values of each column in their order there, so that a cell whose runs are missing
        keeps its place.
        """
        artifact = self.config.artifacts[name]
        kind = KINDS[artifact.kind]
        plans = [self.plan(scale, study) for study in self.studies(scale, name)]
        configurations = [configuration for plan in plans for configuration in plan.configurations]
        # pairs are counted by dense widths, where there are any: a Wide ResNet has densities
        # and by the seeds that every configuration has
        first = [plan for plan in plans if not self.config.studies[plan.study].second_look]
        of_mlps = [plan for plan in first if plan.configurations[0].model == "mlp"]
        counted = of_mlps or first
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
                **({"layout": self.config.figures} if kind.shape == "figure" else {}),
                "planned_runs": _planned_runs(plans, artifact),
                "seeds": sorted({seed for plan in counted for seed in plan.seeds}),
                "percents": sorted({percent for plan in counted for percent in plan.percents}),
                "configurations": _grid(plans, self.config) if kind.takes_configurations else [],
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
        """The dense job that the magnitude-pruned ones of a configuration and seed start from, if
        there are any.
        """
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
