"""The audit over HTTP, and secrets: in no log, no answer but the one that tells them, and no text of an object."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import SQLAlchemyError

from clearwell.application import access, auditing, passwords, people
from clearwell.application.signing_in import sign_in
from clearwell.catalog.tables import api_keys
from clearwell.errors import OverloadError

if TYPE_CHECKING:
    from served import Asked

PASSWORD = "correct horse battery"
ORIGIN = {"Origin": "http://localhost:8080"}


def test_every_change_says_who_what_when_and_from_where(service: Asked) -> None:
    """Keys, people and sessions, made by a key and by a person, each leave one entry, in order."""
    admin = service.admin
    admin.post("/v1/keys", json={"name": "books", "role": "tenant", "properties": {"business": "acct_A"}})
    admin.delete("/v1/keys/books")
    admin.delete("/v1/keys/books")
    admin.post("/v1/people", json={"name": "alice", "role": "administrator", "password": PASSWORD})
    browser = service.client(address="10.0.0.7")
    browser.post("/v1/session", json={"name": "alice", "password": "a wrong password"})
    browser.post("/v1/session", json={"name": PASSWORD, "password": "alice"})
    token = browser.post("/v1/session", json={"name": "alice", "password": PASSWORD}).json()["csrf_token"]
    browser.headers.update({"X-CSRF-Token": token, **ORIGIN})
    browser.patch("/v1/people/alice", json={"role": "administrator"})
    browser.post("/v1/people", json={"name": "bob", "role": "reader"})
    browser.patch("/v1/people/bob", json={"disabled": True, "role": "analyst"})
    browser.delete("/v1/session")
    found = admin.get("/v1/audit", params={"after": 0}).json()
    assert found["next"] is None
    shown = [(item["who"], item["act"], item["subject"], item["details"], item["origin"]) for item in found["entries"]]
    key, alice = "key administrator", "person alice"
    assert shown == [
        (key, "key.make", "books", {"role": "tenant", "properties": {"business": "acct_A"}}, "10.0.0.1"),
        (key, "key.revoke", "books", {}, "10.0.0.1"),
        (key, "person.add", "alice", {"role": "administrator", "has_password": True}, "10.0.0.1"),
        (alice, "session.fail", "", {"by": "password"}, "10.0.0.7"),
        ("unknown", "session.fail", "", {"by": "password"}, "10.0.0.7"),
        (alice, "session.start", "", {"by": "password"}, "10.0.0.7"),
        (alice, "person.add", "bob", {"role": "reader", "has_password": False}, "10.0.0.7"),
        (alice, "person.role", "bob", {"role": "analyst", "before": "reader"}, "10.0.0.7"),
        (alice, "person.disable", "bob", {"sessions_ended": 0}, "10.0.0.7"),
        (alice, "session.end", "", {}, "10.0.0.7"),
    ]
    assert {item["at"] for item in found["entries"]} == {"2026-03-01T12:00:00.000000Z"}


def test_a_change_that_is_not_made_leaves_no_entry(service: Asked) -> None:
    """The entry is in the transaction of the change: with that it comes, or not at all."""
    service.admin.post("/v1/keys", json={"name": "administrator", "role": "reader"})
    service.client(service.key("reader")).post("/v1/keys", json={"name": "k", "role": "reader"})
    service.admin.patch("/v1/people/nobody", json={"disabled": True})
    assert service.admin.get("/v1/audit").json()["entries"] == []


def test_entries_are_filtered_and_paged(service: Asked) -> None:
    """By whom, act, subject and time; the newest first, or on from a number, each entry once."""
    for place in range(5):
        service.admin.post("/v1/keys", json={"name": f"k{place}", "role": "reader"})
        service.clock.advance(days=1)
    service.admin.delete("/v1/keys/k3")

    def numbers(**wanted: Any) -> list[int]:
        return [item["number"] for item in service.admin.get("/v1/audit", params=wanted).json()["entries"]]

    assert numbers() == [6, 5, 4, 3, 2, 1]
    assert numbers(subject="k3") == [6, 4]
    assert numbers(act="key.make", limit=2) == [5, 4]
    assert numbers(act="key.make", limit=2, before=4) == [3, 2]
    assert numbers(act="key", who="key administrator", after=3) == [4, 5, 6]
    assert numbers(act="k") == numbers(act="key.%") == numbers(who="key") == []
    assert numbers(since="2026-03-02", until="2026-03-04") == [3, 2]
    page = service.admin.get("/v1/audit", params={"after": 0, "limit": 4}).json()
    assert (len(page["entries"]), page["next"]) == (4, 4)
    wrong = service.admin.get("/v1/audit", params={"since": "yesterday"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "instant_unreadable")
    for query in ({"limit": 0}, {"limit": 1_001}, {"after": -1}, {"after": 2**63}, {"more": 1}):
        assert service.admin.get("/v1/audit", params=query).status_code == 422


def test_nothing_changes_or_removes_an_entry() -> None:
    """No module of the product updates or deletes rows of the audit."""
    source = Path(auditing.__file__).parents[1]
    naming = {path.name for path in source.rglob("*.py") if "audit_entries" in path.read_text(encoding="utf-8")}
    assert naming == {"tables.py", "r0007_service.py", "audit.py"}
    text = (source / "catalog" / "audit.py").read_text(encoding="utf-8")
    assert "update(" not in text
    assert "delete(" not in text


def test_no_secret_is_in_a_log_or_an_answer_over_a_whole_run(
    service: Asked, creation: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Keys made, used, misused and revoked, people signed in and refused: what is secret is told once, or never."""
    caplog.set_level(logging.DEBUG)
    heard = []
    secrets = {service.administrator.secret, PASSWORD, "a wrong password", "another good password"}

    def ask(client: Any, method: str, path: str, **options: Any) -> Any:
        response = client.request(method, path, **options)
        heard.append(response.text + repr(response) + str(response.headers.get("location", "")))
        return response

    made = service.admin.post("/v1/keys", json={"name": "shop", "role": "producer"})
    secrets.add(made.json()["secret"])
    shop = service.client(made.json()["secret"])
    ask(shop, "POST", "/v1/events", content=json.dumps(creation()))
    ask(shop, "POST", "/v1/events", content="{")
    ask(shop, "GET", "/v1/keys")
    ask(service.admin, "GET", "/v1/keys")
    ask(service.admin, "POST", "/v1/people", json={"name": "alice", "role": "reader", "password": PASSWORD})
    ask(service.admin, "POST", "/v1/people", json={"name": "bob", "role": "none", "password": PASSWORD})
    ask(service.admin, "POST", "/v1/people", json={"name": "bob", "role": "reader", "pasword": PASSWORD})
    ask(service.admin, "POST", "/v1/people", json=[PASSWORD])
    ask(service.client(), "POST", "/v1/session", json={"name": "alice", "password": "a wrong password"})
    ask(service.client(), "POST", "/v1/session", json={"name": PASSWORD, "password": 5})
    ask(service.client(), "POST", "/v1/session", json={"name": PASSWORD, "password": "a wrong password"})
    browser = service.client()
    signed_in = browser.post("/v1/session", json={"name": "alice", "password": PASSWORD})
    secrets.add(browser.cookies["clearwell"])
    browser.headers.update({"X-CSRF-Token": signed_in.json()["csrf_token"], **ORIGIN})
    ask(browser, "PUT", "/v1/session/password", json={"present": PASSWORD, "wanted": "short"})
    ask(browser, "PUT", "/v1/session/password", json={"present": PASSWORD, "wanted": "another good password"})
    ask(service.admin, "DELETE", "/v1/keys/shop")
    ask(shop, "POST", "/v1/events", content="{}")
    ask(service.admin, "GET", "/v1/audit")
    heard += [record.getMessage() + repr(record.__dict__) for record in caplog.records]
    heard += capfd.readouterr()
    found = [secret for secret in secrets for text in heard if secret in text]
    assert found == []


def test_no_secret_is_in_the_text_of_an_object_or_an_error(service: Asked) -> None:
    """What a traceback, a debugger or a careless print shows of what holds secrets."""
    workspace = service.service.workspace
    made = access.make_key(workspace, "k", "reader")
    assert made.secret not in repr(made)
    people.add_person(workspace, "alice", "reader", PASSWORD)
    signed_in = sign_in(workspace, "alice", PASSWORD, "here")
    assert signed_in.secret not in repr(signed_in)
    assert signed_in.session.csrf_token not in repr(signed_in)
    assert "hunter2" not in repr(type(service.service.options)(oidc_secret="hunter2"))
    with pytest.raises(SQLAlchemyError) as caught, workspace.catalog.write() as connection:
        connection.execute(api_keys.insert(), [{"name": "x", "secret_hash": "the hash of a secret"}])
    assert "the hash of a secret" not in str(caught.value)


def test_only_so_many_passwords_are_checked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond that, whoever signs in is told to come again, instead of the memory of the machine being used up."""
    monkeypatch.setattr(passwords, "_WAIT_SECONDS", 0.0)
    with passwords._Turn(), passwords._Turn(), pytest.raises(OverloadError) as caught:
        passwords.verify("", PASSWORD)
    assert caught.value.code == "sign_ins_too_many"
