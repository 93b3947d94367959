"""How often the verdicts err, on simulated studies of the paper's design; a small version of the
table.
"""

from __future__ import annotations

import dataclasses
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from gradflow.analysis.runs import Artifact
from gradflow.analysis.tables import write_html, write_latex
from gradflow.paper.claims.design import Design, design_of
from gradflow.paper.claims.evidence import ACCURACY, LOW, mlp
from gradflow.paper.claims.simulation import SimulatedEvidence
from gradflow.paper.claims.verdicts import CHECKS
from gradflow.paper.claims.worlds import WORLDS, World
from gradflow.paper.operating import (
    CONSTRUCTED,
    HEAVY,
    SMALL,
    operating_page,
    operating_rows,
    rates,
)
from gradflow.paper.operating_tables import table_rows
from gradflow.paper.published import distinct_p_values, load_p_values
from gradflow.paper.simulated_rates import (
    LEVEL,
    STAGES,
    Rates,
    beyond_level,
    known_well,
    upper_bound,
)
from gradflow.study.config_file import read_config
from gradflow.study.resolve import plan_study

ROOT = Path(__file__).parents[2]
LIGHT = [claim for claim in WORLDS if claim not in HEAVY]


@cache
def paper(wide_resnet_seeds: int = 3, mlp_seeds: int = 3) -> Design:
    """Scale paper's design: five widths, and as many seeds of MLPs and Wide ResNets as asked."""
    config = read_config(ROOT / "config.yaml")
    configurations = []
    for study in config.artifacts["claims"].studies:
        if study not in config.scales["paper"].studies:
            continue
        plan = plan_study(config, "paper", study)
        for one in plan.configurations:
            seeds = range(wide_resnet_seeds if one.model == "wide_resnet" else mlp_seeds)
            plain = dataclasses.asdict(one)
            configurations.append(
                {
                    **plain,
                    "stands_for": plan.stands_for,
                    "seeds": seeds,
                    "percents": plan.percents,
                    "second_look": False,
                }
            )
    return design_of(configurations)


def test_every_claim_has_its_worlds() -> None:
    assert {*WORLDS, *CONSTRUCTED} == set(CHECKS)
    assert len(paper().units("mlp")) == 15


def no_more_often(claim: str, studies: int) -> None:
    for name, world in WORLDS[claim].all_nulls:
        found = rates(paper(), claim, world, 1.0, studies)
        assert not found.not_run
        assert not beyond_level(found.reproduced, studies), (name, found)
        assert not beyond_level(found.contradicted, studies), (name, found)
    if WORLDS[claim].grows:
        slight = rates(paper(), claim, WORLDS[claim].true, SMALL, studies)
        assert not beyond_level(slight.contradicted, studies), slight


@pytest.mark.parametrize("claim", LIGHT)
def test_no_verdict_errs_more_often_than_its_level(claim: str) -> None:
    no_more_often(claim, 300)


@pytest.mark.slow
@pytest.mark.parametrize("claim", HEAVY)
def test_nor_where_it_takes_long(claim: str) -> None:
    no_more_often(claim, 40)


@pytest.mark.parametrize(
    "claim", ["wrn-l2-hurts-adaptive", "magnitude-like-random", "magnitude-vanishing"]
)
def test_three_seeds_that_diverge_are_no_certainty(claim: str) -> None:
    """A t test of means with diverged runs in them errs in 6 to 8 of 100 studies."""
    (null,) = WORLDS[claim].nulls.values()
    found = rates(paper(), claim, null.with_divergence(), 1.0, 4000)
    assert upper_bound(found.contradicted, found.studies) < 0.045


def test_studies_are_added_until_a_rate_is_known() -> None:
    def simulate(share: float, count: int, _seed: int) -> Rates:
        return Rates(count, 0, round(share * count), False)

    few, many, never = (
        known_well(partial(simulate, share), STAGES) for share in (0.02, 0.047, LEVEL)
    )
    assert few.studies == STAGES[0] and STAGES[0] < many.studies <= STAGES[-1] == never.studies
    assert upper_bound(many.contradicted, many.studies) <= LEVEL
    assert upper_bound(never.contradicted, never.studies) > LEVEL
    assert upper_bound(0, 400) == pytest.approx(1 - 0.0125 ** (1 / 400)) and upper_bound(3, 3) == 1


@pytest.mark.parametrize(
    "claim", ["bn-favours-sparse-non-ewma", "bn-interaction", "swish-prelu-favour-sparse",
              "magnitude-vanishing"]
)  # fmt: skip
def test_a_large_effect_is_seen_in_either_direction(claim: str) -> None:
    worlds = WORLDS[claim]
    assert rates(paper(), claim, worlds.true, 2.0, 100).reproduced > 90
    assert worlds.contrary is not None
    assert rates(paper(), claim, worlds.contrary, 2.0, 100).contradicted > 90


@pytest.mark.slow
def test_more_seeds_do_not_decide_about_the_regularizations() -> None:
    """So that to be undecided there is to be not decidable."""
    claim = "ewma-high-egf-is-bad"
    few, more = (
        rates(paper(mlp_seeds=seeds), claim, WORLDS[claim].true, 1.0, 200).reproduced
        for seeds in (3, 12)
    )
    assert 60 < few < 140 and abs(more - few) < 30


def test_densities_of_one_seed_are_no_repetitions() -> None:
    wide = [claim for claim in LIGHT if claim.startswith(("wrn", "magnitude"))]
    assert len(wide) == 4
    for claim in wide:
        assert rates(paper(1), claim, WORLDS[claim].true, 2.0, 5).not_run


def test_the_runs_correlate_as_they_say() -> None:
    evidence = SimulatedEvidence(paper(), World(), 1.0, 4000)
    first, second = (mlp("sgd", LOW, name) for name in ("NR", "BN"))
    gaps = [evidence.twins(place)[:, 0] for place in (first, second)]
    assert np.std(gaps[0]) == pytest.approx(1, abs=0.05)
    assert np.corrcoef(*gaps)[0, 1] == pytest.approx(0.2 / 0.7, abs=0.05)
    changes = [
        evidence.contrast(first, second, ACCURACY, (name,))[:, 0] for name in ("dense", "sparse")
    ]
    assert np.corrcoef(*changes)[0, 1] == pytest.approx(0.3 / 0.8, abs=0.05)


def test_tables_that_have_nothing_to_do_with_the_published_ones() -> None:
    cells = [cell for cell in distinct_p_values(load_p_values()) if "4" in cell.tables]  # fmt: skip
    rows = table_rows(paper(), cells, stages=[60]).set_index("id")
    for name in ("Table 4", "means"):
        for column in ("false_reproduced", "false_contradicted"):
            assert not beyond_level(round(60 * rows.loc[name, column]), 60), (name, column)
    assert rows.loc["Table 4", "reproduced_1"] > 0.3


def test_the_table_says_what_a_scale_has_no_runs_for(tmp_path: Path) -> None:
    """Fashion-MNIST alone: every claim about CIFAR is not run; the page has a line for each."""
    whole = paper()
    planned = whole.planned.items()
    design = Design({p: units for p, units in planned if p.stands_for == "fashion_mnist"})
    rows = operating_rows(design, studies=5, stages=[5])
    states = rows.set_index("id")["state"]
    assert states["only-swish-negative-gradient"] == "true by construction"
    assert set(states.drop("only-swish-negative-gradient")) == {"not run"}
    assert list(rows["id"]) == list(CHECKS)
    artifact = Artifact("operating_characteristics", "How often", "paper")
    page = operating_page(rows, design, artifact)
    write_html(tmp_path / "page.html", page)
    write_latex(tmp_path / "page.tex", page)
    text = (tmp_path / "page.html").read_text()
    assert text.count("not run") == len(CHECKS) - 1 and "3 seeds" in text


def test_the_level_allows_what_chance_gives() -> None:
    assert not beyond_level(15, 300) and beyond_level(36, 300)
    assert scipy.stats.binom.sf(scipy.stats.binom.ppf(0.999, 300, 0.05), 300, 0.05) <= 0.001
