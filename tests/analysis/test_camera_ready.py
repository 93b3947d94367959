"""Figures as a paper has them: differences that can be seen, a column's width, all told apart
without colour.
"""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from project import ROOT
from study_tables import make_study_table
from test_figures import texts

from gradflow.analysis.differences import hides
from gradflow.analysis.figure_of_activations import figure_of_activations
from gradflow.analysis.figures_by_density import figure_by_density
from gradflow.analysis.figures_by_width import figure_by_width
from gradflow.analysis.runs import Artifact, summarise_runs
from gradflow.networks.activations import functions_at_start
from gradflow.study.config_checks import load_config
from gradflow.study.grid import Grid
from gradflow.study.job import Settings

BY_WIDTH = Artifact("f", "A title", "paper", measures=("test_accuracy", "egf_l2"))
COLUMNS = {"single_column": 3.25, "double_column": 6.75}


def twins(gap: float) -> pd.DataFrame:
    """Runs of which each sparse one is better than its dense twin by so many points, give or take
    its seed.
    """
    rows = make_study_table(("adam", "momentum"), ("NR", "BN"))
    accuracy = 50 + 0.4 * rows["width_percent"]
    accuracy += (rows["architecture"] == "sparse") * (gap + 0.1 * (rows["seed"] - 2))
    return summarise_runs(rows.assign(test_accuracy=accuracy))


def test_a_difference_that_the_shared_axis_hides_has_a_part_of_its_own() -> None:
    figure = figure_by_width(twins(gap=0.5), BY_WIDTH)
    assert "(c) Test accuracy, sparse minus dense" in texts(figure)
    assert "Difference: median over pairs of twins" in texts(figure)
    assert "Sparse − dense" in texts(figure)
    for panel in figure.axes[8:]:
        (line,) = [line for line in panel.lines if line.get_marker() == "D"]
        np.testing.assert_allclose(line.get_ydata(), 0.5)
        (bars,) = [bars for bars in panel.collections if len(bars.get_segments()) == 5]
        np.testing.assert_allclose([bar[:, 1] for bar in bars.get_segments()], [[0.4, 0.6]] * 5)
        low, high = panel.get_ylim()
        assert low <= -1 and high >= 1


def test_a_difference_that_is_seen_has_none() -> None:
    figure = figure_by_width(twins(gap=15), BY_WIDTH)
    assert len(figure.axes) == 8 and "minus" not in texts(figure)


def test_half_a_point_and_fifty_are_both_seen_on_one_axis() -> None:
    runs = twins(gap=0.5)
    worse = (runs["optimizer"] == "adam") & (runs["regularization"] == "NR")
    worse &= runs["architecture"] == "sparse"
    runs.loc[worse, "test_accuracy"] -= 50
    panel = figure_by_width(runs, BY_WIDTH).axes[8]
    zero, half, fifty = panel.transAxes.inverted().transform(
        panel.transData.transform([(0, 0), (0, 0.5), (0, -49.5)])
    )[:, 1]
    assert half - zero > 0.05 and 0 < fifty < zero


def test_hiding_is_a_matter_of_most_points() -> None:
    near, far = twins(gap=1), twins(gap=20)
    panels = [near[near["regularization"] == "NR"], near[near["regularization"] == "BN"]]
    assert hides([panels]) and not hides([[far[far["regularization"] == "NR"]]])
    lowest = near["dense_width"] == near["dense_width"].min()
    sunk = near.assign(
        test_accuracy=near["test_accuracy"].mask(lowest & (near["architecture"] == "sparse"), 10)
    )
    assert hides([[sunk[sunk["regularization"] == "NR"]]])  # four of five points
    assert not hides([]) and not hides([[near[near["architecture"] == "dense"]]])


def wide_resnets() -> pd.DataFrame:
    options = {"model": "wide_resnet", "percents": (5, 20, 50), "seeds": (1,)}
    return summarise_runs(make_study_table(("adam", "momentum"), ("BN", "L2_BN"), **options))


@pytest.mark.parametrize(
    "layout", [pytest.param("single_column"), pytest.param("double_column", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kind", ["width", "density", "activations"])
def test_camera_ready_figures_have_a_column_s_width_and_no_title_or_note(
    kind: str, layout: str
) -> None:
    artifact = dataclasses.replace(BY_WIDTH, layout=layout)
    make = {
        "width": lambda one: figure_by_width(twins(0.5), one),
        "density": lambda one: figure_by_density(wide_resnets(), one),
        "activations": lambda one: figure_of_activations(functions_at_start(Settings()), one),
    }[kind]
    figure, plain = make(artifact), make(dataclasses.replace(artifact, layout="report"))
    assert figure.get_figwidth() == COLUMNS[layout] and figure.get_figheight() < 8.5
    assert "A title" not in texts(figure) and "A title" in texts(plain)
    assert not any(word in texts(figure) for word in ("runs of", "Line:", "Slope"))
    assert figure.legends[0].get_texts()


def test_what_has_too_many_panels_for_a_column_takes_both() -> None:
    names = ("NR", "L2", "DA", "SC", "BN", "DA_SC_BN", "DA_L2_SC_BN")
    runs = summarise_runs(make_study_table(("adam",), names))
    figure = figure_by_width(runs, dataclasses.replace(BY_WIDTH, layout="single_column"))
    assert figure.get_figwidth() == 6.75


def test_labels_of_densities_do_not_touch() -> None:
    options = {"model": "wide_resnet", "percents": (1, 5, 10, 20, 50), "seeds": (1,)}
    runs = summarise_runs(make_study_table(("adagrad", "adam", "momentum"), ("BN",), **options))
    for layout, expected in (("single_column", ["1", "5", "", "20", "", "100"]), ("report", None)):
        figure = figure_by_density(runs, dataclasses.replace(BY_WIDTH, layout=layout))
        figure.draw_without_rendering()
        for panel in figure.axes:
            boxes = [
                text.get_window_extent() for text in panel.get_xticklabels() if text.get_text()
            ]
            assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
        shown = [text.get_text() for text in figure.axes[0].get_xticklabels()]
        assert shown == (expected or ["1", "5", "10", "20", "50", "100"])


def bottoms(figure: Figure) -> tuple[float, float]:
    """The upper edge of the legend, and the lowest edge of any panel, as shares of the figure."""
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent().y1 / figure.bbox.height
    lowest = min(panel.get_window_extent().y0 for panel in figure.axes) / figure.bbox.height
    return legend, lowest


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["report", "double_column"])
def test_the_legend_has_one_place_below_the_panels_and_above_the_note(layout: str) -> None:
    artifact = dataclasses.replace(BY_WIDTH, layout=layout)
    for figure in (
        figure_by_width(twins(0.5), artifact),
        figure_by_density(wide_resnets(), artifact),
        figure_of_activations(functions_at_start(Settings()), artifact),
    ):
        legend, lowest = bottoms(figure)
        assert 0 < legend < lowest < 1
        assert len(figure.legends) == 1 and not any(panel.get_legend() for panel in figure.axes)
        if layout == "report":
            note = max(figure.texts, key=lambda text: len(text.get_text()))
            edge = note.get_window_extent().y1 / figure.bbox.height
            assert edge <= figure.legends[0].get_window_extent().y0 / figure.bbox.height


def test_activations_are_told_apart_without_colour() -> None:
    artifact = Artifact("figure14", "T", "paper")
    figure = figure_of_activations(functions_at_start(Settings()), artifact)
    for panel in figure.axes:
        lines = [line for line in panel.lines if len(line.get_xdata()) > 2]
        assert len({line.get_marker() for line in lines}) == len(lines) == 6
    assert "Slope below zero: PReLU 0.25, SReLU 0.2." in texts(figure)


def test_the_configuration_s_layout_is_that_of_figures_alone() -> None:
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    told = {}
    for layout in ("report", "single_column"):
        grid = Grid(load_config(raw | {"figures": layout}))
        for name in ("figure15", "table4"):
            told[name, layout] = json.loads(grid.artifact_json("quick", name))
    assert told["table4", "report"] == told["table4", "single_column"]
    assert told["figure15", "single_column"] == told["figure15", "report"] | {
        "layout": "single_column"
    }
