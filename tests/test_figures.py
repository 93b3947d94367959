"""Figures: the right panels, lines and labels, and files that are there, deterministic and whole."""

from __future__ import annotations

import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from study_tables import make_study_table, write_study_table

from gradflow.figures import DENSE_SPARSE, figure_by_density, figure_by_width, figure_of_activations, save_figure
from gradflow.runs import Artifact, summarise_runs

pytestmark = pytest.mark.filterwarnings("error")
SCRIPTS = Path(__file__).parents[1] / "scripts"
BY_WIDTH = Artifact("figure15", "Figure 15", "paper", measures=("test_accuracy", "egf_l2"))
DENSITIES = (5, 20, 50)


def texts(figure: Figure) -> str:
    """Everything that is written in a figure outside its panels."""
    found = [text.get_text() for text in figure.texts]
    for part in (figure, *figure.subfigs):
        found += [] if part._suptitle is None else [part._suptitle.get_text()]
        for legend in part.legends:
            found += [legend.get_title().get_text(), *(text.get_text() for text in legend.get_texts())]
    return "\n".join(found).replace("\n", " ")


def wide_resnets() -> pd.DataFrame:
    architectures = ("dense", "sparse", "magnitude")
    options = {"model": "wide_resnet", "percents": DENSITIES, "seeds": (1,), "architectures": architectures}
    relu = make_study_table(("adagrad", "adam"), ("L2_BN", "BN"), **options)
    swish = make_study_table(("adam", "adamw"), ("BN",), ("swish",), **options)
    return summarise_runs(pd.concat([relu, swish]))


def test_by_width_shows_the_mean_over_seeds() -> None:
    runs = summarise_runs(make_study_table(("momentum", "adam"), ("BN", "NR")))
    figure = figure_by_width(runs, BY_WIDTH)
    accuracy, flow = figure.subfigs
    assert len(accuracy.axes) == len(flow.axes) == 4
    assert [panel.get_title() for panel in accuracy.axes[:2]] == ["NR", "BN"]
    assert [panel.get_ylabel().split("\n")[0] for panel in accuracy.axes[::2]] == ["Adam", "Mom (0.9)"]
    assert {panel.get_yscale() for panel in flow.axes} == {"log"}
    dense, sparse = accuracy.axes[1].lines
    own = runs[(runs["optimizer"] == "adam") & (runs["regularization"] == "BN") & (runs["architecture"] == "sparse")]
    np.testing.assert_allclose(sparse.get_ydata(), own.groupby("dense_width")["test_accuracy"].mean())
    assert list(dense.get_xdata()) == [26, 77, 128, 179, 230]
    assert "(a) Test accuracy" in texts(figure) and "(b) Gradient flow" in texts(figure)
    for attribute in ("color", "marker", "linestyle"):
        assert DENSE_SPARSE["dense"][attribute] != DENSE_SPARSE["sparse"][attribute]


def test_by_width_with_diverged_and_missing_runs() -> None:
    rows = make_study_table(("adam", "sgd"), ("NR", "BN"), diverged=[("adam", "sparse", 1)])
    rows = rows[(rows["optimizer"] == "adam") | (rows["regularization"] == "NR")]
    figure = figure_by_width(summarise_runs(rows), BY_WIDTH)
    assert "Digits: 90 runs of 5 epochs." in texts(figure) and "10 runs diverged" in texts(figure)
    accuracy, flow = figure.subfigs
    assert [len(panel.lines) for panel in accuracy.axes] == [2, 2, 2, 0]
    assert np.isfinite(flow.axes[0].lines[1].get_ydata()).all()


def test_by_width_with_activations_in_the_listed_order() -> None:
    artifact = Artifact("f", "F", "paper", panels="activation", where={"activation": ["swish", "relu", "prelu"]})
    runs = summarise_runs(make_study_table(("adam",), ("BN",), ("relu", "swish")))
    figure = figure_by_width(runs, artifact)
    assert [panel.get_title() for panel in figure.subfigs[0].axes] == ["Swish", "ReLU", "PReLU"]


def test_a_line_of_two_configurations_is_refused() -> None:
    runs = summarise_runs(make_study_table(("adam",), ("BN",), ("relu", "swish")))
    with pytest.raises(ValueError, match="narrow `where`"):
        figure_by_width(runs, BY_WIDTH)


@pytest.mark.parametrize("other", ["sparse", "magnitude"])
def test_by_density(other: str) -> None:
    runs = wide_resnets()
    figure = figure_by_density(runs, Artifact("f", "F", "paper", architectures=("dense", other)))
    (part,) = figure.subfigs
    assert [panel.get_title() for panel in part.axes] == ["Adagrad", "Adam"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["BN", "L2 BN", "Swish", "Swish (AdamW)"]
    assert [len(panel.lines) for panel in part.axes] == [2, 4]
    line = part.axes[0].lines[0]
    assert list(line.get_xdata()) == [5, 20, 50, 100]
    own = runs[(runs["optimizer"] == "adagrad") & (runs["regularization"] == "BN")].set_index("density_percent")
    dense, below = (own[own["architecture"] == name]["test_accuracy"] for name in ("dense", other))
    np.testing.assert_allclose(line.get_ydata(), [*below, *dense])
    assert [tick.get_text() for tick in part.axes[0].get_xticklabels()] == ["5", "20", "50", "100"]


def test_by_density_takes_one_kind_of_pruning() -> None:
    with pytest.raises(ValueError, match="dense and one other"):
        figure_by_density(wide_resnets(), Artifact("f", "F", "paper", architectures=("dense", "sparse", "magnitude")))


@pytest.mark.parametrize("draw", [figure_by_width, figure_by_density])
def test_no_runs_at_all(draw) -> None:
    assert "no finished runs" in texts(draw(summarise_runs(make_study_table().iloc[:0]), BY_WIDTH))


def test_activations_and_derivatives() -> None:
    torch = pytest.importorskip("torch")
    figure = figure_of_activations({"relu": torch.relu, "swish": torch.nn.functional.silu}, "Figure 14")
    functions, derivatives = figure.axes
    x = functions.lines[0].get_xdata()
    np.testing.assert_allclose(functions.lines[0].get_ydata(), np.maximum(x, 0))
    np.testing.assert_allclose(derivatives.lines[0].get_ydata(), x > 0)
    sigmoid = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(derivatives.lines[1].get_ydata(), sigmoid * (1 + x * (1 - sigmoid)), atol=1e-12)


def test_files_are_deterministic_and_hold_their_fonts(tmp_path: Path) -> None:
    runs = summarise_runs(make_study_table(("adam",), ("NR",)))
    contents = []
    for name in "ab":
        pdf, png = tmp_path / f"{name}.pdf", tmp_path / f"{name}.png"
        save_figure(figure_by_width(runs, BY_WIDTH), pdf, png)
        contents.append((pdf.read_bytes(), png.read_bytes()))
    assert contents[0] == contents[1]
    pdf_bytes, png_bytes = contents[0]
    assert png_bytes.startswith(b"\x89PNG") and len(png_bytes) > 10_000
    assert pdf_bytes.startswith(b"%PDF") and b"CreationDate" not in pdf_bytes
    assert b"/Subtype /Type3" not in pdf_bytes and b"/FontFile2" in pdf_bytes
    assert int.from_bytes(png_bytes[16:20], "big") == math.floor(7.0 * 200)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("script", ["plot_by_width", "plot_by_density"])
def test_scripts(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_mlp = script == "plot_by_width"
    options = {} if is_mlp else {"model": "wide_resnet", "percents": DENSITIES}
    study = write_study_table(tmp_path / "study.parquet", make_study_table(("adam",), ("NR", "BN"), **options))
    artifact = {"name": "f", "title": "F", "kind": script, "variant": "paper", "measures": ["test_accuracy"]}
    pdf, png = tmp_path / "f.pdf", tmp_path / "f.png"
    command = [script, "--artifact", json.dumps(artifact), "--runs", study, "--pdf", pdf, "--png", png]
    monkeypatch.setattr(sys, "argv", [str(word) for word in command])
    runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    assert pdf.stat().st_size > 5_000 and png.stat().st_size > 10_000
