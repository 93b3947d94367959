"""Tables 3 to 6 with the paper's own p-values in small print."""

from __future__ import annotations

import pandas as pd

from gradflow.analysis.request import Request
from gradflow.analysis.tables import Page, significance_cells, significance_page
from gradflow.paper.published import load_p_values, with_published


def significance_table(request: Request) -> tuple[pd.DataFrame, Page]:
    """Test the sparse against the dense runs of every optimizer and regularization or
    activation.
    """
    runs = request.runs()
    cells = significance_cells(runs, request.artifact)
    cells = with_published(cells, load_p_values(), request.artifact)
    return cells, significance_page(cells, runs, request.artifact)
