"""A wrong configuration gets one sentence that names the place and what may stand there."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from configurations import (
    AT_BLOCK,
    AT_WIDE_BLOCK,
    BLOCK,
    MLP,
    ROOT,
    RULES,
    SHIPPED,
    WIDE,
    WIDE_BLOCK,
    changed,
    grid_of,
    refusal,
)
from project import environment

from gradflow.study.config import ConfigError
from gradflow.study.config_checks import load_config
from gradflow.study.kinds import KINDS
from gradflow.study.names import artifact_groups, bundle_target, report_target

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
    "MLPs that are pruned": ("studies.cifar100_low.magnitude", False,
        "studies.cifar100_low.magnitude: an MLP is never pruned by magnitude as it trains; leave "
        "it out"),
    "seed of both looks": (
        "scales.overnight.studies.cifar100_low_second_look", {"epochs": 40, "seeds": [2, 3]},
        "scales.overnight.studies.cifar100_low_second_look.seeds: seed 2 is the scale's own; a "
        "second look needs other seeds than the first"),
    "seeds of both looks": (
        "scales.overnight.studies.cifar100_low_second_look", {"epochs": 40},
        "scales.overnight.studies.cifar100_low_second_look.seeds: seed 0 is the scale's own; a "
        "second look needs other seeds than the first"),
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
    "report_quick": "the report or bundle of a scale has this name",
    "report_reference": "the report or bundle of a scale has this name",
    "bundle_quick": "the report or bundle of a scale has this name",
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
    for named in (report_target, bundle_target):
        of_names |= {named(scale) for scale in [*SHIPPED["scales"], "reference"]}
    of_names |= {
        f"reference_{path.parent.name}" for path in ROOT.glob("results/reference/*/studies")
    }
    assert listed - of_names - artifact_groups(SHIPPED["artifacts"]).keys() == RULES
