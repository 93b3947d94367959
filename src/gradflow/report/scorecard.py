"""The scorecard: what became of each claim and table of the paper, how much is finished, and what
was scaled down.

Every number is taken or computed from the study tables and from the tables that compare ours with
the published ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradflow.analysis.runs import RUN_KEY, Artifact, read_rows
from gradflow.paper.agreement import DECISION
from gradflow.paper.claims.correlations import WIDTH
from gradflow.paper.claims.decision import VERDICTS, Decision
from gradflow.paper.claims.parts import Part
from gradflow.paper.verdict_rules import agreement_verdict, means_verdict
from gradflow.paper.wording import Data, said, word
from gradflow.report.captions import finished_runs, label

CLAIM, TABLE, STUDY, SCALED = "claim", "table", "study", "scaled down"
COLUMNS = [
    "part", "name", "title", "verdict", "said", "measure", "ours", "theirs", "agreeing", "compared",
    "published", "expected",
    "finished", "planned", "note",
]  # fmt: skip
WHOLE = ("agreeing", "compared", "published", "finished", "planned")  # numbers


@dataclass(frozen=True)
class ScorecardPlan:
    """What a scorecard is made for."""

    scale: str
    scaled_down: list[dict[str, str]]  # as `scaling.scaled_down` gives them
    kinds: dict[str, str]  # of the scale's artifacts, by name
    planned: dict[str, int]  # runs, by study
    artifacts: dict[str, dict[str, Any]]  # of those tables that published numbers stand beside

    @classmethod
    def from_json(cls, text: str) -> ScorecardPlan:
        """Read what the rule passes."""
        return cls(**json.loads(text))


def scorecard_rows(
    request: ScorecardPlan, studies: Iterable[Path], tables: Iterable[Path]
) -> pd.DataFrame:
    """The scorecard as a tidy frame, COLUMNS, a row a claim, table, study and reduction.

    Args:
        request: of the rule.
        studies: study tables of the scale.
        tables: the CSVs of its claims, its agreement with published p-values, and its comparisons
            of correlations and means; a scale may have some of them only.

    Raises:
        ValueError: a file cannot be read; the message names it.
    """
    found = {request.kinds[path.stem]: read_table(path) for path in tables}
    all_rows = read_rows(studies)
    rows = _claims(found.get("check_claims"))
    for name, plain in sorted(
        request.artifacts.items(), key=lambda item: (item[0] == "means", label(item[0]))
    ):
        artifact = Artifact.from_json(json.dumps(plain))
        kind = request.kinds[name]
        coverage = {
            "finished": len(finished_runs(all_rows, artifact, kind)),
            "planned": sum(artifact.planned_runs.values()),
        }
        compared = _compared(kind, name, found)
        if coverage["finished"] < coverage["planned"]:
            compared["verdict"] = "not run"
        used = finished_runs(all_rows, artifact, kind)[["stands_for", "dataset"]].drop_duplicates()
        data = Data(
            dict(used.itertuples(index=False, name=None)),
            artifact.reduced,
            compared.pop("share", ""),
        )
        verdict = compared["verdict"]
        compared |= {"verdict": word(verdict, data), "said": said(verdict, data)}
        rows.append({"part": TABLE, "name": name, "title": artifact.title, **compared, **coverage})
    finished = all_rows.drop_duplicates([*RUN_KEY, "study"])["study"].value_counts()
    rows += [
        {
            "part": STUDY,
            "name": study,
            "measure": "runs",
            "finished": int(finished.get(study, 0)),
            "planned": planned,
        }
        for study, planned in request.planned.items()
    ]
    rows += [
        {
            "part": SCALED,
            "name": row["study"],
            "measure": row["what"],
            "ours": row["here"],
            "theirs": row["paper"],
        }
        for row in request.scaled_down
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(WHOLE, "Int64"))


def read_scorecard(path: Path) -> pd.DataFrame:
    """A scorecard as `scorecard_rows` made it.

    Raises:
        ValueError: it cannot be read; the message names it.
    """
    return read_table(path).astype(dict.fromkeys(WHOLE, "Int64"))


def read_table(path: Path) -> pd.DataFrame:
    """A CSV of this scale, with empty cells as NaN and `NaN` as text.

    Raises:
        ValueError: it cannot be read; the message names it.
    """
    try:
        return pd.read_csv(path, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({str(error).splitlines()[0]})") from None


def _claims(claims: pd.DataFrame | None) -> list[dict[str, Any]]:
    if claims is None:
        return []
    return [
        {
            "part": CLAIM,
            "name": claim["id"],
            "title": claim["claim"],
            "verdict": claim["verdict"],
            "said": claim["said"],
            "measure": claim["statistic"],
            "ours": claim["effect"],
            "theirs": claim["published_verdict"] or claim["paper"],
            "finished": claim["n"],
            "note": claim["explanation"],
        }
        for claim in claims.fillna("").to_dict("records")
    ]


def _compared(kind: str, name: str, found: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What became of a table's published numbers."""
    if kind == "significance_table":
        return verdict_of_p_values(name, found.get("agreement_table"))
    if kind == "correlation_table":
        return _correlations(found.get("compare_correlations"))
    return _means(found.get("compare_means"))


def verdict_of_p_values(name: str, agreement: pd.DataFrame | None) -> dict[str, Any]:
    """Decisions at 0.05 against the published ones, over orders of the table's rows and columns.

    Reproduced: agreeing more than another order would, and as well as resamples of our own pairs
    do. Contradicted: agreeing less than another order would. Nothing, where ours are all alike.
    """
    measure = "cells with p at or below 0.05"
    if agreement is None:
        return {"verdict": "not run", "measure": measure}
    own = agreement[
        (agreement["table"].astype(str) == name.removeprefix("table"))
        & agreement["criterion"].eq(DECISION)
    ]
    if own.empty:
        return {"verdict": "inconclusive", "measure": measure, "note": "not in the paper"}
    row = own.iloc[0]
    note = ""
    if not math.isnan(row["kappa"]):
        note = (
            f"Cohen's kappa {row['kappa']:.2f}, our own resamples {row['ceiling_kappa_low']:.2f} "
            f"to {row['ceiling_kappa_high']:.2f}; p {row['p_permuted']:.3f} with rows and columns "
            f"permuted; sparse wins where there is BatchNorm: {row['rule_theirs']:.0f} of theirs"
        )
    return {
        "verdict": agreement_verdict(
            row["kappa"], row["ceiling_kappa_low"], row["p_permuted"], row["p_permuted_less"]
        ),
        "measure": measure,
        "ours": str(row["yes_ours"]),
        "theirs": str(row["yes_theirs"]),
        "agreeing": row["agreeing"],
        "compared": row["cells_ours"],
        "published": row["cells"],
        "expected": row["expected"],
        "note": note,
        "share": _share(row["cells_ours"], row["cells"], "cells"),
    }


def _correlations(comparison: pd.DataFrame | None) -> dict[str, Any]:
    """Whether the published best measure is ours in each sparse column, by more than width alone
    gives.

    The same rule as that of the claim `egf-correlates-best`. In dense networks EGF_1 and the norm
    are equal by arithmetic, so that no column of theirs decides anything.
    """
    measure = "measure that correlates best, by column"
    if comparison is None:
        return {"verdict": "not run", "measure": measure}
    key = ["dataset", "architecture", "target"]
    columns = comparison.drop_duplicates(key)
    defined = columns[columns["same_best"].notna()]
    parts = [
        Part(
            f"{row['dataset']} {row['target']}",
            holds=np.array([row["margin_holds"]]),
            opposite=np.array([row["margin_opposite"]]),
            effect=np.array([row["margin"]]),
            explained=np.array([str(row["margin_explained"]) == "True"]), by=WIDTH,
        )
        for row in columns[columns["margin_holds"].notna()].to_dict("records")
    ]  # fmt: skip
    there = comparison.dropna(subset=["ours", "theirs"])
    note = (
        (f"mean tau {there['ours'].mean():.2f}, published {there['theirs'].mean():.2f}")
        if len(there)
        else ""
    )
    if parts:
        held = sum(bool(part.held[0]) for part in parts)
        explained = sum(bool(part.is_explained[0]) for part in parts)
        note += (
            f"; of {len(parts)} sparse columns {held} beyond what width gives, {explained} "
            "explained by it"
        )
    return {
        "verdict": VERDICTS[Decision(tuple(parts)).verdicts[0]],
        "measure": measure,
        "ours": _most_often_best(there, "ours", key),
        "theirs": _most_often_best(comparison, "theirs", key),
        "agreeing": int(defined["same_best"].astype(str).eq("True").sum()),
        "compared": len(defined),
        "published": len(columns),
        "note": note,
        "share": _share(len(defined), len(columns), "columns"),
    }


def _share(compared: int, published: int, what: str) -> str:
    return f"{compared} of {published} {what}" if compared < published else ""


def _most_often_best(comparison: pd.DataFrame, values: str, key: list[str]) -> str:
    if comparison.empty:
        return ""
    best = comparison.loc[comparison.groupby(key)[values].idxmax(), "measure"].value_counts()
    names = {
        "egf_l1": "EGF_1",
        "egf_l2": "EGF_2",
        "grad_norm_l1": "||g||_1",
        "grad_norm_l2": "||g||_2",
    }
    return ", ".join(f"{names[measure]} {count}" for measure, count in best.items())


def _means(comparison: pd.DataFrame | None) -> dict[str, Any]:
    """How many means lie within one published standard deviation (that of a run, not of the
    mean).
    """
    measure = "mean test accuracy (%) within one published standard deviation"
    if comparison is None:
        return {"verdict": "not run", "measure": measure}
    there = comparison[comparison["difference"].notna()]
    near = int((there["difference"].abs() <= 1).sum())
    return {
        "verdict": means_verdict(near, len(there)),
        "measure": measure,
        "ours": f"{there['mean_ours'].mean():.1f}" if len(there) else "",
        "theirs": f"{there['mean_theirs'].mean():.1f}" if len(there) else "",
        "agreeing": near,
        "compared": len(there),
        "published": len(comparison),
        "note": "ours and published: the average of these means",
        "share": _share(len(there), len(comparison), "means"),
    }


def title_of(name: str) -> str:
    """A table's name as people write it: `Table 3a`."""
    return label(name).replace(" 0", " ")
