"""Steps over frames that may be small: what a service takes in is often a few dozen rows.

Polars hands the parts of a step to other threads. For a small frame that takes several times as long as the step.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import lru_cache

import polars as pl

_SMALL_ROWS = 4_096


def selected(frame: pl.DataFrame, *expressions: pl.Expr | str) -> pl.DataFrame:
    """As `frame.select`."""
    return (frame.select_seq if frame.height <= _SMALL_ROWS else frame.select)(*expressions)


def extended(frame: pl.DataFrame, *expressions: pl.Expr) -> pl.DataFrame:
    """As `frame.with_columns`."""
    return (frame.with_columns_seq if frame.height <= _SMALL_ROWS else frame.with_columns)(*expressions)


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
