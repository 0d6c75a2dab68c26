"""Sessions: a person signs in, is known by a secret for a while, and signs out.

The secret is told to the browser; the catalog has its SHA-256. A session ends twelve hours after it began, or when it
was not used for an hour, when the person is disabled, or has another password.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from clearwell.application import passwords
from clearwell.application.access import LONGEST_NAME, Principal, Role, hashed, require_name
from clearwell.application.auditing import note
from clearwell.application.people import add_person, set_password
from clearwell.application.workspace import Workspace
from clearwell.catalog import people
from clearwell.errors import AccessError, UsageError
from clearwell.values.actors import Actor
from clearwell.values.times import stored_text

LONGEST, IDLE = timedelta(hours=12), timedelta(hours=1)
_EXTENDED = timedelta(minutes=1)
"""A session that is in use is written anew after so long, not with every request."""

_WRONG = "expected the name and the password of a person who may sign in"


@dataclass(frozen=True)
class Session:
    """A browser that is signed in. What it changes must come with `csrf_token`; `expires_at` moves on with use."""

    principal: Principal
    csrf_token: str = field(repr=False)
    expires_at: str

    def require_token(self, given: str) -> None:
        """Raise AccessError unless the token is the session's; that takes as long for any other."""
        if not hmac.compare_digest(self.csrf_token.encode(), given.encode("utf-8", "replace")):
            raise AccessError(
                "csrf_token_wrong", "expected the header X-CSRF-Token with the token of `GET /v1/session`"
            )


@dataclass(frozen=True)
class SignedIn:
    """A session that was just begun. Its `secret` is not kept."""

    session: Session
    secret: str = field(repr=False)


def sign_in(workspace: Workspace, name: str, password: str, origin: str) -> SignedIn:
    """Begin a session by a password. Raises AccessError (`sign_in_wrong`), the same for all that can be wrong."""
    with workspace.catalog.read() as connection:
        found = people.person(connection, name[:LONGEST_NAME])
    is_right = passwords.verify(found["password_hash"] if found is not None else "", password)
    if found is None or not is_right or found["disabled_at"]:
        _note_failure(workspace, found, origin, "password")
        raise AccessError("sign_in_wrong", _WRONG)
    anew = passwords.rehash(password) if passwords.is_outdated(found["password_hash"]) else ""
    return _begin(workspace, found, origin, "password", anew)


def sign_in_known(workspace: Workspace, name: str, origin: str, role_of_new: Role | None) -> SignedIn:
    """Begin a session for somebody whom an identity provider has vouched for.

    A person who is not known is added with `role_of_new`, if there is one. Raises AccessError as `sign_in` does.
    """
    acting = workspace.by(Actor("identity provider", origin))
    try:
        require_name(name)  # Before it is looked for: letters that only look like another's name are none of it.
    except UsageError as error:
        raise AccessError("identity_wrong", f"expected the name of a person: {error.message}") from error
    with workspace.catalog.read() as connection:
        found = people.person(connection, name)
    if found is None and role_of_new is not None:
        add_person(acting, name, role_of_new)
    elif found is None or found["disabled_at"]:
        _note_failure(workspace, found, origin, "identity provider")
        raise AccessError("sign_in_wrong", "expected a person who may sign in; ask an administrator to be added")
    with workspace.catalog.read() as connection:
        found = people.person(connection, name)
    assert found is not None
    return _begin(workspace, found, origin, "identity provider")


def change_password(workspace: Workspace, name: str, present: str, wanted: str) -> None:
    """Give the person who acts another password; every session of theirs ends.

    Raises AccessError when `present` is not their password, UsageError as `set_password` does.
    """
    with workspace.catalog.read() as connection:
        found = people.person(connection, name)
    if not passwords.verify(found["password_hash"] if found is not None else "", present):
        raise AccessError("sign_in_wrong", "expected your present password")
    set_password(workspace, name, wanted)


def session_of(workspace: Workspace, secret: str) -> Session | None:
    """The session that this secret is of; None when it is of none, or that has ended. Using it makes it last."""
    own, now = hashed(secret), workspace.clock()
    with workspace.catalog.read() as connection:
        row = people.session(connection, own)
    if row is None or row["disabled_at"] or row["expires_at"] <= stored_text(now):
        return None
    expires_at = _expires_at(datetime.fromisoformat(row["created_at"]), now)
    if datetime.fromisoformat(expires_at) - datetime.fromisoformat(row["expires_at"]) >= _EXTENDED:
        with workspace.catalog.write() as connection:
            people.extend_session(connection, own, expires_at)
    else:
        expires_at = row["expires_at"]
    return Session(Principal("user", row["name"], row["role"]), row["csrf_token"], expires_at)


def sign_out(workspace: Workspace, secret: str) -> None:
    """End a session; can be repeated. `workspace` is that of the person who acts."""
    with workspace.catalog.write() as connection:
        if people.end_session(connection, hashed(secret)):
            note(connection, workspace, "session.end")


def _begin(workspace: Workspace, known: Mapping[str, Any], origin: str, by: str, password_hash: str = "") -> SignedIn:
    """Begin a session, unless the person was disabled or given another password since they were looked at.

    `password_hash` takes the place of the one they have.
    """
    now = workspace.clock()
    secret, token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    with workspace.catalog.write() as connection:
        found = people.person(connection, known["name"])
        if found is None or found["disabled_at"] or found["password_hash"] != known["password_hash"]:
            raise AccessError("sign_in_wrong", _WRONG)
        if password_hash:
            people.change_person(connection, found["number"], password_hash=password_hash)
        people.forget_ended(connection, stored_text(now))
        row = {
            "secret_hash": hashed(secret),
            "user_number": found["number"],
            "csrf_token": token,
            "created_at": stored_text(now),
            "expires_at": _expires_at(now, now),
        }
        people.add_session(connection, row)
        principal = Principal("user", found["name"], found["role"], origin=origin)
        note(connection, workspace.by(principal.actor), "session.start", by=by)
    return SignedIn(Session(principal, token, row["expires_at"]), secret)


def _expires_at(began: datetime, now: datetime) -> str:
    return stored_text(min(began + LONGEST, now + IDLE))


def _note_failure(workspace: Workspace, found: Mapping[str, Any] | None, origin: str, by: str) -> None:
    """Say in the audit who could not sign in. A name that nobody has may be a password in the wrong field: not kept."""
    who = f"person {found['name']}" if found is not None else "unknown"
    with workspace.catalog.write() as connection:
        note(connection, workspace.by(Actor(who, origin)), "session.fail", by=by)
