"""The checks of the paper's claims: each on runs made to satisfy, to contradict and to leave it
undecided.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from claim_worlds import WORLDS, dense_wins_without_bn, few, sparse_wins_with_bn, srelu_bad
from drawing import draw
from made_claims import ARTIFACT, PERCENTS, better, changed, flow, made, where, without
from study_tables import make_study_table, write_study_table

from gradflow.analysis.runs import read_rows
from gradflow.analysis.tables import write_html, write_latex
from gradflow.analysis.width_margin import favourite
from gradflow.paper.claims.activations import only_swish_negative_gradient
from gradflow.paper.claims.correlations import (
    dense_columns_alike,
    egf_is_highest,
    published_correlations,
)
from gradflow.paper.claims.decision import Finding
from gradflow.paper.claims.evidence import (
    EWMA,
    LOW,
    LOWEST,
    SPREAD,
    mlp,
    summarise_with_probes,
)
from gradflow.paper.claims.p_values import (
    PublishedPValues,
    bn_favours_sparse,
    nr_favours_sparse_table,
    published_p_values,
)
from gradflow.paper.claims.parts import seeds_part, signed_rank_part
from gradflow.paper.claims.verdicts import (
    CHECKS,
    COLUMNS,
    check_published,
    claim_cells,
    claims_page,
    load_claims,
)
from gradflow.paper.published import PUBLISHED
from gradflow.training.run_log import MEASURES


@pytest.mark.parametrize("name", WORLDS)
def test_each_claim_is_reproduced_contradicted_or_left_open(name: str) -> None:
    # what has all there is to compare is not open to more seeds
    left = "not decidable" if name == "ewma-high-egf-is-bad" else "inconclusive"
    for world, verdict in zip(WORLDS[name], ("reproduced", "contradicted", left), strict=True):
        finding = CHECKS[name](made(*world)).finding()
        assert finding.verdict == verdict, (name, verdict, finding)


@pytest.mark.parametrize("name", WORLDS)
def test_no_verdict_from_missing_runs(name: str) -> None:
    """The same runs that satisfy a claim, most of each configuration's left out, say nothing."""
    finding = CHECKS[name](made(*WORLDS[name][0], few, without(seed=(1, 2)))).finding()
    assert finding.verdict == "not run"
    assert finding.explanation.startswith("Not run: ")


def test_what_width_explains_is_not_decided() -> None:
    """EGF and performance both follow width, and EGF more steadily: within a width there is
    nothing.
    """

    def change(runs: pd.DataFrame) -> pd.DataFrame:
        chosen = where(runs, model="mlp", architecture="sparse")
        width = runs.loc[chosen, "width_percent"].astype(float)
        noise = np.random.default_rng(3)
        for column in ("test_loss", "test_accuracy", *(f"mean_{name}" for name in MEASURES)):
            favoured = (
                runs.loc[chosen, "stands_for"].map(favourite).eq(column.removeprefix("mean_"))
            )
            steady = favoured | (column in ("test_loss", "test_accuracy"))
            values = width + np.where(steady, 10, 80) * noise.standard_normal(len(width))
            runs.loc[chosen, column] = values + 1000
        return runs

    finding = CHECKS["egf-correlates-best"](made(change)).finding()
    assert finding.verdict == "not decidable", finding
    assert "Explained by dense width" in finding.explanation


def test_what_has_no_more_to_compare_is_not_decided() -> None:
    """The paper has 16 regularizations: no seed adds one."""
    finding = CHECKS["ewma-high-egf-is-bad"](made()).finding()
    assert finding.verdict == "not decidable", finding
    assert finding.explanation.endswith("There are no more regularizations, and seeds do not help.")
    assert "Explained by" not in finding.explanation and "would decide" in finding.explanation


def test_only_swish_is_decided_by_the_functions() -> None:
    torch = pytest.importorskip("torch")
    from gradflow.networks.activations import ACTIVATION_FUNCTIONS

    assert only_swish_negative_gradient().finding().verdict == "true by construction"
    wavy = only_swish_negative_gradient({**ACTIVATION_FUNCTIONS, "elu": torch.sin}).finding()
    assert wavy.verdict == "contradicted"
    assert "elu" in wavy.explanation
    assert (
        only_swish_negative_gradient({**ACTIVATION_FUNCTIONS, "swish": torch.relu})
        .finding()
        .verdict
        == "contradicted"
    )
    incomplete = {name: f for name, f in ACTIVATION_FUNCTIONS.items() if name != "srelu"}
    assert only_swish_negative_gradient(incomplete).finding().verdict == "not run"


def test_every_claim_is_listed_and_checked() -> None:
    listed = [claim.id for claim in load_claims()]
    assert listed == list(CHECKS)
    assert len(listed) == 24
    assert {*WORLDS, "only-swish-negative-gradient"} == set(listed)


def test_published_numbers_give_what_the_claims_list() -> None:
    found = check_published()
    assert {name: finding.verdict for name, finding in found.items()} == {
        "bn-favours-sparse-non-ewma": "reproduced",
        # NR's cells are S > D and BN's are not, but two p-values on either side of 0.05 are no fall
        "nr-favours-sparse-ewma": "inconclusive",
        "swish-prelu-favour-sparse": "reproduced",
        "also-cifar10-fmnist": "contradicted",
        "egf-correlates-best": "reproduced",
        "dense-measures-alike": "reproduced",
    }
    bn = found["bn-favours-sparse-non-ewma"].explanation
    assert "0 of 12" in bn and "33 of 36" in bn
    activations = found["swish-prelu-favour-sparse"].explanation
    assert "swish at 0.1 (3 of 5" in activations and "swish at 0.001 (4 of 5" in activations
    assert "prelu at 0.1 (5 of 5" in activations and "prelu at 0.001 (5 of 5" in activations
    assert "0.013" in found["dense-measures-alike"].explanation
    assert "cifar10 without BatchNorm (1 of 12" in found["also-cifar10-fmnist"].explanation


def test_what_two_p_values_on_either_side_of_the_level_do_not_say() -> None:
    """The published fall from NR to BN is no significant one; a larger one is, and one to S > D is
    none.
    """
    found = check_published()["nr-favours-sparse-ewma"]
    assert "p 0.079, p of the fall 0.092" in found.explanation and "n = 5" in found.explanation

    def verdict(plain: float, norm: float) -> str:
        cells = {mlp(optimizer, LOW, "NR"): plain for optimizer in EWMA}
        cells |= {mlp(optimizer, LOW, "BN"): norm for optimizer in EWMA}
        return nr_favours_sparse_table(PublishedPValues(cells)).finding().verdict

    assert verdict(0.001, 0.6) == "reproduced"
    assert verdict(0.04, 0.06) == "inconclusive"
    assert verdict(0.001, 0.001) == "contradicted"
    assert verdict(0.999, 0.6) == "contradicted"


def test_checks_of_tables_can_be_contradicted_or_open() -> None:
    cells = dict(published_p_values(PUBLISHED)._p_values)

    def bn(p_values: dict) -> str:
        return bn_favours_sparse(PublishedPValues(p_values)).finding().verdict

    assert bn({place: 1 - value for place, value in cells.items()}) == "contradicted"
    assert bn(dict.fromkeys(cells, 0.3)) == "inconclusive"
    assert bn(dict(list(cells.items())[:30])) == "not run"
    taus = published_correlations(PUBLISHED)
    turned = taus.assign(mean_abs_kendall_tau=1 - taus["mean_abs_kendall_tau"])
    assert egf_is_highest(turned).finding().verdict == "contradicted"
    assert egf_is_highest(taus.iloc[:10]).finding().verdict == "not run"
    far = taus["mean_abs_kendall_tau"].where(taus["measure"] != "egf_l1", 0.9)
    alike = dense_columns_alike(taus.assign(mean_abs_kendall_tau=far))
    assert alike.finding().verdict == "contradicted"


def test_empty_input_is_not_run_anywhere() -> None:
    cells = claim_cells(
        load_claims(),
        summarise_with_probes(read_rows([])),
        ARTIFACT,
        {},
    )
    assert list(cells) == COLUMNS
    of_runs = cells[cells["id"] != "only-swish-negative-gradient"]
    assert set(of_runs["verdict"]) == set(of_runs["said"]) == {"not run"}
    assert of_runs["explanation"].str.startswith("Not run: ").all()


def test_diverged_runs_take_the_outermost_rank() -> None:
    part = signed_rank_part("part", [np.inf, 0.1, 0.2, 0.3, 0.4, 0.5], "EGF ratio", "rises")
    assert part.held[0]
    assert part.holds[0] == pytest.approx(1 / 64)
    assert signed_rank_part("part", [1.0, 1.0, 1.0, 1.0], "points", "rises").state == "missing"


def test_three_seeds_that_diverged_alike_are_no_certainty() -> None:
    values = [[-500.0, -499.0, -500.0], [-500.0, -499.0, -500.0]]
    part = seeds_part("part", values, "EGF ratio", "falls", broken=[True, False])
    assert part.holds[0] == pytest.approx(1 / 8) and "by rank" in part.text
    assert part.holds[1] < 0.001


def test_one_seed_says_what_it_cannot_separate() -> None:
    finding = CHECKS["wrn-l2-hurts-adaptive"](
        made(without(model="wide_resnet", seed=[1, 2]))
    ).finding()
    assert finding.verdict == "not run"
    assert finding.explanation.count("cannot be told from luck") == 1


def test_what_diverged_has_no_relation_of_its_own() -> None:
    """Chance accuracy and an infinite EGF are how a diverged run is logged."""
    names = {"optimizer": "adam", "regularization": ["L2", "DA", "L2_BN"], "model": "mlp"}
    broken = made(flow(np.inf, **names), better(-25, **names))
    parts = CHECKS["ewma-high-egf-is-bad"](broken).parts
    assert abs(parts[0].effect[0]) < 0.2 and not parts[0].held[0]


def test_spread_and_lowest_egf_over_the_probes() -> None:
    rows = make_study_table(
        ["adam"], ["NR"], percents=[10], seeds=[0], epochs=4, diverged=[("adam", "sparse", 0)]
    )
    rows = rows.assign(stands_for="cifar100", study="made_up", egf_l2=rows["egf_l2"].astype(float))
    dense = rows["architecture"] == "dense"
    rows.loc[dense, "egf_l2"] = [0.5, 4.0, 1.0, 3.0]
    # a run that two studies share is there twice
    runs = summarise_with_probes(pd.concat([rows, rows.assign(study="another")])).set_index(
        "architecture"
    )
    assert runs.loc["dense", SPREAD] == pytest.approx(np.std([0.5, 4.0, 1.0, 3.0]))
    assert runs.loc["dense", LOWEST] == 1.0
    assert runs.loc["sparse", SPREAD] == np.inf


def test_flow_of_a_pruned_network_is_that_after_pruning() -> None:
    """Dense for half of its epochs: what tables and figures take is of the pruned phase alone."""
    rows = make_study_table(
        ["adam"], ["BN"], model="wide_resnet", percents=[5], seeds=[0], epochs=5,
        architectures=("sparse", "magnitude"),
    )  # fmt: skip
    rows["egf_l2"] = [4.0, 4.0, 1.0, 2.0, 3.0] * 2
    runs = summarise_with_probes(rows).set_index("architecture")
    assert runs["whole_mean_egf_l2"].tolist() == pytest.approx([2.8, 2.8])
    assert runs.loc["magnitude", "mean_egf_l2"] == pytest.approx(2)
    assert runs.loc["magnitude", "geometric_mean_egf_l2"] == pytest.approx(6 ** (1 / 3))
    assert runs.loc["sparse", "mean_egf_l2"] == pytest.approx(2.8)
    assert runs.loc["magnitude", LOWEST] == 1


@pytest.mark.slow
def test_page_tells_the_verdict_by_word_mark_and_colour(tmp_path: Path) -> None:
    claims = load_claims()
    runs = changed(
        sparse_wins_with_bn, dense_wins_without_bn, *srelu_bad[1:], better(4, activation="srelu")
    )
    cells = claim_cells(claims, runs, ARTIFACT, check_published())
    assert {"reproduced", "contradicted", "inconclusive"} <= set(cells["verdict"])
    page = claims_page(cells, runs, ARTIFACT)
    write_html(tmp_path / "claims.html", page)
    write_latex(tmp_path / "claims.tex", page)
    text = (tmp_path / "claims.html").read_text(encoding="utf-8")
    assert all(
        word in text
        for word in (
            "✓ reproduced",
            "✗ contradicted",
            "– inconclusive",
            "#bdf0b0",
            "S &gt; D",
            "Margins: 0.02",
            "p at or below 0.05",
        )
    )
    latex = (tmp_path / "claims.tex").read_text(encoding="utf-8")
    assert "0 of 12" in latex and r"\parbox" in latex


@pytest.mark.parametrize(
    "text", ["- {id: unknown, claim: x, where: y, paper: z}", "- {id: bn-interaction}", "[[", "- 3"]
)
def test_a_wrong_list_of_claims_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"claims\.yaml"):
        load_claims(path)


def test_the_script_works_with_most_studies_missing(tmp_path: Path) -> None:
    rows = make_study_table(dataset="digits", seeds=(0,)).assign(variant="paper")
    table = write_study_table(tmp_path / "fashion_mnist_low.parquet", rows)
    artifact = {"name": "claims", "title": "Claims", "variant": "paper"}
    artifact |= {"seeds": [0], "percents": PERCENTS}
    draw("check_claims", artifact, [table], tmp_path / "claims")
    cells = pd.read_csv(tmp_path / "claims.csv", keep_default_na=False)
    assert list(cells) == COLUMNS
    assert set(cells.loc[cells["id"] != "only-swish-negative-gradient", "verdict"]) == {"not run"}
    assert cells.loc[cells["id"] == "bn-lowers-egf", "explanation"].str.contains("80 of 80").all()
    assert isinstance(CHECKS["bn-interaction"](made()).finding(), Finding)
