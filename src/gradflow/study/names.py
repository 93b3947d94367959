"""Names of a configuration that are targets or folders too, and those that are taken.

Free of torch and pandas, because Snakemake imports it at every start.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from gradflow.study.kinds import ENDINGS, KINDS

# of results/, and of a scale there
FOLDERS = {"data", "runs", "studies", "provenance", "state", "logs", "reference", *ENDINGS}
# that a scale has, beside its tables and figures
PAGES = ("scorecard.csv", "scorecard.html", "provenance.html", "report.html", "bundle.html")
TARGETS = {"all", "help", "report", "bundle", "archive"}


def report_target(scale: str) -> str:
    """The target that makes a scale's report."""
    return "report" if scale == "paper" else f"report_{scale}"


def bundle_target(scale: str) -> str:
    """The target that makes a scale's bundle: all its files in one page, by Snakemake."""
    return "bundle" if scale == "paper" else f"bundle_{scale}"


def artifact_groups(artifacts: Iterable[str]) -> dict[str, list[str]]:
    """Parts of a table or figure, by the whole: figure2 is figure2a to figure2d, and a target
    too.
    """
    groups: dict[str, list[str]] = {}
    for name in artifacts:
        if part := re.fullmatch(r"((?:table|figure)\d+)[a-z]", name):
            groups.setdefault(part[1], []).append(name)
    return groups


def name_mistakes(names: Mapping[str, Collection[str]], rules: Collection[str]) -> Iterator[str]:
    """What is wrong with the names of a configuration, a sentence each.

    Args:
        names: of its scales, studies, variants and artifacts.
        rules: of the workflow, beside those of the kinds of artifacts.
    """
    scales, artifacts = names["scales"], names["artifacts"]
    groups = artifact_groups(artifacts)
    of_scales = [*scales, "reference"]
    reports = {named(scale) for named in (report_target, bundle_target) for scale in of_scales}
    for section, of_section in names.items():
        for name in of_section:
            if name in FOLDERS | TARGETS:
                yield f"{section}.{name}: the name is taken by a folder or target; choose another"
            elif section != "variants" and (name in rules or name in KINDS):
                yield f"{section}.{name}: a rule of the workflow has this name; choose another"
            elif section in ("scales", "artifacts") and name in reports:
                yield (
                    f"{section}.{name}: the report or bundle of a scale has this name; choose "
                    "another"
                )
            elif section in ("scales", "artifacts") and name in groups:
                yield (
                    f"{section}.{name}: this stands for {' and '.join(groups[name])} together; "
                    "choose another"
                )
    for name in sorted(set(scales) & set(artifacts)):
        yield f"artifacts.{name}: a scale has this name too, and both are targets; choose another"
    for name in groups:
        if name in rules:
            first = groups[name][0]
            yield (
                f"artifacts.{first}: its group {name} has the name of a rule of the workflow; "
                "choose another"
            )
