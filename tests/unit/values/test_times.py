"""Columns of instants: which kinds of column hold any, and that what is none becomes null."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from clearwell.values.times import INSTANT, to_instants

TEXTS = ["2026-01-02T03:04:05Z", "2026-01-02", None, "2026-01-02T05:04:05+02:00", "1899-12-31T23:59:59Z"]
FOUND = [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None, None, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None]


@pytest.mark.parametrize(
    "kind",
    [pl.String(), pl.Categorical(), pl.Enum([text for text in TEXTS if text])],
    ids=["text", "categorical", "enum"],
)
def test_texts_are_read_however_they_are_encoded(kind: pl.DataType) -> None:
    """A dictionary of texts, as Parquet files have it, holds the same instants as the texts do."""
    found = to_instants(pl.Series("effective_at", TEXTS, dtype=kind))
    assert (found.dtype, found.name, found.to_list()) == (INSTANT, "effective_at", FOUND)
