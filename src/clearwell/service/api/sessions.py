"""`/v1/session`: people sign in, by a password or by the identity provider, ask who they are, and sign out."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from clearwell.application import signing_in
from clearwell.application.access import LONGEST_NAME, SCOPES, Role, Scope
from clearwell.application.passwords import LONGEST
from clearwell.application.signing_in import LONGEST as LONGEST_SESSION
from clearwell.application.signing_in import Session, SignedIn
from clearwell.errors import AccessError, UsageError
from clearwell.service.api.people import Password
from clearwell.service.api.schemas import problems, responses
from clearwell.service.api.security import (
    Doorman,
    Known,
    address_of,
    cookie_name,
    is_secure,
    require_same_origin,
)
from clearwell.service.identity_provider import STARTED_SECONDS, IdentityProvider

router = APIRouter(tags=["access"])

_BACK = """<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/"><title>Clearwell</title>
<p>You are signed in. <a href="/">Go on</a>.
"""
"""A page, not a redirect: to one from another site, a browser would not send the strict cookie along."""


_PAGE = {"description": "The person is signed in.", "content": {"text/html": {"example": _BACK}}}


class Credentials(BaseModel):
    """Who signs in."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=LONGEST_NAME)
    password: SecretStr = Field(max_length=4 * LONGEST)


class PasswordChange(BaseModel):
    """The present password, and the one to have from now on."""

    model_config = ConfigDict(extra="forbid")

    present: SecretStr = Field(max_length=4 * LONGEST)
    wanted: Password


class SessionAnswer(BaseModel):
    """Who asks. The token and the end are null for a key, which has no session."""

    name: str
    kind: Literal["key", "user"]
    role: Role
    scopes: list[Scope]
    csrf_token: str | None = Field(repr=False)
    expires_at: str | None


def _no_foreign_page(request: Request) -> None:
    require_same_origin(request, browser=False)


_SESSION = {
    "name": "alice@example.com", "kind": "user", "role": "approver", "scopes": ["approve", "query", "read"],
    "csrf_token": "5d41…", "expires_at": "2026-01-02T15:04:05.000000Z",
}  # fmt: skip
_TOLD = responses(SessionAnswer, _SESSION, of_cut=False)


@router.post("/v1/session", dependencies=[Depends(_no_foreign_page)], responses=_TOLD)
def sign_in(request: Request, response: Response, given: Credentials) -> SessionAnswer:
    """Sign in by name and password: sets the session's cookie. Changes need the header X-CSRF-Token from then on."""
    address, doorman = address_of(request), _doorman(request)
    with doorman.attempts.signing_in(address, given.name):
        signed_in = signing_in.sign_in(
            request.app.state.service.workspace, given.name, given.password.get_secret_value(), address
        )
    _set_cookie(request, response, signed_in)
    return _answer(signed_in.session)


@router.get("/v1/session", responses=_TOLD)
def who_am_i(request: Request, response: Response, principal: Known) -> SessionAnswer:
    """Who asks, and what they may do."""
    response.headers["Cache-Control"] = "no-store"
    if principal.kind == "key":
        scopes = sorted(SCOPES[principal.role])
        return SessionAnswer(
            name=principal.name, kind="key", role=principal.role, scopes=scopes, csrf_token=None, expires_at=None
        )
    return _answer(_doorman(request).session(_secret(request), address_of(request)))


@router.delete("/v1/session", status_code=204, responses=problems())
def sign_out(request: Request, response: Response, principal: Known) -> None:
    """Sign out: the session ends."""
    _require_person(principal.kind)
    signing_in.sign_out(request.app.state.service.workspace.by(principal.actor), _secret(request))
    _doorman(request).forget()
    response.delete_cookie(cookie_name(request), secure=is_secure(request), httponly=True, samesite="strict")


@router.put("/v1/session/password", status_code=204, responses=problems())
def change_password(request: Request, principal: Known, change: PasswordChange) -> None:
    """Take another password. Every session of yours ends: sign in again."""
    _require_person(principal.kind)
    doorman, workspace = _doorman(request), request.app.state.service.workspace.by(principal.actor)
    with doorman.attempts.signing_in(principal.origin, principal.name):
        signing_in.change_password(
            workspace, principal.name, change.present.get_secret_value(), change.wanted.get_secret_value()
        )
    doorman.forget()


@router.get("/v1/session/oidc", response_class=RedirectResponse, status_code=302, responses=problems())
def start_at_provider(request: Request) -> RedirectResponse:
    """Sign in by the identity provider: sends the browser there."""
    started = _provider(request).start(_callback(request))
    response = RedirectResponse(started.url, status_code=302, headers={"Cache-Control": "no-store"})
    # Lax, for the browser comes back from another site.
    response.set_cookie(
        f"{cookie_name(request)}-oidc",
        started.cookie,
        max_age=STARTED_SECONDS,
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )
    return response


@router.get("/v1/session/oidc/callback", response_class=HTMLResponse, responses={**problems(), 200: _PAGE})
def finish_at_provider(request: Request) -> HTMLResponse:
    """Where the identity provider sends the browser back to: sets the session's cookie."""
    provider, address, name = _provider(request), address_of(request), f"{cookie_name(request)}-oidc"
    begun = provider.begun(request.cookies.get(name, ""), request.query_params.get("state", ""))
    # Counted from here on: what a page elsewhere makes a browser send has no state, and keeps nobody out.
    with _doorman(request).attempts.signing_in(address, f"identity provider at {address}"):
        identity = provider.finish(begun, dict(request.query_params), _callback(request))
        signed_in = signing_in.sign_in_known(
            request.app.state.service.workspace, identity.name, address, identity.role_of_new
        )
    response = HTMLResponse(_BACK, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
    response.delete_cookie(name, secure=is_secure(request), httponly=True, samesite="lax")
    _set_cookie(request, response, signed_in)
    return response


def _answer(session: Session) -> SessionAnswer:
    principal = session.principal
    return SessionAnswer(
        name=principal.name,
        kind="user",
        role=principal.role,
        scopes=sorted(SCOPES[principal.role]),
        csrf_token=session.csrf_token,
        expires_at=session.expires_at,
    )


def _set_cookie(request: Request, response: Response, signed_in: SignedIn) -> None:
    response.set_cookie(
        cookie_name(request),
        signed_in.secret,
        max_age=int(LONGEST_SESSION.total_seconds()),
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )
    response.headers["Cache-Control"] = "no-store"


def _secret(request: Request) -> str:
    return request.cookies.get(cookie_name(request), "")


def _doorman(request: Request) -> Doorman:
    found: Doorman = request.app.state.doorman
    return found


def _provider(request: Request) -> IdentityProvider:
    found: IdentityProvider | None = request.app.state.provider
    if found is None:
        raise UsageError("oidc_not_configured", "expected an identity provider in clearwell.yaml (`oidc`), found none")
    return found


def _callback(request: Request) -> str:
    return str(request.url_for("finish_at_provider"))


def _require_person(kind: str) -> None:
    if kind != "user":
        raise AccessError(
            "session_needed", "expected a browser's session, found a key, which has none to end or change"
        )
