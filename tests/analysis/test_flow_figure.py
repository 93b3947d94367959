"""Gradient flow over training: what the lines are, for MLPs and Wide ResNets, and the target that
draws them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from project import new_project, tiny
from study_tables import make_study_table, write_study_table

from gradflow.analysis.figures import save_figure
from gradflow.analysis.flow_over_training import figure_of_flow, read_configuration

CONFIGURATION = "mlp4-relu-adam-lr0.001-BN"


def rows_of(path: Path, table: pd.DataFrame, configuration: str) -> pd.DataFrame:
    write_study_table(path, table)
    return read_configuration(path, "paper", "digits", configuration)


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


def test_a_row_a_layer_and_a_column_a_width(tmp_path: Path) -> None:
    table = make_study_table(("adam", "sgd"), ("NR", "BN"))
    scale = np.array([1.0, 2.0, 4.0, 8.0, 16.0])  # layers told apart
    table["layer_egf_l2"] = [scale * value for value in table["egf_l2"]]
    rows = rows_of(tmp_path / "t.parquet", table, CONFIGURATION)
    figure = figure_of_flow(rows, "T")
    panels = np.array(figure.axes).reshape(6, 5)  # all layers, five layers; five widths
    assert [panel.get_ylabel() for panel in panels[:, 0]] == [
        "all layers",
        *(f"layer {k}" for k in range(1, 5)),
        "output",
    ]
    assert [panel.get_title() for panel in panels[0]] == [
        f"dense width {w:g}" for w in sorted(rows["dense_width"].unique())
    ]
    width = sorted(rows["dense_width"].unique())[1]
    for architecture, line, style in zip(
        ("dense", "sparse"), panels[3, 1].lines, ("-", "--"), strict=True
    ):
        own = rows[(rows["architecture"] == architecture) & (rows["dense_width"] == width)]
        mean = own.assign(value=4 * own["egf_l2"]).groupby("epoch")["value"].mean()
        np.testing.assert_allclose(line.get_ydata(), mean)
        np.testing.assert_array_equal(line.get_xdata(), mean.index + 1)
        assert line.get_linestyle() == style and line.get_marker() not in ("", "None")
    assert len({line.get_color() for line in panels[3, 1].lines}) == 2
    assert all(
        panel.get_yscale() == "log" and len(panel.collections) == 2 for panel in figure.axes
    )  # the bands
    assert panels[3, 0].get_shared_y_axes().joined(panels[3, 0], panels[3, 4])
    assert "30 runs of 5 epochs. Line: mean of 3 seeds" in texts(figure)
    title = "Gradient flow over training: Digits, 4 hidden layers, ReLU, Adam 0.001, BN"
    assert title in texts(figure) and CONFIGURATION not in texts(figure)
    camera_ready = figure_of_flow(rows, "T", "double_column")
    assert camera_ready.get_figwidth() == 6.75
    assert "Gradient flow over" not in texts(camera_ready) and "Line:" not in texts(camera_ready)
    save_figure(figure, tmp_path / "f.pdf", tmp_path / "f.png")
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")


def test_diverged_runs_are_counted_and_left_out(tmp_path: Path) -> None:
    table = make_study_table(("adam",), ("BN",), diverged=[("adam", "sparse", 2)])
    figure = figure_of_flow(rows_of(tmp_path / "t.parquet", table, CONFIGURATION), "T")
    assert "5 runs diverged" in texts(figure)
    assert all(np.isfinite(line.get_ydata()).all() for panel in figure.axes for line in panel.lines)


def test_a_wide_resnet_has_its_dense_line_at_every_density(tmp_path: Path) -> None:
    table = make_study_table(
        ("adam",), ("BN",), model="wide_resnet", learning_rate=0.1, percents=(5, 50)
    )
    name = table["configuration"].iloc[0]
    figure = figure_of_flow(rows_of(tmp_path / "t.parquet", table, name), "T")
    panels = np.array(figure.axes).reshape(-1, 2)
    assert [panel.get_title() for panel in panels[0]] == ["density 5 %", "density 50 %"]
    assert all(len(panel.lines) == 2 for panel in figure.axes)
    np.testing.assert_array_equal(
        panels[0, 0].lines[0].get_ydata(), panels[0, 1].lines[0].get_ydata()
    )


def test_nothing_finished_and_no_table(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "t.parquet", make_study_table(("adam",), ("NR",)), CONFIGURATION)
    assert "no finished runs" in texts(figure_of_flow(rows, "T"))
    (tmp_path / "bad.parquet").write_text("no table")
    with pytest.raises(ValueError, match=r"bad\.parquet: not a study table"):
        read_configuration(tmp_path / "bad.parquet", "paper", "digits", CONFIGURATION)


@pytest.mark.slow
@pytest.mark.workflow
def test_the_target_needs_the_study_and_names_what_is_not_trained(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project", tiny)
    folder = "results/smoke/figures/flow_over_training/paper/digits"
    plan = project.plan(f"{folder}/mlp1-relu-adam-lr0.001-NR.pdf")
    assert plan.rules == {"fetch_dataset", "train_mlp", "collect_runs", "plot_flow_over_training"}
    code, output = project.snakemake("-n", f"{folder}/mlp4-relu-adam-lr0.001-BN.png")
    assert (
        code != 0
        and "No study of scale smoke trains paper/digits/mlp4-relu-adam-lr0.001-BN" in output
    )
    assert "most recent call last" not in output
