"""One claim, looked at once or twice.

Who trains more seeds for what the first ones left open gives luck a second chance: two looks at
level 0.05 err in up to 10 of 100 studies. So each of two looks is made at half the level
(Bonferroni over looks), the first as well, for which of its verdicts tempt to a second one is not
known before. A verdict is that of the first look that decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gradflow.analysis.levels import LEVEL
from gradflow.paper.claims.decision import VERDICTS, Decision, Finding
from gradflow.paper.claims.design import Place
from gradflow.paper.claims.evidence import Evidence
from gradflow.paper.claims.parts import Floats

Check = Callable[[Evidence], Decision]
DECIDED = [VERDICTS.index(name) for name in ("reproduced", "contradicted", "true by construction")]
ORDINALS = ("first", "second")


class FirstLook(Evidence):
    """The runs of some evidence that were planned before any verdict was read."""

    def __init__(self, whole: Evidence) -> None:
        """Args: `whole`: the evidence of a design with a second look."""
        assert whole.design.first_look is not None
        super().__init__(whole.design.first_look, whole.studies)
        self._whole = whole

    def places(self) -> set[Place]:
        """Those that were planned and have a run."""
        return self._whole.places() & self.design.places

    def units(self, model: str) -> NDArray[np.int_]:
        """The whole's, of this look."""
        return self._whole.units(model)[self._own(model)]

    def runs_of(self, place: Place, column: str) -> Floats:
        """The whole's, at the units of this look."""
        return self._whole.runs_of(place, column)[..., self._own(place.model)]

    def _own(self, model: str) -> NDArray[np.bool_]:
        planned = {tuple(unit) for unit in self.design.units(model).tolist()}
        units = self._whole.units(model).tolist()
        return np.array([tuple(unit) in planned for unit in units], dtype=bool)


@dataclass(frozen=True)
class Looks:
    """What a claim's check found at each look that was made."""

    decisions: tuple[Decision, ...]
    planned: int  # looks of the design
    used: frozenset[Place]  # by the check

    @property
    def verdicts(self) -> NDArray[np.int_]:
        """The verdict in each study, as a place in VERDICTS."""
        return self._standing()[0]

    def finding(self) -> Finding:
        """What became of the claim in the first study, and at which look."""
        verdicts, looks = self._standing()
        finding = self.decisions[looks[0]].finding()
        if self.planned == 1 or VERDICTS[verdicts[0]] in ("not run", "true by construction"):
            return finding
        told = f"At the {ORDINALS[looks[0]]} of {self.planned} looks"
        return replace(finding, explanation=f"{told}: {finding.explanation}")

    def _standing(self) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
        """The verdict that stands in each study, and the look that it was reached at."""
        verdicts = self.decisions[0].verdicts
        looks = np.zeros_like(verdicts)
        for look, decision in enumerate(self.decisions[1:], 1):
            later = decision.verdicts
            is_open = ~np.isin(verdicts, DECIDED) & (later != VERDICTS.index("not run"))
            verdicts, looks = np.where(is_open, later, verdicts), np.where(is_open, look, looks)
        return verdicts, looks


def look_at(check: Check, evidence: Evidence) -> Looks:
    """Check a claim at each look that the evidence's design plans for it.

    Where the second look has no more units of what the check compares, the first is the only one.
    """
    design = evidence.design
    views = [evidence] if design.looks == 1 else [FirstLook(evidence), evidence]
    decisions: list[Decision] = []
    for view in views:
        if decisions and not design.looks_again_at(views[0].compared):
            break
        view.compared.clear()
        decisions.append(replace(check(view), level=LEVEL / design.looks))
    used = frozenset[Place]().union(*views[0].compared)
    return Looks(tuple(decisions), design.looks, used)
