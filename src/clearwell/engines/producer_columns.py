"""What the columns of a producer's records must be, whichever database they come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import polars as pl

from clearwell.errors import DataError, UsageError
from clearwell.quality.completeness import Columns

Kind = Literal["text", "integer", "decimal", "instant", "local", "unknown"]
"""What a column holds. `local` is a time without an offset; `unknown` is told row by row, or passes."""

SUMS = pl.Schema({"bucket": pl.Int64(), "record_count": pl.Int64(), "sum_high": pl.Int64(), "sum_low": pl.Int64()})
LISTED = pl.Schema({"id": pl.String(), "amount": pl.Int64(), "currency": pl.String(), "time_us": pl.Int64()})

_REFUSED = {
    "id": ("text or whole numbers", ("decimal", "instant", "local")),
    "amount": ("whole minor units: write CAST(… AS bigint) for what is whole", ("decimal", "text", "instant", "local")),
    "currency": ("text", ("integer", "decimal", "instant", "local")),
    "time": ("an instant with a time zone", ("text", "integer", "decimal", "local")),
}


def columns_of(source: str, kinds: Mapping[str, Kind], *, needs_time: bool) -> Columns:
    """What the records have. Raises DataError for a column that is missing or cannot be compared.

    Raises UsageError when a period is asked for of records without a time.
    """
    found = ", ".join(kinds) or "none"
    if "id" not in kinds:
        raise DataError("producer_columns_wrong", f"{source}: expected a column id, found {found}")
    if ("amount" in kinds) != ("currency" in kinds):
        raise DataError("producer_columns_wrong", f"{source}: expected amount and currency, or neither, found {found}")
    for name, (expected, refused) in _REFUSED.items():
        if kinds.get(name) in refused:
            raise wrong_column(source, name, expected, kinds[name])
    if needs_time and "time" not in kinds:
        raise UsageError("producer_without_time", f"{source}: a period needs a column time, found {found}")
    return Columns(has_amount="amount" in kinds, has_time="time" in kinds)


def wrong_column(source: str, name: str, expected: str, found: str) -> DataError:
    """What to raise for a column, or a value in it, that cannot be compared."""
    return DataError(f"producer_{name}_invalid", f"{source}: expected as {name} {expected}; found {found}")
