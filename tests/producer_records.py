"""Writes a producer's records to a database or a file, for tests, and says what a comparison must find, plainly."""

from __future__ import annotations

import csv
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from clearwell.application.comparing import Comparison

PASSWORD = "s3cr:t@/%word"
"""Of the servers' users: with characters that mean something in a URL."""

QUERY = "SELECT id, amount, currency, time FROM {}"


@dataclass(frozen=True)
class Record:
    """A record of a producer; `seconds` are those since 2026-01-01 in UTC."""

    id: str | None
    amount: int | None
    currency: str | None
    seconds: int | None

    @property
    def time(self) -> datetime | None:
        return None if self.seconds is None else datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    @property
    def shown_time(self) -> str | None:
        return None if self.time is None else self.time.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Event:
    """An event of `charge.creation` that was recorded as the `sequence`th."""

    id: str
    amount: int
    currency: str
    seconds: int
    sequence: int


def write_csv(folder: Path, records: Iterable[Record]) -> dict[str, str]:
    """The settings of a source over a CSV file."""
    with (folder / "records.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "amount", "currency", "time"])
        writer.writerows([item.id, item.amount, item.currency, item.shown_time] for item in records)
    return {"file": "records.csv"}


def write_parquet(folder: Path, records: Iterable[Record]) -> dict[str, str]:
    """The settings of a source over a Parquet file."""
    rows = [(item.id, item.amount, item.currency, item.time) for item in records]
    schema = {"id": pl.String, "amount": pl.Int64, "currency": pl.String, "time": pl.Datetime("us", "UTC")}
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / "records.parquet")
    return {"file": "records.parquet"}


def write_sqlite(folder: Path, records: Iterable[Record]) -> dict[str, str]:
    """The settings of a source over a SQLite file."""
    path = folder / "records.sqlite"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE charges (id TEXT, amount INTEGER, currency TEXT, time TEXT)")
        rows = [(item.id, item.amount, item.currency, item.shown_time) for item in records]
        connection.executemany("INSERT INTO charges VALUES (?, ?, ?, ?)", rows)
    connection.close()
    return {"url": "sqlite:///records.sqlite", "query": QUERY.format("charges")}


def write_database(url: URL, records: Iterable[Record]) -> dict[str, str]:
    """The settings of a source over a table of its own in the database; its password is in the variable `PASSWORD`."""
    table, of_mysql = f"charges_{uuid4().hex[:8]}", url.get_backend_name() == "mysql"
    id_type, time_type = (
        ("VARCHAR(200) COLLATE utf8mb4_bin", "TIMESTAMP(6) NULL") if of_mysql else ("text", "timestamptz")
    )
    rows = [{"id": item.id, "amount": item.amount, "currency": item.currency, "time": item.time} for item in records]
    with create_engine(url, poolclass=NullPool).begin() as connection:
        if of_mysql:
            connection.execute(text("SET time_zone = '+00:00'"))
        columns = f"id {id_type}, amount bigint, currency varchar(3), time {time_type}"
        connection.execute(text(f"CREATE TABLE {table} ({columns})"))
        if rows:
            connection.execute(text(f"INSERT INTO {table} VALUES (:id, :amount, :currency, :time)"), rows)
    hidden = str(url.set(password="PASSWORD")).replace("***", "${PASSWORD}")
    return {"url": hidden, "query": QUERY.format(table)}


def expected(
    records: Sequence[Record], events: Sequence[Event], within: Callable[[int], bool] | None = None
) -> dict[str, Any]:
    """What a comparison must find of the records and events whose seconds are `within` a period, or of all."""

    def has_part(seconds: int | None) -> bool:
        return within is None or (seconds is not None and within(seconds))

    taken = [item for item in records if has_part(item.seconds)]
    own = [item for item in taken if item.id is not None]
    by_id: dict[str, list[Record]] = defaultdict(list)
    for item in own:
        by_id[str(item.id)].append(item)
    known = {item.id: item for item in events}
    everywhere = {item.id for item in records}
    found: dict[str, list[tuple[Any, ...]]] = {name: [] for name in ("missing", "unexpected", "different", "duplicate")}
    for name, several in by_id.items():
        event = known.get(name)
        several.sort(key=lambda item: (_differs(item, event), _order(item)))
        kinds = ["missing" if event is None else "different" if _differs(several[0], event) else ""]
        kinds += ["duplicate"] * (len(several) - 1)
        for kind, item in zip(kinds, several, strict=True):
            if kind:
                found[kind].append((name, item.amount, item.currency, event.sequence if event else None))
    for event in events:
        if has_part(event.seconds) and event.id not in everywhere:
            found["unexpected"].append((event.id, None, None, event.sequence))
    return {
        "records": len(own),
        "events": sum(has_part(item.seconds) for item in events),
        "without_id": len(taken) - len(own),
        **{kind: sorted(rows, key=str) for kind, rows in found.items()},
    }


def _differs(record: Record, event: Event | None) -> bool:
    return event is None or (record.amount, record.currency) != (event.amount, event.currency)


def _order(record: Record) -> tuple[Any, ...]:
    values = (record.seconds, record.amount, record.currency)
    return tuple(part for value in values for part in (value is None, value if value is not None else 0))


def told(comparison: Comparison, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What a comparison found, in the form of `expected`."""
    found: dict[str, list[tuple[Any, ...]]] = {name: [] for name in ("missing", "unexpected", "different", "duplicate")}
    for row in rows:
        found[row["kind"]].append((row["id"], row["amount"], row["currency"], row["sequence"]))
    assert {f"{kind}_count": len(listed) for kind, listed in found.items()} == {
        f"{kind}_count": getattr(comparison, f"{kind}_count") for kind in found
    }
    differing = len(found["missing"]) + len(found["different"]) + len(found["duplicate"])
    assert comparison.matched_count == comparison.record_count - differing
    return {
        "records": comparison.record_count,
        "events": comparison.event_count,
        "without_id": comparison.without_id_count,
        **{kind: sorted(listed, key=str) for kind, listed in found.items()},
    }
