"""Keys over HTTP: made, listed, revoked, and what each role may do with one."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from clearwell.application import access
from clearwell.errors import AccessError
from clearwell.service.api import security
from clearwell.service.api.security import (
    Administering,
    Approving,
    Doorman,
    Publishing,
    Querying,
    Reading,
    Tenant,
    principal_of,
)

if TYPE_CHECKING:
    from served import Asked

ALLOWED = {
    "producer": {"publish"},
    "reader": {"read"},
    "analyst": {"read", "query"},
    "approver": {"read", "query", "approve"},
    "administrator": {"publish", "read", "query", "approve", "administer"},
    "tenant": {"own"},
}
"""Written by hand, so that a role that may do more is a change here too."""

PATHS = {
    "publish": ("POST", "/test/publish"),
    "read": ("GET", "/test/read"),
    "query": ("POST", "/test/query"),
    "approve": ("POST", "/test/approve"),
    "administer": ("POST", "/test/administer"),
    "own": ("GET", "/test/own"),
}
OPEN = {
    ("POST", "/v1/session"),
    ("GET", "/v1/session"),
    ("DELETE", "/v1/session"),
    ("PUT", "/v1/session/password"),
    ("GET", "/v1/session/oidc"),
    ("GET", "/v1/session/oidc/callback"),
}
"""What needs no scope: whoever asks does it for themselves."""

ADMINISTERING = [
    ("GET", "/v1/keys", None),
    ("POST", "/v1/keys", {"name": "k", "role": "reader"}),
    ("DELETE", "/v1/keys/administrator", None),
    ("GET", "/v1/people", None),
    ("POST", "/v1/people", {"name": "p", "role": "reader"}),
    ("PATCH", "/v1/people/p", {"role": "administrator"}),
    ("GET", "/v1/audit", None),
]


def _paths() -> APIRouter:
    """A path for each scope, as the service declares them."""
    router = APIRouter()

    @router.post("/test/publish")
    def publish(_principal: Publishing) -> None: ...

    @router.get("/test/read")
    def read(_principal: Reading) -> None: ...

    @router.post("/test/query")
    def query(_principal: Querying) -> None: ...

    @router.post("/test/approve")
    def approve(_principal: Approving) -> None: ...

    @router.post("/test/administer")
    def administer(_principal: Administering) -> None: ...

    @router.get("/test/own")
    def own(_principal: Tenant) -> None: ...

    return router


@pytest.mark.parametrize("role", ALLOWED)
def test_each_role_may_do_what_the_table_says(service: Asked, role: Any) -> None:
    """Of a path for each scope, a role is answered on those of its scopes, and refused on all others."""
    service.app.include_router(_paths())
    client = service.client(service.key(role))
    found = {scope: client.request(*path).status_code for scope, path in PATHS.items()}
    assert found == {scope: 200 if scope in ALLOWED[role] else 403 for scope in PATHS}


@pytest.mark.parametrize("role", [role for role in ALLOWED if role != "administrator"])
def test_only_an_administrator_manages(service: Asked, role: Any) -> None:
    """Keys, people and the audit are closed to every other role, and nothing is changed by trying."""
    client = service.client(service.key(role))
    for method, path, body in ADMINISTERING:
        response = client.request(method, path, json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "scope_missing"), path
    assert [item["revoked_at"] for item in service.admin.get("/v1/keys").json()["keys"]] == ["", ""]
    assert service.admin.get("/v1/people").json() == {"people": []}


def test_without_a_key_nothing_is_told(service: Asked) -> None:
    """Whoever shows nothing, or something that is nobody's, is not let in, whatever the path."""
    for secret in ("", "cw_" + "A" * 43, "x", service.administrator.secret[:-1], service.administrator.secret + "A"):
        for method, path, body in ADMINISTERING[:1] + ADMINISTERING[3:5]:
            assert service.client(secret, address=secret or "none").request(method, path, json=body).status_code == 401


def test_every_path_needs_a_scope_or_is_known_to_need_none(service: Asked) -> None:
    """No path of the API is open by having been forgotten."""
    for route in service.app.routes:
        if not isinstance(route, APIRoute) or not route.path.startswith("/v1/"):
            continue
        for method in route.methods:
            if (method, route.path) in OPEN:
                continue
            calls = [item.call for item in _dependencies(route.dependant)]
            assert principal_of in calls, f"{method} {route.path}"
            assert any(getattr(call, "__qualname__", "").startswith("needs.") for call in calls), route.path


def _dependencies(dependant: Any) -> list[Any]:
    return [item for own in dependant.dependencies for item in (own, *_dependencies(own))]


def test_a_producer_publishes_its_event_types_only(service: Asked, creation: Any, release: Any) -> None:
    """A key with event types publishes these; with another among them nothing of the request is taken."""
    client = service.client(service.key("producer", event_types=frozenset({"charge.creation"})))
    types = {"Content-Type": "application/x-ndjson"}
    good, other = json.dumps(creation()), json.dumps(release())
    assert client.post("/v1/events", content=good, headers=types).json()["accepted"] == 1
    refused = client.post("/v1/events", content=f"{good}\n{other}", headers=types)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "event_type_not_allowed")


def test_a_key_is_made_listed_and_revoked(service: Asked) -> None:
    """Its secret is in the answer that makes it, works until it is revoked, and is nowhere else."""
    wanted = {"name": "books", "role": "tenant", "properties": {"business": "acct_A"}}
    made = service.admin.post("/v1/keys", json=wanted)
    secret = made.json()["secret"]
    assert made.status_code == 201
    assert service.client(secret).get("/v1/session").json()["role"] == "tenant"
    listed = service.admin.get("/v1/keys")
    assert secret not in listed.text
    assert "hash" not in listed.text
    assert listed.json()["keys"][1] == {
        **wanted,
        "event_types": None,
        "created_at": "2026-03-01T12:00:00.000000Z",
        "created_by": "key administrator",
        "revoked_at": "",
    }
    assert service.admin.delete("/v1/keys/books").json() == {"revoked": True}
    assert service.client(secret).get("/v1/session").status_code == 401
    assert service.admin.delete("/v1/keys/books").json() == {"revoked": False}
    assert service.admin.delete("/v1/keys/none").status_code == 404
    assert service.admin.post("/v1/keys", json=wanted).status_code == 409


def test_a_key_that_the_command_line_revokes_works_two_seconds_at_most(
    service: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process does is seen when the moment is over for which a key is remembered."""
    now = 0.0
    monkeypatch.setattr(security.time, "monotonic", lambda: now)
    secret = service.key("reader")
    assert service.client(secret).get("/v1/session").status_code == 200
    access.revoke_key(service.service.workspace, "some reader")
    now = 2.1
    assert service.client(secret).get("/v1/session").status_code == 401


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"name": "", "role": "reader"}, "name_invalid"),
        ({"name": "a\nb", "role": "reader"}, "name_invalid"),
        ({"name": "cw_abc", "role": "reader"}, "name_invalid"),
        ({"name": "t", "role": "tenant"}, "key_properties_wrong"),
        ({"name": "r", "role": "reader", "properties": {"business": "a"}}, "key_properties_wrong"),
        ({"name": "r", "role": "reader", "event_types": ["a.b"]}, "key_event_types_wrong"),
        ({"name": "p", "role": "producer", "event_types": []}, "key_event_types_wrong"),
        ({"name": "x", "role": "root"}, "request_invalid"),
        ({"name": "x", "role": "reader", "more": 1}, "request_invalid"),
    ],
)
def test_a_key_that_cannot_be_is_refused(service: Asked, wanted: dict[str, Any], code: str) -> None:
    """A key is made as it was meant, or not at all."""
    assert service.admin.post("/v1/keys", json=wanted).json()["error"]["code"] == code
    assert len(service.admin.get("/v1/keys").json()["keys"]) == 1


def test_wrong_keys_are_limited_and_right_ones_are_not(service: Asked) -> None:
    """After many wrong keys an address is told to wait; who has a right one is answered from there all the same."""
    statuses = [service.client(f"cw_guess{place}").get("/v1/keys").status_code for place in range(40)]
    assert statuses == [401] * 30 + [429] * 10
    waiting = service.client("cw_other").get("/v1/keys")
    assert 1 <= int(waiting.headers["Retry-After"]) <= 6
    assert service.admin.get("/v1/keys").status_code == 200
    assert service.client("cw_other", address="10.0.0.2").get("/v1/keys").status_code == 401


def test_a_secret_of_strange_characters_is_nobodys(service: Asked) -> None:
    """Bytes that are no text are refused as any other key."""
    for text in (b"Bearer \xff\xfe", b"Bearer " + b"a" * 9_000, b"Basic YTpi", b"Bearer"):
        response = service.client().get("/v1/keys", headers={b"Authorization": text})
        assert response.status_code == 401


def test_what_is_remembered_does_not_come_back(service: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was revoked elsewhere works for two seconds at most, however many ask at once, and never again."""
    secret = service.key("reader", "remembered")
    doorman: Doorman = service.app.state.doorman
    moment = [1_000.0]
    monkeypatch.setattr(security, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    assert doorman.principal(secret).name == "remembered"
    access.revoke_key(service.service.workspace, "remembered")
    for seconds in (0.9, 0.5, 0.5):  # While others look, it still counts.
        moment[0] += seconds
        doorman.put_off(secret)
        assert doorman.principal(secret).name == "remembered"
    moment[0] += 0.2
    doorman.put_off(secret)
    with pytest.raises(AccessError):
        doorman.principal(secret)
    moment[0] += 3_600
    doorman.put_off(secret)
    with pytest.raises(AccessError):
        doorman.principal(secret)
