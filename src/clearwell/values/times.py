"""Columns of instants: text or timestamps in, UTC microseconds out. Refuses any time that has no offset from UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from clearwell.values.deferred import Deferred

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
else:
    pa, pc = Deferred("pyarrow"), Deferred("pyarrow.compute")

INSTANT: pl.DataType = pl.Datetime("us", "UTC")
"""The type of every instant in a frame."""

EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)
"""No event is effective before or after; inside, every local time and every due time is a date of the calendar."""

EXPECTED = "an ISO 8601 instant from 1900 on, with an offset, such as 2026-01-02T03:04:05Z"


def to_instants(column: pl.Series) -> pl.Series:
    """`column` as UTC instants; null where a value is missing or is no instant.

    Timestamps with a zone are converted. Text must be ISO 8601 with an offset; digits beyond microseconds are cut off.
    A timestamp without a zone is no instant: nobody could say later which moment was meant.
    """
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone:
        return _within_limits(column.dt.convert_time_zone("UTC").cast(INSTANT))
    if isinstance(column.dtype, (pl.Categorical, pl.Enum)):
        column = column.cast(pl.String)
    if column.dtype != pl.String:
        return pl.Series(column.name, [None] * len(column), dtype=INSTANT)
    try:
        parsed = pc.cast(column.to_arrow(), pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        parsed = _parse_around_failures(column.str.replace(r"(\.\d{6})\d+", "$1").to_arrow())
    return _within_limits(pl.Series(column.name, pl.from_arrow(parsed), dtype=INSTANT))


def _within_limits(instants: pl.Series) -> pl.Series:
    inside = instants.is_between(EARLIEST, LATEST)
    if inside.all():
        return instants
    return instants.to_frame().select(pl.when(inside).then(pl.col(instants.name))).to_series()


def _parse_around_failures(texts: pa.Array) -> pa.Array:
    """Halve until the texts that cannot be parsed stand alone; those become null."""
    try:
        return pc.cast(texts, pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return pa.nulls(1, pa.timestamp("us", "UTC"))
    middle = len(texts) // 2
    return pa.concat_arrays([_parse_around_failures(texts[:middle]), _parse_around_failures(texts[middle:])])


def stored_text(instant: datetime) -> str:
    """`instant` as text of one length, so that text sorts as time does: `2026-01-02T03:04:05.000000Z`."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def stored_hour(hour: int) -> str:
    """The start of an hour, counted from 1970 in UTC, as `stored_text` writes it."""
    return stored_text(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=hour))
