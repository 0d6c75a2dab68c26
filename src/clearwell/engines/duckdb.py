"""DuckDB, embedded: runs relations over the files of the log."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import ibis
import pyarrow as pa
from ibis.expr.types import Table

from clearwell.engines.answers import as_declared
from clearwell.ledger.views import quoted_name, quoted_text
from clearwell.quality.relations import EVENTS, MICROSECONDS
from clearwell.quality.running import LogAtCut

DIALECT = "duckdb"


class DuckDBEngine:
    """A connection to DuckDB, given or its own, whose relation `events` is the log at a cut."""

    def __init__(self, log: LogAtCut, connection: duckdb.DuckDBPyConnection | None = None) -> None:
        """A connection that is given has its time zone set to UTC, and is left open."""
        self._is_own = connection is None
        self._connection = connection or duckdb.connect()
        if self._is_own:
            self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute(f"CREATE TEMP VIEW {EVENTS} AS {events_query(log, self._columns(log))}")

    def run(self, relation: Table, tables: Mapping[str, pa.Table] | None = None) -> pa.Table:
        """The rows of a relation over `events` and `tables`."""
        for name, table in (tables or {}).items():
            self._connection.register(name, table)
        return as_declared(relation, self._connection.execute(statement(relation)).to_arrow_table())

    def close(self) -> None:
        """Close the connection, if it is the engine's own."""
        if self._is_own:
            self._connection.close()

    def _columns(self, log: LogAtCut) -> set[str]:
        if not log.paths:
            return set()
        described = self._connection.execute(f"DESCRIBE SELECT * FROM {_files(log)}").fetchall()
        return {str(row[0]) for row in described}


def statement(relation: Table) -> str:
    """The SQL of a relation."""
    return str(ibis.to_sql(relation, dialect=DIALECT))


def events_query(log: LogAtCut, present: set[str]) -> str:
    """The relation `events` of the log's files, which have the columns `present`."""
    types = {"int64": "BIGINT", "string": "VARCHAR"}
    chosen = [
        f"epoch_us({MICROSECONDS[name]}) AS {name}"
        if name in MICROSECONDS and MICROSECONDS[name] in present
        else (quoted_name(name) if name in present else f"NULL::{types[dtype]} AS {quoted_name(name)}")
        for name, dtype in log.schema.items()
    ]
    if not log.paths:
        return f"SELECT {', '.join(chosen)} WHERE false"
    within = f"sequence <= {log.sequence:d} AND effective_at <= make_timestamptz({log.effective_us:d})"
    return f"SELECT {', '.join(chosen)} FROM {_files(log)} WHERE {within}"


def _files(log: LogAtCut) -> str:
    return f"read_parquet([{', '.join(quoted_text(path) for path in log.paths)}], union_by_name = true)"
