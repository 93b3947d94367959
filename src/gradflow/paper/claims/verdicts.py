"""The paper's claims: each one's check by its id, and the table of what became of them.

A check takes the runs (`claim_evidence.Evidence`) and gives a `claim_parts.Finding`; its docstring
is its decision rule. Claims about p-values and correlations have a second check, of the published
numbers.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from gradflow.analysis.request import PUBLISHED, WORKFLOW, Request
from gradflow.analysis.runs import Artifact, extent, read_rows, select
from gradflow.analysis.tables import Page, Target
from gradflow.paper.claims import activations, correlations, p_values, regularization, wide_resnet
from gradflow.paper.claims.evidence import Evidence, summarise_with_probes
from gradflow.paper.claims.parts import Finding, Verdict

CHECKS: dict[str, Callable[[Evidence], Finding]] = {
    "egf-correlates-best": correlations.egf_correlates_best,
    "dense-measures-alike": correlations.dense_measures_alike,
    "bn-favours-sparse-non-ewma": p_values.bn_favours_sparse,
    "bn-interaction": p_values.bn_interaction,
    "nr-favours-sparse-ewma": p_values.nr_favours_sparse,
    "ewma-bn-twins-alike": regularization.ewma_bn_twins_alike,
    "bn-over-skip": regularization.bn_over_skip,
    "bn-lowers-egf": regularization.bn_lowers_egf,
    "l2-hurts-sparse-adaptive": regularization.l2_hurts_sparse_adaptive,
    "l2-bn-hurts-ewma": regularization.l2_bn_hurts_ewma,
    "adamw-lowers-egf": regularization.adamw_lowers_egf,
    "da-without-bn-poor-ewma": regularization.da_without_bn_poor_ewma,
    "da-bn-helps-low-lr": regularization.da_bn_helps_low_lr,
    "da-bn-high-lr": regularization.da_bn_high_lr,
    "ewma-high-egf-is-bad": regularization.ewma_high_egf_is_bad,
    "swish-prelu-favour-sparse": p_values.swish_prelu_favour_sparse,
    "swish-best-adaptive": activations.swish_best_adaptive,
    "srelu-worst-adam": activations.srelu_worst_adam,
    "also-cifar10-fmnist": p_values.also_elsewhere,
    "only-swish-negative-gradient": lambda _: activations.only_swish_negative_gradient(),
    "wrn-l2-hurts-adaptive": wide_resnet.wrn_l2_hurts_adaptive,
    "wrn-swish-adamw": wide_resnet.wrn_swish_adamw,
    "magnitude-like-random": wide_resnet.magnitude_like_random,
    "magnitude-vanishing": wide_resnet.magnitude_vanishing,
}

# The same of tables of numbers, for the published ones.
P_VALUE_CHECKS: dict[str, Callable[[pd.DataFrame], Finding]] = {
    "bn-favours-sparse-non-ewma": p_values.bn_favours_sparse_table,
    "nr-favours-sparse-ewma": p_values.nr_favours_sparse_table,
    "swish-prelu-favour-sparse": p_values.swish_prelu_favour_sparse_table,
    "also-cifar10-fmnist": p_values.also_elsewhere_table,
}
CORRELATION_CHECKS: dict[str, Callable[[pd.DataFrame], Finding]] = {
    "egf-correlates-best": correlations.egf_is_highest,
    "dense-measures-alike": correlations.dense_columns_alike,
}

COLUMNS = [
    "id", "claim", "where", "verdict", "statistic", "effect", "n", "explanation", "published_verdict",
    "published_explanation", "paper",
]  # fmt: skip

# As light as the p-values' colours, and different in grey; each has its word and mark too.
VERDICT_COLOURS: dict[Verdict, str] = {
    "reproduced": "#bdf0b0",
    "contradicted": "#e56a5c",
    "inconclusive": "#f4f4f4",
}
VERDICT_MARKS: dict[Target, dict[Verdict, str]] = {
    "html": {"reproduced": "✓", "contradicted": "✗", "inconclusive": "–"},
    "latex": {"reproduced": "+", "contradicted": r"$\times$", "inconclusive": "--"},
}
_WIDTHS = {
    "Claim": "3.5cm",
    "Where": "2cm",
    "Evidence": "7cm",
    "Published": "1.6cm",
    "Paper": "2.5cm",
}


@dataclass(frozen=True)
class Claim:
    """An entry of workflow/claims.yaml."""

    id: str
    claim: str
    where: str
    paper: (
        str  # what the published numbers give, where the claim can be read off them; may be empty
    )


def check_claims(request: Request) -> tuple[pd.DataFrame, Page]:
    """Decide every claim; one whose runs are missing is inconclusive."""
    runs = summarise_with_probes(select(read_rows(request.paths), request.artifact))
    claims, published = load_claims(WORKFLOW / "claims.yaml"), check_published(PUBLISHED)
    cells = claim_cells(claims, runs, request.artifact, published)
    return cells, claims_page(cells, runs, request.artifact)


def load_claims(path: Path) -> tuple[Claim, ...]:
    """Read workflow/claims.yaml.

    Raises:
        ValueError: an entry has other keys, or its id occurs twice or has no check; the message
            names it.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        claims = tuple(Claim(**entry) for entry in entries)
    except (OSError, TypeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: not a list of claims ({str(error).splitlines()[0]})") from None
    ids = [claim.id for claim in claims]
    for name in ids:
        if name not in CHECKS or ids.count(name) > 1:
            raise ValueError(
                f"{path}: {name} {'occurs twice' if name in CHECKS else 'has no check'}"
            )
    return claims


def check_published(folder: Path) -> dict[str, Finding]:
    """What the published numbers give, by id, for the claims about them.

    Args:
        folder: workflow/published.

    Raises:
        PublishedError: a file there is wrong.
    """
    tests = p_values.published_p_values(folder)
    taus = correlations.published_correlations(folder)
    return {name: check(tests) for name, check in P_VALUE_CHECKS.items()} | {
        name: check(taus) for name, check in CORRELATION_CHECKS.items()
    }


def claim_cells(
    claims: tuple[Claim, ...], runs: pd.DataFrame, artifact: Artifact, published: dict[str, Finding]
) -> pd.DataFrame:
    """Check every claim.

    Args:
        claims: which, in the table's order.
        runs: the artifact's, by `summarise_with_probes`; a claim whose runs are missing is
            inconclusive.
        artifact: for the planned number of runs.
        published: as `check_published` gives them.

    Returns:
        One row a claim, with COLUMNS.
    """
    evidence = Evidence(runs, artifact.planned)
    cells = []
    for claim in claims:
        finding, numbers = CHECKS[claim.id](evidence), published.get(claim.id)
        cells.append(
            (claim.id, claim.claim, claim.where, finding.verdict, finding.statistic, finding.effect, finding.n,
             finding.explanation, numbers.verdict if numbers else "", numbers.explanation if numbers else "",
             claim.paper)
        )  # fmt: skip
    return pd.DataFrame(cells, columns=COLUMNS)


def claims_page(cells: pd.DataFrame, runs: pd.DataFrame, artifact: Artifact) -> Page:
    """Arrange the cells of `claim_cells`: a claim a row, its verdict told by word, mark and colour."""
    columns = ["Claim", "Where", "Verdict", "Evidence", "Published", "Paper"]
    index = pd.Index(cells["id"].tolist())
    # the page's cells are narrow and right-aligned otherwise
    styles = pd.DataFrame(
        "white-space: normal; text-align: left; vertical-align: top;", index=index, columns=columns
    )
    texts: dict[Target, pd.DataFrame] = {"html": pd.DataFrame(), "latex": pd.DataFrame()}
    for target, marks in VERDICT_MARKS.items():
        text = pd.DataFrame("", index=index, columns=columns)
        for cell in cells.to_dict("records"):
            evidence = f"{cell['explanation']} n = {cell['n']}; {cell['statistic']}"
            evidence += f"; median effect {cell['effect']}." if cell["effect"] else "."
            shown = {
                "Claim": cell["claim"],
                "Where": cell["where"],
                "Evidence": evidence,
                "Published": cell["published_verdict"] or "–",
                "Paper": cell["paper"] or "–",
            }
            for column, words in shown.items():
                text.loc[cell["id"], column] = (
                    _in_box(words, _WIDTHS[column]) if target == "latex" else html.escape(words)
                )
            text.loc[cell["id"], "Verdict"] = f"{marks[cell['verdict']]} {cell['verdict']}"
        texts[target] = text
    for name, verdict in zip(cells["id"], cells["verdict"], strict=True):
        bold = "" if verdict == "inconclusive" else " font-weight: bold;"
        styles.loc[name, "Verdict"] = (
            f"background-color: {VERDICT_COLOURS[verdict]};{bold} vertical-align: top;"
        )
    counts = cells["verdict"].value_counts()
    notes = (
        extent(runs, artifact),
        "; ".join(f"{verdict}: {counts.get(verdict, 0)}" for verdict in VERDICT_COLOURS)
        + f" of {len(cells)} claims.",
        "Reproduced or contradicted: by one-sided Wilcoxon tests at 0.05 or 95 % bootstrap intervals of all the runs "
        "that a claim is about; inconclusive: an interval crosses its threshold, or runs are missing. "
        "EGF x 0.5 means halved. Published: the same check of the paper's own numbers. Paper: what these are.",
    )
    return Page(artifact.title, texts, styles, notes, scale=False, long=True)


def _in_box(text: str, width: str) -> str:
    for plain, escaped in (
        *((special, "\\" + special) for special in "%_&#"), ("<", "$<$"), (">", "$>$"), ("–", "--"),
    ):  # fmt: skip
        text = text.replace(plain, escaped)
    return rf"\parbox[t]{{{width}}}{{\raggedright {text}}}"
