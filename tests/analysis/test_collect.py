"""Run logs and their collection: what is damaged or stale is found, named and never used."""

from contextlib import suppress

import pyarrow.parquet as pq
import pytest

from gradflow.analysis.collect import collect_runs
from gradflow.study.job import Configuration, Settings
from gradflow.study.plan import Plan
from gradflow.training.run_log import (
    PROVENANCE_SCHEMA,
    STUDY_SCHEMA,
    RunLogError,
    read_log,
    write_log,
)


@pytest.fixture
def plan():
    configuration = Configuration("digits", "mlp", 4, 0, "relu", "adam", 0.001, "NR")
    variants = (("paper", Settings()),)
    return Plan(
        "smoke", "tiny", "cifar10", (configuration,), variants, (0, 1), 2, (30, 70), (20,), 1, False
    )


@pytest.fixture
def results(plan, tmp_path):
    """All logs of the plan, each with one row that tells its seed."""
    for job, run in plan.runs():
        row = {
            "seed": job.seed,
            "architecture": run.architecture,
            "layer_egf_l1": [1.0, float("inf")],
        }
        write_log(tmp_path / job.log_path(run), [row], {"spec": job.only(run).to_json()})
    return tmp_path


def a_log(plan, results):
    job, run = list(plan.runs())[3]
    return results / job.log_path(run)


def test_plan_survives_its_json(plan):
    assert Plan.from_json(plan.to_json()) == plan
    assert len(list(plan.runs())) == 8


def test_all_runs_in_the_plans_order(plan, results):
    output = results / "study.parquet"
    assert collect_runs(plan, results, output, results / "provenance.parquet", partial=False) == []
    table = pq.read_table(output)
    assert table.schema.remove_metadata() == STUDY_SCHEMA
    assert set(table["stands_for"].to_pylist()) == {"cifar10"}
    assert table["seed"].to_pylist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert table.schema.metadata[b"runs"] == b"8"


def test_where_the_runs_come_from(plan, results):
    job, run = list(plan.runs())[3]
    said = {
        "engine_version": "1",
        "device": "a CPU",
        "device_type": "cpu",
        "torch_version": "2",
        "seconds": "1.500",
    }
    spec = job.only(run).to_json()
    write_log(results / job.log_path(run), [{"seed": 0}], {"spec": spec, **said})
    collect_runs(
        plan, results, results / "study.parquet", results / "provenance.parquet", partial=False
    )
    table = pq.read_table(results / "provenance.parquet")
    assert table.schema.remove_metadata() == PROVENANCE_SCHEMA
    assert table.schema.metadata[b"plan"].decode() == plan.to_json()
    rows = table.to_pylist()
    assert [row["log"] for row in rows] == [job.log_path(run) for job, run in plan.runs()]
    row = rows[3]
    assert (row["spec"], row["device"], row["seconds"], row["engine_version"]) == (
        spec,
        "a CPU",
        1.5,
        1,
    )
    assert (row["torch_version"], row["numpy_version"], row["study"], row["stands_for"]) == (
        "2",
        None,
        "tiny",
        "cifar10",
    )
    assert (row["architecture"], row["width_percent"], row["density_percent"]) == (
        run.architecture,
        run.percent,
        None,
    )
    assert rows[0]["device"] is None


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 0x10
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def restate(path):
    write_log(path, read_log(path).to_pylist(), {"spec": "{}"})


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip, truncate, restate, empty, lambda path: path.unlink()])
def test_a_wrong_log_is_named_and_never_used(plan, results, damage):
    path = a_log(plan, results)
    damage(path)
    output = results / "study.parquet"
    with pytest.raises(RunLogError) as error:
        collect_runs(plan, results, output, results / "provenance.parquet", partial=False)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert not output.exists()
    wrong = collect_runs(plan, results, output, results / "provenance.parquet", partial=True)
    assert len(wrong) == 1 and str(path) in wrong[0]
    assert pq.read_table(output).num_rows == 7


def test_every_flipped_bit_of_the_data_is_found(plan, results):
    path = a_log(plan, results)
    whole = path.read_bytes()
    expected = read_log(path).to_pylist()
    for place in range(4, len(whole), 97):
        content = bytearray(whole)
        content[place] ^= 0x01
        path.write_bytes(content)
        with suppress(RunLogError):
            assert read_log(path).to_pylist() == expected  # a bit that carries no value


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(Exception, match=r"seed|convert|expected"):
        write_log(tmp_path / "log.parquet", [{"seed": "no number"}], {"spec": "{}"})
    assert list(tmp_path.iterdir()) == []
