"""What users would pick instead: PostgreSQL with a table of entries, DuckDB and Polars over the raw Parquet files.

Each has it easier than Clearwell: nothing is validated, told apart or chained, and doubled records count twice in what
DuckDB and Polars answer.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import duckdb
import polars as pl

from measuring import Measured, Task, timed
from moves import entries_query, sides
from servers import postgres_server

CALLS = 3
_TABLE = """\
CREATE TABLE entries (
    producer text NOT NULL, id text NOT NULL, entry_index smallint NOT NULL, account_type text NOT NULL,
    account text NOT NULL, currency text NOT NULL, amount bigint NOT NULL, effective_at timestamptz NOT NULL,
    UNIQUE (producer, id, entry_index)
)"""
_OPEN = "SELECT account_type, account, currency, sum(amount) AS balance FROM {} GROUP BY ALL HAVING sum(amount) <> 0"


def duckdb_clearing(task: Task) -> Measured:
    """The open accounts, by DuckDB from the raw records."""
    records = f"read_parquet('{task.path('records')}/*.parquet')"
    query = _OPEN.format(f"({entries_query(records, only_clearing=True)})")
    with duckdb.connect() as connection:
        return _clearing(
            "duckdb-clearing",
            lambda: connection.execute(f"SELECT count(*), sum(abs(balance)) FROM ({query})").fetchall()[0][0],
        )


def polars_clearing(task: Task) -> Measured:
    """The open accounts, by Polars from the raw records."""
    records = pl.scan_parquet(task.path("records") / "*.parquet")
    parts = [
        records.filter(pl.col("type") == side.event_type).select(
            pl.lit(side.account_type).alias("account_type"),
            pl.concat_str(side.columns, separator="/").alias("account"),
            "currency",
            (side.sign * pl.col(side.amount)).alias("amount"),
        )
        for side in sides(only_clearing=True)
    ]
    found = pl.concat(parts).group_by("account_type", "account", "currency").agg(pl.col("amount").sum())
    query = found.filter(pl.col("amount") != 0).select(pl.len(), pl.col("amount").abs().sum().alias("balance"))
    return _clearing("polars-clearing", lambda: int(query.collect(engine="streaming")["len"][0]))


def postgres(task: Task) -> Measured:
    """COPY of entries that were posted before, a million events to a transaction; the open accounts; the table's size.

    The records that Clearwell refuses are left out of the files, and of doubled ones the second: COPY would stop there.
    """
    files = sorted(task.path("entries").glob("*.csv"))
    clearing = sorted({side.account_type for side in sides(only_clearing=True)})
    names = ", ".join(f"'{name}'" for name in clearing)
    with postgres_server() as (ask, _folder):
        ask(_TABLE)
        with timed() as copying:
            for path in files:
                ask("COPY entries FROM STDIN WITH (FORMAT csv)", path)
        ask("ANALYZE entries")
        events = int(ask("SELECT count(*) FROM entries WHERE entry_index = 0"))
        size = int(ask("SELECT pg_total_relation_size('entries')"))
        query = _OPEN.format(f"entries WHERE account_type IN ({names})").replace(
            "ALL", "account_type, account, currency"
        )
        answer = _clearing(
            "postgres-clearing", lambda: int(ask(f"SELECT count(*) FROM ({query}) AS open").partition("|")[0])
        )
    values = {"postgres-ingest": events / copying.seconds, "postgres-size": size / events}
    # The memory and the processors are the server's, which is not measured.
    return Measured({**values, **answer.values}, memory_bytes=0, details=answer.details)


def _clearing(name: str, ask: Callable[[], int]) -> Measured:
    """The median of several calls, the first left out; in milliseconds, as for Clearwell."""
    watches, found = [], 0
    for _call in range(CALLS + 1):
        with timed() as watch:
            found = ask()
        watches.append(watch)
    return Measured(
        {name: statistics.median(watch.seconds for watch in watches[1:]) * 1000},
        statistics.median(watch.cpu_seconds for watch in watches[1:]),
        details={"open": found, "first_ms": watches[0].seconds * 1000},
    )
