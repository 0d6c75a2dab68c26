"""People who sign in: added, given a role and a password, disabled. Nobody is removed: the audit names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from clearwell.application import passwords
from clearwell.application.access import Role, require_name, require_role
from clearwell.application.auditing import note
from clearwell.application.workspace import Workspace
from clearwell.catalog import people as kept
from clearwell.errors import UsageError
from clearwell.values.times import stored_text


@dataclass(frozen=True)
class Person:
    """A person as they are listed. Without a password they sign in by the identity provider only."""

    name: str
    role: Role
    has_password: bool
    created_at: str
    disabled_at: str


def people(workspace: Workspace) -> list[Person]:
    """Everybody, disabled or not, in order of name."""
    if not workspace.has_ledger:
        return []
    with workspace.catalog.read() as connection:
        rows = kept.people(connection)
    return [_as_person(row, bool(row["has_password"])) for row in rows]


def one_person(workspace: Workspace, name: str) -> Person:
    """The person with this name, in large or small letters. Raises UsageError when nobody has it."""
    with workspace.catalog.read() as connection:
        row = _person(connection, name)
    return _as_person(row, bool(row["password_hash"]))


def _as_person(row: Mapping[str, Any], has_password: bool) -> Person:
    return Person(row["name"], row["role"], has_password, row["created_at"], row["disabled_at"])


def add_person(workspace: Workspace, name: str, role: Role, password: str = "") -> None:
    """Add a person, with a password or without.

    Raises UsageError for a name that is taken (in large or small letters) or cannot be one, for the role of a producer
    or tenant, which is for keys, and as `passwords.hash_password` does.
    """
    require_name(name)
    _require_role(role)
    row = {
        "name": name,
        "role": role,
        "password_hash": passwords.hash_password(password, name) if password else "",
        "created_at": stored_text(workspace.clock()),
        "disabled_at": "",
    }
    with workspace.catalog.write() as connection:
        if not kept.add_person(connection, row):
            raise UsageError("person_name_taken", f"expected a name that nobody has, found {name!r}")
        note(connection, workspace, "person.add", name, role=role, has_password=bool(password))


def set_password(workspace: Workspace, name: str, password: str) -> None:
    """Give a person a password, the first or another; their sessions end. Raises UsageError as `add_person` does."""
    password_hash = passwords.hash_password(password, name)
    with workspace.catalog.write() as connection:
        found = _person(connection, name)
        kept.change_person(connection, found["number"], password_hash=password_hash)
        ended = kept.end_sessions_of(connection, found["number"])
        note(connection, workspace, "person.password", found["name"], sessions_ended=ended)


def set_role(workspace: Workspace, name: str, role: Role) -> bool:
    """Give a person another role; returns whether they had another. Raises UsageError as `add_person` does."""
    _require_role(role)
    with workspace.catalog.write() as connection:
        found = _person(connection, name)
        if found["role"] == role:
            return False
        kept.change_person(connection, found["number"], role=role)
        note(connection, workspace, "person.role", found["name"], role=role, before=found["role"])
    return True


def disable(workspace: Workspace, name: str) -> bool:
    """Let a person in no more, and end their sessions; returns whether that was still to be done.

    Raises UsageError when nobody has this name.
    """
    with workspace.catalog.write() as connection:
        found = _person(connection, name)
        ended = kept.end_sessions_of(connection, found["number"])
        if found["disabled_at"]:
            return False
        kept.change_person(connection, found["number"], disabled_at=stored_text(workspace.clock()))
        note(connection, workspace, "person.disable", found["name"], sessions_ended=ended)
    return True


def enable(workspace: Workspace, name: str) -> bool:
    """Let a person in again; returns whether they were disabled. Raises UsageError when nobody has this name."""
    with workspace.catalog.write() as connection:
        found = _person(connection, name)
        if not found["disabled_at"]:
            return False
        kept.change_person(connection, found["number"], disabled_at="")
        note(connection, workspace, "person.enable", found["name"])
    return True


def _require_role(role: str) -> None:
    require_role(role)
    if role in ("producer", "tenant"):
        raise UsageError("role_unknown", f"expected a role for people: a {role} has a key")


def _person(connection: Connection, name: str) -> Mapping[str, Any]:
    found = kept.person(connection, name)
    if found is None:
        raise UsageError("person_unknown", f"expected the name of a person, found {name!r}")
    return found
