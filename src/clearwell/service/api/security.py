"""Who asks: by a key, or as a person whose browser is signed in; and whether their role has the scope of the path.

A browser sends its cookie whoever made it ask. So what changes something and is known by a cookie must come from our
own pages: with the session's token, which other sites cannot read, and from our own origin.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from clearwell.application.access import Principal, Scope, hashed, principal_of_key
from clearwell.application.signing_in import Session, session_of
from clearwell.application.workspace import Workspace
from clearwell.errors import AccessError
from clearwell.service.limiting import Attempts

_REMEMBERED_SECONDS = 1.0
_PUT_OFF_SECONDS = 1.0
"""So long after what was remembered is due to be looked up again it still counts, for one request looks it up."""

_LOOKS_AT_ONCE = 8
_MOST_REMEMBERED = 10_000
_ASKING = {"GET", "HEAD", "OPTIONS"}
_LOOPBACK_NAMES = {"localhost"}

_bearer = HTTPBearer(auto_error=False, description="A key: `Authorization: Bearer cw_…`")


@dataclass(frozen=True)
class _Remembered:
    """Who was found, when, and until when that counts."""

    looked_at: float
    until: float
    found: Principal | Session


_Told = TypeVar("_Told", Principal, Session)


class Doorman:
    """Tells whose a key or a session is, and remembers it for a moment: no longer does one work that was ended."""

    def __init__(self, workspace: Workspace) -> None:
        self.attempts = Attempts()
        self._workspace = workspace
        self.looks = CapacityLimiter(_LOOKS_AT_ONCE)
        self._known: dict[str, _Remembered] = {}

    def principal(self, secret: str, address: str = "", *, anew: bool = False) -> Principal:
        """Whose key this is; with `anew`, whatever is remembered.

        Raises AccessError when it is nobody's, OverloadError when many were from there.
        """
        found = self._known_or(secret, lambda: principal_of_key(self._workspace, secret), anew=anew)
        if not isinstance(found, Principal):
            self.attempts.fail(address, secret)
            raise AccessError("credentials_wrong", "expected a key that was made here and not revoked")
        return replace(found, origin=address)

    def session(self, secret: str, address: str = "", *, anew: bool = False) -> Session:
        """Which session this secret of a cookie is of. Raises as `principal` does."""
        found = self._known_or(secret, lambda: session_of(self._workspace, secret), anew=anew)
        if not isinstance(found, Session):
            self.attempts.fail(address, secret)
            raise AccessError("credentials_wrong", "expected a session that has not ended: sign in again")
        return replace(found, principal=replace(found.principal, origin=address))

    def remembers(self, secret: str) -> bool:
        """Whether it knows whose this is without looking."""
        known = self._known.get(hashed(secret))
        return known is not None and time.monotonic() < known.until

    def put_off(self, secret: str) -> None:
        """Let others who show the secret now go by what was known, while one request looks again; not for ever."""
        name, remembered = hashed(secret), self._known
        known = remembered.get(name)
        if known is None:
            return
        last = known.looked_at + _REMEMBERED_SECONDS + _PUT_OFF_SECONDS
        if time.monotonic() < last:
            remembered[name] = replace(known, until=last)
        else:
            remembered.pop(name, None)

    def forget(self) -> None:
        """Look again at whoever comes next: something about keys, people or sessions has changed."""
        self._known = {}

    def _known_or(
        self, secret: str, find: Callable[[], Principal | Session | None], *, anew: bool
    ) -> Principal | Session | None:
        name, now, remembered = hashed(secret), time.monotonic(), self._known
        known = remembered.get(name)
        if known is not None and now < known.until and not anew:
            return known.found
        found = find()
        if found is None:
            remembered.pop(name, None)
            return None
        if len(remembered) >= _MOST_REMEMBERED:
            remembered.clear()
        remembered[name] = _Remembered(now, now + _REMEMBERED_SECONDS, found)
        return found


def address_of(request: Request) -> str:
    """Where a request came from."""
    return request.client.host if request.client is not None else ""


def is_loopback(name: str) -> bool:
    """Whether this name or address is this machine's own."""
    try:
        return name in _LOOPBACK_NAMES or ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def is_secure(request: Request) -> bool:
    """Whether cookies must only go over TLS: always, but for a browser on this machine."""
    return not (request.url.scheme == "http" and is_loopback(request.url.hostname or ""))


def cookie_name(request: Request) -> str:
    """The session's cookie. With the prefix a browser takes it from this host only, and over TLS only."""
    return "__Host-clearwell" if is_secure(request) else "clearwell"


def require_same_origin(request: Request, *, browser: bool) -> None:
    """Raise AccessError for a request that another site made a browser send.

    A request that does not say where it is from is not a `browser`'s, and is refused where only one can have sent it.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = f"{request.url.scheme}://{request.url.netloc}"
    is_foreign = (site is not None and site != "same-origin") or (origin is not None and origin != own)
    if is_foreign or (browser and site is None and origin is None):
        raise AccessError("origin_foreign", f"expected a request from a page of {own}, found one from elsewhere")


async def principal_of(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Principal:
    """Who asks, whatever they may do.

    Raises AccessError for one who does not show it, and for a change by a cookie that another site may have asked for.
    """
    doorman: Doorman = request.app.state.doorman
    if credentials is not None:
        return await _told(doorman, doorman.principal, credentials.credentials, request)
    cookie = request.cookies.get(cookie_name(request))
    if not cookie:
        raise AccessError("credentials_missing", "expected a key, `Authorization: Bearer cw_…`, or a browser's session")
    session = await _told(doorman, doorman.session, cookie, request)
    if request.method not in _ASKING:
        require_same_origin(request, browser=True)
        session.require_token(request.headers.get("x-csrf-token", ""))
    return session.principal


async def _told(doorman: Doorman, tell: Callable[..., _Told], secret: str, request: Request) -> _Told:
    """What `tell` says of the secret; in a thread where it has to look, and at once where it remembers."""
    if doorman.remembers(secret):
        return tell(secret, address_of(request))
    doorman.put_off(secret)
    # In threads of its own, so that whoever keeps all others busy keeps nobody out.
    look = partial(tell, secret, address_of(request), anew=True)
    return await to_thread.run_sync(look, limiter=doorman.looks)


def needs(scope: Scope) -> Callable[..., Awaitable[Principal]]:
    """The dependency of a path: the principal who asks, who has the scope."""

    async def principal(request: Request, found: Annotated[Principal, Depends(principal_of)]) -> Principal:
        request.state.principal = found
        found.require(scope)
        return found

    return principal


Known = Annotated[Principal, Depends(principal_of)]
Publishing = Annotated[Principal, Depends(needs("publish"))]
Reading = Annotated[Principal, Depends(needs("read"))]
Querying = Annotated[Principal, Depends(needs("query"))]
Approving = Annotated[Principal, Depends(needs("approve"))]
Administering = Annotated[Principal, Depends(needs("administer"))]
Tenant = Annotated[Principal, Depends(needs("own"))]
