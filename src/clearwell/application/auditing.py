"""The audit: an entry for every change that a person or a key makes. Entries are only ever added.

The workspace knows who acts (`Workspace.actor`); each function of the application that changes something says so here,
in the transaction of the change where there is one. Secrets are never part of an entry.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from clearwell.application.workspace import Workspace
from clearwell.catalog import audit
from clearwell.catalog.audit import AuditFilter
from clearwell.errors import UsageError
from clearwell.values.actors import Actor
from clearwell.values.instants import parse_cut_instant
from clearwell.values.times import stored_text

MOST_ENTRIES = 1_000
"""So many entries are given at once."""


@dataclass(frozen=True)
class AuditEntry:
    """One change: its number, when, by whom, which act, on what, in which particulars, and from where."""

    number: int
    at: str
    who: str
    act: str
    subject: str
    details: dict[str, Any]
    origin: str


def note(connection: Connection, workspace: Workspace, act: str, subject: str = "", /, **details: Any) -> None:
    """Add an entry in the transaction of the change. A workspace that nobody acts in (the service's own) adds none.

    `act` is the kind of thing and what was done to it, such as `key.make`.
    """
    if workspace.actor is None:
        return
    row = {
        "at": stored_text(workspace.clock()),
        "who": workspace.actor.who,
        "act": act,
        "subject": subject,
        "details": json.dumps(details, ensure_ascii=False, default=str),
        "origin": workspace.actor.origin,
    }
    audit.append_entry(connection, row)


def note_after(workspace: Workspace, act: str, subject: str = "", /, **details: Any) -> None:
    """Add an entry for a change that was more than one transaction, or none of the catalog."""
    if workspace.actor is not None:
        with workspace.catalog.write() as connection:
            note(connection, workspace, act, subject, **details)


@contextmanager
def noting(workspace: Workspace, act: str, subject: str = "", /) -> Iterator[dict[str, Any]]:
    """Add an entry when the block ends, with the details that it put down; with `failed`, when it ends by an error.

    An act of many transactions leaves something even when it fails half-way. One that left nothing, as when it was
    refused from the start, has no details, and no entry.
    """
    details: dict[str, Any] = {}
    try:
        yield details
    except BaseException as error:
        if details:
            note_after(workspace, act, subject, **details, failed=getattr(error, "code", type(error).__name__))
        raise
    note_after(workspace, act, subject, **details)


def entries(
    workspace: Workspace, wanted: AuditFilter, *, since: str = "", until: str = "", limit: int = 100
) -> list[AuditEntry]:
    """The entries that are wanted, so many at most; `since` and `until` are instants or days.

    Raises UsageError for an instant that is none.
    """
    if not workspace.has_ledger:
        return []
    bounds = {"since": _instant(since), "until": _instant(until)}
    wanted = AuditFilter(**{**wanted.__dict__, **{name: text for name, text in bounds.items() if text}})
    with workspace.catalog.read() as connection:
        rows = audit.entries(connection, wanted, min(limit, MOST_ENTRIES))
    return [AuditEntry(**{**row, "details": json.loads(row["details"])}) for row in rows]


def _instant(text: str) -> str:
    try:
        found: datetime | None = parse_cut_instant(text) if text else None
    except ValueError as error:
        raise UsageError("instant_unreadable", str(error)) from error
    return stored_text(found) if found else ""


def on_this_machine(origin: str) -> Actor:
    """Who acts in this process: the user of the operating system, from `origin`, such as the command line."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # A process may run as a number that has no name.
        import os

        name = str(os.getuid())
    return Actor(f"operating system user {name}", origin)
