"""From config.yaml to plans: a study resolved at a scale.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gradflow.study import own
from gradflow.study.config import Block, Config, max_width_of, settings_of
from gradflow.study.job import Configuration, Settings, own_parts
from gradflow.study.plan import Plan

RESULTS = Path("results")


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
                    f"scales.{scale_name}.studies.{study_name}: two learning rates are both "
                    f"written as {configuration.learning_rate:g} in paths; use at most six digits"
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
        magnitude=study.magnitude,
        own=_own_files(configurations.values(), [settings for _, settings in variants]),
    ).as_fetched(RESULTS)


def _own_files(
    configurations: Iterable[Configuration], settings: Sequence[Settings]
) -> tuple[tuple[str, str], ...]:
    parts = {part for one in configurations for each in settings for part in own_parts(one, each)}
    return tuple((part, own.fingerprint(*part.split("/"))) for part in sorted(parts))


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
