"""Who may do what: roles and their scopes, and the keys by which programs show who they are.

A key's secret is told once, when it is made. The catalog has its SHA-256: the secret has 256 random bits, so that there
is nothing to guess, and a slow hash would only slow every request down.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from clearwell.application.workspace import Workspace
from clearwell.catalog import access
from clearwell.errors import AccessError, UsageError
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

KEY_PREFIX = "cw_"


@dataclass(frozen=True)
class Principal:
    """Somebody who has shown who they are: by a key, or as a person who is signed in.

    `event_types` are what a producer may publish (None for any), `properties` what a tenant is bound to.
    """

    kind: Literal["key", "user"]
    name: str
    role: Role
    event_types: frozenset[str] | None = None
    properties: Mapping[str, str] = field(default_factory=dict)

    def require(self, scope: Scope) -> None:
        """Raise AccessError when the role does not have the scope: the one place where this is decided."""
        if scope not in SCOPES[self.role]:
            raise AccessError("scope_missing", f"{self.name} is a {self.role}, which may not {_ACTS[scope]}")


_ACTS: Mapping[Scope, str] = {
    "publish": "publish events",
    "read": "read figures",
    "query": "ask in SQL, or start evaluations",
    "approve": "accept models and windows",
    "administer": "manage keys, people and jobs",
    "own": "ask as a tenant",
}


@dataclass(frozen=True)
class MadeKey:
    """A key that was just made. Its `secret` is not kept, and cannot be told again."""

    name: str
    role: Role
    secret: str


def make_key(
    workspace: Workspace,
    name: str,
    role: Role,
    *,
    made_by: str,
    event_types: frozenset[str] | None = None,
    properties: Mapping[str, str] | None = None,
) -> MadeKey:
    """Make a key. Raises UsageError for a name that is taken, and for a tenant that is bound to nothing."""
    if (role == "tenant") != bool(properties):
        raise UsageError("key_properties_wrong", "expected property values for a tenant's key, and for no other")
    if event_types is not None and role != "producer":
        raise UsageError("key_event_types_wrong", "expected event types for a producer's key only")
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    row = {
        "name": name,
        "secret_hash": hashed(secret),
        "role": role,
        "event_types": json.dumps(sorted(event_types)) if event_types is not None else "",
        "properties": json.dumps(dict(properties or {})),
        "created_at": stored_text(workspace.clock()),
        "created_by": made_by,
        "revoked_at": "",
    }
    with workspace.catalog.write() as connection:
        if not access.add_key(connection, row):
            raise UsageError("key_name_taken", f"expected a name that no key has, found {name!r}")
    return MadeKey(name, role, secret)


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
    return hashlib.sha256(secret.encode()).hexdigest()
