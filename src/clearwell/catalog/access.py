"""Keys to the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from clearwell.catalog.tables import api_keys, sessions


def add_key(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Add a key, unless its name is taken; whether it was added."""
    if connection.execute(select(api_keys.c.number).where(api_keys.c.name == row["name"])).first() is not None:
        return False
    connection.execute(insert(api_keys), [dict(row)])
    return True


def key_of(connection: Connection, secret_hash: str) -> dict[str, Any] | None:
    """The key with this hash, revoked or not."""
    found = connection.execute(select(api_keys).where(api_keys.c.secret_hash == secret_hash)).mappings().first()
    return dict(found) if found is not None else None


def key_count(connection: Connection) -> int:
    """How many keys were ever made."""
    return connection.execute(select(func.count()).select_from(api_keys)).scalar_one()


def forget_sessions_before(connection: Connection, instant: str) -> int:
    """Remove the sessions that ended before an instant; returns how many."""
    return connection.execute(delete(sessions).where(sessions.c.expires_at < instant)).rowcount
