"""Who may do what: roles and their scopes, and the keys by which programs show who they are.

A key's secret is told once, when it is made. The catalog has its SHA-256: the secret has 256 random bits, so that there
is nothing to guess, and a slow hash would only slow every request down.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from clearwell.application.auditing import note
from clearwell.application.workspace import Workspace
from clearwell.catalog import access
from clearwell.errors import AccessError, UsageError
from clearwell.values.actors import Actor
from clearwell.values.times import stored_text

Role = Literal["producer", "reader", "analyst", "approver", "administrator", "tenant"]
Scope = Literal["publish", "read", "query", "approve", "administer", "own"]

SCOPES: Mapping[Role, frozenset[Scope]] = {
    "producer": frozenset({"publish"}),
    "reader": frozenset({"read"}),
    "analyst": frozenset({"read", "query"}),
    "approver": frozenset({"read", "query", "approve"}),
    "administrator": frozenset({"publish", "read", "query", "approve", "administer"}),
    "tenant": frozenset({"own"}),
}
"""What each role may do: publish events; read figures; ask in SQL and start evaluations; accept models and windows;
manage keys, people and jobs; see what is the tenant's own."""

ACTS: Mapping[Scope, str] = {
    "publish": "publish events",
    "read": "read figures",
    "query": "ask in SQL, or start evaluations",
    "approve": "accept models and windows",
    "administer": "manage keys, people and jobs",
    "own": "ask as a tenant",
}

KEY_PREFIX = "cw_"
LONGEST_NAME = 200

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._@+:/-]*[A-Za-z0-9._@+:/-])?")


@dataclass(frozen=True)
class Principal:
    """Somebody who has shown who they are: by a key, or as a person who is signed in.

    `event_types` are what a producer may publish (None for any), `properties` what a tenant is bound to. `origin` is
    the address that the request came from.
    """

    kind: Literal["key", "user"]
    name: str
    role: Role
    event_types: frozenset[str] | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""

    @property
    def who(self) -> str:
        """The name with its kind: a person may be called as a key is."""
        return f"{'key' if self.kind == 'key' else 'person'} {self.name}"

    @property
    def actor(self) -> Actor:
        """Who the audit names for what this principal changes: `workspace.by(principal.actor)`."""
        return Actor(self.who, self.origin)

    def require(self, scope: Scope) -> None:
        """Raise AccessError when the role does not have the scope: the one place where this is decided."""
        if scope not in SCOPES[self.role]:
            raise AccessError("scope_missing", f"{self.name} is a {self.role}, which may not {ACTS[scope]}")


@dataclass(frozen=True)
class MadeKey:
    """A key that was just made. Its `secret` is not kept, and cannot be told again."""

    name: str
    role: Role
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Key:
    """A key as it is listed: what it may do, who made it, and since when it is revoked (empty if it is not)."""

    name: str
    role: Role
    event_types: tuple[str, ...] | None
    properties: Mapping[str, str]
    created_at: str
    created_by: str
    revoked_at: str


def make_key(
    workspace: Workspace,
    name: str,
    role: Role,
    *,
    made_by: str = "",
    event_types: frozenset[str] | None = None,
    properties: Mapping[str, str] | None = None,
) -> MadeKey:
    """Make a key. Without `made_by`, it was made by who acts in the workspace.

    Raises UsageError for a name that is taken or cannot be one, for a role that is none, for event types of a key that
    is no producer's, and for a tenant that is bound to nothing.
    """
    require_name(name)
    require_role(role)
    if (role == "tenant") != bool(properties):
        raise UsageError("key_properties_wrong", "expected property values for a tenant's key, and for no other")
    if event_types is not None and (role != "producer" or not event_types):
        raise UsageError("key_event_types_wrong", "expected event types for a producer's key only, and at least one")
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    row = {
        "name": name,
        "secret_hash": hashed(secret),
        "role": role,
        "event_types": json.dumps(sorted(event_types)) if event_types is not None else "",
        "properties": json.dumps(dict(properties or {})),
        "created_at": stored_text(workspace.clock()),
        "created_by": made_by or (workspace.actor.who if workspace.actor is not None else ""),
        "revoked_at": "",
    }
    told = {"role": role, "event_types": sorted(event_types or ()), "properties": dict(properties or {})}
    with workspace.catalog.write() as connection:
        if not access.add_key(connection, row):
            raise UsageError("key_name_taken", f"expected a name that no key has, found {name!r}")
        note(connection, workspace, "key.make", name, **{key: value for key, value in told.items() if value})
    return MadeKey(name, role, secret)


def keys(workspace: Workspace) -> list[Key]:
    """Every key that was ever made, revoked or not, without its secret, which nobody has."""
    if not workspace.has_ledger:
        return []
    with workspace.catalog.read() as connection:
        rows = access.keys(connection)
    return [_key(row) for row in rows]


def _key(row: Mapping[str, Any]) -> Key:
    return Key(
        row["name"],
        row["role"],
        tuple(json.loads(row["event_types"])) if row["event_types"] else None,
        json.loads(row["properties"]),
        row["created_at"],
        row["created_by"],
        row["revoked_at"],
    )


def revoke_key(workspace: Workspace, name: str) -> bool:
    """Revoke a key: within two seconds it works no more. Returns whether that was still to be done; can be repeated.

    Raises UsageError when no key has this name.
    """
    if not workspace.has_ledger:
        raise _unknown_key(name)
    with workspace.catalog.write() as connection:
        done = access.revoke_key(connection, name, stored_text(workspace.clock()))
        if done is None:
            raise _unknown_key(name)
        if done:
            note(connection, workspace, "key.revoke", name)
    return done


def _unknown_key(name: str) -> UsageError:
    return UsageError("key_unknown", f"expected the name of a key, found {name!r}")


def first_key(workspace: Workspace) -> MadeKey | None:
    """An administrator's key, when no key was ever made; else None."""
    with workspace.catalog.read() as connection:
        if access.key_count(connection):
            return None
    return make_key(workspace, "administrator", "administrator", made_by="first start")


def principal_of_key(workspace: Workspace, secret: str) -> Principal | None:
    """Whose key this is; None when it is nobody's, or was revoked."""
    with workspace.catalog.read() as connection:
        row = access.key_of(connection, hashed(secret))
    if row is None or row["revoked_at"]:
        return None
    types = frozenset(json.loads(row["event_types"])) if row["event_types"] else None
    return Principal("key", row["name"], row["role"], types, json.loads(row["properties"]))


def hashed(secret: str) -> str:
    """What the catalog keeps of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def require_name(name: str) -> None:
    """Raise UsageError unless a key or a person can be called so."""
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name) or name.startswith(KEY_PREFIX):
        expected = f"a name of at most {LONGEST_NAME} letters, digits and . _ @ + : / - that begins with neither"
        raise UsageError("name_invalid", f"expected {expected} a sign nor {KEY_PREFIX}")


def require_role(role: str) -> None:
    """Raise UsageError for a role that is none."""
    if role not in get_args(Role):
        raise UsageError("role_unknown", f"expected one of {', '.join(get_args(Role))}, found {role!r}")
