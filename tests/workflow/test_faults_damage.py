"""Damaged and stale files: found on read, named, never used, and made anew by the same command."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from cohorts import DEVICE, make_data, make_job, train_steps
from faults import EPOCHS, Trainer, job_of, leftovers, rows_of, state_of, with_data
from project import STUDY, TABLE, Project, copy_of, wait_for

from gradflow.analysis.runs import StudyTableError, read_rows
from gradflow.data.store import DataError
from gradflow.training.checkpoint import read_progress, save_checkpoint
from gradflow.training.cohort import Cohort
from gradflow.training.run_log import RunLogError, WrongLogError, read_log, write_log
from gradflow.training.train_job import load_job_data

pytestmark = pytest.mark.workflow

Damage = Callable[[Path], object]
CONFIGURATION = "mlp1-relu-adam-lr0.001-NR"


def flip(path: Path) -> None:
    """Flip bits in the middle, so many that some carry a value."""
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 40):
        content[place] ^= 0x10
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


# --- files alone: bit by bit ----------------------------------------------------------------------


def flips(path: Path, count: int) -> list[bytes]:
    """The file's content with one bit flipped, at `count` places drawn at random."""
    whole, chance = path.read_bytes(), random.Random(0)
    found = []
    for place in chance.sample(range(len(whole) * 8), min(count, len(whole) * 8)):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        found.append(bytes(content))
    return found


def refusal(read: Callable[[], object], refused: type[Exception]) -> str:
    """What an attempt to read is refused with, or nothing."""
    try:
        read()
    except refused as error:
        return str(error)
    return ""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    rows = [
        {"seed": 3, "epoch": epoch, "test_loss": 0.5 * epoch, "layer_egf_l1": [1.0, 2.0]}
        for epoch in range(11)
    ]
    write_log(
        tmp_path / "log.parquet", rows, {"spec": '{"a":1}', "seconds": "12.5", "device": "a DEVICE"}
    )
    return tmp_path / "log.parquet"


def test_no_flipped_bit_of_a_log_is_believed(log: Path) -> None:
    expected, found = rows_of(log), 0
    for content in flips(log, 1000):
        log.write_bytes(content)
        message = refusal(lambda: read_log(log, '{"a":1}'), WrongLogError)
        if message:
            found += 1
            assert str(log) in message and "\n" not in message
        else:
            assert rows_of(log) == expected  # a bit that carries nothing
    assert found > 500


def test_a_flipped_second_is_found(log: Path) -> None:
    content = log.read_bytes()
    assert content.count(b"12.5") == 1
    log.write_bytes(content.replace(b"12.5", b"13.5"))
    with pytest.raises(WrongLogError, match="checksum"):
        read_log(log)


def test_a_log_from_before_checksums_is_read(log: Path) -> None:
    table = read_log(log)
    metadata = {key: value for key, value in table.schema.metadata.items() if key != b"sha256"}
    pq.write_table(table.replace_schema_metadata(metadata), log)
    assert read_log(log, '{"a":1}').num_rows == 11


def test_a_log_that_cannot_be_read_is_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none.parquet", "does not exist"),
        (tmp_path, "cannot be read|damaged"),
    ):
        with pytest.raises(RunLogError, match=reason) as caught:
            read_log(path)
        assert path == tmp_path or not isinstance(caught.value, WrongLogError)


def test_no_flipped_bit_of_a_checkpoint_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "seed3.json"
    cohort = Cohort(make_job(percents=(30, 50)), make_data(), DEVICE)
    train_steps(cohort, 7)
    save_checkpoint(path, cohort, 1.5)
    whole = read_progress(path)
    assert whole is not None
    found = 0
    for content in flips(path, 1000):
        path.write_bytes(content)
        progress = read_progress(path)
        assert progress is None or progress == whole
        found += progress is None
    assert found > 950
    save_checkpoint(path, cohort, 1.5)
    plain = json.loads(path.read_text())
    del plain["checksum"]
    path.write_text(json.dumps(plain))
    assert read_progress(path) is None


@pytest.fixture
def project(undisturbed: Project, tmp_path: Path) -> Project:
    return copy_of(undisturbed, tmp_path / "project")


@pytest.mark.slow
def test_no_flipped_bit_of_the_data_or_its_manifest_is_believed(
    undisturbed: Project, tmp_path: Path
) -> None:
    results = with_data(undisturbed, tmp_path)
    job, data = job_of(undisturbed, 1), results / "data" / "digits.safetensors"
    manifest = data.with_suffix(".json")
    whole, description = data.read_bytes(), manifest.read_bytes()
    expected = load_job_data(job, results)
    for file, count in ((manifest, 400), (data, 40)):
        found = 0
        for content in flips(file, count):
            file.write_bytes(content)
            message = refusal(lambda: load_job_data(job, results), DataError)
            if message:
                found += 1
                assert "\n" not in message and "run the same command again" in message
                assert not data.exists() and not manifest.exists()
            else:
                loaded = load_job_data(job, results)
                assert (loaded.name, loaded.classes) == (expected.name, expected.classes)
                assert torch.equal(loaded.train_images, expected.train_images)
            data.write_bytes(whole)
            manifest.write_bytes(description)
        assert found == 40 or file == manifest


@pytest.mark.slow
def test_no_flipped_bit_of_a_study_table_is_believed(project: Project) -> None:
    table = project.folder / TABLE
    for content in flips(table, 200):
        table.write_bytes(content)
        with pytest.raises(StudyTableError, match="checksum"):
            read_rows([table])


# --- through snakemake ----------------------------------------------------------------------------


def fails_once_then_makes_it(project: Project, undisturbed: Project, *named: str) -> None:
    """The first command names the files and ends badly, the second makes everything as it was."""
    code, output = project.snakemake("smoke")
    assert code != 0, output
    assert "Traceback" not in output
    for name in named:
        assert name in output, output
    assert "run the same command again" in output
    assert "After mending the cause, the same command runs only what is missing" in output
    project.make("smoke")
    assert state_of(project.results) == state_of(undisturbed.results)
    assert not project.plan().counts


LOGS = f"results/smoke/runs/paper/digits/{CONFIGURATION}/seed0"


@pytest.mark.slow
def test_a_truncated_log(project: Project, undisturbed: Project) -> None:
    """Its end says so, before anything runs: one command trains it alone."""
    truncate(project.folder / LOGS / "dense-w70.parquet")
    output = project.make("smoke")
    assert (
        f"{TABLE} is of 10 runs, 1 of which are not there or not as config.yaml has them" in output
    )
    assert state_of(project.results) == state_of(undisturbed.results)
    assert not project.plan().counts


@pytest.mark.slow
def test_a_flipped_bit_of_a_log(project: Project, undisturbed: Project) -> None:
    """It is found when it is read; what was there is kept aside, with the reason."""
    flip(project.folder / LOGS / "sparse-w30.parquet")
    damaged = (project.folder / LOGS / "sparse-w30.parquet").read_bytes()
    (project.folder / TABLE).unlink()
    fails_once_then_makes_it(project, undisturbed, f"{LOGS}/sparse-w30.parquet: the log is damaged")
    aside = project.folder / LOGS.replace("/runs/", "/damaged/runs/") / "sparse-w30.parquet"
    assert aside.read_bytes() == damaged
    assert "the log is damaged" in aside.with_name(f"{aside.name}.txt").read_text()


@pytest.mark.slow
def test_a_damaged_study_table(project: Project, undisturbed: Project) -> None:
    truncate(project.folder / TABLE)
    code, output = project.snakemake("smoke")
    assert code == 0, output
    assert f"{TABLE} is damaged; it is collected again" in output
    assert state_of(project.results) == state_of(undisturbed.results)
    assert not project.plan().counts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "damage"), [("digits.safetensors", flip), ("digits.json", truncate)]
)
def test_a_damaged_data_file(
    project: Project, undisturbed: Project, file: str, damage: Damage
) -> None:
    damage(project.results / "data" / file)
    (project.folder / TABLE).unlink()
    shutil.rmtree(
        project.results / "smoke" / "tables"
    )  # else nothing asks for the rows, and nothing for the data
    (
        project.results
        / "smoke"
        / "runs"
        / "paper"
        / "digits"
        / CONFIGURATION
        / "seed0"
        / "dense-w10.parquet"
    ).unlink()
    fails_once_then_makes_it(project, undisturbed, f"results/data/{file}")


@pytest.fixture(scope="module")
def stopped(undisturbed: Project, warm: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with the checkpoint of a job that was stopped in training."""
    results = with_data(undisturbed, tmp_path_factory.mktemp("stopped") / "results")
    job = job_of(undisturbed, EPOCHS)
    process = warm.start(job, results)
    wait_for((results / job.state_path).exists)
    process.terminate()
    process.communicate()
    assert process.returncode == 143
    return results


@pytest.fixture(scope="module")
def whole(
    undisturbed: Project, warm: Trainer, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """The logs of that job, when nothing happens to it."""
    results = with_data(undisturbed, tmp_path_factory.mktemp("whole") / "results")
    job = job_of(undisturbed, EPOCHS)
    assert warm.run(job, results)[0] == 0
    return [rows_of(results / job.log_path(run)) for run in job.runs]


@pytest.mark.slow
@pytest.mark.parametrize("damage", [None, flip, truncate, Path.unlink])
@pytest.mark.parametrize("part", ["json", "safetensors"])
def test_a_damaged_checkpoint(
    undisturbed: Project,
    warm: Trainer,
    stopped: Path,
    whole: list[str],
    tmp_path: Path,
    damage: Damage | None,
    part: str,
) -> None:
    job, results = job_of(undisturbed, EPOCHS), tmp_path / "results"
    shutil.copytree(stopped, results)
    [file] = (results / job.state_path).parent.glob(f"*.{part}")
    if damage:
        damage(file)
    code, said = warm.run(job, results)
    assert code == 0, said
    assert "Traceback" not in said and ("resumed" in said) == (damage is None)
    if damage and not (damage == Path.unlink and part == "json"):
        assert file.name in said and "the job starts from the beginning" in said
    assert [rows_of(results / job.log_path(run)) for run in job.runs] == whole
    assert leftovers(results) == []


@pytest.mark.slow
def test_without_snakemakes_records_a_changed_configuration_is_noticed(
    project: Project, undisturbed: Project
) -> None:
    """One command makes it, the logs before are kept, and come back with their specification."""
    project.edit_config(lambda raw: raw["scales"]["smoke"]["studies"][STUDY].update(epochs=2))
    shutil.rmtree(project.folder / ".snakemake")
    project.make("smoke")
    table = project.folder / TABLE
    assert pq.read_table(table, columns=["epochs"])["epochs"].unique().to_pylist() == [2]
    assert not project.plan().counts
    assert len(list((project.results / "smoke" / "superseded").rglob("*.parquet"))) == 10

    (project.folder / "config.yaml").write_bytes((undisturbed.folder / "config.yaml").read_bytes())
    shutil.rmtree(project.folder / ".snakemake")
    shutil.rmtree(project.results / "data")  # a run that comes back needs none
    project.make("smoke")
    assert state_of(project.results) == state_of(undisturbed.results)
    assert not project.plan().counts


@pytest.mark.slow
def test_the_trainer_of_its_own_finds_a_stale_log(undisturbed: Project, tmp_path: Path) -> None:
    """A log of another specification at the very path is replaced, and said to be."""
    results = with_data(undisturbed, tmp_path / "results")
    short, long = job_of(undisturbed, 1), job_of(undisturbed, 2)
    assert Trainer().run(short, results)[0] == 0
    code, said = Trainer().run(long, results)
    assert code == 0
    assert said.count("the log is of another specification; it is trained again now") == 10
    assert all(
        read_log(results / long.log_path(run), long.only(run).to_json()) for run in long.runs
    )
