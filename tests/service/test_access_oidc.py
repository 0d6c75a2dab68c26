"""Signing in by an identity provider: a small one on loopback, honest at first, and then in every way dishonest."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from clearwell.application import auditing, people
from clearwell.application.access import make_key
from clearwell.catalog.audit import AuditFilter
from clearwell.service import identity_provider
from clearwell.service.api.app import create_app
from clearwell.service.running import ServiceOptions, running
from clearwell.values.actors import Actor

if TYPE_CHECKING:
    from served import Asked
    from starlette.testclient import TestClient

    from conftest import NewLedger

CLIENT, SECRET = "clearwell-test", "the-secret-of-the-client"
KEY = RSAKey.generate_key(2048, {"kid": "one"})
OTHER = RSAKey.generate_key(2048, {"kid": "one"})


@dataclass
class Provider:
    """What the provider says next: `claims` beside the right ones (None leaves one out), signed with `key`."""

    issuer: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    key: Any = field(default_factory=lambda: KEY)
    header: dict[str, Any] = field(default_factory=lambda: {"alg": "RS256", "kid": "one"})
    published: list[Any] = field(default_factory=lambda: [KEY])
    discovery: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    asked: dict[str, str] = field(default_factory=dict)
    exchanged: dict[str, str] = field(default_factory=dict)
    authorization: str = ""

    def described(self) -> dict[str, Any]:
        places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return {"issuer": self.issuer, **{name: f"{self.issuer}/{at}" for name, at in places.items()}} | self.discovery

    def token(self) -> dict[str, Any]:
        now = int(time.time())
        right = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "subject-1",
            "iat": now,
            "exp": now + 300,
            "nonce": self.asked["nonce"],
            "email": "alice@example.com",
            "email_verified": True,
        }
        claims = {name: value for name, value in (right | self.claims).items() if value is not None}
        return {"access_token": "at", "token_type": "Bearer", "id_token": self.signed(claims)}

    def signed(self, claims: dict[str, Any]) -> str:
        if isinstance(self.key, bytes):  # A library refuses to sign so.
            signed = b".".join(_encoded(json.dumps(part).encode()) for part in (self.header, claims))
            signature = hmac.digest(self.key, signed, "sha256") if self.header["alg"] == "HS256" else b""
            return (signed + b"." + _encoded(signature)).decode()
        return jwt.encode(self.header, claims, self.key, algorithms=[self.header["alg"]])


def _encoded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


@pytest.fixture
def provider() -> Iterator[Provider]:
    """An identity provider that listens."""
    state = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys = {"keys": [key.as_dict(private=False) for key in state.published]}
            self._answer(keys if self.path == "/keys" else state.described())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            state.exchanged = {name: values[0] for name, values in parse_qs(body).items()}
            state.authorization = self.headers.get("Authorization", "")
            self._answer(state.token() if state.status == 200 else {"error": "invalid_grant"}, state.status)

        def _answer(self, content: dict[str, Any], status: int = 200) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.issuer = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def asked(new_ledger: NewLedger, provider: Provider) -> Iterator[Asked]:
    """A service whose people sign in at the provider; whoever is in the group `money` is added as an analyst."""
    from served import Asked

    oidc = {"issuer": provider.issuer, "client_id": CLIENT, "role_claim": "groups", "roles": {"money": "analyst"}}
    ledger = new_ledger(oidc=oidc)
    with ledger.open() as workspace, running(workspace, ServiceOptions(oidc_secret=SECRET)) as service:
        made = make_key(workspace, "administrator", "administrator", made_by="first start")
        people.add_person(workspace, "alice@example.com", "approver")
        yield Asked(service, create_app(service), made, ledger.clock)


def begin(asked: Asked, provider: Provider) -> TestClient:
    """A browser that was sent to the provider, which has seen what it was sent with."""
    client = asked.client()
    client.follow_redirects = False
    response = client.get("/v1/session/oidc")
    assert response.status_code == 302, response.text
    provider.asked = {
        name: values[0] for name, values in parse_qs(urlsplit(response.headers["Location"]).query).items()
    }
    return client


def finish(client: TestClient, provider: Provider, **query: str) -> Any:
    return client.get("/v1/session/oidc/callback", params={"code": "c1", "state": provider.asked["state"], **query})


def test_a_person_signs_in(asked: Asked, provider: Provider) -> None:
    """With state, nonce and PKCE there, and the client's secret and the verifier for the code, a session begins."""
    client = begin(asked, provider)
    assert provider.asked["code_challenge_method"] == "S256"
    assert provider.asked["redirect_uri"] == "http://localhost:8080/v1/session/oidc/callback"
    done = finish(client, provider)
    assert done.status_code == 200
    assert "SameSite=strict" in done.headers["Set-Cookie"]
    challenge = base64.urlsafe_b64encode(hashlib.sha256(provider.exchanged["code_verifier"].encode()).digest())
    assert provider.asked["code_challenge"] == challenge.rstrip(b"=").decode()
    assert provider.authorization == "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
    who = client.get("/v1/session").json()
    assert (who["name"], who["role"]) == ("alice@example.com", "approver")
    assert finish(client, provider).json()["error"]["code"] == "identity_wrong"  # Its cookie is gone.


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": ["another-client"]},
        {"aud": [CLIENT, "another-client"], "azp": "another-client"},
        {"aud": None},
        {"iss": "http://127.0.0.1:1"},
        {"iss": None},
        {"exp": timedelta(hours=-1)},
        {"exp": None},
        {"exp": "later"},
        {"iat": timedelta(days=1)},
        {"nbf": timedelta(days=1)},
        {"sub": None},
        {"email_verified": False},
        {"email_verified": None},
        {"email_verified": "true"},
        {"email": None},
        {"email": ["alice@example.com"]},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    ],
    ids=str,
)
def test_a_token_that_is_not_as_it_must_be_signs_nobody_in(
    asked: Asked, provider: Provider, claims: dict[str, Any]
) -> None:
    """Another nonce, audience, issuer or time, or an email that nobody has verified."""
    client = begin(asked, provider)
    now = datetime.now(UTC)
    provider.claims = {
        name: int((now + value).timestamp()) if isinstance(value, timedelta) else value
        for name, value in claims.items()
    }
    done = finish(client, provider)
    assert (done.status_code, done.json()["error"]["code"]) == (401, "identity_wrong"), done.text
    assert client.get("/v1/session").status_code == 401


@pytest.mark.parametrize(
    ("key", "header"),
    [
        (OTHER, {"alg": "RS256", "kid": "one"}),
        (b"", {"alg": "none"}),
        (KEY.as_pem(private=False), {"alg": "HS256", "kid": "one"}),
        (SECRET.encode(), {"alg": "HS256"}),
    ],
    ids=["another key", "none", "the public key as a secret", "the client's secret"],
)
def test_a_token_that_the_provider_has_not_signed_signs_nobody_in(
    asked: Asked, provider: Provider, key: Any, header: dict[str, Any]
) -> None:
    """Signatures count by the provider's published keys only, never by none or by a shared secret."""
    client = begin(asked, provider)
    provider.key, provider.header = key, header
    assert finish(client, provider).json()["error"]["code"] == "identity_wrong"


def test_a_new_key_of_the_provider_is_fetched(
    asked: Asked, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the provider signs by a key that was not known, its keys are asked for again."""
    monkeypatch.setattr(identity_provider, "_AGAIN_SECONDS", 0.0)
    assert finish(begin(asked, provider), provider).status_code == 200
    key = RSAKey.generate_key(2048, {"kid": "two"})
    provider.key, provider.header, provider.published = key, {"alg": "RS256", "kid": "two"}, [key]
    assert finish(begin(asked, provider), provider).status_code == 200


def test_what_a_browser_comes_back_with_must_be_what_it_left_with(asked: Asked, provider: Provider) -> None:
    """Another state, none, another browser's, no code, a refusal: nobody is signed in, and no code is tried."""
    for query in ({"state": "another"}, {"state": ""}, {"code": ""}, {"error": "access_denied"}, {"iss": "http://x"}):
        assert finish(begin(asked, provider), provider, **query).json()["error"]["code"] == "identity_wrong"
    begin(asked, provider)
    assert finish(asked.client(), provider).json()["error"]["code"] == "identity_wrong"
    forged = {"Cookie": "clearwell-oidc=WyJhIiwiYiIsImMiXQ.aaaa.bbbb"}
    response = asked.client().get("/v1/session/oidc/callback", params={"code": "c", "state": "a"}, headers=forged)
    assert response.status_code == 401
    assert provider.exchanged == {}


def test_a_code_that_the_provider_refuses_signs_nobody_in(asked: Asked, provider: Provider) -> None:
    """As one that was used before; a provider that fails is said to."""
    client = begin(asked, provider)
    provider.status = 400
    assert finish(client, provider).status_code == 401
    provider.status = 500
    failed = finish(begin(asked, provider), provider)
    assert (failed.status_code, failed.json()["error"]["code"]) == (503, "identity_provider_unreachable")
    assert SECRET not in failed.text


def test_who_is_not_known_is_added_only_by_the_mapping(asked: Asked, provider: Provider) -> None:
    """In a group that the settings give a role, they are added with it; otherwise they stay out."""
    provider.claims = {"email": "bob@example.com"}
    assert finish(begin(asked, provider), provider).json()["error"]["code"] == "sign_in_wrong"
    provider.claims = {"email": "bob@example.com", "groups": ["others"]}
    assert finish(begin(asked, provider), provider).status_code == 401
    provider.claims = {"email": "bob@example.com", "groups": ["others", "money"]}
    client = begin(asked, provider)
    assert finish(client, provider).status_code == 200
    assert client.get("/v1/session").json()["role"] == "analyst"
    people.disable(asked.service.workspace, "bob@example.com")
    assert finish(begin(asked, provider), provider).status_code == 401
    workspace = asked.service.workspace.by(Actor("test", "test"))
    told = auditing.entries(workspace, AuditFilter(), limit=100)
    assert "person.add" not in {item.act for item in told if item.who != "identity provider"}


@pytest.mark.parametrize(
    "name",
    ["\u212aate@example.com", "\uff4bate@example.com", "k\u0430te@example.com"],
    ids=["kelvin", "wide", "cyrillic"],
)
def test_a_name_that_only_looks_like_another_s_is_none(asked: Asked, provider: Provider, name: str) -> None:
    """Letters that look like a person's, or become them when written small, sign nobody in, and add nobody."""
    workspace = asked.service.workspace
    people.add_person(workspace, "kate@example.com", "administrator")
    provider.claims = {"email": name, "groups": ["money"]}
    client = begin(asked, provider)
    refused = finish(client, provider)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "identity_wrong"), refused.text
    assert client.get("/v1/session").status_code == 401
    assert {item.name for item in people.people(workspace)} == {"alice@example.com", "kate@example.com"}


def test_a_name_is_the_same_in_large_letters(asked: Asked, provider: Provider) -> None:
    """They are the person who is known, with their role, and no second one."""
    provider.claims = {"email": "ALICE@Example.com", "groups": ["money"]}
    client = begin(asked, provider)
    assert finish(client, provider).status_code == 200
    who = client.get("/v1/session").json()
    assert (who["name"], who["role"]) == ("alice@example.com", "approver")


def test_a_known_person_keeps_their_role(asked: Asked, provider: Provider) -> None:
    """The mapping is for who is added; an administrator's decision is not undone by it."""
    provider.claims = {"groups": ["money"]}
    client = begin(asked, provider)
    finish(client, provider)
    assert client.get("/v1/session").json()["role"] == "approver"


def test_a_provider_that_describes_another_is_not_used(asked: Asked, provider: Provider) -> None:
    """Another issuer, or places that are not secure, are an error of ours to see to, and nobody is sent there."""
    for discovery in ({"issuer": "https://evil.example"}, {"token_endpoint": "http://evil.example/token"}):
        provider.discovery = discovery
        asked.app.state.provider._kept.clear()
        response = asked.client().get("/v1/session/oidc", follow_redirects=False)
        assert response.json()["error"]["code"] == "identity_provider_wrong"


def test_without_a_provider_there_is_none(service: Asked) -> None:
    """A project that names none has no such path to sign in by."""
    response = service.client().get("/v1/session/oidc")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "oidc_not_configured")


@pytest.mark.parametrize(
    "settings",
    [
        {"issuer": "http://books.example.com", "client_id": "c"},
        {"issuer": "https://books.example.com", "client_id": ""},
        {"issuer": "https://books.example.com", "client_id": "c", "client_secret": "s"},
        {"issuer": "https://books.example.com", "client_id": "c", "roles": {"money": "analyst"}},
        {"issuer": "https://books.example.com", "client_id": "c", "role_claim": "g", "roles": {"m": "tenant"}},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(new_ledger: NewLedger, settings: dict[str, Any]) -> None:
    """No provider without TLS but on loopback, no secret in the file, no half a mapping."""
    from clearwell.errors import DataError

    with pytest.raises(DataError) as caught, new_ledger(oidc=settings).open():
        pass
    assert caught.value.code == "settings_invalid"
