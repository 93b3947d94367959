"""The model of config.yaml and the grid that follows from it; each mistake is one line that names
its key.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from project import environment

from gradflow.study import job as job_module
from gradflow.study.config import ConfigError, max_width_of, settings_of
from gradflow.study.config_checks import load_config
from gradflow.study.datasets import SHAPES
from gradflow.study.grid import Grid
from gradflow.study.job import Configuration, Job, Settings, dense_width
from gradflow.study.kinds import KINDS
from gradflow.study.names import archive_target, artifact_groups, report_target
from gradflow.study.plan import Plan
from gradflow.study.resolve import plan_study
from gradflow.workflow.target_names import rule_names

ROOT = Path(__file__).parents[2]
SHIPPED: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
RULES = rule_names(ROOT / "Snakefile")
MLP, WIDE = "fashion_mnist_low", "wide_resnet_cifar100"


def changed(place: str, value: Any) -> dict[str, Any]:
    """The shipped configuration with another value at `place`, keys and list indices joined by
    dots.
    """
    raw = copy.deepcopy(SHIPPED)
    *keys, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    within = raw
    for key in keys:
        within = within.setdefault(key, {}) if isinstance(within, dict) else within[key]
    within[last] = value
    return raw


def grid_of(raw: dict[str, Any]) -> Grid:
    """Check a configuration as the Snakefile does."""
    grid = Grid(load_config(raw, RULES))
    grid.check()
    return grid


def refusal(raw: Any) -> str:
    """What is said of a wrong configuration."""
    with pytest.raises((ConfigError, ValueError)) as caught:
        grid_of(raw)
    return str(caught.value)


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
    artifacts.remove("width_and_length")  # it tells at which small scale signs have settled
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


# --- wrong configurations -------------------------------------------------------------------------

BLOCK, WIDE_BLOCK = f"studies.{MLP}.blocks.0", f"studies.{WIDE}.blocks.0"
AT_BLOCK, AT_WIDE_BLOCK = BLOCK.replace(".0", "[0]"), WIDE_BLOCK.replace(".0", "[0]")

# what is written where, and the one line it gives
WRONG = {
    "unknown key at the top": ("scale", {}, "scale: unknown key; did you mean scales?"),
    "unknown "
    "key in a study": (f"studies.{MLP}.epoch", 3,
                       f"studies.{MLP}.epoch: unknown key; did you mean epochs?"),
    "unknown key in a block": (
        f"{BLOCK}.optimizer", ["adam"],
            f"{AT_BLOCK}.optimizer: unknown key; did you mean "
            "optimizers?",
    ),
    "unknown "
    "key in a scale": ("scales.quick.seed", [0],
                       "scales.quick.seed: unknown key; did you mean seeds?"),
    "unknown key in an artifact": (
        "artifacts.table4.tittle", "x", "artifacts.table4.tittle: unknown key; did you mean title?",
    ),
    "unknown "
    "key far from all": ("scales.quick.zzz", 1,
                         "scales.quick.zzz: unknown key; valid are seeds, studies,"),
    "misspelt optimizer": (
        f"{BLOCK}.optimizers", ["adma"],
            f"{AT_BLOCK}.optimizers[0]: 'adma' is not valid; did you "
            "mean adam?",
    ),
    "wrong "
    "case": (f"{BLOCK}.optimizers.1", "Adam",
        f"{AT_BLOCK}.optimizers[1]: 'Adam' is not valid; did you "
        "mean"),
    "misspelt regularization": (
        f"{BLOCK}.regularizations", ["SC_DA_BN"], "'SC_DA_BN' is not valid; did you mean DA_SC_BN?",
    ),
    "misspelt "
    "activation": (f"{BLOCK}.activations", ["rellu"], "'rellu' is not valid; did you mean relu?"),
    "misspelt "
    "dataset": (f"studies.{MLP}.dataset", "fashion",
                f"studies.{MLP}.dataset: 'fashion' is not valid; did"),
    "dataset nobody describes": (
        "datasets.mnist", SHIPPED["datasets"]["digits"],
            "datasets.mnist: 'mnist' is not valid; did you mean "
            "fashion",
    ),
    "misspelt "
    "model": (f"studies.{MLP}.model", "wide-resnet",
              "'wide-resnet' is not valid; did you mean wide_resnet?"),
    "negative epochs": (
        f"studies.{MLP}.epochs", -1,
            f"studies.{MLP}.epochs: -1 is out of range; it must be "
            "at least 1",
    ),
    "no "
    "epochs": ("scales.quick.studies.fashion_mnist_low.epochs", 0,
               "epochs: 0 is out of range; it must be at least"),
    "half "
    "an epoch": (f"studies.{MLP}.epochs", 2.5,
        f"studies.{MLP}.epochs: 2.5 does not fit: input should be a "
        "valid"),
    "epochs "
    "as text": (f"studies.{MLP}.epochs", "5",
        "epochs: '5' is text, not a number; "
        "write it without quotes"),
    "epochs "
    "as truth": (f"studies.{MLP}.epochs", True,
        "epochs: True does not fit: input should "
        "be a valid integer"),
    "width "
    "over 100 %": ("percents", [10, 130],
                   "percents[1]: 130 is out of range; it must be at most 100"),
    "width of nothing": ("percents", [0], "percents[0]: 0 is out of range; it must be at least 1"),
    "repeated width": ("percents", [10, 30, 30], "percents: 30 stands there twice; name it once"),
    "no widths": ("percents", [], "percents: empty; name at least one"),
    "maximum "
    "too narrow": ("scales.quick.max_widths", {"digits": 4},
                   "scales.quick.max_widths.digits: 4 is too narrow"),
    "empty seeds": ("scales.quick.seeds", [], "scales.quick.seeds: empty; name at least one"),
    "repeated "
    "seed": ("scales.quick.seeds", [0, 1, 1],
             "scales.quick.seeds: 1 stands there twice; name it once"),
    "negative "
    "seed": ("scales.quick.seeds", [-1],
        "scales.quick.seeds[0]: -1 is out of range; it must be at "
        "least 0"),
    "seeds "
    "not a list": ("scales.quick.seeds", 3,
        "scales.quick.seeds: 3 does not fit: input should be a "
        "valid list"),
    "a study that does not exist": (
        "scales.quick.studies.fashion_mnist_hi", {},
        "scales.quick.studies.fashion_mnist_hi: there is no study fashion_mnist_hi; did you mean "
        f"{MLP}?",
    ),
    "a "
    "scale without studies": ("scales.quick.studies", {},
                              "scales.quick.studies: empty; name at least one"),
    "learning rate as text": (
        f"{BLOCK}.learning_rates", ["1e-1"],
        f"{AT_BLOCK}.learning_rates[0]: '1e-1' is text, not a number; write 0.1",
    ),
    "learning "
    "rate of nothing": (f"{BLOCK}.learning_rates", [0.0],
                        "learning_rates[0]: 0.0 is out of range; it must"),
    "learning "
    "rate without end": (f"{BLOCK}.learning_rates", [float("inf")],
                         "learning_rates[0]: inf does not fit"),
    "learning rates of one path": (
        f"{BLOCK}.learning_rates", [0.1, 0.1 + 1e-9],
        "two learning rates are both written as 0.1 in paths",
    ),
    "unknown variant of a study": (
        f"studies.{MLP}.variants", ["papers"],
            f"studies.{MLP}.variants: there is no variant papers; "
            "did you mean",
    ),
    "repeated "
    "variant": (f"studies.{MLP}.variants", ["paper"] * 2,
                f"studies.{MLP}.variants: paper stands there twice"),
    "unknown setting": (
        "variants.paper.batchsize", 64,
            "variants.paper.batchsize: unknown setting; did you mean "
            "batch_size?",
    ),
    "unknown setting of a scale": (
        "scales.quick.settings.probes", 64,
            "scales.quick.settings.probes: unknown setting; did you "
            "mean probe_images?",
    ),
    "wrong setting": (
        "variants.paper.init_gain", "rleu",
            "variants.paper.init_gain: 'rleu' is not valid; did you "
            "mean relu?",
    ),
    "negative "
    "setting": ("variants.paper.l2", -0.1,
        "variants.paper.l2: -0.1 is out of range; it must be at "
        "least 0"),
    "setting "
    "that is no number": ("variants.paper.l2", float("nan"),
                          "variants.paper.l2: nan is not a finite number"),
    "endless "
    "threshold": ("variants.paper.srelu_left", [0.0, float("inf")],
                  "variants.paper.srelu_left: [0.0, inf] is"),
    "smoothing "
    "of one": ("variants.paper.rmsprop_alpha", 1.0,
               "rmsprop_alpha: 1.0 is out of range; it must be between"),
    "no defaults": ("variants", {"other": {}}, "variants.paper: missing; it holds the defaults"),
    "wrong "
    "depth of an MLP": (f"{BLOCK}.depths", [3],
                        f"{AT_BLOCK}.depths: an MLP has 1, 2 or 4 hidden layers;"),
    "wrong depth of a Wide ResNet": (
        f"{WIDE_BLOCK}.depths", [27],
            f"{AT_WIDE_BLOCK}.depths: a Wide ResNet's depth is 6 n + "
            "4; instead of 27 take",
    ),
    "a Wide ResNet without BatchNorm": (
        f"{WIDE_BLOCK}.regularizations", ["DA"],
        "a Wide ResNet has BatchNorm; instead of DA take DA_BN",
    ),
    "a Wide "
    "ResNet without its width": (f"{WIDE_BLOCK}.widen_factors", None,
                                 f"{AT_WIDE_BLOCK}.widen_factors: missing"),
    "an "
    "MLP with densities": (f"studies.{MLP}.densities", [10],
                           f"studies.{MLP}.densities: an MLP has none"),
    "misspelt word for all images": (
        "scales.quick.settings.train_images", "al",
            "settings.train_images: 'al' is not valid; did you mean "
            "all?",
    ),
    "half "
    "an image": ("scales.quick.settings.train_images", 2.5,
                 "settings.train_images: 2.5 does not fit: input"),
    "no images": (
        "scales.quick.settings.train_images", 0,
        "train_images: 0 is out of range; it must be at least 1",
    ),
    "more images than there are": (
        "scales.quick.settings.train_images", 1438,
            "train_images is 1438, but digits has 1437 training "
            "images",
    ),
    "a subset that leaves one image": (
        "scales.quick.settings.train_images", 513, "a last minibatch of one image out of 513",
    ),
    "a batch that leaves one image": (
        "scales.quick.settings.batch_size", 359,
            "a batch_size of 359 leaves a last minibatch of one "
            "image out of 1437",
    ),
    "batches "
    "of one image": ("scales.quick.settings.batch_size", 1,
                     "which BatchNorm cannot normalise; take 6"),
    "a "
    "name with capitals": ("studies.Second", SHIPPED["studies"][MLP],
                           "studies.Second: a name has small letters"),
    "a name of a rule": (
        "artifacts.train_mlp", SHIPPED["artifacts"]["figure14"],
            "artifacts.train_mlp: a rule of the workflow has this "
            "name",
    ),
    "a "
    "name of a folder": ("scales.data", SHIPPED["scales"]["smoke"],
                         "scales.data: the name is taken by a folder"),
    "a name of a scale": (
        "artifacts.quick", SHIPPED["artifacts"]["figure14"],
        "artifacts.quick: a scale has this name too",
    ),
    "an "
    "artifact of no study": ("artifacts.table4.studies", [],
                             "artifacts.table4.studies: missing; a"),
    "an artifact of an unknown study": (
        "artifacts.table4.studies", ["fashion_mnist"],
        f"there is no study fashion_mnist; did you mean {MLP}?",
    ),
    "an artifact of the wrong model": (
        "artifacts.table4.studies", [WIDE],
            "a significance_table needs a study of model mlp; "
            f"{WIDE} is of",
    ),
    "an artifact of an unknown variant": (
        "artifacts.table1.variant", "active_fan",
            "artifacts.table1.variant: there is no variant "
            "active_fan; did you",
    ),
    "an "
    "artifact without measures": ("artifacts.figure15.measures", [],
                                  "artifacts.figure15.measures: empty; name at"),
    "an artifact of one architecture": (
        "artifacts.figure4.architectures", ["dense"],
            "artifacts.figure4.architectures: plot_by_density draws "
            "two",
    ),
    "an artifact of what nobody trains": (
        "artifacts.table1.where", {"optimizer": ["adam", "sdg"]},
        "artifacts.table1.where.optimizer: 'sdg' is not",
    ),
    "an artifact of no column": (
        "artifacts.table1.where", {"optimiser": "adam"},
            "artifacts.table1.where.optimiser: 'optimiser' is not "
            "valid;",
    ),
    "missing epochs": (
        "studies.second",
        {key: value for key, value in SHIPPED["studies"][MLP].items() if key != "epochs"},
        "studies.second.epochs: missing",
    ),
    "nothing "
    "where much should be": ("studies", None,
        "studies: None does not fit: input should be a valid "
        "dictionary"),
    "text where much should be": ("scales.quick", "x" * 1000, "scales.quick: 'xxxxx"),
}  # fmt: skip


@pytest.mark.parametrize(("place", "value", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_configuration_is_one_line(place: str, value: Any, sentence: str) -> None:
    message = refusal(changed(place, value))
    assert sentence in message
    assert "\n" not in message
    assert len(message) < 400


def test_an_artifact_needs_a_variant_that_is_trained() -> None:
    lines = refusal(changed("artifacts.table4.variant", "active_fan_in")).splitlines()
    assert len(lines) == sum(MLP in scale["studies"] for scale in SHIPPED["scales"].values())
    assert lines[0] == (
        f"artifacts.table4.variant: at scale paper, {MLP} does not train active_fan_in; "
        f"add it to studies.{MLP}.variants or take paper"
    )
    raw = changed("artifacts.table4.variant", "active_fan_in")
    raw["studies"][MLP]["variants"] = ["paper", "active_fan_in"]
    grid_of(raw)


def test_every_mistake_has_its_line() -> None:
    raw = changed("percents", [10, 130])
    raw["scales"]["quick"]["seeds"] = []
    raw["artifacts"]["table4"]["kind"] = "table"
    lines = refusal(raw).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "percents[1]",
        "scales.quick.seeds",
        "artifacts.table4.kind",
    ]


@pytest.mark.parametrize("raw", [None, [], "text", 3, {}])
def test_what_is_no_configuration_is_told_in_lines(raw: Any) -> None:
    lines = refusal(raw).splitlines()
    assert len(lines) == (6 if raw == {} else 1)
    assert all(": " in line for line in lines)


CLASHES = {
    # of a rule that is written out, of an artifact kind's, of one of training
    "scorecard": "a rule of the workflow has this name",
    "effect_table": "a rule of the workflow has this name",
    "train_mlp": "a rule of the workflow has this name",
    "benchmark": "a rule of the workflow has this name",
    "report_quick": "the report or archive of a scale has this name",
    "report_reference": "the report or archive of a scale has this name",
    "archive_quick": "the report or archive of a scale has this name",
    "figure2": "this stands for figure2a and figure2b and figure2c and figure2d together",
    "logs": "the name is taken by a folder or target",
    "tables": "the name is taken by a folder or target",
    "report": "the name is taken by a folder or target",
}


@pytest.mark.parametrize("section", ["scales", "artifacts"])
@pytest.mark.parametrize("name", CLASHES)
def test_a_name_of_another_target_is_refused(section: str, name: str) -> None:
    entry = SHIPPED[section]["smoke" if section == "scales" else "figure14"]
    told = refusal(changed(f"{section}.{name}", entry))
    assert told == f"{section}.{name}: {CLASHES[name]}; choose another"


def test_a_group_of_a_rules_name_is_refused() -> None:
    raw = changed("artifacts.table7a", SHIPPED["artifacts"]["figure14"])
    with pytest.raises(ConfigError, match="table7a: its group table7 has the name of a rule"):
        load_config(raw, {"table7"})


def test_every_rule_that_is_written_out_is_found() -> None:
    """Against Snakemake's own list, in which those of kinds, scales, artifacts and groups are
    too.
    """
    command = [sys.executable, "-m", "snakemake", "--list-rules", "--quiet", "all"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    listed = set(done.stdout.split())
    of_names = {*KINDS, *SHIPPED["scales"], *SHIPPED["artifacts"]}
    for named in (report_target, archive_target):
        of_names |= {named(scale) for scale in [*SHIPPED["scales"], "reference"]}
    of_names |= {
        f"reference_{path.parent.name}" for path in ROOT.glob("results/reference/*/studies")
    }
    assert listed - of_names - artifact_groups(SHIPPED["artifacts"]).keys() == RULES


# --- any configuration ----------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [
            0,
            1,
            -1,
            7,
            10**40,
            10**400,
            0.0,
            1.5,
            -2.0,
            1e300,
            float("nan"),
            float("inf"),
            -float("inf"),
        ]
    ),
    st.sampled_from(["", "a\nb", "paper", "adam", "1e-1", "é", "data", "x" * 500]),
    st.dates(),  # as YAML has them
)
KEYS = st.one_of(
    st.sampled_from(
        ["epochs", "paper", "seeds", "a\nb", "Ünknown", "", "studies", "[key]", "x" * 200]
    ),
    st.integers(0, 3),
    st.booleans(),
    st.none(),
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) within a configuration."""
    items: Any = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in list(items):
        yield value, key
        yield from places(inner)


def drop(container: Any, key: Any, _draw: Callable[[Any], Any]) -> None:
    del container[key]


def replace(container: Any, key: Any, draw: Callable[[Any], Any]) -> None:
    container[key] = draw(JUNK)


def misspell(container: Any, key: Any, draw: Callable[[Any], Any]) -> None:
    if isinstance(container, dict):
        container[draw(KEYS) if draw(st.booleans()) else f"{key}"[:-1]] = container.pop(key)
    elif isinstance(container[key], str):
        container[key] = container[key][1:]


def double(container: Any, key: Any, draw: Callable[[Any], Any]) -> None:
    if isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    else:
        container[draw(KEYS)] = copy.deepcopy(container[key])


MUTATIONS = st.sampled_from([drop, replace, misspell, double])


@pytest.mark.slow
@settings(max_examples=400, derandomize=True)
@given(st.data())
def test_no_mutation_breaks_anything_but_the_configuration(data: st.DataObject) -> None:
    raw = copy.deepcopy(SHIPPED)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(list(places(raw)) or [(raw, "percents")]))
        data.draw(MUTATIONS)(container, key, data.draw)
    try:
        grid = grid_of(raw)
    except (ConfigError, ValueError) as error:
        lines = str(error).split("\n")
        assert all(": " in line and line.isprintable() and len(line) < 1000 for line in lines), (
            lines
        )
    else:
        assert all(grid.jobs(scale) for scale in grid.config.scales)


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
