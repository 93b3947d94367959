"""The grid that follows from config.yaml, its image sides and widths, and a job's identity."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest
from configurations import MLP, SHIPPED, WIDE, changed, grid_of, refusal

from gradflow.study import job as job_module
from gradflow.study.config import ConfigError, max_width_of, settings_of
from gradflow.study.config_checks import load_config
from gradflow.study.datasets import SHAPES
from gradflow.study.grid import Grid
from gradflow.study.job import Configuration, Job, Settings, dense_width
from gradflow.study.plan import Plan
from gradflow.study.resolve import plan_study


@pytest.fixture(scope="module")
def shipped() -> Grid:
    return grid_of(SHIPPED)


def a_job(**changes: Any) -> Job:
    configuration = Configuration("digits", "mlp", 4, 0, "relu", "adam", 0.001, "DA_SC_BN")
    job = Job("quick", "paper", configuration, 1, 11, ("dense", "sparse"), (10, 30), max_width=256)
    return dataclasses.replace(job, **changes)


# --- the grid -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["quick", "paper"])
def test_the_mlp_study_is_the_shape_of_table_4(shipped: Grid, scale: str) -> None:
    plan = shipped.plan(scale, MLP)
    assert len(plan.configurations) == 3 * 7
    assert len(list(plan.jobs())) == 3 * 7 * 3
    assert len(list(plan.runs())) == len(set(shipped.logs(scale, MLP))) == 3 * 7 * 5 * 3 * 2 == 630


def test_a_wide_resnet_is_sparse_and_magnitude_below_full_density_and_dense_at_it(
    shipped: Grid,
) -> None:
    assert len(shipped.plan("paper", WIDE).configurations) == 3 * 4 + 4
    assert len(shipped.logs("paper", WIDE)) == 16 * (2 * 5 + 1)
    folders = [
        f"quick/runs/paper/digits/wrn10x1-relu-adam-lr0.1-{name}/seed0" for name in ("BN", "L2_BN")
    ]
    names = [
        "sparse-d5",
        "magnitude-d5",
        "sparse-d20",
        "magnitude-d20",
        "sparse-d50",
        "magnitude-d50",
        "dense-d100",
    ]
    assert shipped.logs("quick", WIDE) == [
        f"{folder}/{name}.parquet" for folder in folders for name in names
    ]


def test_every_artifact_is_made_at_scales_paper_and_smoke(shipped: Grid) -> None:
    artifacts = list(shipped.config.artifacts)
    assert shipped.artifacts("smoke") == artifacts
    for bridge in ("width_and_length", "differences_over_training"):
        artifacts.remove(bridge)  # they tell at which small scale signs have settled
    # beyond the paper, at scales of their own
    artifacts = [name for name in artifacts if not name.startswith("mask_methods")]
    assert shipped.artifacts("paper") == artifacts


def test_a_scale_makes_the_artifacts_of_which_it_has_a_study(shipped: Grid) -> None:
    made = set(shipped.artifacts("quick"))
    assert {
        "table1",
        "table2",
        "table4",
        "figure5",
        "figure14",
        "figure15",
        "claims",
        "comparison_p_values",
    } <= made
    assert not {"table3a", "figure2a", "comparison_means", "calibration_scores"} & made
    assert shipped.studies("quick", "table1") == [MLP]


@pytest.mark.parametrize("scale", ["paper", "overnight", "smoke"])
def test_pairs_are_counted_by_dense_widths_beside_wide_resnets_too(
    shipped: Grid, scale: str
) -> None:
    """A study of densities makes no more pairs of a configuration of MLPs."""
    mlps, wide = (shipped.plan(scale, study) for study in (MLP, WIDE))
    for name, plan in {"claims": mlps, "table4": mlps, "figure5": wide}.items():
        artifact = json.loads(shipped.artifact_json(scale, name))
        assert artifact["percents"] == sorted(plan.percents)
        assert artifact["seeds"] == sorted(plan.seeds)
    assert set(mlps.percents) != set(wide.percents)


def test_a_wide_resnet_need_not_be_pruned_by_magnitude(shipped: Grid) -> None:
    plan = shipped.plan("overnight", "wide_resnet_second_look")
    assert {job.architectures for job in plan.jobs()} == {("dense",), ("sparse",)}
    assert len(list(plan.jobs())) == 4 * 9 * 6
    assert Plan.from_json(plan.to_json()) == plan
    assert "magnitude" not in json.loads(shipped.plan("overnight", WIDE).to_json())


def test_a_second_look_is_told_from_the_first(shipped: Grid) -> None:
    """Its seeds are no part of the pairs that every configuration has."""
    artifact = json.loads(shipped.artifact_json("overnight", "claims"))
    again = [one for one in artifact["configurations"] if one["second_look"]]
    assert len(again) == 10 + 4 + 4 and artifact["seeds"] == [0, 1, 2]
    assert not {seed for one in again for seed in one["seeds"]} & {0, 1, 2}
    paper = json.loads(shipped.artifact_json("paper", "claims"))
    assert not any(one["second_look"] for one in paper["configurations"])


def test_stand_ins_take_their_own_width_and_padding(shipped: Grid) -> None:
    plan = shipped.plan("quick", MLP)
    assert (plan.max_width, plan.crop_padding, plan.flip) == (256, 1, False)
    assert {configuration.dataset for configuration in plan.configurations} == {"digits"}
    assert shipped.plan("paper", MLP).max_width == 788
    assert shipped.plan("smoke", MLP).max_width == 40


@pytest.mark.parametrize(
    ("dataset", "widths"),
    [
        ("cifar10", [308, 923, 1538, 2153, 2768]),
        ("cifar100", [308, 923, 1538, 2153, 2768]),
        ("fashion_mnist", [79, 236, 394, 552, 709]),
        ("digits", [26, 77, 128, 179, 230]),
    ],
)
def test_dense_widths_are_the_papers(shipped: Grid, dataset: str, widths: list[int]) -> None:
    max_width = max_width_of(shipped.config, shipped.config.scales["paper"], dataset, Settings())
    assert [dense_width(max_width, percent) for percent in shipped.config.percents] == widths


def test_the_variant_paper_holds_the_defaults(shipped: Grid) -> None:
    assert settings_of(shipped.config, "paper", "paper") == Settings()
    assert set(SHIPPED["variants"]["paper"]) == {
        field.name for field in dataclasses.fields(Settings)
    }


def test_a_variant_differs_from_paper_in_what_it_names_alone() -> None:
    raw = changed("variants.paper.batch_size", 64)
    assert settings_of(load_config(raw), "active_fan_in", "paper") == Settings(
        batch_size=64, initialisation="active_fan_in"
    )


def test_percents_may_stand_in_any_order(shipped: Grid) -> None:
    assert grid_of(changed("percents", [90, 10, 50, 30, 70])).plan("quick", MLP) == shipped.plan(
        "quick", MLP
    )


def test_the_plan_comes_back_from_its_json(shipped: Grid) -> None:
    for scale, definition in shipped.config.scales.items():
        for study in definition.studies:
            plan = shipped.plan(scale, study)
            assert Plan.from_json(plan.to_json()) == plan


def test_studies_that_overlap_share_their_jobs() -> None:
    raw = changed("studies.second", {**SHIPPED["studies"][MLP], "epochs": 3})
    raw["scales"]["quick"]["studies"]["second"] = raw["scales"]["quick"]["studies"][MLP]
    before, after = grid_of(SHIPPED), grid_of(raw)
    assert after.jobs("quick") == before.jobs("quick")
    assert after.logs("quick", "second") == after.logs("quick", MLP)


def test_blocks_that_overlap_give_each_configuration_once(shipped: Grid) -> None:
    blocks = SHIPPED["studies"][MLP]["blocks"] * 2
    assert grid_of(changed(f"studies.{MLP}.blocks", blocks)).plan("paper", MLP) == shipped.plan(
        "paper", MLP
    )


@pytest.mark.parametrize("difference", [{"epochs": 1}, {"seeds": [0, 1]}])
def test_studies_may_differ_in_seeds_but_not_in_how_a_path_is_trained(
    difference: dict[str, Any],
) -> None:
    raw = changed("studies.second", SHIPPED["studies"][MLP])
    raw["scales"]["quick"]["studies"]["second"] = (
        raw["scales"]["quick"]["studies"][MLP] | difference
    )
    if "seeds" in difference:
        grid_of(raw)
    else:
        message = refusal(raw)
        assert message.startswith(
            "scales.quick.studies.second: paper/digits/mlp4-relu-adagrad-lr0.001-NR/seed0"
        )
        assert "\n" not in message


# --- the identity of a job ------------------------------------------------------------------------


@pytest.mark.parametrize("scale", list(SHIPPED["scales"]))
def test_every_job_comes_back_from_its_json(shipped: Grid, scale: str) -> None:
    texts = {}
    for key, job in shipped.jobs(scale).items():
        texts[key] = job.to_json()
        assert Job.from_json(texts[key]) == job
    assert len(set(texts.values())) == len(texts)


def test_the_json_is_canonical() -> None:
    text = a_job().to_json()
    plain = json.loads(text)
    assert text == json.dumps(plain, sort_keys=True, separators=(",", ":"))
    assert plain["engine"] == job_module.ENGINE_VERSION
    assert plain["settings"] == {}
    assert json.loads(a_job(settings=Settings(batch_size=64)).to_json())["settings"] == {
        "batch_size": 64
    }
    assert a_job(settings=Settings(batch_size=128)).to_json() == text


def test_a_setting_added_later_leaves_every_identity_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs = [a_job(), a_job(settings=Settings(l2=0.01))]
    before = [job.to_json() for job in jobs]
    more = dataclasses.make_dataclass(
        "More", [("made_up", float, 0.0)], bases=(Settings,), frozen=True
    )
    monkeypatch.setattr(job_module, "Settings", more)
    after = [
        dataclasses.replace(job, settings=more(**dataclasses.asdict(job.settings))) for job in jobs
    ]
    assert [job.to_json() for job in after] == before
    assert [Job.from_json(text) for text in before] == after
    assert a_job(settings=more(made_up=0.5)).to_json() not in before


def test_another_engine_version_is_another_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    text = a_job().to_json()
    monkeypatch.setattr(job_module, "ENGINE_VERSION", job_module.ENGINE_VERSION + 1)
    assert a_job().to_json() != text
    with pytest.raises(ValueError, match="made for engine version"):
        Job.from_json(text)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "nonsense", '{"engine": 1}', '{"engine": 1, "configuration": 3}']
)
def test_what_is_no_job_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(ValueError, match="not a job specification") as caught:
        Job.from_json(text)
    assert "\n" not in str(caught.value)


# --- image side and maximum width -----------------------------------------------------------------


@pytest.fixture
def raw() -> dict[str, Any]:
    return copy.deepcopy(SHIPPED)


def small_images(raw: dict[str, Any], **study: Any) -> Grid:
    """Scale quick with Table 4 on real images of a small side, and the smallest Wide ResNet."""
    scale = raw["scales"]["quick"]
    scale |= {"stand_ins": {}, "image_sides": {"fashion_mnist": 14, "cifar100": 8}}
    scale["studies"]["fashion_mnist_low"] |= study
    scale["studies"]["wide_resnet_cifar100"]["settings"] = {"image_side": 16}
    return Grid(load_config(raw))


def test_the_maximum_width_follows_the_image_side(raw: dict[str, Any]) -> None:
    job = next(small_images(raw).plan("quick", MLP).jobs())
    assert (job.settings.image_side, job.max_width, job.crop_padding) == (14, 200, 2)
    job = next(small_images(raw).plan("quick", "wide_resnet_cifar100").jobs())
    assert (job.settings.image_side, job.max_width, job.crop_padding) == (16, 0, 2)


def test_image_side_and_maximum_width_are_settings(raw: dict[str, Any]) -> None:
    raw["variants"] |= {"narrow": {"max_width": 40}, "tiny": {"image_side": 7}}
    study = {"settings": {"max_width": 392}, "variants": ["paper", "narrow", "tiny"]}
    plan = small_images(raw, **study).plan("quick", MLP)
    sides = [settings.image_side for _, settings in plan.variants]
    assert (plan.max_widths, sides) == ((392, 392, 392), [14, 14, 7])  # a study's word is the last
    study["settings"] = {}
    plan = small_images(raw, **study).plan("quick", MLP)
    assert plan.max_widths == (200, 40, 7 * 7 + 4)
    specs = {job.to_json() for job in plan.jobs() if job.seed == 0}
    assert len(specs) == 3 * len(plan.configurations)
    assert Plan.from_json(plan.to_json()) == plan
    assert {job.crop_padding for job in plan.jobs()} == {2, 1}


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("image_sides", {"cifar100": 33}, "image_sides.cifar100: 33 is more than the 32 pixels"),
        ("settings", {"image_side": 29}, "image_side: 29 is more than the 28 pixels"),
        ("settings", {"image_side": 0}, "settings.image_side: 0 is out of range"),
        ("settings", {"max_width": 4}, "max_width: 4 is too narrow"),
    ],
)
def test_a_side_or_width_that_cannot_be(
    place: str, value: dict[str, Any], sentence: str, raw: dict[str, Any]
) -> None:
    raw["scales"]["quick"] |= {"stand_ins": {}, place: value}
    with pytest.raises(ConfigError, match=sentence):
        load_config(raw)


def test_what_is_known_of_the_data_is_part_of_a_run(
    shipped: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = next(shipped.plan("quick", MLP).jobs())  # a stand-in's
    assert job.data == SHAPES["digits"].sha256 and len(job.data) == 64
    assert job.data in job.to_json() and Job.from_json(job.to_json()) == job
    other = dataclasses.replace(SHAPES["digits"], sha256="0" * 64)
    monkeypatch.setitem(SHAPES, "digits", other)
    again = next(plan_study(shipped.config, "quick", MLP).jobs())
    assert again.to_json() != job.to_json()
    assert dataclasses.replace(again, data=job.data) == job
    assert '"data"' not in dataclasses.replace(job, data="").to_json()
