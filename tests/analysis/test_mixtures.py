"""A table names what of its runs was not made alike: for all in its notes, for each cell in its
CSV.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawing import draw
from study_tables import make_study_table, write_study_table

from gradflow.analysis.mixtures import mixture, read_origins
from gradflow.analysis.runs import RUN_KEY
from gradflow.training.run_log import PROVENANCE_SCHEMA

ROWS = make_study_table(["adam", "momentum"], ["NR", "BN"])
TABLE4 = {
    "name": "table4", "kind": "significance_table", "title": "T", "variant": "paper",
    "seeds": [1, 2, 3], "percents": [10, 30, 50, 70, 90],
}  # fmt: skip
MADE = {
    "engine_version": 1, "device":
        "a "
        "CPU (AVX2)", "device_type": "cpu", "step": "native", "kernels": "one",
    "threads": "1", "torch_version": "2.11.0", "seconds": 1.0,
}  # fmt: skip
NOTE = "Not all runs were made alike."


def runs() -> pd.DataFrame:
    """A row a run, all made alike."""
    rows = ROWS.drop_duplicates(RUN_KEY)[["study", *RUN_KEY]].reset_index(drop=True)
    return rows.assign(**MADE).reindex(columns=PROVENANCE_SCHEMA.names)


def drawn(made: pd.DataFrame, folder: Path) -> tuple[pd.DataFrame, str]:
    """Table 4 of these runs: its CSV and its page."""
    path = folder / "origins.parquet"
    table = pa.Table.from_pandas(made, schema=PROVENANCE_SCHEMA, preserve_index=False)
    pq.write_table(table, path)
    study = write_study_table(folder / "study.parquet", ROWS)
    files = draw("significance_table", TABLE4, [study], folder / "table4", [path])
    return pd.read_csv(files["csv"], keep_default_na=False), files["html"].read_text()


def test_runs_that_were_made_alike_are_no_mixture(tmp_path: Path) -> None:
    cells, page = drawn(runs(), tmp_path)
    assert set(cells["mixture"]) == {""} and len(cells) == 4
    plain = draw("significance_table", TABLE4, [tmp_path / "study.parquet"], tmp_path / "plain")
    assert page == plain["html"].read_text()
    columns = pd.read_csv(plain["csv"], keep_default_na=False)
    pd.testing.assert_frame_equal(cells.drop(columns="mixture"), columns)


@pytest.mark.parametrize(
    ("column", "other", "named"),
    [
        ("device",
            "a "
            "CPU (AVX512)",
            "device: a CPU (AVX2) ({rest} runs) and a CPU (AVX512) "
            "(1 runs)"),
        ("device",
            "a "
            "CPU (AVX2), then H100",
            "device: a CPU (AVX2) ({rest} runs) and a CPU (AVX2), "
            "then H100 (1 runs)"),
        ("engine_version", 2, "engine: 1 ({rest} runs) and 2 (1 runs)"),
        ("threads", "4", "threads: 1 ({rest} runs) and 4 (1 runs)"),
        ("torch_version", "2.12.0", "torch: 2.11.0 ({rest} runs) and 2.12.0 (1 runs)"),
        ("kernels", "another", "kernels: another from seed to seed in 1 of {networks} networks"),
        ("step",
            "autograd "
            "(captured)",
            "step: another from seed to seed in 1 of {networks} "
            "networks"),
    ],
)  # fmt: skip
def test_a_mixture_is_named_by_its_cell_and_its_page(
    column: str, other: object, named: str, tmp_path: Path
) -> None:
    made = runs()
    odd = made[
        made["configuration"].str.contains("momentum") & made["configuration"].str.endswith("BN")
    ].index[-1]
    made.loc[odd, column] = other
    cells, page = drawn(made, tmp_path)
    of_all = named.format(rest=len(made) - 1, networks=len(made) // 3)
    assert f"<p>{NOTE} {of_all}.</p>" in page
    assert f"{NOTE} " in (tmp_path / "table4.tex").read_text()
    of_cell = cells.set_index(["optimizer", "regularization"])["mixture"].to_dict()
    assert of_cell.pop(("momentum", "BN")) == named.format(rest=29, networks=10)
    assert set(of_cell.values()) == {""} and len(of_cell) == 3


def test_cells_of_one_device_each_are_a_mixture_of_the_table_alone(tmp_path: Path) -> None:
    made = runs()
    made.loc[made["configuration"].str.contains("adam"), "device"] = "H100"
    cells, page = drawn(made, tmp_path)
    assert NOTE in page and set(cells["mixture"]) == {""}


def test_what_is_not_known_or_differs_by_right_is_no_mixture() -> None:
    made: pd.DataFrame = runs()
    made.loc[:5, ["threads", "numba_version"]] = None
    made.loc[made["architecture"] == "dense", "kernels"] = "of dense layers"
    assert mixture(made) == ""


def test_runs_of_another_variant_are_left_out(tmp_path: Path) -> None:
    others: dict[str, Any] = {"variant": "another", "device": "H100"}
    cells, page = drawn(pd.concat([runs(), runs().assign(**others)]), tmp_path)
    assert set(cells["mixture"]) == {""} and NOTE not in page


def test_a_run_that_studies_share_counts_once(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.parquet", "b.parquet")]
    for path in paths:
        pq.write_table(
            pa.Table.from_pandas(runs(), schema=PROVENANCE_SCHEMA, preserve_index=False), path
        )
    assert len(read_origins(paths)) == len(runs())


def test_a_table_that_was_kept_before_these_columns_tells_what_it_knows(tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    old = runs().drop(columns=["step", "kernels", "threads"]).assign(kernel="one")
    pq.write_table(pa.Table.from_pandas(old, preserve_index=False), path)
    origins = read_origins([path])
    assert set(origins["device"]) == {"a CPU (AVX2)"} and origins["threads"].isna().all()
    assert mixture(origins) == ""
