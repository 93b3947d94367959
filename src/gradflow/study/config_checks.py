"""A parsed config.yaml checked as a whole: what the types alone do not catch, a sentence each.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gradflow.study import own
from gradflow.study.choices import ConfigError as ConfigError
from gradflow.study.choices import (
    Positive,
    Rate,
    depth_mistakes,
    minibatch_mistake,
    regularization_mistakes,
    repeats,
    settings_from,
    width_mistakes,
)
from gradflow.study.config import (
    ArtifactEntry,
    Block,
    Config,
    Scale,
    Study,
    max_width_of,
    raw_settings,
)
from gradflow.study.config_sentences import one_line, sentence
from gradflow.study.datasets import SHAPES
from gradflow.study.job import (
    LIBRARY_ACTIVATIONS,
    LIBRARY_INITIAL_MASKS,
    LIBRARY_MASK_UPDATES,
    PAPER_DATASETS,
    PAPER_OPTIMIZERS,
    Activation,
    Optimizer,
    Regularization,
)
from gradflow.study.kinds import KINDS
from gradflow.study.names import name_mistakes
from gradflow.text import nearest


def load_config(raw: dict[str, Any], rules: Collection[str] = ()) -> Config:
    """Check a parsed config.yaml.

    Args:
        raw: its content.
        rules: names of the workflow's rules, which no name of a target may have.

    Raises:
        ConfigError: with one line for each mistake, naming the key and the nearest valid one.
    """
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(
            "\n".join(one_line(sentence(detail, Config)) for detail in error.errors())
        ) from None
    mistakes = list(_mistakes(config, rules))
    if mistakes:
        raise ConfigError("\n".join(map(one_line, mistakes)))
    return config


_COLUMNS: dict[str, TypeAdapter[Any]] = {
    "learning_rate": TypeAdapter(Rate),
    "hidden_layers": TypeAdapter(Positive),
    "optimizer": TypeAdapter(Optimizer),
    "regularization": TypeAdapter(Regularization),
    "activation": TypeAdapter(Activation),
}


def _mistakes(config: Config, rules: Collection[str]) -> Iterable[str]:
    """What the types alone do not catch."""
    for kind, taken in (
        ("optimizers", PAPER_OPTIMIZERS),
        ("activations", LIBRARY_ACTIVATIONS),
        ("datasets", PAPER_DATASETS),
        ("mask_updates", LIBRARY_MASK_UPDATES),
        ("initial_masks", LIBRARY_INITIAL_MASKS),
    ):
        yield from own.mistakes(kind, taken)
    sections = ("scales", "studies", "variants", "artifacts")
    yield from name_mistakes({name: getattr(config, name) for name in sections}, rules)
    yield from repeats("percents", config.percents)
    if "paper" not in config.variants:
        yield "variants.paper: missing; it holds the defaults"
        return
    for name, variant in config.variants.items():
        try:
            settings_from(variant, f"variants.{name}")
        except ConfigError as error:
            yield str(error)
    for dataset, choice in config.datasets.items():
        if choice.max_width is not None:
            yield from width_mistakes(
                config.percents, choice.max_width, f"datasets.{dataset}.max_width"
            )
    for name, study in config.studies.items():
        yield from _study_mistakes(config, study, f"studies.{name}")
    for name, scale in config.scales.items():
        yield from _scale_mistakes(config, scale, f"scales.{name}")
    for name, artifact in config.artifacts.items():
        yield from _artifact_mistakes(config, artifact, f"artifacts.{name}")


def _study_mistakes(config: Config, study: Study, place: str) -> Iterable[str]:
    if study.dataset not in config.datasets:
        yield (
            f"{place}.dataset: {study.dataset} is not in "
            f"datasets{nearest(study.dataset, config.datasets)}"
        )
    yield from _variant_mistakes(config, study.variants, f"{place}.variants")
    yield from _block_mistakes(study, study.blocks, study.densities, place)
    if study.model != "wide_resnet" and not study.magnitude:
        yield f"{place}.magnitude: an MLP is never pruned by magnitude as it trains; leave it out"


def _variant_mistakes(config: Config, variants: list[str], place: str) -> Iterable[str]:
    yield from repeats(place, variants)
    for variant in variants:
        if variant not in config.variants:
            yield f"{place}: there is no variant {variant}{nearest(variant, config.variants)}"


def _block_mistakes(
    study: Study, blocks: list[Block], densities: list[int] | None, place: str
) -> Iterable[str]:
    wide = study.model == "wide_resnet"
    if wide and not densities:
        yield (
            f"{place}.densities: missing; a Wide ResNet needs its densities in percent, for "
            "example [10, 100]"
        )
    if not wide and densities is not None:
        yield f"{place}.densities: an MLP has none; its dense widths are the percents at the top"
    yield from repeats(f"{place}.densities", densities or [])
    for index, block in enumerate(blocks):
        here = f"{place}.blocks[{index}]"
        for field in type(block).model_fields:
            yield from repeats(f"{here}.{field}", getattr(block, field) or [])
        if wide and block.widen_factors is None:
            yield f"{here}.widen_factors: missing; a Wide ResNet needs it, 10 in WRN-28-10"
        if not wide and block.widen_factors is not None:
            yield f"{here}.widen_factors: an MLP has none"
        for depth in block.depths:
            yield from depth_mistakes(f"{here}.depths", depth, wide)
        for regularization in block.regularizations:
            yield from regularization_mistakes(f"{here}.regularizations", regularization, wide)


def _scale_mistakes(config: Config, scale: Scale, place: str) -> Iterable[str]:
    yield from repeats(f"{place}.seeds", scale.seeds)
    for dataset, max_width in scale.max_widths.items():
        yield from width_mistakes(config.percents, max_width, f"{place}.max_widths.{dataset}")
    for dataset, side in scale.image_sides.items():
        if mistake := _side_mistake(dataset, side):
            yield f"{place}.image_sides.{dataset}: {mistake}"
    for stand_in in scale.stand_ins.values():
        if stand_in not in config.datasets:
            yield (
                f"{place}.stand_ins: {stand_in} is not in "
                f"datasets{nearest(stand_in, config.datasets)}"
            )
    try:
        settings_from(scale.settings, f"{place}.settings")
    except ConfigError as error:
        yield str(error)
        return
    for name, here in scale.studies.items():
        study = config.studies.get(name)
        if study is None:
            yield f"{place}.studies.{name}: there is no study {name}{nearest(name, config.studies)}"
            continue
        try:
            settings_from(here.settings, f"{place}.studies.{name}.settings")
        except ConfigError as error:
            yield str(error)
            continue
        yield from repeats(f"{place}.studies.{name}.seeds", here.seeds or [])
        shared = sorted(set(here.seeds or scale.seeds) & set(scale.seeds))
        if study.second_look and shared:
            yield (
                f"{place}.studies.{name}.seeds: seed {shared[0]} is the scale's own; a second look "
                "needs other seeds than the first"
            )
        yield from _variant_mistakes(
            config, here.variants or [], f"{place}.studies.{name}.variants"
        )
        if here.blocks or here.densities:
            inherited = study.densities if study.model == "wide_resnet" else None
            blocks, densities = here.blocks or study.blocks, here.densities or inherited
            yield from _block_mistakes(study, blocks, densities, f"{place}.studies.{name}")
        for variant in here.variants or study.variants:
            if variant in config.variants:
                dataset = scale.stand_ins.get(study.dataset, study.dataset)
                if dataset not in config.datasets:
                    continue  # told above
                if mistake := _image_mistake(config, scale, name, variant, dataset):
                    yield f"{place}.studies.{name}: {mistake}"
                    return


def _side_mistake(dataset: str, side: int) -> str | None:
    """Images that are not square, or have fewer pixels than they are to be averaged down to."""
    _, height, width = SHAPES[dataset].image
    if height != width:
        return f"images of {dataset} are {height}x{width}, and only square ones are averaged down"
    if side > height:
        return f"{side} is more than the {height} pixels that images of {dataset} have; take fewer"
    return None


def _image_mistake(
    config: Config, scale: Scale, study: str, variant: str, dataset: str
) -> str | None:
    """More or larger images than a data set has, too narrow a maximum width, or a last minibatch of
    one.
    """
    raw = raw_settings(config, variant, scale, study)
    try:
        settings = settings_from(raw, f"variants.{variant}")
    except ConfigError:
        return None  # told for the variant itself
    shape = SHAPES[dataset]
    side = settings.image_side
    if isinstance(side, int) and dataset not in scale.image_sides:
        mistake = _side_mistake(dataset, side)
        if mistake:
            return f"image_side: {mistake}"
    named = dataset in scale.max_widths or config.datasets[dataset].max_width  # told there
    if config.studies[study].model == "mlp" and not (settings.max_width == "by_data_set" and named):
        width = max_width_of(config, scale, dataset, settings)
        for mistake in width_mistakes(config.percents, width, "max_width"):
            return mistake
    others = [SHAPES[other].train_images for other in config.datasets]
    return minibatch_mistake(settings, shape.train_images, dataset, others)


def _artifact_mistakes(config: Config, artifact: ArtifactEntry, place: str) -> Iterable[str]:
    kind = KINDS[artifact.kind]
    if not artifact.studies and kind.needs_study:
        yield f"{place}.studies: missing; a {kind.name} is drawn from at least one study"
    for study in artifact.studies:
        if study not in config.studies:
            yield f"{place}.studies: there is no study {study}{nearest(study, config.studies)}"
        elif kind.model not in ("any", model := config.studies[study].model):
            yield (
                f"{place}.studies: a {kind.name} needs a study of model {kind.model}; "
                f"{study} is of {model}"
            )
    if artifact.variant not in config.variants:
        yield (
            f"{place}.variant: there is no variant "
            f"{artifact.variant}{nearest(artifact.variant, config.variants)}"
        )
    else:
        yield from _untrained_mistakes(config, artifact, place)
    others = set(artifact.architectures) - {"dense"}
    if kind.chooses_architectures and (len(others) != 1 or "dense" not in artifact.architectures):
        yield (
            f"{place}.architectures: {kind.name} draws two, for example [dense, sparse] or "
            "[dense, magnitude]"
        )
    yield from repeats(f"{place}.studies", artifact.studies)
    yield from repeats(f"{place}.measures", artifact.measures)
    yield from repeats(f"{place}.architectures", artifact.architectures)
    for column, wanted in artifact.where.items():
        for value in wanted if isinstance(wanted, list) else [wanted]:
            try:
                _COLUMNS[column].validate_python(value, strict=True)
            except ValidationError as error:
                yield sentence(
                    {**error.errors()[0], "loc": (*place.split("."), "where", column)}, Config
                )


def _untrained_mistakes(config: Config, artifact: ArtifactEntry, place: str) -> Iterable[str]:
    """A variant that an artifact is drawn from, but that a study of it does not train at some
    scale.
    """
    for name, scale in config.scales.items():
        here = [
            study
            for study in artifact.studies
            if study in config.studies and study in scale.studies
        ]
        for study in here if len(here) == len(artifact.studies) else []:
            trained = scale.studies[study].variants or config.studies[study].variants
            if artifact.variant not in trained and set(trained) <= config.variants.keys():
                yield (
                    f"{place}.variant: at scale {name}, {study} does not train "
                    f"{artifact.variant}; add it to studies.{study}.variants or take "
                    f"{', '.join(trained)}"
                )
