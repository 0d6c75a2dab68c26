"""Browser sessions: signing in by a password, what a cookie may do, when it ends, and what other sites cannot do."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import PasswordHasher

from clearwell.application import passwords, people, signing_in
from clearwell.application.access import Role
from clearwell.catalog import people as kept

if TYPE_CHECKING:
    from served import Asked
    from starlette.testclient import TestClient

PASSWORD = "correct horse battery"
ORIGIN = {"Origin": "http://localhost:8080"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash with little work: how much it takes is not what is tested here."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    passwords._nobodys.cache_clear()


@pytest.fixture
def alice(service: Asked) -> Asked:
    """The service, with a person."""
    people.add_person(service.service.workspace, "Alice@example.com", "administrator", PASSWORD)
    return service


def sign_in(asked: Asked, name: str = "alice@example.com", password: str = PASSWORD, **options: Any) -> TestClient:
    """A browser that has signed in, and sends the token along."""
    client = asked.client(**options)
    response = client.post("/v1/session", json={"name": name, "password": password})
    assert response.status_code == 200, response.text
    client.headers.update({"X-CSRF-Token": response.json()["csrf_token"], **ORIGIN})
    return client


def test_a_person_signs_in_asks_who_they_are_and_signs_out(alice: Asked) -> None:
    """The session is theirs until they end it; then its cookie is worth nothing."""
    client = alice.client()
    response = client.post("/v1/session", json={"name": "alice@example.com", "password": PASSWORD})
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("clearwell=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie  # http, on this machine
    who = client.get("/v1/session").json()
    assert (who["name"], who["kind"], who["role"]) == ("Alice@example.com", "user", "administrator")
    assert who == response.json()
    assert client.get("/v1/keys").status_code == 200
    secret = client.cookies["clearwell"]
    assert client.delete("/v1/session", headers={"X-CSRF-Token": who["csrf_token"], **ORIGIN}).status_code == 204
    assert "clearwell" not in client.cookies
    assert client.get("/v1/session", headers={"Cookie": f"clearwell={secret}"}).status_code == 401


@pytest.mark.parametrize("base", ["https://books.example.com", "http://books.example.com", "https://localhost"])
def test_elsewhere_the_cookie_is_for_tls_only(alice: Asked, base: str) -> None:
    """Unless the browser is on this machine, and speaks http, the cookie is Secure and bound to the host."""
    response = alice.client(base_url=base).post("/v1/session", json={"name": "alice@example.com", "password": PASSWORD})
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("__Host-clearwell=")
    assert "Secure" in cookie
    assert "Path=/;" in cookie
    assert "Domain" not in cookie


def test_secrets_are_hashed_in_the_catalog(alice: Asked) -> None:
    """Neither the password nor what the cookie holds is in the catalog's files."""
    client = sign_in(alice)
    files = b"".join(path.read_bytes() for path in alice.service.workspace.data_folder.glob("catalog.sqlite*"))
    for secret in (PASSWORD, client.cookies["clearwell"], alice.administrator.secret):
        assert secret.encode() not in files
    with alice.service.workspace.catalog.read() as connection:
        found = kept.person(connection, "alice@example.com")
    assert found is not None
    assert found["password_hash"].startswith("$argon2id$")


CHANGE = ("POST", "/v1/keys", {"name": "k", "role": "reader"})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({**ORIGIN}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({**ORIGIN, "Sec-Fetch-Site": "same-origin"}, 201),
        ({}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:9090"}, 403),
        ({"Origin": "https://localhost:8080"}, 403),
        ({"Origin": "http://localhost:8080.evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({**ORIGIN, "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({**ORIGIN, "X-CSRF-Token": ""}, 403),
        ({**ORIGIN, "X-CSRF-Token": "wrong"}, 403),
        ({**ORIGIN, "X-CSRF-Token": "é"}, 403),
    ],
)
def test_a_change_by_cookie_must_come_from_our_own_page(alice: Asked, headers: dict[str, str], status: int) -> None:
    """Without the session's token, or from another origin, a signed-in browser changes nothing."""
    client = sign_in(alice)
    token = client.headers.pop("X-CSRF-Token")
    del client.headers["Origin"]
    sent = {name: value.encode() for name, value in ({"X-CSRF-Token": token} | headers).items()}
    assert client.request(CHANGE[0], CHANGE[1], json=CHANGE[2], headers=sent).status_code == status
    assert len(alice.admin.get("/v1/keys").json()["keys"]) == (2 if status == 201 else 1)


def test_the_token_of_another_session_is_wrong(alice: Asked) -> None:
    """A token is of one session, even of the same person."""
    first, second = sign_in(alice), sign_in(alice)
    first.headers["X-CSRF-Token"] = second.headers["X-CSRF-Token"]
    response = first.request(CHANGE[0], CHANGE[1], json=CHANGE[2])
    assert response.json()["error"]["code"] == "csrf_token_wrong"


def test_a_key_needs_no_token_and_comes_before_a_cookie(alice: Asked) -> None:
    """A page cannot send another's key, so that a key may change things from anywhere, with its own role."""
    client = sign_in(alice)
    client.headers.pop("X-CSRF-Token")
    client.headers["Origin"] = "https://elsewhere.example"
    key = alice.key("reader")
    assert client.post("/v1/keys", json=CHANGE[2], headers={"Authorization": f"Bearer {key}"}).status_code == 403
    own = {"Authorization": f"Bearer {alice.administrator.secret}"}
    assert client.post("/v1/keys", json=CHANGE[2], headers=own).status_code == 201
    assert client.delete("/v1/session", headers=own).json()["error"]["code"] == "session_needed"


def test_another_site_cannot_sign_a_browser_in(alice: Asked) -> None:
    """Nobody is signed in unawares as somebody else, whose page then learns what they do."""
    given = {"name": "alice@example.com", "password": PASSWORD}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert alice.client().post("/v1/session", json=given, headers=headers).status_code == 403
    form = {"Content-Type": "text/plain", **ORIGIN}
    assert alice.client().post("/v1/session", content=str(given), headers=form).status_code == 422


def test_a_session_ends_when_it_is_not_used(alice: Asked) -> None:
    """After an hour without use; with use it goes on, for twelve hours at most."""
    client = sign_in(alice)
    for _ in range(3):
        alice.clock.advance(minutes=59)
        alice.app.state.doorman.forget()
        assert client.get("/v1/session").status_code == 200
    alice.clock.advance(minutes=61)
    alice.app.state.doorman.forget()
    assert client.get("/v1/session").status_code == 401


def test_a_session_ends_after_twelve_hours(alice: Asked) -> None:
    """However much it is used."""
    client, began = sign_in(alice), alice.clock.now
    while alice.clock.now < began + timedelta(hours=12):
        alice.app.state.doorman.forget()
        assert client.get("/v1/session").status_code == 200
        alice.clock.advance(minutes=30)
    alice.app.state.doorman.forget()
    assert client.get("/v1/session").status_code == 401


@pytest.mark.parametrize("change", [{"disabled": True}, {"password": "another good password"}])
def test_sessions_end_when_a_person_is_disabled_or_has_another_password(alice: Asked, change: dict[str, Any]) -> None:
    """Both take effect at once, on every session of theirs."""
    clients = [sign_in(alice), sign_in(alice)]
    assert alice.admin.patch("/v1/people/alice@example.com", json=change).status_code == 200
    assert [client.get("/v1/session").status_code for client in clients] == [401, 401]
    given = {"name": "alice@example.com", "password": PASSWORD}
    assert alice.client().post("/v1/session", json=given).status_code == 401


def test_another_role_counts_at_once(alice: Asked) -> None:
    """A person who may no longer administer does not until they sign in again."""
    client = sign_in(alice)
    assert client.get("/v1/keys").status_code == 200
    alice.admin.patch("/v1/people/alice@example.com", json={"role": "reader"})
    assert client.get("/v1/keys").status_code == 403


def test_a_person_changes_their_own_password(alice: Asked) -> None:
    """With the present one; then every session of theirs is over."""
    client = sign_in(alice)
    wrong = {"present": "not the password", "wanted": "another good password"}
    assert client.put("/v1/session/password", json=wrong).status_code == 401
    short = {"present": PASSWORD, "wanted": "short"}
    assert client.put("/v1/session/password", json=short).json()["error"]["code"] == "password_length_wrong"
    right = {"present": PASSWORD, "wanted": "another good password"}
    assert client.put("/v1/session/password", json=right).status_code == 204
    assert client.get("/v1/session").status_code == 401
    sign_in(alice, password="another good password")


def _failures(asked: Asked, name: str, count: int, address: str = "10.0.0.9") -> list[int]:
    given = {"name": name, "password": "a wrong password"}
    client = asked.client(address=address)
    return [client.post("/v1/session", json=given).status_code for _ in range(count)]


def test_what_is_wrong_is_not_told(alice: Asked) -> None:
    """A wrong password, an unknown name, somebody disabled or without a password: the answer is the same."""
    workspace = alice.service.workspace
    people.add_person(workspace, "bob", "reader")
    people.add_person(workspace, "carol", "reader", PASSWORD)
    people.disable(workspace, "carol")
    answers = set()
    for name, password in (("alice@example.com", "x"), ("nobody", "x"), ("bob", ""), ("carol", PASSWORD), ("", "")):
        response = alice.client().post("/v1/session", json={"name": name, "password": password})
        answers.add((response.status_code, response.text))
    assert len(answers) == 1
    assert answers.pop()[0] == 401


def test_an_unknown_name_takes_the_same_work(alice: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password is verified once, whether or not there is anybody to verify it of."""
    verified = []

    class Counting(PasswordHasher):
        def verify(self, known: str | bytes, password: str | bytes) -> bool:
            verified.append(known)
            return super().verify(known, password)

    monkeypatch.setattr(passwords, "_hasher", Counting(time_cost=1, memory_cost=64, parallelism=1))
    passwords._nobodys.cache_clear()
    people.add_person(alice.service.workspace, "bob", "reader")
    for name in ("alice@example.com", "nobody", "bob"):
        _failures(alice, name, 1)
    assert len(verified) == 3
    assert len({str(item).rsplit("$", 2)[0] for item in verified}) == 1


def test_a_hash_of_less_work_is_made_anew(alice: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the parameters have grown, signing in brings the hash up to them."""

    def stored() -> str:
        with alice.service.workspace.catalog.read() as connection:
            found = kept.person(connection, "alice@example.com")
        assert found is not None
        return str(found["password_hash"])

    before = stored()
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=2, memory_cost=64, parallelism=1))
    sign_in(alice)
    assert stored() != before
    assert "t=2" in stored()
    sign_in(alice)


def test_failures_for_a_name_are_limited_and_end(alice: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten the name must wait, wherever they come from, and half a minute later may be tried again."""
    now = 0.0
    monkeypatch.setattr(alice.app.state.doorman.attempts, "_clock", lambda: now)
    assert _failures(alice, "alice@example.com", 9) == [401] * 9
    assert _failures(alice, "ALICE@example.com", 2, "10.0.0.10") == [401, 429]
    given = {"name": "alice@example.com", "password": PASSWORD}
    waiting = alice.client().post("/v1/session", json=given)
    assert (waiting.status_code, waiting.headers["Retry-After"]) == (429, "30")
    now = 30.0
    sign_in(alice)


def test_failures_elsewhere_do_not_keep_a_person_out_where_they_were(
    alice: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever guesses at a name for ever does not lock its owner out at their own desk."""
    monkeypatch.setattr(alice.app.state.doorman.attempts, "_clock", lambda: 0.0)
    sign_in(alice, address="10.0.0.1")
    assert 429 in _failures(alice, "alice@example.com", 12)
    sign_in(alice, address="10.0.0.1")


def test_failures_of_an_address_are_limited(alice: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tries many names from one address must wait; others need not."""
    monkeypatch.setattr(alice.app.state.doorman.attempts, "_clock", lambda: 0.0)
    statuses = [_failures(alice, f"name{place}", 1)[0] for place in range(32)]
    assert statuses == [401] * 30 + [429] * 2
    sign_in(alice, address="10.0.0.1")


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({"name": "dan", "role": "reader", "password": "short"}, 400, "password_length_wrong"),
        ({"name": "dandandandan", "role": "reader", "password": "DanDanDanDan"}, 400, "password_is_name"),
        ({"name": "dan", "role": "tenant"}, 422, "request_invalid"),
        ({"name": "dan", "role": "producer"}, 422, "request_invalid"),
        ({"name": " dan", "role": "reader"}, 400, "name_invalid"),
        ({"name": "ALICE@EXAMPLE.COM", "role": "reader"}, 409, "person_name_taken"),
    ],
)
def test_a_person_who_cannot_be_is_refused(alice: Asked, wanted: dict[str, str], status: int, code: str) -> None:
    """A name is one person's, in large or small letters; passwords have twelve characters at least."""
    response = alice.admin.post("/v1/people", json=wanted)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert "short" not in response.text
    assert len(alice.admin.get("/v1/people").json()["people"]) == 1


@pytest.mark.parametrize(("role", "may"), [("reader", 0), ("analyst", 0), ("approver", 0), ("administrator", 1)])
def test_a_session_may_what_its_role_may(alice: Asked, role: Role, may: int) -> None:
    """The one table counts for people as it does for keys."""
    people.add_person(alice.service.workspace, "erin", role, PASSWORD)
    client = sign_in(alice, "erin")
    assert client.get("/v1/keys").status_code == (200 if may else 403)
    assert client.post("/v1/events", content=b"{}").status_code == (200 if may else 403)


def test_a_session_that_was_ended_while_a_password_was_checked_does_not_begin(
    alice: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is disabled meanwhile is not let in."""
    verify = passwords.verify

    def slow(password_hash: str, password: str) -> bool:
        people.disable(alice.service.workspace, "alice@example.com")
        return verify(password_hash, password)

    monkeypatch.setattr(signing_in.passwords, "verify", slow)
    response = alice.client().post("/v1/session", json={"name": "alice@example.com", "password": PASSWORD})
    assert response.status_code == 401
