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


# --- again, of what is new ------------------------------------------------------------------------


class Collections:
    """Collections of one study, each with the logs that it has read."""

    def __init__(self, plan, results, monkeypatch):
        self.plan, self.results, self.read = plan, results, []
        self.output = results / "study.parquet"

        def reading(path, spec=None):
            self.read.append(path.relative_to(results).as_posix())
            return read_log(path, spec)

        monkeypatch.setattr("gradflow.analysis.collect.read_log", reading)

    def collect(self, partial=False) -> tuple[list[str], bytes]:
        """The logs that were read, and both tables' bytes."""
        self.read.clear()
        self.output.unlink(missing_ok=True)  # as Snakemake does before a job
        provenance = self.results / "provenance.parquet"
        kept = self.results / "collected"
        collect_runs(self.plan, self.results, self.output, provenance, partial, kept)
        return list(self.read), self.output.read_bytes() + provenance.read_bytes()


@pytest.fixture
def collections(plan, results, monkeypatch):
    return Collections(plan, results, monkeypatch)


def test_a_new_log_is_read_alone_and_the_tables_are_those_of_all(collections, plan, results):
    log = a_log(plan, results)
    content = log.read_bytes()
    log.unlink()
    assert len(collections.collect(partial=True)[0]) == 8  # all are tried
    log.write_bytes(content)
    read, tables = collections.collect()
    assert read == [log.relative_to(results).as_posix()]
    assert collections.collect() == ([], tables)
    (results / "collected" / "tiny.json").unlink()
    again = collections.collect()
    assert len(again[0]) == 8 and again[1] == tables


@pytest.mark.parametrize("change", ["touched", "rewritten", "another specification"])
def test_a_changed_log_is_read_again(collections, plan, results, change):
    collections.collect()
    log = a_log(plan, results)
    if change == "touched":
        log.touch()
    elif change == "rewritten":
        log.write_bytes(log.read_bytes())
    else:
        job, run = list(plan.runs())[3]
        write_log(log, [{"seed": 9}], {"spec": f"{job.only(run).to_json()} "})
        with pytest.raises(RunLogError, match="another specification"):
            collections.collect()
        return
    assert collections.collect()[0] == [log.relative_to(results).as_posix()]


@pytest.mark.parametrize("damaged", ["table", "provenance", "json"])
def test_what_was_kept_is_used_whole_or_not_at_all(collections, results, damaged):
    """The kept table is the study's own file, so that damage to one is damage to both."""
    tables = collections.collect()[1]
    path = results / "collected" / f"tiny.{damaged}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    read, again = collections.collect()
    assert len(read) >= (1 if damaged == "json" else 8) and again == tables


def test_a_file_system_without_hard_links_does_without(collections, results, monkeypatch):
    def refuse(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr("os.link", refuse)
    tables = collections.collect()[1]
    read, again = collections.collect()
    assert len(read) == 8 and again == tables
