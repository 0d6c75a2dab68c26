"""Measures completeness against a producer's database: the charges of the world in PostgreSQL, few or none wrong."""

from __future__ import annotations

import os
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
_TICKS = os.sysconf("SC_CLK_TCK")


def postgresql(task: Task) -> Measured:
    """Compare every charge of the world: ids, amounts and currencies. To fill the database is not measured.

    With the option `equal` nothing is wrong. `server_cpu_seconds` are those of the database, beside our own.
    """
    folder = copied(task.path("ledger"), task.work / "project")
    charges, equal = task.work / "charges.csv", bool(task.options.get("equal"))
    planted = _write_charges(folder / "data" / "log", charges, equal=equal)
    with postgres_server() as (ask, place):
        ask("CREATE TABLE charges (id text PRIMARY KEY, amount bigint NOT NULL, currency text NOT NULL)")
        ask("COPY charges FROM STDIN WITH (FORMAT csv)", charges)
        ask("VACUUM ANALYZE charges")
        settings = folder / "clearwell.yaml"
        settings.write_text(settings.read_text(encoding="utf-8") + _SOURCE.format(place), encoding="utf-8")
        before = _server_seconds(place)
        with clearwell.open_project(folder) as project, timed() as watch:
            (found,) = project.completeness("charges")
        server_seconds = _server_seconds(place) - before
    assert (found.unexpected_count, found.different_count) == planted, "what was planted is found"
    return Measured(
        {"completeness-equal" if equal else "completeness": found.event_count / watch.seconds},
        watch.cpu_seconds,
        details={
            "ids": found.event_count,
            "seconds": watch.seconds,
            "server_cpu_seconds": server_seconds,
            "planted": planted,
        },
    )


def _server_seconds(place: Path) -> float:
    """What the server in a folder has taken of the processors: its process, those it has started, and their children.

    Those that have ended are counted once the server has seen them end.
    """
    server = (place / "data" / "postmaster.pid").read_text(encoding="utf-8").split()[0]
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue  # It has ended meanwhile.
        if server in (path.parent.name, fields[1]):
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def _write_charges(log: Path, target: Path, *, equal: bool) -> tuple[int, int]:
    """Write the log's charges as a producer has them; returns how many are left out, and have another amount."""
    kind = "2" if equal else f"hash(id) % {_WRONG}"
    charges = f"(SELECT * FROM read_parquet('{log}/*.parquet', union_by_name = true) WHERE type = 'charge.creation')"
    with duckdb.connect() as connection:
        rows = f"SELECT id, amount_gross + ({kind} = 1)::BIGINT, currency_gross FROM {charges} WHERE {kind} <> 0"
        connection.execute(f"COPY ({rows}) TO '{target}' (HEADER false)")
        counts = f"SELECT count(*) FILTER ({kind} = 0), count(*) FILTER ({kind} = 1) FROM {charges}"
        left_out, changed = connection.execute(counts).fetchall()[0]
    return left_out, changed
