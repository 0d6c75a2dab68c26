"""Quality at a cut, in a period: the rows of a report as the product names them, each by plain loops.

The rows and their fields are those of docs/guides/quality.md. Shares are exact fractions.
"""

from __future__ import annotations

from collections.abc import Sequence

from clearwell.simulation.auditor.books import Books, Row
from clearwell.simulation.auditor.clearing import aging_rows, clearing_rows
from clearwell.simulation.auditor.completeness import Completeness
from clearwell.simulation.auditor.periods import ALL_TIME, Period
from clearwell.simulation.auditor.score import node_rows
from clearwell.simulation.auditor.timeliness import timeliness_rows


def quality_rows(
    books: Books, period: Period = ALL_TIME, completeness: Sequence[Completeness] = ()
) -> dict[str, list[Row]]:
    """The rows of a quality report by family: `nodes`, `timeliness`, `clearing` and `aging`."""
    return {
        "nodes": node_rows(books, period, completeness),
        "timeliness": timeliness_rows(books, period),
        "clearing": clearing_rows(books, period),
        "aging": aging_rows(books, period),
    }
