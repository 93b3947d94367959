"""The paper's claims: each one's check by its id, and the table of what became of them.

A check takes the runs (`evidence.Evidence`) and gives a `parts.Decision`; its docstring is its
decision rule. Claims about p-values and correlations have a second check, of the published numbers.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pandas as pd
import yaml

from gradflow.analysis.levels import levels_sentence
from gradflow.analysis.request import Request
from gradflow.analysis.runs import Artifact, extent, read_rows, select
from gradflow.analysis.tables import Page, Target
from gradflow.paper.claims import (
    activations,
    correlations,
    egf_against_accuracy,
    p_values,
    regularization,
    wide_resnet,
)
from gradflow.paper.claims.decision import Decision, Finding
from gradflow.paper.claims.design import design_of
from gradflow.paper.claims.evidence import Evidence, RunEvidence, summarise_with_probes
from gradflow.paper.claims.looks import look_at
from gradflow.paper.published import PUBLISHED
from gradflow.paper.wording import COLOURS, MARKS, Data, said, word

CHECKS: dict[str, Callable[[Evidence], Decision]] = {
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
    "ewma-high-egf-is-bad": egf_against_accuracy.ewma_high_egf_is_bad,
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
P_VALUE_CHECKS: dict[str, Callable[[p_values.PValues], Decision]] = {
    "bn-favours-sparse-non-ewma": p_values.bn_favours_sparse,
    "nr-favours-sparse-ewma": p_values.nr_favours_sparse_table,
    "swish-prelu-favour-sparse": p_values.swish_prelu_favour_sparse,
    "also-cifar10-fmnist": p_values.also_elsewhere_table,
}
CORRELATION_CHECKS: dict[str, Callable[[pd.DataFrame], Decision]] = {
    "egf-correlates-best": correlations.egf_is_highest,
    "dense-measures-alike": correlations.dense_columns_alike,
}

COLUMNS = [
    "id", "claim", "where", "verdict", "said", "statistic", "effect", "n", "explanation",
    "published_verdict",
    "published_explanation", "paper",
]  # fmt: skip

_WIDTHS = {
    "Claim": "3.5cm",
    "Where": "2cm",
    "Verdict": "2cm",
    "Evidence": "6cm",
    "Published": "1.6cm",
    "Paper": "2.5cm",
}


CLAIMS = Path(str(files("gradflow.paper.claims") / "claims.yaml"))


@dataclass(frozen=True)
class Claim:
    """An entry of claims.yaml."""

    id: str
    claim: str
    where: str
    paper: (
        str  # what the published numbers give, where the claim can be read off them; may be empty
    )


def check_claims(request: Request) -> tuple[pd.DataFrame, Page]:
    """Decide every claim; one whose runs are missing is not run."""
    runs = summarise_with_probes(select(read_rows(request.paths), request.artifact))
    claims, published = load_claims(), check_published()
    cells = claim_cells(claims, runs, request.artifact, published)
    return cells, claims_page(cells, runs, request.artifact)


def load_claims(path: Path = CLAIMS) -> tuple[Claim, ...]:
    """Read the list of claims.

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


def check_published(folder: Path = PUBLISHED) -> dict[str, Finding]:
    """What the published numbers give, by id, for the claims about them.

    Args:
        folder: of the published numbers.

    Raises:
        PublishedError: a file there is wrong.
    """
    tests = p_values.published_p_values(folder)
    taus = correlations.published_correlations(folder)
    return {name: check(tests).finding() for name, check in P_VALUE_CHECKS.items()} | {
        name: check(taus).finding() for name, check in CORRELATION_CHECKS.items()
    }


def claim_cells(
    claims: tuple[Claim, ...], runs: pd.DataFrame, artifact: Artifact, published: dict[str, Finding]
) -> pd.DataFrame:
    """Check every claim.

    Args:
        claims: which, in the table's order.
        runs: the artifact's, by `summarise_with_probes`; a claim whose runs are missing is not run.
        artifact: for the configurations that are planned, and what its scale leaves out.
        published: as `check_published` gives them.

    Returns:
        One row a claim, with COLUMNS.
    """
    evidence = RunEvidence(runs, design_of(artifact.configurations))
    datasets = evidence.datasets()
    cells = []
    for claim in claims:
        looks = look_at(CHECKS[claim.id], evidence)
        finding, numbers = looks.finding(), published.get(claim.id)
        names = sorted({place.stands_for for place in looks.used} & datasets.keys())
        data = Data({name: datasets[name] for name in names}, artifact.reduced)
        cells.append(
            (claim.id, claim.claim, claim.where, word(finding.verdict, data),
             said(finding.verdict, data),
             finding.statistic, finding.effect, finding.n, finding.explanation,
             numbers.verdict if numbers else "", numbers.explanation if numbers else "",
             claim.paper)
        )  # fmt: skip
    return pd.DataFrame(cells, columns=COLUMNS)


def claims_page(cells: pd.DataFrame, runs: pd.DataFrame, artifact: Artifact) -> Page:
    """Arrange the cells of `claim_cells`: a claim a row, its verdict told by word, mark and
    colour.
    """
    columns = ["Claim", "Where", "Verdict", "Evidence", "Published", "Paper"]
    index = pd.Index(cells["id"].tolist())
    # the page's cells are narrow and right-aligned otherwise
    styles = pd.DataFrame(
        "white-space: normal; text-align: left; vertical-align: top;", index=index, columns=columns
    )
    texts: dict[Target, pd.DataFrame] = {"html": pd.DataFrame(), "latex": pd.DataFrame()}
    for target, marks in MARKS.items():
        text = pd.DataFrame("", index=index, columns=columns)
        for cell in cells.to_dict("records"):
            evidence = f"{cell['explanation']} n = {cell['n']}; {cell['statistic']}"
            evidence += f"; median effect {cell['effect']}." if cell["effect"] else "."
            shown = {
                "Claim": cell["claim"],
                "Where": cell["where"],
                "Verdict": f"{marks[cell['verdict']]} {cell['said']}",
                "Evidence": evidence,
                "Published": cell["published_verdict"] or "–",
                "Paper": cell["paper"] or "–",
            }
            for column, words in shown.items():
                text.loc[cell["id"], column] = (
                    _in_box(words, _WIDTHS[column]) if target == "latex" else html.escape(words)
                )
        texts[target] = text
    for name, verdict in zip(cells["id"], cells["verdict"], strict=True):
        bold = " font-weight: bold;" if verdict in ("reproduced", "contradicted") else ""
        styles.loc[name, "Verdict"] = (
            f"white-space: normal; text-align: left; background-color: {COLOURS[verdict]};{bold} "
            "vertical-align: top;"
        )
    counts = cells["verdict"].value_counts()
    notes = (
        extent(runs, artifact),
        "; ".join(f"{verdict}: {counts[verdict]}" for verdict in COLOURS if verdict in counts)
        + f" of {len(cells)} claims.",
        "Reproduced: every part of the claim is significant. Contradicted: some part is "
        "significantly the other way, after Holm's correction. Inconclusive: neither, with the n "
        "that would decide. Not decidable: something else explains what is seen, or no seeds "
        "would help. Not run: runs are missing. The table operating_characteristics says how "
        "often each rule errs. EGF x 0.5 means halved. Published: the same check of the paper's "
        "own numbers. Paper: what these are.",
        levels_sentence(design_of(artifact.configurations).looks),
    )
    return Page(artifact.title, texts, styles, notes, scale=False, long=True)


def _in_box(text: str, width: str) -> str:
    for plain, escaped in (
        *((special, "\\" + special) for special in "%_&#"), ("<", "$<$"), (">", "$>$"), ("–", "--"),
    ):  # fmt: skip
        text = text.replace(plain, escaped)
    return rf"\parbox[t]{{{width}}}{{\raggedright {text}}}"
