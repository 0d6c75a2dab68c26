"""docs/reliability.md says what this suite does, no more and no less."""

from __future__ import annotations

import os

import reliability_page
from reliability_page import Row, page, rows, without_counts


def test_the_page_has_a_row_for_every_test_of_a_fault() -> None:
    """Every row of docs/reliability.md is a test and its claim, and the other way round; only counts may be older."""
    if os.environ.get("UPDATE_DOCS"):
        return  # It is about to be written.
    expected = page({row.test: (0, 0) for row in rows()})
    assert without_counts(reliability_page.PAGE.read_text(encoding="utf-8")) == without_counts(expected)


def test_a_claim_that_no_test_makes_is_caught() -> None:
    """The check can fail: a row more, or another claim, is another page."""
    counts = {row.test: (1, 2) for row in rows()}
    text = page(counts)
    assert without_counts(text) == without_counts(page(dict.fromkeys(counts, (3, 4))))
    invented = Row("", "Rain", "Nothing is wet.", "test_rain::test_rain").cells
    assert without_counts(text + invented) != without_counts(text)
    assert without_counts(text.replace("exactly once", "about once")) != without_counts(text)
