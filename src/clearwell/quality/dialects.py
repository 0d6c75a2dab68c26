"""A metric as one statement in the SQL of another system, for people to run where their log is: text alone.

It reads the table `clearwell_events`, which has the columns of the log's files; DuckDB reads the files themselves.
Instants are instants there (`TIMESTAMP WITH TIME ZONE` or what the system has for it).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Literal, get_args

import ibis
import pyarrow as pa
from ibis.expr import operations
from ibis.expr.types import Table
from sqlglot import exp

from clearwell.quality.relations import EVENTS, MICROSECONDS
from clearwell.quality.running import LogAtCut
from clearwell.values.accounts import SEPARATOR

EVENTS_TABLE = "clearwell_events"
"""The table that every statement reads, but DuckDB's."""

Dialect = Literal["duckdb", "postgres", "spark", "trino", "clickhouse", "snowflake", "bigquery"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

_IBIS_NAMES = {"spark": "pyspark"}

_MICROSECONDS: dict[Dialect, str] = {
    "duckdb": "epoch_us({0})",
    "postgres": "CAST(EXTRACT(EPOCH FROM {0}) * 1000000 AS BIGINT)",
    "spark": "unix_micros({0})",
    # Trino counts milliseconds at the finest: the digits behind the second are read from its text.
    "trino": (
        "date_diff('second', TIMESTAMP '1970-01-01 00:00:00 UTC', date_trunc('second', {0})) * 1000000"
        " + CAST(substr(CAST(CAST({0} AT TIME ZONE 'UTC' AS TIMESTAMP(6)) AS VARCHAR), 21, 6) AS BIGINT)"
    ),
    "clickhouse": "toUnixTimestamp64Micro(CAST({0} AS Nullable(DateTime64(6, 'UTC'))))",
    "snowflake": "DATE_PART(EPOCH_MICROSECOND, {0})",
    "bigquery": "UNIX_MICROS({0})",
}
"""An instant in whole microseconds since 1970, exactly."""

_WHOLE: dict[Dialect, str] = {"clickhouse": "Int64", "bigquery": "INT64"}
_TEXT: dict[Dialect, str] = {"clickhouse": "String", "bigquery": "STRING", "spark": "STRING"}

_WITHOUT_ESCAPES = ("duckdb", "postgres", "trino")
"""Here a separator in a text would be printed as a character that nobody sees, and that is lost when copied."""

_PART_OF_TEXT = re.compile(r"GET\(\s*SPLIT\(([^()]*)\),\s*([0-9]+)\s*\)")
"""A part of a text in Snowflake would be of the type VARIANT, whose text has quotes."""

_ENDINGS: dict[Dialect, str] = {"clickhouse": "\nSETTINGS join_use_nulls = 1"}
"""Without its setting ClickHouse fills what a join does not find with 0 and empty texts, in columns without nulls."""


def statement(relation: Table, log: LogAtCut, dialect: Dialect, tables: Mapping[str, pa.Table] | None = None) -> str:
    """The whole statement of a relation over `events`, at the cut of the log, and `tables`."""
    used = {field.name for field in relation.op().find(operations.Field)}
    parts = {EVENTS: events_query(log, dialect, used)}
    parts |= {name: _rows(table, dialect) for name, table in (tables or {}).items()}
    compiled = str(ibis.to_sql(relation, dialect=_IBIS_NAMES.get(dialect, dialect)))
    compiled = _mended(compiled, dialect)
    before = ",\n".join(f"{_quoted(name, dialect)} AS (\n{query}\n)" for name, query in parts.items())
    rest = f",\n{compiled.removeprefix('WITH ')}" if compiled.startswith("WITH ") else f"\n{compiled}"
    return f"WITH {before}{rest}{_ENDINGS.get(dialect, '')}"


def _mended(sql: str, dialect: Dialect) -> str:
    if dialect in _WITHOUT_ESCAPES:
        return sql.replace(f"'{SEPARATOR}'", f"CHR({ord(SEPARATOR)})")
    if dialect == "snowflake":
        return _PART_OF_TEXT.sub(lambda found: f"SPLIT_PART({found[1]}, {int(found[2]) + 1})", sql)
    return sql


def events_query(log: LogAtCut, dialect: Dialect, used: Collection[str] | None = None) -> str:
    """The relation `events` at the cut of the log, with those columns that are `used`, by default all."""
    chosen = [
        f"{_MICROSECONDS[dialect].format(_quoted(MICROSECONDS[name], dialect))} AS {_quoted(name, dialect)}"
        if name in MICROSECONDS
        else _stored(name, dialect)
        for name in log.schema
        if used is None or name in used
    ]
    effective = _MICROSECONDS[dialect].format(_quoted(MICROSECONDS["effective_us"], dialect))
    source = _files(log) if dialect == "duckdb" else _quoted(EVENTS_TABLE, dialect)
    return (
        f"SELECT {', '.join(chosen)}\nFROM {source}\n"
        f"WHERE {_quoted('sequence', dialect)} <= {log.sequence:d} AND {effective} <= {log.effective_us:d}"
    )


def _stored(name: str, dialect: Dialect) -> str:
    """A column as it is. ClickHouse would give 0 where a column without nulls has no next row, or no match."""
    quoted = _quoted(name, dialect)
    return f"toNullable({quoted}) AS {quoted}" if dialect == "clickhouse" else quoted


def _files(log: LogAtCut) -> str:
    """The log's files as DuckDB reads them, with every column of `events`: some may be in none of the files."""
    instants = set(MICROSECONDS.values())
    columns = {MICROSECONDS.get(name, name): dtype for name, dtype in log.schema.items()}
    nulls = ", ".join(
        f"CAST(NULL AS {'TIMESTAMPTZ' if name in instants else _type(dtype, 'duckdb')}) AS {_quoted(name, 'duckdb')}"
        for name, dtype in columns.items()
    )
    empty = f"SELECT {nulls} WHERE false"
    if not log.paths:
        return f"({empty})"
    paths = ", ".join(_literal(path, "duckdb") for path in log.paths)
    return f"(SELECT * FROM read_parquet([{paths}], union_by_name = true) UNION ALL BY NAME {empty})"


def _rows(table: pa.Table, dialect: Dialect) -> str:
    """A table as a query that needs nothing but itself."""
    types = [_type("string" if pa.types.is_string(field.type) else "int64", dialect) for field in table.schema]
    heading = ", ".join(
        f"CAST(NULL AS {_nullable(dtype, dialect)}) AS {_quoted(name, dialect)}"
        for name, dtype in zip(table.column_names, types, strict=True)
    )
    rows = [", ".join(_literal(value, dialect) for value in row.values()) for row in table.to_pylist()]
    first = (
        f"SELECT {heading} WHERE 1 = 0" if dialect != "bigquery" else f"SELECT {heading} FROM (SELECT 1) WHERE 1 = 0"
    )
    return "\nUNION ALL ".join([first, *(f"SELECT {row}" for row in rows)])


def _type(dtype: str, dialect: Dialect) -> str:
    return _WHOLE.get(dialect, "BIGINT") if dtype == "int64" else _TEXT.get(dialect, "VARCHAR")


def _nullable(dtype: str, dialect: Dialect) -> str:
    return f"Nullable({dtype})" if dialect == "clickhouse" else dtype


def _literal(value: str | int, dialect: Dialect) -> str:
    if isinstance(value, int):
        return str(value)
    return str(exp.Literal.string(value).sql(dialect=dialect))


def _quoted(name: str, dialect: Dialect) -> str:
    return str(exp.to_identifier(name, quoted=True).sql(dialect=dialect))
