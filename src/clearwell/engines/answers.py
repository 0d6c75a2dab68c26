"""One form for every engine's answer: counts in 64 bits and money as decimals, whatever an engine makes of its sums."""

from __future__ import annotations

import pyarrow as pa
from ibis.expr.datatypes import DataType
from ibis.expr.types import Table

_MONEY = pa.decimal128(38, 0)


def as_declared(relation: Table, answer: pa.Table) -> pa.Table:
    """The rows of a relation in its own types. Raises pyarrow.ArrowInvalid when a value does not fit, never rounds."""
    declared = relation.schema().items()
    return answer.cast(pa.schema([(name, _arrow_type(dtype)) for name, dtype in declared]))


def _arrow_type(dtype: DataType) -> pa.DataType:
    """The relations of quality have text, whole numbers and money only."""
    if dtype.is_string():
        return pa.string()
    return pa.int64() if dtype.is_integer() else _MONEY
