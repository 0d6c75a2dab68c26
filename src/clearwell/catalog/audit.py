"""Entries of the audit: added, and read. No function here changes or removes one, and none must."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from clearwell.catalog.tables import audit_entries


@dataclass(frozen=True)
class AuditFilter:
    """Which entries: of whom, of which act, on what, and within which instants (`stored_text`); empty, all.

    `act` may be the first word of several, such as `key`. With `after`, those with a greater number, oldest first;
    otherwise those with a lesser number than `before` (0 for any), newest first.
    """

    who: str = ""
    act: str = ""
    subject: str = ""
    since: str = ""
    until: str = ""
    after: int | None = None
    before: int = 0


def append_entry(connection: Connection, row: Mapping[str, Any]) -> None:
    """Add an entry."""
    connection.execute(insert(audit_entries), [dict(row)])


def entries(connection: Connection, wanted: AuditFilter, limit: int) -> list[dict[str, Any]]:
    """So many entries at most; `details` is JSON text."""
    table = audit_entries.c
    statement = select(audit_entries).limit(limit)
    if wanted.after is not None:
        statement = statement.where(table.number > wanted.after).order_by(table.number)
    else:
        statement = statement.order_by(table.number.desc())
    if wanted.before:
        statement = statement.where(table.number < wanted.before)
    for name in ("who", "subject"):
        if value := getattr(wanted, name):
            statement = statement.where(table[name] == value)
    if wanted.act:
        statement = statement.where((table.act == wanted.act) | table.act.startswith(f"{wanted.act}.", autoescape=True))
    if wanted.since:
        statement = statement.where(table.at >= wanted.since)
    if wanted.until:
        statement = statement.where(table.at < wanted.until)
    return [dict(row) for row in connection.execute(statement).mappings()]
