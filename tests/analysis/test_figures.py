"""Figures: the right panels, lines and labels, and files that are there, deterministic and
whole.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawing import draw
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from study_tables import make_study_table, write_study_table

from gradflow.analysis.figure_of_activations import figure_of_activations
from gradflow.analysis.figures import DENSE_SPARSE, save_figure, scale_y
from gradflow.analysis.figures_by_density import figure_by_density
from gradflow.analysis.figures_by_width import figure_by_width
from gradflow.analysis.runs import Artifact, summarise_runs
from gradflow.networks.activations import functions_at_start
from gradflow.study.job import Settings

pytestmark = pytest.mark.filterwarnings("error")
BY_WIDTH = Artifact("figure15", "Figure 15", "paper", measures=("test_accuracy", "egf_l2"))
DENSITIES = (5, 20, 50)


def texts(figure: Figure) -> str:
    """Everything that is written in a figure outside its panels."""
    found = [text.get_text() for text in figure.texts]
    for part in (figure, *figure.subfigs):
        found += [] if part._suptitle is None else [part._suptitle.get_text()]
        for legend in part.legends:
            found += [
                legend.get_title().get_text(),
                *(text.get_text() for text in legend.get_texts()),
            ]
    return "\n".join(found).replace("\n", " ")


def wide_resnets() -> pd.DataFrame:
    architectures = ("dense", "sparse", "magnitude")
    options = {
        "model": "wide_resnet",
        "percents": DENSITIES,
        "seeds": (1,),
        "architectures": architectures,
    }
    relu = make_study_table(("adagrad", "adam"), ("L2_BN", "BN"), **options)
    swish = make_study_table(("adam", "adamw"), ("BN",), ("swish",), **options)
    return summarise_runs(pd.concat([relu, swish]))


def test_by_width_shows_the_mean_over_seeds() -> None:
    runs = summarise_runs(make_study_table(("momentum", "adam"), ("BN", "NR")))
    figure = figure_by_width(runs, BY_WIDTH)
    assert len(figure.axes) == 12
    accuracy, flow = figure.axes[:4], figure.axes[4:8]
    assert [panel.get_title() for panel in accuracy[:2]] == ["NR", "BN"]
    assert [panel.get_ylabel() for panel in accuracy[::2]] == ["Adam", "Mom (0.9)"]
    assert {panel.get_yscale() for panel in flow} == {"log"}
    dense, sparse = accuracy[1].lines
    own = runs[
        (runs["optimizer"] == "adam")
        & (runs["regularization"] == "BN")
        & (runs["architecture"] == "sparse")
    ]
    np.testing.assert_allclose(
        sparse.get_ydata(), own.groupby("dense_width")["test_accuracy"].mean()
    )
    assert list(dense.get_xdata()) == [26, 77, 128, 179, 230]
    assert "(a) Test accuracy" in texts(figure) and "(b) Gradient flow" in texts(figure)
    for attribute in ("color", "marker", "linestyle"):
        assert DENSE_SPARSE["dense"][attribute] != DENSE_SPARSE["sparse"][attribute]


def test_by_width_with_diverged_and_missing_runs() -> None:
    rows = make_study_table(("adam", "sgd"), ("NR", "BN"), diverged=[("adam", "sparse", 1)])
    rows = rows[(rows["optimizer"] == "adam") | (rows["regularization"] == "NR")]
    figure = figure_by_width(summarise_runs(rows), BY_WIDTH)
    assert "Digits: 90 runs of 5 epochs." in texts(figure) and "10 runs diverged" in texts(figure)
    accuracy, flow = figure.axes[:4], figure.axes[4:]
    assert [len(panel.lines) for panel in accuracy] == [2, 2, 2, 0]
    assert np.isfinite(flow[0].lines[1].get_ydata()).all()


def test_by_width_with_activations_in_the_listed_order() -> None:
    artifact = Artifact(
        "f", "F", "paper", panels="activation", where={"activation": ["swish", "relu", "prelu"]}
    )
    runs = summarise_runs(make_study_table(("adam",), ("BN",), ("relu", "swish")))
    figure = figure_by_width(runs, artifact)
    assert [panel.get_title() for panel in figure.axes[:3]] == ["Swish", "ReLU", "PReLU"]


def test_a_line_of_two_configurations_is_refused() -> None:
    runs = summarise_runs(make_study_table(("adam",), ("BN",), ("relu", "swish")))
    with pytest.raises(ValueError, match="narrow `where`"):
        figure_by_width(runs, BY_WIDTH)


@pytest.mark.parametrize(
    "other", [{"dataset": "fashion_mnist"}, {"learning_rate": 0.1}, {"depth": 2}]
)
def test_a_line_of_two_data_sets_rates_or_depths_is_refused(other: dict[str, object]) -> None:
    rows = [make_study_table(("adam",), ("BN",), **options) for options in ({}, other)]
    with pytest.raises(ValueError, match="a line would mix"):
        figure_by_width(summarise_runs(pd.concat(rows)), BY_WIDTH)


def test_rows_of_depths_show_equal_runs_where_there_is_nothing_to_skip() -> None:
    regularizations = ("NR", "SC", "BN", "SC_BN", "DA_SC_BN")
    shallow = make_study_table(("sgd", "adam"), ("NR", "BN", "DA_SC_BN"), depth=1)
    deep = make_study_table(("sgd", "adam"), regularizations)
    artifact = Artifact(
        "figure19", "T", "paper", rows="hidden_layers_and_optimizer", measures=("egf_l2",),
        where={"regularization": list(regularizations)},
    )  # fmt: skip
    runs = summarise_runs(pd.concat([shallow, deep]))
    figure = figure_by_width(runs, artifact)
    assert len(figure.axes) == 20
    assert [panel.get_ylabel() for panel in figure.axes[::5]] == ["Adam", "SGD"] * 2
    written = texts(figure)
    assert "1 hidden layer " in f"{written} " and "4 hidden layers" in written
    assert "there SC shows NR and SC BN shows BN" in written
    drawn = [[line.get_ydata().tolist() for line in panel.lines] for panel in figure.axes]
    assert drawn[1] == drawn[0] and drawn[3] == drawn[2]  # one hidden layer
    assert drawn[11] != drawn[10] and len(drawn[11]) == 2  # four
    only_deep = figure_by_width(runs[runs["hidden_layers"] == 4], artifact)
    assert "nothing to skip" not in texts(only_deep)


REGULARIZATIONS = (
    "NR",
    "DA",
    "L2",
    "SC",
    "BN",
    "DA_BN",
    "L2_BN",
    "SC_BN",
    "DA_SC_BN",
    "DA_L2_SC_BN",
)
TWO, FIVE = ("adam", "momentum"), ("adagrad", "adam", "rmsprop", "sgd", "momentum")


def as_wide_as_cifar(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.assign(dense_width=(runs["dense_width"] * 12.02).round())  # 308 to 2768


def figure_10() -> Figure:
    return figure_by_width(
        as_wide_as_cifar(summarise_runs(make_study_table(FIVE, REGULARIZATIONS))), BY_WIDTH
    )


def figure_19() -> Figure:
    rows = pd.concat([make_study_table(FIVE, REGULARIZATIONS, depth=depth) for depth in (1, 2, 4)])
    artifact = Artifact("f", "A title " * 15, "paper", rows="hidden_layers_and_optimizer")
    return figure_by_width(as_wide_as_cifar(summarise_runs(rows)), artifact)


def figure_3() -> Figure:
    activations = ("relu", "swish", "srelu", "prelu", "elu", "sigmoid")
    runs = summarise_runs(make_study_table(TWO, ("DA_SC_BN",), activations))
    return figure_by_width(as_wide_as_cifar(runs), Artifact("f", "F", "paper", panels="activation"))


def figure_23() -> Figure:
    runs = summarise_runs(make_study_table(("adam", "adamw"), ("L2_BN", "DA_L2_SC_BN")))
    return figure_by_width(as_wide_as_cifar(runs), BY_WIDTH)


def figure_5() -> Figure:
    options = {"model": "wide_resnet", "percents": (1, 5, 10, 20, 50), "seeds": (1,)}
    rows = [
        make_study_table(
            ("adagrad", "adam", "momentum"), ("BN", "DA_BN", "L2_BN", "DA_L2_SC_BN"), **options
        ),
        make_study_table(("adam", "adamw"), ("DA_L2_SC_BN",), ("swish",), **options),
    ]
    return figure_by_density(
        summarise_runs(pd.concat(rows)), Artifact("f", "F", "paper", measures=BY_WIDTH.measures)
    )


def figure_14() -> Figure:
    return figure_of_activations(
        functions_at_start(Settings()),
        Artifact("figure14", "Activation functions and their derivatives", "paper"),
    )


@pytest.mark.parametrize(
    "make",
    [
        figure_3,
        figure_5,
        figure_14,
        figure_23,
        *(pytest.param(make, marks=pytest.mark.slow) for make in (figure_10, figure_19)),
    ],
)
def test_printed_as_wide_as_the_paper_s_text_all_is_legible(
    make, tmp_path: Path, monkeypatch
) -> None:
    """No letter below 6 points, none cut off, none over another."""
    drawn: dict[int, tuple[Text, Bbox]] = {}
    draw = Text.draw

    def draw_and_note(text: Text, renderer) -> None:
        if text.get_visible() and text.get_text().strip():
            page = text.get_figure(root=True).transFigure.inverted()
            drawn[id(text)] = text, text.get_window_extent(renderer).transformed(page)
        draw(text, renderer)

    monkeypatch.setattr(Text, "draw", draw_and_note)
    figure = make()
    save_figure(figure, tmp_path / "a.pdf", tmp_path / "a.png")
    assert figure.get_figwidth() <= 5.5 and figure.get_figheight() <= 8.5
    assert len(drawn) > 10
    assert min(text.get_fontsize() for text, _ in drawn.values()) >= 6
    for text, box in drawn.values():
        assert min(box.x0, box.y0) >= 0 and max(box.x1, box.y1) <= 1, (
            f"{text.get_text()} is cut off"
        )
    for (text, box), (other, other_box) in itertools.combinations(drawn.values(), 2):
        assert not box.overlaps(other_box), f"{text.get_text()} and {other.get_text()} overlap"


def test_a_shared_axis_and_one_part_without_a_letter() -> None:
    artifact = Artifact("f", "EGF_1 and ||g||_2", "paper", measures=("egf_l1",))
    runs = summarise_runs(
        make_study_table(("adam", "adamw"), ("L2_BN", "DA_L2_SC_BN"), learning_rate=0.1)
    )
    figure = figure_by_width(runs, artifact)
    assert (
        len({panel.get_ylim() for panel in figure.axes}) == 1
    )  # two rows are set against each other
    assert "(a)" not in texts(figure)
    assert r"$\mathrm{EGF}_1$ and $\|g\|_2$" in texts(figure)


def test_the_note_says_what_the_figure_is_made_of() -> None:
    artifact = Artifact("f", "T", "paper", panels="activation", planned_runs={"cifar100": 100})
    options = {"stands_for": "cifar100", "study": "a"}
    rows = [
        make_study_table(("adam",), ("DA_SC_BN",), ("relu", "swish"), **options),
        make_study_table(("sgd",), ("DA_L2_SC_BN",), ("relu", "swish"), **options),
    ]
    written = texts(
        figure_by_width(summarise_runs(pd.concat([*rows, rows[0].assign(study="b")])), artifact)
    )
    assert (
        "CIFAR-100 (Digits stands in): 120 of 100 planned runs of 5 epochs. Line: mean of 3 seeds"
        in written
    )
    assert "Regularization: DA SC BN (Adam); DA L2 SC BN (SGD)." in written
    some = rows[0][(rows[0]["seed"] > 1) | (rows[0]["architecture"] == "dense")]
    assert "Line: mean of 2 to 3 seeds; band" in texts(
        figure_by_width(summarise_runs(some), artifact)
    )
    one = rows[0][rows[0]["seed"] == 1]
    assert "One seed." in texts(figure_by_width(summarise_runs(one), artifact))


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.012, 0.16), (0.9, 1.1), (1e-3, 1e30), (3, 40), (2.01, 2.2), (1e-9, 2e-9), (1e-15, 1e-14)],
)
def test_logarithmic_axes_have_a_few_round_ticks(low: float, high: float) -> None:
    panel = Figure().subplots()
    panel.plot([0, 1], [low, high])
    scale_y(panel, "egf_l2", ticks=3)
    ticks = [
        tick for tick in panel.get_yticks() if panel.get_ylim()[0] <= tick <= panel.get_ylim()[1]
    ]
    assert 2 <= len(ticks) <= 3


@pytest.mark.parametrize("other", ["sparse", "magnitude"])
def test_by_density(other: str) -> None:
    runs = wide_resnets()
    figure = figure_by_density(runs, Artifact("f", "F", "paper", architectures=("dense", other)))
    (part,) = figure.subfigs
    assert [panel.get_title() for panel in part.axes] == ["Adagrad", "Adam"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "BN",
        "L2 BN",
        "Swish",
        "Swish (AdamW)",
    ]
    assert [len(panel.lines) for panel in part.axes] == [2, 4]
    line = part.axes[0].lines[0]
    assert list(line.get_xdata()) == [5, 20, 50, 100]
    own = runs[(runs["optimizer"] == "adagrad") & (runs["regularization"] == "BN")].set_index(
        "density_percent"
    )
    dense, below = (own[own["architecture"] == name]["test_accuracy"] for name in ("dense", other))
    np.testing.assert_allclose(line.get_ydata(), [*below, *dense])
    assert [tick.get_text() for tick in part.axes[0].get_xticklabels()] == ["5", "20", "50", "100"]


def test_by_density_takes_one_kind_of_pruning() -> None:
    with pytest.raises(ValueError, match="dense and one other"):
        figure_by_density(
            wide_resnets(),
            Artifact("f", "F", "paper", architectures=("dense", "sparse", "magnitude")),
        )


@pytest.mark.parametrize("draw", [figure_by_width, figure_by_density])
def test_no_runs_at_all(draw) -> None:
    assert "no finished runs" in texts(draw(summarise_runs(make_study_table().iloc[:0]), BY_WIDTH))


def test_activations_and_derivatives() -> None:
    torch = pytest.importorskip("torch")
    figure = figure_of_activations(
        {"relu": torch.relu, "swish": torch.nn.functional.silu},
        Artifact("figure14", "Figure 14", "paper"),
    )
    functions, derivatives = figure.axes
    x = functions.lines[0].get_xdata()
    np.testing.assert_allclose(functions.lines[0].get_ydata(), np.maximum(x, 0))
    np.testing.assert_allclose(derivatives.lines[0].get_ydata(), x > 0)
    sigmoid = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(
        derivatives.lines[1].get_ydata(), sigmoid * (1 + x * (1 - sigmoid)), atol=1e-12
    )


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
    assert int.from_bytes(png_bytes[16:20], "big") == round(4.8 * 200)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("kind", ["plot_by_width", "plot_by_density"])
def test_the_program_draws_it(kind: str, tmp_path: Path) -> None:
    options = {} if kind == "plot_by_width" else {"model": "wide_resnet", "percents": DENSITIES}
    table = make_study_table(("adam",), ("NR", "BN"), **options)
    study = write_study_table(tmp_path / "study.parquet", table)
    artifact = {"name": "f", "title": "F", "variant": "paper", "measures": ["test_accuracy"]}
    pdf, png = draw(kind, artifact, [study], tmp_path / "f").values()
    assert pdf.stat().st_size > 5_000 and png.stat().st_size > 10_000
