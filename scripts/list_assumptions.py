"""Make the table of what the paper settles and what it leaves open, with the value of each choice that is in force.

It is workflow/assumptions.yaml beside the settings of the artifact's variant at the scale. No run
is needed.
"""

import yaml

from gradflow.analysis.artifact_command import WORKFLOW, Request, table_command
from gradflow.paper.assumptions import assumptions_page, list_assumptions


def make(request: Request):
    """Arrange the choices."""
    entries = yaml.safe_load((WORKFLOW / "assumptions.yaml").read_text(encoding="utf-8"))
    table = list_assumptions(entries, request.definition.get("settings", {}))
    return table, assumptions_page(table, request.artifact)


if __name__ == "__main__":
    table_command(__doc__, make)
