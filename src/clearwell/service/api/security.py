"""Who asks: the key of a request, and whether its role has the scope that a path needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from clearwell.application.access import Principal, Scope, hashed, principal_of_key
from clearwell.application.workspace import Workspace
from clearwell.errors import AccessError

_REMEMBERED_SECONDS = 2.0
_MOST_REMEMBERED = 10_000

_bearer = HTTPBearer(auto_error=False, description="A key: `Authorization: Bearer cw_…`")


class Doorman:
    """Tells whose key it is, and remembers that for a moment; a revoked key works no longer than that."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: dict[str, tuple[float, Principal]] = {}

    def principal(self, secret: str) -> Principal:
        """Whose key this is. Raises AccessError when it is nobody's."""
        name, now = hashed(secret), time.monotonic()
        known = self._known.get(name)
        if known is not None and known[0] > now:
            return known[1]
        found = principal_of_key(self._workspace, secret)
        if found is None:
            self._known.pop(name, None)
            raise AccessError("credentials_wrong", "expected a key that was made here and not revoked")
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known[name] = (now + _REMEMBERED_SECONDS, found)
        return found


def needs(scope: Scope) -> Callable[..., Principal]:
    """The dependency of a path: the principal who asks, who has the scope."""

    def principal(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Principal:
        if credentials is None:
            raise AccessError("credentials_missing", "expected a key: `Authorization: Bearer cw_…`")
        found: Principal = request.app.state.doorman.principal(credentials.credentials)
        request.state.principal = found
        found.require(scope)
        return found

    return principal


Publishing = Annotated[Principal, Depends(needs("publish"))]
Reading = Annotated[Principal, Depends(needs("read"))]
Querying = Annotated[Principal, Depends(needs("query"))]
Approving = Annotated[Principal, Depends(needs("approve"))]
Administering = Annotated[Principal, Depends(needs("administer"))]
Tenant = Annotated[Principal, Depends(needs("own"))]
