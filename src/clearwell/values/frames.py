"""Steps over frames that may be small: what a service takes in is often a few dozen rows.

Polars hands the parts of a step to other threads. For a small frame that takes several times as long as the step.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import polars as pl

from clearwell.values.deferred import Deferred

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = Deferred("pyarrow")

_SMALL_ROWS = 4_096


def selected(frame: pl.DataFrame, *expressions: pl.Expr | str) -> pl.DataFrame:
    """As `frame.select`."""
    return (frame.select_seq if frame.height <= _SMALL_ROWS else frame.select)(*expressions)


def extended(frame: pl.DataFrame, *expressions: pl.Expr) -> pl.DataFrame:
    """As `frame.with_columns`."""
    return (frame.with_columns_seq if frame.height <= _SMALL_ROWS else frame.with_columns)(*expressions)


def filtered(frame: pl.DataFrame, rows: pl.Series) -> pl.DataFrame:
    """As `frame.filter`, of a column of truth values."""
    if frame.height > _SMALL_ROWS:
        return frame.filter(rows)
    return pl.DataFrame([column.filter(rows) for column in frame.iter_columns()])


def parted(frame: pl.DataFrame, *names: str) -> list[pl.DataFrame]:
    """As `frame.partition_by`, of columns of text; in the order of the first row of each part, as there."""
    if frame.height > _SMALL_ROWS:
        return frame.partition_by(*names)
    parts = [frame]
    for name in names:
        parts = [
            filtered(part, part[name] == value) if len(values) > 1 else part
            for part in parts
            for values in [part[name].unique(maintain_order=True)]
            for value in values
        ]
    return parts


def stacked(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """As `polars.concat` of frames with the same columns, each column in one piece."""
    if sum(part.height for part in parts) > _SMALL_ROWS:
        return pl.concat(parts, rechunk=True)
    columns = [column.clone() for column in parts[0].iter_columns()]
    for part in parts[1:]:
        for column, more in zip(columns, part.iter_columns(), strict=True):
            column.append(more)
    return pl.DataFrame([column.rechunk() for column in columns])


def arrow_of(frame: pl.DataFrame) -> pa.Table:
    """As `frame.to_arrow`, with the texts of old, which every reader of Parquet has."""
    oldest = pl.CompatLevel.oldest()
    if frame.height > _SMALL_ROWS:
        return frame.to_arrow(compat_level=oldest)
    return pa.table({column.name: column.to_arrow(compat_level=oldest) for column in frame.iter_columns()})


def nulls(name: str, dtype: pl.DataType, count: int) -> pl.Series:
    """A column without values."""
    return repeated(name, None, dtype, count)


def repeated(name: str, value: Hashable, dtype: pl.DataType, count: int) -> pl.Series:
    """A column that has one value everywhere."""
    return _single(name, value, dtype).new_from_index(0, count)


@lru_cache(maxsize=1_024)
def _single(name: str, value: Hashable, dtype: pl.DataType) -> pl.Series:
    return pl.Series(name, [value], dtype)


def looked_up(name: str, texts: pl.Series, values: Mapping[str, str]) -> pl.Series:
    """The value of each text, null where there is none, as a column of that name."""
    kinds, column = _kinds(tuple(values.items()))
    return column.gather(texts.cast(kinds, strict=False).to_physical()).alias(name)


@lru_cache(maxsize=64)
def _kinds(values: tuple[tuple[str, str], ...]) -> tuple[pl.Enum, pl.Series]:
    return pl.Enum([text for text, _value in values]), pl.Series([value for _text, value in values], dtype=pl.String)
