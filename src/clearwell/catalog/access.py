"""Keys to the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

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


def keys(connection: Connection) -> list[dict[str, Any]]:
    """Every key that was ever made, in order, without the hash of its secret."""
    columns = [column for column in api_keys.c if column.name != "secret_hash"]
    return [dict(row) for row in connection.execute(select(*columns).order_by(api_keys.c.number)).mappings()]


def revoke_key(connection: Connection, name: str, revoked_at: str) -> bool | None:
    """Revoke the key with this name: whether that was still to be done; None when no key has the name."""
    found = connection.execute(select(api_keys.c.revoked_at).where(api_keys.c.name == name)).first()
    if found is None:
        return None
    if found[0]:
        return False
    connection.execute(update(api_keys).where(api_keys.c.name == name).values(revoked_at=revoked_at))
    return True


def key_count(connection: Connection) -> int:
    """How many keys were ever made."""
    return connection.execute(select(func.count()).select_from(api_keys)).scalar_one()


def forget_sessions_before(connection: Connection, instant: str) -> int:
    """Remove the sessions that ended before an instant; returns how many."""
    return connection.execute(delete(sessions).where(sessions.c.expires_at < instant)).rowcount
