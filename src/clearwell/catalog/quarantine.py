"""Records that could not become events: kept whole, with the reason, until they are replayed. Nothing is deleted.

A record about a subject that was forgotten is erased: it keeps its number, its code and where it came from.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, bindparam, case, func, insert, select, update

from clearwell.catalog.tables import quarantine

WAITING = "waiting"
REPLAYED = "replayed"
ERASED = "erased"

_READ_AT_ONCE = 16
_ERASED_TEXT = "(erased)"
_UNSETTLED = 1
"""The catalog's `user_version` while pages may still hold the text of erased records."""

_ROWS_AT_ONCE = 500


_TOLD = ("code", "field", "expected", "found")
_KEEPS_REASON = (quarantine.c.code == bindparam("new_code")) | (quarantine.c.state == ERASED)
_SEEN_AGAIN = (
    update(quarantine)
    .where(quarantine.c.fingerprint == bindparam("new_fingerprint"))
    .values(
        {name: case((_KEEPS_REASON, quarantine.c[name]), else_=bindparam(f"new_{name}")) for name in _TOLD}
        | {"last_seen_at": bindparam("new_last_seen_at"), "seen_count": quarantine.c.seen_count + 1}
    )
)


@dataclass(frozen=True)
class Reason:
    """Why a record was refused, and where it came from."""

    code: str
    field: str
    expected: str
    found: str
    source: str
    line: int


@dataclass(frozen=True)
class QuarantinedRecord:
    """A record in quarantine. `record` is what arrived, byte for byte."""

    number: int
    state: str
    reason: Reason
    record: bytes
    first_seen_at: str
    last_seen_at: str
    seen_count: int


def put_aside(connection: Connection, refused: Iterable[tuple[Reason, bytes]], seen_at: str) -> None:
    """Keep records. One that is here already, from the same place in the same source, is counted as seen again.

    One that was replayed or erased stays so. The particulars of the reason stay as they were first told, unless the
    code is another one now.
    """
    rows = (_row(reason, record, seen_at) for reason, record in refused)
    page = list(islice(rows, _ROWS_AT_ONCE))
    if not page:
        return
    number: int = connection.execute(select(func.coalesce(func.max(quarantine.c.number), 0))).scalar_one()
    while page:
        known = quarantine.c.fingerprint.in_([row["fingerprint"] for row in page])
        seen = set(connection.execute(select(quarantine.c.fingerprint).where(known)).scalars())
        new, again = list[dict[str, Any]](), list[dict[str, Any]]()
        for row in page:
            if row["fingerprint"] in seen:
                again.append({f"new_{name}": row[name] for name in ("fingerprint", *_TOLD, "last_seen_at")})
                continue
            seen.add(row["fingerprint"])
            number += 1
            new.append({**row, "number": number})
        if new:
            connection.execute(insert(quarantine), new)
        if again:
            connection.execute(_SEEN_AGAIN, again)
        page = list(islice(rows, _ROWS_AT_ONCE))


def waiting_counts(connection: Connection) -> dict[str, int]:
    """How many records wait, per rejection code."""
    statement = (
        select(quarantine.c.code, func.count())
        .where(quarantine.c.state == WAITING)
        .group_by(quarantine.c.code)
        .order_by(func.count().desc(), quarantine.c.code)
    )
    return {code: count for code, count in connection.execute(statement)}  # noqa: C416  (Rows are no pairs to the types.)


def waiting_sizes(connection: Connection, code: str | None = None) -> list[tuple[int, int]]:
    """The number of each waiting record, in order, with the length of its record as it is stored."""
    statement = (
        select(quarantine.c.number, func.length(quarantine.c.record))
        .where(quarantine.c.state == WAITING)
        .order_by(quarantine.c.number)
    )
    if code is not None:
        statement = statement.where(quarantine.c.code == code)
    return [(number, length) for number, length in connection.execute(statement)]


def quarantined(
    connection: Connection,
    *,
    state: str | None = WAITING,
    code: str | None = None,
    numbers: Sequence[int] | None = None,
    after: int = 0,
    limit: int = 100,
) -> list[QuarantinedRecord]:
    """Records in order of number, at most `limit`, beyond number `after`."""
    statement = select(quarantine).where(quarantine.c.number > after).order_by(quarantine.c.number).limit(limit)
    if state is not None:
        statement = statement.where(quarantine.c.state == state)
    if code is not None:
        statement = statement.where(quarantine.c.code == code)
    if numbers is not None:
        statement = statement.where(quarantine.c.number.in_(numbers))
    return [_record(row) for row in connection.execute(statement).mappings()]


def not_erased(connection: Connection) -> Iterator[QuarantinedRecord]:
    """Every record that still says something, in order of number, few of them in memory at a time."""
    after = 0
    while True:
        statement = select(quarantine).where(quarantine.c.state != ERASED, quarantine.c.number > after)
        page = connection.execute(statement.order_by(quarantine.c.number).limit(_READ_AT_ONCE)).mappings().all()
        if not page:
            return
        yield from map(_record, page)
        after = page[-1]["number"]


def mark_replayed(connection: Connection, numbers: Sequence[int], seen_at: str) -> None:
    """Say that these records have become events (or were found to be events already)."""
    for start in range(0, len(numbers), 500):
        connection.execute(
            update(quarantine)
            .where(quarantine.c.number.in_(numbers[start : start + 500]), quarantine.c.state == WAITING)
            .values(state=REPLAYED, last_seen_at=seen_at)
        )


def erase(connection: Connection, numbers: Sequence[int], seen_at: str) -> None:
    """Put a note in the place of what these records said. Until `mark_settled`, old pages may still hold it."""
    in_file = connection.dialect.name == "sqlite"
    if in_file:
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
    for start in range(0, len(numbers), 500):
        connection.execute(
            update(quarantine)
            .where(quarantine.c.number.in_(numbers[start : start + 500]))
            .values(
                state=ERASED,
                record=_ERASED_TEXT,
                encoding="utf-8",
                expected=_ERASED_TEXT,
                found=_ERASED_TEXT,
                last_seen_at=seen_at,
            )
        )
    if numbers and in_file:
        connection.exec_driver_sql(f"PRAGMA user_version = {_UNSETTLED}")
    elif numbers:
        from clearwell.catalog.postgresql import write_anew  # Most ledgers do not need it.

        write_anew(connection, quarantine.c.record)


def is_settled(connection: Connection) -> bool:
    """Whether no page of the database holds the text of an erased record."""
    if connection.dialect.name != "sqlite":
        return True
    version: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    return version != _UNSETTLED


def mark_settled(connection: Connection) -> None:
    """Say that the SQLite file was written anew since records were erased."""
    connection.exec_driver_sql("PRAGMA user_version = 0")


def _row(reason: Reason, record: bytes, seen_at: str) -> dict[str, Any]:
    place = f"{reason.source}\0{reason.line}\0".encode()
    try:
        text, encoding = record.decode(), "utf-8"
    except UnicodeDecodeError:
        text, encoding = base64.b64encode(record).decode("ascii"), "base64"
    return {
        "fingerprint": hashlib.sha256(place + record).hexdigest(),
        "state": WAITING,
        "code": reason.code,
        "field": reason.field,
        "expected": reason.expected,
        "found": reason.found,
        "source": reason.source,
        "line": reason.line,
        "record": text,
        "encoding": encoding,
        "first_seen_at": seen_at,
        "last_seen_at": seen_at,
        "seen_count": 1,
    }


def _record(row: Any) -> QuarantinedRecord:
    text: str = row["record"]
    return QuarantinedRecord(
        number=row["number"],
        state=row["state"],
        reason=Reason(row["code"], row["field"], row["expected"], row["found"], row["source"], row["line"]),
        record=base64.b64decode(text) if row["encoding"] == "base64" else text.encode(),
        first_seen_at=row["first_seen_at"],
        last_seen_at=row["last_seen_at"],
        seen_count=row["seen_count"],
    )
