"""Measures completeness against a producer's database: the charges of the world in PostgreSQL, a few of them wrong."""

from __future__ import annotations

from pathlib import Path

import duckdb

import clearwell
from measuring import Measured, Task, timed
from projects import copied
from servers import postgres_server

_WRONG = 1_000
"""Of so many records, one is not there, and one has another amount."""

_SOURCE = """
producer_sources:
  charges:
    event_type: charge.creation
    url: postgresql://postgres@/postgres?host={}
    query: SELECT id, amount, currency FROM charges
"""


def postgresql(task: Task) -> Measured:
    """Compare every charge of the world: ids, amounts and currencies. To fill the database is not measured."""
    folder = copied(task.path("ledger"), task.work / "project")
    charges = task.work / "charges.csv"
    planted = _write_charges(folder / "data" / "log", charges)
    with postgres_server() as (ask, place):
        ask("CREATE TABLE charges (id text PRIMARY KEY, amount bigint NOT NULL, currency text NOT NULL)")
        ask("COPY charges FROM STDIN WITH (FORMAT csv)", charges)
        ask("VACUUM ANALYZE charges")
        settings = folder / "clearwell.yaml"
        settings.write_text(settings.read_text(encoding="utf-8") + _SOURCE.format(place), encoding="utf-8")
        with clearwell.open_project(folder) as project, timed() as watch:
            (found,) = project.completeness("charges")
    assert (found.unexpected_count, found.different_count) == planted, "what was planted is found"
    return Measured(
        {"completeness": found.event_count / watch.seconds},
        watch.cpu_seconds,
        details={"ids": found.event_count, "seconds": watch.seconds, "planted": planted},
    )


def _write_charges(log: Path, target: Path) -> tuple[int, int]:
    """Write the log's charges as a producer has them; returns how many are left out, and have another amount."""
    kind = f"hash(id) % {_WRONG}"
    charges = f"(SELECT * FROM read_parquet('{log}/*.parquet', union_by_name = true) WHERE type = 'charge.creation')"
    with duckdb.connect() as connection:
        rows = f"SELECT id, amount_gross + ({kind} = 1)::BIGINT, currency_gross FROM {charges} WHERE {kind} <> 0"
        connection.execute(f"COPY ({rows}) TO '{target}' (HEADER false)")
        counts = f"SELECT count(*) FILTER ({kind} = 0), count(*) FILTER ({kind} = 1) FROM {charges}"
        left_out, changed = connection.execute(counts).fetchall()[0]
    return left_out, changed
