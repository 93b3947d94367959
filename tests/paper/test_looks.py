"""A second look at a claim, with more seeds: it decides what the first left open, and the two
together err no more often than one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_claims import ARTIFACT, PLANNED, SEEDS, better, changed

from gradflow.analysis.levels import LEVEL
from gradflow.analysis.width_margin import SIMULATED
from gradflow.analysis.width_null import PERMUTATIONS
from gradflow.paper.claims.decision import VERDICTS, Decision
from gradflow.paper.claims.design import Design, Place, design_of, mlp
from gradflow.paper.claims.evidence import ACCURACY, HIGH, LOW, NON_EWMA, Evidence, RunEvidence
from gradflow.paper.claims.looks import FirstLook, look_at
from gradflow.paper.claims.parts import signed_rank_part
from gradflow.paper.claims.simulation import SimulatedEvidence
from gradflow.paper.claims.verdicts import CHECKS, check_published, claim_cells, load_claims
from gradflow.paper.claims.worlds import WORLDS, World
from gradflow.paper.operating import rates
from gradflow.paper.simulated_rates import beyond_level

MORE = tuple(range(3, 12))
CLAIM = "bn-interaction"
AGAIN = [
    {**one, "seeds": MORE, "second_look": True}
    for one in PLANNED
    if (one["stands_for"], one["learning_rate"], one["activation"]) == ("cifar100", LOW, "relu")
    and one["regularization"] in ("NR", "BN")
    and one["optimizer"] in NON_EWMA
]
DESIGN = design_of([*PLANNED, *AGAIN])
SPARSE_BN = {
    "model": "mlp", "stands_for": "cifar100", "architecture": "sparse", "regularization": "BN",
    "learning_rate": LOW, "activation": "relu",
}  # fmt: skip


def with_more_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """Beside some runs, those of the second look: the same with a little noise."""
    generator = np.random.default_rng(1)
    planned = {
        (one["optimizer"], one["regularization"], one["learning_rate"], "cifar100", "relu")
        for one in AGAIN
    }
    columns = ["optimizer", "regularization", "learning_rate", "stands_for", "activation"]
    chosen = np.array([key in planned for key in runs[columns].itertuples(index=False, name=None)])
    base = runs[(runs["seed"] == 0) & (runs["model"] == "mlp") & chosen]
    more = [base.assign(seed=seed) for seed in MORE]
    for one in more:
        one[ACCURACY] += 0.1 * generator.standard_normal(len(one))
    return pd.concat([runs, *more], ignore_index=True)


def test_the_units_of_a_configuration_are_its_own() -> None:
    assert DESIGN.looks == 2 and DESIGN.first_look is not None and design_of(PLANNED).looks == 1
    often, seldom = mlp("sgd", LOW, "BN"), mlp("sgd", HIGH, "BN")
    assert DESIGN.count([often]) == 5 * (len(SEEDS) + len(MORE))
    assert DESIGN.count([seldom]) == DESIGN.count([often, seldom]) == 5 * len(SEEDS)
    assert DESIGN.count([often], percents=[10, 30]) == 2 * (len(SEEDS) + len(MORE))
    assert DESIGN.count([often, mlp("sgd", LOW, "none such")]) == 0
    assert DESIGN.looks_again_at([[seldom], [often]])
    assert not DESIGN.looks_again_at([[seldom], [seldom, often]])
    evidence = RunEvidence(with_more_seeds(changed()), DESIGN)
    first = FirstLook(evidence)
    assert evidence.twins(often).shape[1] == 60 and evidence.twins(seldom).shape[1] == 15
    assert np.array_equal(first.twins(seldom), evidence.twins(seldom))
    assert first.twins(often).shape[1] == 15 and first.complete(12, often)
    assert not evidence.complete(12, often) and evidence.complete(12, seldom, often)


def test_a_second_look_decides_what_the_first_left_open() -> None:
    """An effect that 15 pairs do not show and 60 do."""
    runs = with_more_seeds(changed(better(0.02, **SPARSE_BN, optimizer=NON_EWMA)))
    late = runs["seed"].isin(MORE) & (runs["architecture"] == "sparse")
    late &= runs["regularization"] == "BN"
    runs.loc[late, ACCURACY] += 1.0
    verdicts: dict[str, tuple[str, str]] = {}
    for name, design, own in (
        ("first", design_of(PLANNED), runs[runs["seed"].isin(SEEDS)]),
        ("both", DESIGN, runs),
        ("second not trained", DESIGN, runs[runs["seed"].isin(SEEDS)]),
        ("half of it", DESIGN, runs[runs["seed"] < 7]),
    ):
        artifact = replace(ARTIFACT, configurations=PLANNED if design.looks == 1 else _whole())
        claims = tuple(claim for claim in load_claims() if claim.id == CLAIM)
        (cell,) = claim_cells(claims, own, artifact, check_published()).to_dict("records")
        verdicts[name] = (cell["verdict"], cell["explanation"])
    assert verdicts["first"][0] == "inconclusive" and " looks: " not in verdicts["first"][1]
    assert verdicts["both"][0] == "reproduced"
    assert verdicts["both"][1].startswith("At the second of 2 looks: Holds: ")
    assert verdicts["second not trained"] == verdicts["half of it"]
    assert verdicts["half of it"][0] == "inconclusive"
    assert verdicts["half of it"][1].startswith("At the first of 2 looks: Undecided: ")


def _whole() -> tuple[dict[str, object], ...]:
    return (*PLANNED, *AGAIN)


def test_each_of_two_looks_has_half_the_level() -> None:
    """The p-value lies between half the level and the level."""
    differences = np.array([-1.0, -2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    part = signed_rank_part("it", differences, "points")
    assert LEVEL / 2 < part.holds[0] <= LEVEL
    asked: list[Place] = []

    def check(evidence: Evidence) -> Decision:
        asked.append(mlp("sgd", LOW, "BN"))
        evidence.compared.add(frozenset(asked[-1:]))
        return Decision((part,))

    found = {
        design.looks: look_at(check, RunEvidence(changed(), design))
        for design in (design_of(PLANNED), DESIGN)
    }
    assert len(asked) == 3  # once, and twice
    assert VERDICTS[found[1].verdicts[0]] == "reproduced"
    assert VERDICTS[found[2].verdicts[0]] == "inconclusive"
    wanted = int(found[2].finding().explanation.split("n = ")[1].split()[0])
    assert wanted > len(differences)


def test_what_has_no_more_seeds_is_looked_at_once() -> None:
    evidence = RunEvidence(with_more_seeds(changed()), DESIGN)
    # the latter two compare configurations with more seeds, with others that have none
    for claim in ("da-bn-high-lr", "egf-correlates-best", "ewma-high-egf-is-bad"):
        looks = look_at(CHECKS[claim], evidence)
        assert len(looks.decisions) == 1 and looks.decisions[0].level == LEVEL / 2
    assert looks.finding().explanation.startswith("At the first of 2 looks: ")
    built = look_at(CHECKS["only-swish-negative-gradient"], RunEvidence(changed(), DESIGN))
    assert " looks: " not in built.finding().explanation


def test_two_looks_err_no_more_often_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each at the whole level they err more often than it allows."""
    count = 4000
    (null,) = WORLDS[CLAIM].nulls.values()
    found = rates(DESIGN, CLAIM, null, 1.0, count)
    assert not beyond_level(found.contradicted, count) and not found.not_run
    monkeypatch.setattr("gradflow.paper.claims.looks.LEVEL", 2 * LEVEL)
    careless = rates(DESIGN, CLAIM, null, 1.0, count)
    assert beyond_level(careless.contradicted, count)


def test_permutations_are_enough_to_contradict_at_a_look() -> None:
    parts = CHECKS["egf-correlates-best"](RunEvidence(changed(), DESIGN)).parts
    for permutations in (SIMULATED, PERMUTATIONS):
        assert len(parts) / (1 + permutations) <= LEVEL / DESIGN.looks


def test_more_seeds_are_more_power() -> None:
    true = WORLDS[CLAIM].true
    few, more = (
        rates(design, CLAIM, true, 0.5, 200).reproduced for design in (design_of(PLANNED), DESIGN)
    )
    assert more > 1.5 * few


def test_simulated_runs_of_a_first_look_are_those_of_the_whole() -> None:
    evidence = SimulatedEvidence(DESIGN, World(), 1.0, 3)
    first = FirstLook(evidence)
    place, other = mlp("sgd", LOW, "BN"), mlp("sgd", HIGH, "BN")
    units = [tuple(unit) for unit in evidence.units("mlp").tolist()]
    own = [unit[1] in SEEDS for unit in units]
    assert np.array_equal(
        first.runs_of(place, ACCURACY), evidence.runs_of(place, ACCURACY)[..., own], equal_nan=True
    )
    assert np.isnan(evidence.runs_of(other, ACCURACY)[..., ~np.array(own)]).all()
    assert isinstance(evidence.design, Design) and first.places() == evidence.design.places
