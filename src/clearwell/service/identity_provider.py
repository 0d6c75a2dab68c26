"""Signing in by OpenID Connect: sends a browser to the identity provider, and checks what it comes back with.

The code flow with state, nonce and PKCE. What must be remembered between the two requests is in a cookie that only
this process can write. No claim is believed before the token's signature, issuer, audience, times and nonce hold.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx

from clearwell.application.access import Role
from clearwell.errors import AccessError, DataError, StorageError, UsageError
from clearwell.settings import OidcSettings

if TYPE_CHECKING:
    from clearwell.service.running import Service

_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures by a private key only: with a shared secret, or none, anybody could make a token."""

STARTED_SECONDS = 600
_SECONDS = 10.0
_KEPT_SECONDS = 3_600.0
_AGAIN_SECONDS = 10.0
_LEEWAY_SECONDS = 60


@dataclass(frozen=True)
class Started:
    """Where a browser is to go, and what its cookie is to hold meanwhile."""

    url: str
    cookie: str


@dataclass(frozen=True)
class Identity:
    """Whom the provider vouches for: the name here, and the role for somebody who is not known yet, if they get one."""

    name: str
    role_of_new: Role | None


def provider_of(service: Service) -> IdentityProvider | None:
    """The provider that the project's settings name, if they do. Raises UsageError when the extra is not installed."""
    settings = service.workspace.settings.oidc
    if settings is None:
        return None
    try:
        import authlib  # noqa: F401
        import itsdangerous  # noqa: F401
        import joserfc  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "extra_missing", "signing in by an identity provider needs: pip install 'clearwell[oidc]'"
        ) from error
    return IdentityProvider(settings, service.options.oidc_secret)


@dataclass(frozen=True)
class Begun:
    """What only the browser that began, and the provider's answer to it, can have."""

    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


class IdentityProvider:
    """One provider, as its discovery document describes it; that and its keys are kept for an hour."""

    def __init__(self, settings: OidcSettings, secret: str) -> None:
        """Nothing is asked before the first person signs in."""
        from itsdangerous import URLSafeTimedSerializer

        self._settings, self._secret = settings, secret
        self._cookies = URLSafeTimedSerializer(secrets.token_bytes(32), salt="clearwell-oidc")
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, dict[str, Any]]] = {}

    def start(self, redirect_url: str) -> Started:
        """Send a browser to the provider. Raises StorageError when the provider cannot be asked what it is like."""
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        asked = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._settings.redirect_url or redirect_url,
            "scope": "openid email profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
        }
        endpoint = self._discovered()["authorization_endpoint"]
        cookie = self._cookies.dumps([state, nonce, verifier])
        return Started(f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}", str(cookie))

    def begun(self, cookie: str, state: str) -> Begun:
        """What the browser that comes back with this cookie and state began with.

        Raises AccessError (`identity_wrong`) when it did not begin here, or not just now.
        """
        from itsdangerous import BadData

        try:
            own, nonce, verifier = self._cookies.loads(cookie, max_age=STARTED_SECONDS)
        except (BadData, ValueError) as error:
            raise _wrong("a browser that began to sign in here, within ten minutes") from error
        if not hmac.compare_digest(own.encode(), state.encode("utf-8", "replace")):
            raise _wrong("the state that this browser was sent with")
        return Begun(nonce, verifier)

    def finish(self, begun: Begun, answered: Mapping[str, str], redirect_url: str) -> Identity:
        """Whom a browser that comes back is: `answered` is the query of its request.

        Raises AccessError (`identity_wrong`) for anything that is not as it must be, StorageError when the provider
        cannot be asked.
        """
        if "error" in answered or not answered.get("code"):
            raise _wrong("a code from the identity provider; it refused")
        issuer = answered.get("iss", self._settings.issuer)
        if issuer != self._settings.issuer:
            raise _wrong("an answer of the identity provider that was asked")
        token = self._token(answered["code"], begun.verifier, redirect_url)
        return self._identity(self._claims(token, begun.nonce))

    def _token(self, code: str, verifier: str, redirect_url: str) -> dict[str, Any]:
        found = self._discovered()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._settings.redirect_url or redirect_url,
            "code_verifier": verifier,
        }
        methods = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        basic: tuple[str, str] | None = None
        if self._secret and "client_secret_basic" in methods:
            basic = (self._settings.client_id, self._secret)
        else:
            form["client_id"] = self._settings.client_id
            if self._secret:
                form["client_secret"] = self._secret
        try:
            response = httpx.post(found["token_endpoint"], data=form, auth=basic, timeout=_SECONDS)
        except httpx.HTTPError as error:
            raise _unreachable(error) from None  # The request has the secret.
        if response.is_server_error:
            raise _unreachable(response.status_code)
        content = _object(response)
        if response.status_code != 200 or not isinstance(content.get("id_token"), str):
            raise _wrong("a code that the identity provider knows")
        return content

    def _claims(self, token: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """The claims of an id token, once everything about it holds."""
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        settings = self._settings
        for anew in (False, True):
            try:
                keys = KeySet.import_key_set(self._keys(anew=anew))  # type: ignore[arg-type]
                decoded = jwt.decode(token["id_token"], keys, algorithms=_ALGORITHMS)
                break
            except (JoseError, ValueError, TypeError, KeyError) as error:
                if anew:  # It may be signed by a key that is newer than what was kept.
                    raise _wrong("an id token that the identity provider has signed") from error
        options = {
            "iss": {"essential": True, "value": settings.issuer},
            "aud": {"essential": True, "value": settings.client_id},
            "nonce": {"essential": True, "value": nonce},
        }
        known = {"nonce": nonce, "client_id": settings.client_id, "access_token": token.get("access_token")}
        try:
            claims = CodeIDToken(decoded.claims, decoded.header, options, known)
            claims.validate(leeway=_LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError) as error:
            raise _wrong("an id token for this service, of this sign-in, and of now") from error
        return dict(decoded.claims)

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        settings = self._settings
        name = claims.get(settings.name_claim)
        if not isinstance(name, str) or not name:
            raise _wrong(f"a claim {settings.name_claim}")
        if settings.name_claim == "email" and claims.get("email_verified") is not True:
            raise _wrong("an email that the identity provider has verified")
        given = claims.get(settings.role_claim) if settings.role_claim else None
        values = given if isinstance(given, list) else [given]
        # In the order of the settings: who is in several groups gets what is named first.
        role = next((role for value, role in settings.roles.items() if value in values), None)
        return Identity(name, role)

    def _discovered(self) -> dict[str, Any]:
        issuer = self._settings.issuer
        found = self._fetched(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != issuer:
            raise DataError("identity_provider_wrong", f"expected the issuer {issuer}, found {found.get('issuer')!r}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            address = found.get(name)
            if not isinstance(address, str) or not address.startswith(("https://", f"{issuer.rstrip('/')}/")):
                raise DataError("identity_provider_wrong", f"expected an https address as {name}, found {address!r}")
        return found

    def _keys(self, *, anew: bool) -> dict[str, Any]:
        return self._fetched(self._discovered()["jwks_uri"], at_most_old=_AGAIN_SECONDS if anew else _KEPT_SECONDS)

    def _fetched(self, url: str, at_most_old: float = _KEPT_SECONDS) -> dict[str, Any]:
        """A JSON object of the provider's, as it was not so long ago."""
        now = time.monotonic()
        with self._lock:
            kept = self._kept.get(url)
        if kept is not None and now - kept[0] < at_most_old:
            return kept[1]
        try:
            response = httpx.get(url, timeout=_SECONDS).raise_for_status()
        except httpx.HTTPError as error:
            raise _unreachable(error) from None
        content = _object(response)
        with self._lock:
            self._kept[url] = (now, content)
        return content


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        content = response.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise DataError("identity_provider_wrong", "expected a JSON object from the identity provider")
    return content


def _wrong(expected: str) -> AccessError:
    return AccessError("identity_wrong", f"expected {expected}: sign in again")


def _unreachable(found: object) -> StorageError:
    what = type(found).__name__ if isinstance(found, Exception) else f"status {found}"
    return StorageError("identity_provider_unreachable", f"the identity provider does not answer as it should ({what})")
