"""The scorecard: what became of each claim and table of the paper, how much is finished, and what was scaled down.

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

import pandas as pd

from gradflow.analysis.runs import RUN_KEY, Artifact, read_rows
from gradflow.paper.claims.parts import Verdict
from gradflow.report.captions import finished_runs, label

CLAIM, TABLE, STUDY, SCALED = "claim", "table", "study", "scaled down"
COLUMNS = [
    "part", "name", "title", "verdict", "measure", "ours", "theirs", "agreeing", "compared", "published", "expected",
    "finished", "planned", "note",
]  # fmt: skip
UNLIKELY = (
    0.05  # as probable as agreement by chance may be for a table of p-values to be reproduced
)
# share of the published means within one standard deviation from which on they are reproduced
NEAR = 0.95
FAR = 0.5  # and below which they are not
BEST_BY_CHANCE = 1 / 4  # of the four measures one is the best of a column of Table 1


@dataclass(frozen=True)
class Request:
    """What the script was given."""

    scale: str
    scaled_down: list[dict[str, str]]  # as `scaling.scaled_down` gives them
    kinds: dict[str, str]  # of the scale's artifacts, by name
    planned: dict[str, int]  # runs, by study
    artifacts: dict[str, dict[str, Any]]  # of those tables that published numbers stand beside

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Read what the rule passes."""
        return cls(**json.loads(text))


def scorecard_rows(
    request: Request, studies: Iterable[Path], tables: Iterable[Path]
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
    found = {request.kinds[path.stem]: _read(path) for path in tables}
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
            compared["verdict"] = "inconclusive"
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
    frame = pd.DataFrame(rows, columns=COLUMNS)
    whole = ["agreeing", "compared", "published", "finished", "planned"]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def _read(path: Path) -> pd.DataFrame:
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
    """Decisions at 0.05; reproduced: agreeing as our own resamples do and beyond chance; contradicted: not better."""
    measure = "cells with p < 0.05"
    if agreement is None:
        return {"verdict": "inconclusive", "measure": measure}
    own = agreement[
        (agreement["table"].astype(str) == name.removeprefix("table"))
        & agreement["criterion"].eq("p < 0.05")
    ]
    if own.empty:
        return {"verdict": "inconclusive", "measure": measure, "note": "not in the paper"}
    row = own.iloc[0]
    verdict: Verdict = "inconclusive"
    if not 0 < row["yes_ours"] < row["cells_ours"]:
        verdict = "inconclusive"  # kappa is zero or undefined then, whatever the paper has
    elif row["kappa"] <= 0:
        verdict = "contradicted"
    elif row["kappa"] >= row["ceiling_kappa_low"] and row["p_chance"] < UNLIKELY:
        verdict = "reproduced"
    return {
        "verdict": verdict,
        "measure": measure,
        "ours": str(row["yes_ours"]),
        "theirs": str(row["yes_theirs"]),
        "agreeing": row["agreeing"],
        "compared": row["cells_ours"],
        "published": row["cells"],
        "expected": row["expected"],
        "note": "" if math.isnan(row["kappa"]) else f"Cohen's kappa {row['kappa']:.2f}",
    }


def _correlations(comparison: pd.DataFrame | None) -> dict[str, Any]:
    """In how many columns of a data set the same measure correlates best; reproduced: in all."""
    measure = "measure that correlates best, by column"
    if comparison is None:
        return {"verdict": "inconclusive", "measure": measure}
    key = ["dataset", "architecture", "target"]
    columns = comparison.drop_duplicates(key)
    defined = columns[columns["same_best"].notna()]
    agreeing = int(defined["same_best"].astype(str).eq("True").sum())
    verdict: Verdict = "inconclusive"
    if len(defined):
        share = agreeing / len(defined)
        verdict = (
            "reproduced"
            if share == 1
            else "contradicted"
            if share <= BEST_BY_CHANCE
            else "inconclusive"
        )
    there = comparison.dropna(subset=["ours", "theirs"])
    return {
        "verdict": verdict,
        "measure": measure,
        "ours": _most_often_best(there, "ours", key),
        "theirs": _most_often_best(comparison, "theirs", key),
        "agreeing": agreeing,
        "compared": len(defined),
        "published": len(columns),
        "expected": BEST_BY_CHANCE,
        "note": f"mean tau {there['ours'].mean():.2f}, published {there['theirs'].mean():.2f}"
        if len(there)
        else "",
    }


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
    """How many means lie within one published standard deviation (that of a run, not of the mean)."""
    measure = "mean test accuracy (%) within one published standard deviation"
    if comparison is None:
        return {"verdict": "inconclusive", "measure": measure}
    there = comparison[comparison["difference"].notna()]
    near = int((there["difference"].abs() <= 1).sum())
    verdict: Verdict = "inconclusive"
    if len(there):
        share = near / len(there)
        verdict = (
            "reproduced" if share >= NEAR else "contradicted" if share < FAR else "inconclusive"
        )
    return {
        "verdict": verdict,
        "measure": measure,
        "ours": f"{there['mean_ours'].mean():.1f}" if len(there) else "",
        "theirs": f"{there['mean_theirs'].mean():.1f}" if len(there) else "",
        "agreeing": near,
        "compared": len(there),
        "published": len(comparison),
        "note": "ours and published: the average of these means",
    }


def title_of(name: str) -> str:
    """A table's name as people write it: `Table 3a`."""
    return label(name).replace(" 0", " ")
