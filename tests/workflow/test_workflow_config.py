"""A wrong configuration is answered by one line that helps, and nothing is started."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from project import ROOT, STUDY, Project, new_project
from snakemake.utils import update_config

from gradflow.study.config import ConfigError
from gradflow.study.config_checks import load_config
from gradflow.study.config_file import read_config
from gradflow.study.grid import Grid
from gradflow.workflow.planning import TargetError, resolve

BLOCK = yaml.safe_load((ROOT / "config.yaml").read_text())["studies"][STUDY]["blocks"][0]
AT_BLOCK = f"studies.{STUDY}.blocks[0]"

# what a second config file, read over config.yaml, says; and the line it gives
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": (
        {"scales": {"quick": {"seed": [0]}}},
        "scales.quick.seed: unknown key; did you mean seeds?",
    ),
    "misspelt optimizer": (
        {"studies": {STUDY: {"blocks": [{**BLOCK, "optimizers": ["adam", "adma"]}]}}},
        f"{AT_BLOCK}.optimizers[1]: 'adma' is not valid; did you mean adam?",
    ),
    "negative epochs": (
        {"studies": {STUDY: {"epochs": -5}}},
        f"studies.{STUDY}.epochs: -5 is out of range; it must be at least 1",
    ),
    "width over the maximum": (
        {"percents": [10, 130]},
        "percents[1]: 130 is out of range; it must be at most 100",
    ),
    "empty seeds": (
        {"scales": {"quick": {"seeds": []}}},
        "scales.quick.seeds: empty; name at least one",
    ),
    "repeated seed": (
        {"scales": {"quick": {"seeds": [0, 1, 1]}}},
        "scales.quick.seeds: 1 stands there twice; name it once",
    ),
    "a study that does not exist": (
        {"scales": {"quick": {"studies": {"fashion_mnist": {}}}}},
        "scales.quick.studies.fashion_mnist: there is no study fashion_mnist; did you mean "
        f"{STUDY}?",
    ),
    "a scale without studies": (
        {"scales": {"mine": {"seeds": [0], "studies": {}}}},
        "scales.mine.studies: empty; name at least one",
    ),
    "learning rate as text": (
        {"studies": {STUDY: {"blocks": [{**BLOCK, "learning_rates": yaml.safe_load("[1e-1]")}]}}},
        f"{AT_BLOCK}.learning_rates[0]: '1e-1' is text, not a number; write 0.1",
    ),
    "unknown variant": (
        {"artifacts": {"table4": {"variant": "papers"}}},
        "artifacts.table4.variant: there is no variant papers; did you mean paper?",
    ),
    "unknown setting": (
        {"variants": {"paper": {"batchsize": 64}}},
        "variants.paper.batchsize: unknown setting; did you mean batch_size?",
    ),
    "wrong depth": (
        {"studies": {STUDY: {"blocks": [{**BLOCK, "depths": [3]}]}}},
        f"{AT_BLOCK}.depths: an MLP has 1, 2 or 4 hidden layers; instead of 3 take 2",
    ),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One project for all mistakes: none of them leaves anything behind."""
    return new_project(tmp_path_factory.mktemp("mistakes") / "project")


def refusal(project: Project, *arguments: str) -> list[str]:
    """The lines that a person sees; nothing was started."""
    code, output = project.snakemake(*arguments)
    assert code == 1, output
    for ugly in ("Traceback", "SystemExit", 'File "', "Select jobs"):
        assert ugly not in output, output
    assert [path for path in project.results.rglob("*") if path.name != ".lock"] == []
    return output.splitlines()


def said(lines: list[str]) -> list[str]:
    """What the configuration's check says, Snakemake's own lines left out."""
    head = "The configuration is wrong; nothing was started."
    assert head in lines, lines
    return lines[lines.index(head) + 1 :]


@pytest.mark.parametrize(("overlay", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_configuration(overlay: dict[str, Any], sentence: str) -> None:
    """The overlay is read over config.yaml as Snakemake does with --configfile."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(raw, overlay)
    with pytest.raises(ConfigError) as refused:
        load_config(raw)
    assert str(refused.value) == sentence


@pytest.mark.workflow
def test_several_mistakes_in_config_yaml_itself_are_a_line_each(tmp_path: Path) -> None:
    def edit(raw: dict[str, Any]) -> None:
        raw["percents"] = [10, 130]
        raw["scales"]["quick"]["seeds"] = "0"

    assert said(refusal(new_project(tmp_path / "project", edit))) == [
        "percents[1]: 130 is out of range; it must be at most 100",
        "scales.quick.seeds: '0' does not fit: input should be a valid list",
    ]


@pytest.mark.slow
@pytest.mark.workflow
def test_a_misspelt_key_on_the_command_line(project: Project) -> None:
    lines = refusal(project, "quick", "--config", "partal=true")
    assert said(lines) == ["partal: unknown key; did you mean partial?"]


def bomb(first: str, level: str) -> str:
    """Aliases of aliases: seven levels of nine."""
    lines = [f"a: &a {first}"]
    for old, new in zip("abcdefg", "bcdefgh", strict=True):
        lines.append(f"{new}: &{new} {level.replace('OLD', f'*{old}')}")
    return "\n".join(lines) + "\n"


TOO_MANY = "its aliases (*NAME) stand for more than 100,000 values"
SECOND = {
    "a key twice": (
        "scales:\n  mine: {}\n  mine: {}\n",
        ", line 3: mine stands there twice; keep one",
    ),
    "broken": ("percents: [10, 30\nstudies: {}\n", ", line 2: expected ',' or ']'"),
    "no mapping": ("just text\n", "it must hold keys and values"),
    "lists of lists": (bomb("[1, 2]", f"[{', '.join(['OLD'] * 9)}]"), TOO_MANY),
    # merging these would take Snakemake hours before it reads the Snakefile
    "mappings of mappings": (
        bomb("{x: 1}", "{" + ", ".join(f"{key}: OLD" for key in "ijklmnopq") + "}"),
        TOO_MANY,
    ),
    # and this would run before it
    "code": (
        "__use_yte__: true\n?__import__('os').system('touch owned'):\n  percents: [10]\n",
        "__use_yte__ would run code",
    ),
}


@pytest.mark.slow
@pytest.mark.workflow
@pytest.mark.parametrize(("text", "sentence"), SECOND.values(), ids=SECOND)
def test_a_second_file_is_looked_at_as_closely_as_the_first(
    project: Project, tmp_path: Path, text: str, sentence: str
) -> None:
    more = tmp_path / "more.yaml"
    more.write_text(text)
    [line] = said(refusal(project, "-n", "smoke", "--configfile", str(more)))
    assert line.startswith(str(more)) and sentence in line
    assert not (project.folder / "owned").exists()


@pytest.mark.slow
@pytest.mark.workflow
def test_numbers_in_a_setting_of_the_command_line_are_numbers(project: Project) -> None:
    setting = 'scales={"smoke": {"seeds": [3]}}'
    code, output = project.snakemake(
        "-n", "results/smoke/tables/table4.csv", "--quiet", "host", "--config", setting
    )
    assert code == 0, output
    assert "seed=3" in output and "seed=0" not in output


@pytest.mark.parametrize(
    "target",
    [
        "quik",
        "results/quick/tables/tabel4.csv",
        "results/quick/runs/papers/digits/mlp4-relu-adam-lr0.001-NR/seed0/dense-w10.parquet",
        "results/quick/runs/paper/digits/mlp4-relu-adam-lr0.7-NR/seed0/dense-w10.parquet",
    ],
)
def test_a_misspelt_target_plans_nothing(target: str) -> None:
    with pytest.raises(TargetError, match=re.escape(target)):
        resolve(Grid(read_config(ROOT / "config.yaml")), target, "quick")
