"""From a table, one of its cells or a figure to the runs behind it."""

from __future__ import annotations

import re
import shutil
import subprocess

import pyarrow.parquet as pq
import pytest
from project import GRADFLOW, STUDY, Project, copy_of, environment, new_project, tiny

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

TABLE, FIGURE = "results/smoke/tables/table4.csv", "results/smoke/figures/figure15.png"


def two_configurations(raw) -> None:
    tiny(raw)
    raw["scales"]["smoke"]["studies"][STUDY]["blocks"][0]["regularizations"] = ["NR", "DA_BN"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Project:
    project = new_project(tmp_path_factory.mktemp("provenance") / "project", two_configurations)
    project.make("smoke")
    return project


@pytest.fixture
def project(finished, tmp_path) -> Project:
    return copy_of(finished, tmp_path / "project")


def provenance(project: Project, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [*GRADFLOW, "provenance", *arguments], cwd=project.folder, env=environment(project.folder),
        text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def told(project: Project, *arguments: str) -> str:
    code, text = provenance(project, *arguments)
    assert code == 0, text
    return text


def fact(text: str, name: str) -> str:
    found = re.search(rf"^ *{name} +(\S.*(?:\n {{16,}}\S.*)*)", text, flags=re.MULTILINE)
    assert found, text
    return " ".join(found[1].split())


def logs(text: str) -> list[str]:
    return re.findall(r"^ +[\d,.?]+ s  (\S+\.parquet)", text, flags=re.MULTILINE)


def test_a_cell_names_its_runs_and_what_their_logs_say(finished):
    text = told(finished, TABLE, "--where", "optimizer=adam", "regularization=DA BN")
    assert text.startswith(f"{TABLE}: significance_table, 10 of 10 planned runs\n")
    expected = sorted(
        str(path.relative_to(finished.folder))
        for path in finished.files("results/smoke/runs/**/*-DA_BN/**/*.parquet")
    )
    assert sorted(logs(text)) == expected and len(expected) == 10
    said = pq.read_metadata(finished.folder / expected[0]).metadata
    assert fact(text, "device") == f"{' '.join(said[b'device'].decode().split())} (cpu)"
    assert fact(text, "versions").startswith(
        f"engine 1, torch {said[b'torch_version'].decode()}, numpy "
    )
    assert f"{float(said[b'seconds']):.1f} s  {expected[0]}" in text
    assert fact(text, "seconds").endswith("in 1 job")
    assert fact(text, "data set") == "digits, standing in for fashion_mnist"
    assert fact(text, "config") == "plans these very runs"
    assert fact(text, "regularization") == '"DA_BN"'
    assert fact(text, "percents") == "[10], [30], [50], [70], [90]"
    above = text[: text.index("\nruns (seconds")]
    assert max(map(len, above.splitlines())) <= 80


def test_a_figure_names_all_runs_of_its_studies(finished):
    text = told(finished, FIGURE)
    assert len(set(logs(text))) == len(logs(text)) == 20
    assert fact(text, "seconds").endswith("in 2 jobs")
    assert told(finished, "results/smoke/figures/figure14.png") == (
        "results/smoke/figures/figure14.png: plot_activations, made of no runs\n"
    )


def test_what_a_cell_is_called(finished):
    for where, runs in (
        ("regularization=da_bn", 10),
        ("architecture=Sparse", 10),
        ("seed=0", 20),
        ("learning_rate=0.001", 20),
        ("width_percent=30", 4),
        ("stands_for=Fashion-MNIST", 20),
    ):
        assert len(logs(told(finished, TABLE, "--where", where))) == runs
    text = told(finished, TABLE, "--where", "n=5", "seed=0")
    assert len(logs(text)) == 20 and "n tells no runs apart and is passed over." in text


QUICK = "results/quick/tables/table4.csv"
TABLES = "results/smoke/tables/"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            [TABLES + "tabel4.csv"],
            TABLES + "tabel4.csv: there is no artifact tabel4; did you mean table4?",
        ),
        (
            [TABLES + "table4.cvs"],
            TABLES + "table4.cvs: the file does not exist; did you mean table4.csv?",
        ),
        ([QUICK], f"{QUICK}: the file does not exist; make it with: snakemake {QUICK}"),
        (["config.yaml"], f"config.yaml: not a table or figure; take a file such as {QUICK}"),
        (
            [TABLE, "--where", "optimiser=adam"],
            "--where optimiser: runs have no such column; did you mean optimizer?",
        ),
        (
            [TABLE, "--where", "optimizer=ada"],
            "--where optimizer=ada: table4.csv has no such runs; did you mean adam?",
        ),
        ([TABLE, "--where", "seed=7"], "--where seed=7: table4.csv has no such runs; valid are 0"),
        (
            [TABLE, "--where", "adam"],
            "--where adam: write COLUMN=VALUE, for example optimizer=adam",
        ),
    ],
)
def test_mistakes_are_sentences(finished, arguments, sentence):
    assert provenance(finished, *arguments) == (1, f"{sentence}\n")


def test_without_logs_and_in_another_folder(project):
    before = told(project, TABLE)
    shutil.rmtree(project.results / "smoke" / "runs")
    after = told(project, TABLE)
    assert fact(after, "logs") == "0 there, 20 gone"
    for name in ("device", "versions", "seconds", "specifications"):
        assert fact(after, name) == fact(before, name)
    # kept results lie one folder deeper
    (project.results / "reference").mkdir()
    (project.results / "smoke").rename(project.results / "reference" / "smoke")
    kept = told(project, TABLE.replace("results", "results/reference"))
    assert logs(kept) == [path.replace("results", "results/reference") for path in logs(before)]
    assert fact(kept, "seconds") == fact(before, "seconds")


def test_without_the_provenance_table(project):
    table = project.results / "smoke" / "provenance" / f"{STUDY}.parquet"
    table.unlink()
    text = told(project, TABLE)
    assert len(logs(text)) == 20
    assert "has no table of devices, versions and seconds" in " ".join(text.split())
    assert fact(text, "device") == fact(text, "seconds") == "not known"
    assert f"make it with: snakemake results/smoke/provenance/{STUDY}.parquet" in " ".join(
        text.split()
    )
    (project.results / "smoke" / "studies" / f"{STUDY}.parquet").unlink()
    text = told(project, TABLE)
    assert "no study table to tell its runs" in text
    assert f"results/smoke/studies/{STUDY}.parquet does not exist" in " ".join(text.split())
    project.make(f"results/smoke/provenance/{STUDY}.parquet")
    assert fact(told(project, TABLE), "device") != "not known"


def test_a_changed_configuration_and_a_partial_table_are_told(project):
    def other_batches(raw):
        raw["variants"]["paper"]["batch_size"] = 64

    project.edit_config(other_batches)
    assert fact(told(project, TABLE), "config") == "20 of these runs are not what it plans now"


def test_a_run_that_is_missing_is_counted(project):
    project.files("results/smoke/runs/**/*-DA_BN/**/sparse-w10.parquet")[0].unlink()
    project.make("smoke", "--config", "partial=true")
    assert "19 of 20 planned runs" in told(project, TABLE)
    assert "9 of 10 planned runs" in told(project, TABLE, "--where", "regularization=DA_BN")
