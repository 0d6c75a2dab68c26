"""Relations that an engine could compute a little wrong, by DuckDB on rows that can be checked with a pencil."""

from __future__ import annotations

import duckdb
import ibis
import pyarrow as pa
import pytest

from clearwell.engines.duckdb import statement
from clearwell.quality.relations import whole_steps

QUARTER_US = 900_000_000
LAST_QUARTER = 8_000 * 365 * 96
"""A quarter of an hour in a far year, whose microseconds no floating point number tells apart."""


@pytest.mark.parametrize("quarter", [0, 1, -1, 1_900_000, LAST_QUARTER, -LAST_QUARTER])
def test_the_first_and_the_last_instant_of_a_quarter_are_in_it(quarter: int) -> None:
    """Also before 1970, and where floating point would put the last one into the next quarter."""
    ends = [quarter * QUARTER_US, quarter * QUARTER_US + QUARTER_US - 1]
    rows = ibis.table({"at": "int64"}, name="instants")
    connection = duckdb.connect()
    connection.register("instants", pa.table({"at": pa.array(ends, pa.int64())}))
    found = connection.execute(statement(rows.select(found=whole_steps(rows["at"], QUARTER_US)))).fetchall()
    assert found == [(quarter,), (quarter,)]
