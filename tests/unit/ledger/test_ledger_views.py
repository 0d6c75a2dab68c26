"""Values in the text of a query."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import duckdb
import pytest

from clearwell.ledger.views import with_values


@pytest.mark.parametrize("text", ["plain", "it's", "$other", "'; DROP TABLE x; --", "\\", "ü\n$text"])
def test_a_text_stays_one_text(text: str) -> None:
    """Whatever it holds, quotes and names of other values too, it comes back as it was."""
    found = duckdb.sql(with_values("SELECT $text, $other", {"text": text, "other": "o"})).fetchone()
    assert found == (text, "o")


def test_numbers_instants_and_what_is_not_given() -> None:
    """Large numbers are exact, instants are of any offset, and a name without a value is left as it is."""
    at = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=-3)))
    number, instant = duckdb.sql(with_values("SELECT $n, $at", {"n": 10**30, "at": at})).fetchone() or ()
    assert (int(number), instant) == (10**30, at)
    assert with_values("SELECT $missing", {}) == "SELECT $missing"
