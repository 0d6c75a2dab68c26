"""People who sign in, and the sessions of their browsers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from clearwell.catalog.tables import sessions, users


def add_person(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Add a person, unless the name is taken, in large or small letters; whether they were added."""
    if person(connection, row["name"]) is not None:
        return False
    connection.execute(insert(users), [dict(row)])
    return True


def person(connection: Connection, name: str) -> dict[str, Any] | None:
    """The person with this name, in large or small letters, disabled or not."""
    found = connection.execute(select(users).where(func.lower(users.c.name) == name.lower())).mappings().first()
    return dict(found) if found is not None else None


def people(connection: Connection) -> list[dict[str, Any]]:
    """Everybody, in order of name, with whether they have a password instead of its hash."""
    columns = [column for column in users.c if column.name != "password_hash"]
    has_password = (users.c.password_hash != "").label("has_password")
    statement = select(*columns, has_password).order_by(users.c.name)
    return [dict(row) for row in connection.execute(statement).mappings()]


def change_person(connection: Connection, number: int, **values: str) -> None:
    """Change columns of a person."""
    connection.execute(update(users).where(users.c.number == number).values(**values))


def add_session(connection: Connection, row: Mapping[str, Any]) -> None:
    """Begin a session."""
    connection.execute(insert(sessions), [dict(row)])


def session(connection: Connection, secret_hash: str) -> dict[str, Any] | None:
    """The session with this hash, with the name, role and `disabled_at` of its person; ended by time or not."""
    columns = (sessions, users.c.name, users.c.role, users.c.disabled_at)
    statement = select(*columns).join(users, users.c.number == sessions.c.user_number)
    found = connection.execute(statement.where(sessions.c.secret_hash == secret_hash)).mappings().first()
    return dict(found) if found is not None else None


def extend_session(connection: Connection, secret_hash: str, expires_at: str) -> None:
    """Have a session that is in use end later."""
    connection.execute(update(sessions).where(sessions.c.secret_hash == secret_hash).values(expires_at=expires_at))


def end_session(connection: Connection, secret_hash: str) -> bool:
    """End a session; whether there was one."""
    return connection.execute(delete(sessions).where(sessions.c.secret_hash == secret_hash)).rowcount > 0


def end_sessions_of(connection: Connection, user_number: int) -> int:
    """End every session of a person; returns how many."""
    return connection.execute(delete(sessions).where(sessions.c.user_number == user_number)).rowcount


def forget_ended(connection: Connection, now: str) -> None:
    """Remove the sessions that time has ended."""
    connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
