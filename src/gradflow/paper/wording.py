"""How a verdict is said: by its word, and in the same breath on which data and at which size.

A stand-in never gets the paper's verdict: its runs agree or disagree with what the paper says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gradflow.analysis.tables import Target
from gradflow.paper.claims.decision import Verdict
from gradflow.study import labels

# As light as the p-values' colours, and different in grey; each has its word and mark too.
COLOURS: dict[str, str] = {
    "reproduced": "#bdf0b0",
    "contradicted": "#e56a5c",
    "agrees": "#e4f7df",
    "disagrees": "#f3b9b2",
    "inconclusive": "#f4f4f4",
    "not decidable": "#e8e3f4",
    "true by construction": "#e3edf7",
    "not run": "#ffffff",
}
MARKS: dict[Target, dict[str, str]] = {
    "html": {
        "reproduced": "✓", "contradicted": "✗", "agrees": "✓", "disagrees": "✗",
        "inconclusive": "–",
        "not decidable": "?", "true by construction": "=", "not run": "○",
    },
    "latex": {
        "reproduced": "+", "contradicted": r"$\times$", "agrees": "+", "disagrees": r"$\times$",
        "inconclusive": "--",
        "not decidable": "?", "true by construction": "=", "not run": r"$\circ$",
    },
}  # fmt: skip
NOT_THE_PAPERS = "not the paper's data"
_ON_STAND_INS = {"reproduced": "agrees", "contradicted": "disagrees"}
_OF_RUNS = ("reproduced", "contradicted", "inconclusive", "not decidable")


@dataclass(frozen=True)
class Data:
    """What a verdict rests on."""

    used: Mapping[str, str]  # trained on, by the data set that it is about
    # what is less than in the full study, by the data set that it is about: "6 of 500 epochs"
    reduced: Mapping[str, str] = field(default_factory=dict)
    part: str = ""  # of a table: "4 of 12 columns"

    @property
    def stand_ins(self) -> list[str]:
        """The names of the data that stand in for the paper's."""
        found = {used for name, used in self.used.items() if used != name}
        return [labels.label("dataset", name) for name in sorted(found)]


def word(verdict: Verdict, data: Data) -> str:
    """The verdict in one word, of which there are as many as COLOURS."""
    return _ON_STAND_INS.get(verdict, verdict) if data.stand_ins else verdict


def said(verdict: Verdict, data: Data) -> str:
    """The verdict with the part, the data and the scale that it is about."""
    text = word(verdict, data)
    if verdict not in _OF_RUNS or not data.used:
        return text
    if data.stand_ins:
        names = " and ".join(data.stand_ins)
        separate = "" if verdict in _ON_STAND_INS else ","
        text += f"{separate} on {names} ({NOT_THE_PAPERS})"
    text += f", {data.part}" if data.part else ""
    if data.stand_ins:
        return text
    about = dict.fromkeys(data.reduced[name] for name in data.used if data.reduced.get(name))
    return f"{text} ({'; '.join(about)})" if about else text


def brief(said: str) -> str:
    """A verdict of `said` on a page that tells at its head what was scaled down."""
    text, _, about = said.partition(" (")
    return f"{text} (scaled down)" if about and NOT_THE_PAPERS not in about else said
