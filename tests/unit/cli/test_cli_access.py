"""The commands key, person and audit, and that what other commands change is in the audit."""

from __future__ import annotations

import getpass
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from clearwell.application import access
from clearwell.application.signing_in import sign_in
from clearwell.cli.main import main
from clearwell.errors import AccessError
from clearwell.project import open_project

if TYPE_CHECKING:
    from conftest import Ledger

PASSWORD = "correct horse battery"


def run(ledger: Ledger, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What a command prints in JSON."""
    assert main([*words, "--json", "--project", str(ledger.folder)]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password on standard input, which is no terminal."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PASSWORD}\n"))


def test_a_key_is_made_listed_and_revoked(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    """The secret is printed alone, so that a script can take it; the rest is for people."""
    words = ["key", "make", "checkout", "--role", "producer", "--event-type", "charge.creation"]
    assert main([*words, "--project", str(ledger.folder)]) == 0
    printed = capsys.readouterr()
    secret = printed.out.strip()
    assert secret.startswith("cw_")
    assert secret not in printed.err
    with ledger.open() as workspace:
        found = access.principal_of_key(workspace, secret)
        assert found is not None
        assert found.event_types == {"charge.creation"}
    (listed,) = run(ledger, capsys, "key", "list")
    assert (listed["event_types"], listed["revoked_at"]) == (["charge.creation"], "")
    assert listed["created_by"] == f"operating system user {getpass.getuser()}"
    assert run(ledger, capsys, "key", "revoke", "checkout") == {"name": "checkout", "revoked": True}
    with ledger.open() as workspace:
        assert access.principal_of_key(workspace, secret) is None
    assert main(["key", "revoke", "none", "--project", str(ledger.folder)]) == 2
    assert main(["key", "list", "--project", str(ledger.folder)]) == 0
    assert "charge.creation" in capsys.readouterr().out


def test_lists_of_a_new_project_make_no_files(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    """To ask is not to change anything."""
    for words in (["key", "list"], ["person", "list"], ["audit"]):
        assert run(ledger, capsys, *words) == []
    assert not ledger.data.exists()


@pytest.mark.usefixtures("typed")
def test_a_person_is_added_changed_and_disabled(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    """By the password of standard input they can sign in, until they are disabled."""
    run(ledger, capsys, "person", "add", "alice", "--role", "reader")
    with ledger.open() as workspace:
        assert sign_in(workspace, "alice", PASSWORD, "").session.principal.role == "reader"
    assert run(ledger, capsys, "person", "role", "alice", "approver")["changed"]
    assert run(ledger, capsys, "person", "disable", "alice")["changed"]
    assert not run(ledger, capsys, "person", "disable", "alice")["changed"]
    with ledger.open() as workspace, pytest.raises(AccessError):
        sign_in(workspace, "alice", PASSWORD, "")
    assert run(ledger, capsys, "person", "enable", "alice")["changed"]
    (listed,) = run(ledger, capsys, "person", "list")
    assert (listed["role"], listed["has_password"], listed["disabled_at"]) == ("approver", True, "")
    acts = [(item["act"], item["origin"]) for item in run(ledger, capsys, "audit", "--act", "person")]
    names = ("enable", "disable", "role", "add")
    assert acts == [(f"person.{name}", "command line") for name in names]


def test_a_password_is_asked_for_twice_at_a_terminal(
    ledger: Ledger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not shown, and must be the same both times; from an empty pipe there is none."""
    run(ledger, capsys, "person", "add", "alice", "--role", "reader", "--without-password")
    words = ["person", "password", "alice", "--project", str(ledger.folder)]
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(words) == 2
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    answers = iter([PASSWORD, "another", PASSWORD, PASSWORD])
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: next(answers))
    assert main(words) == 2
    assert main(words) == 0
    assert PASSWORD not in "".join(capsys.readouterr())
    with ledger.open() as workspace:
        sign_in(workspace, "alice", PASSWORD, "")


def test_what_commands_change_is_in_the_audit(
    ledger: Ledger, capsys: pytest.CaptureFixture[str], creation: Any
) -> None:
    """Each act that changes something leaves one entry, by the user of the operating system; questions leave none."""
    ledger.write(json.dumps(creation()).encode(), "one.ndjson")
    ledger.write(json.dumps(creation(id="e2", amounts={})).encode(), "two.ndjson")
    folder = ["--project", str(ledger.folder)]
    for words in (
        ["ingest", str(ledger.folder / "one.ndjson")],
        ["ingest", str(ledger.folder / "two.ndjson")],
        ["status"],
        ["quarantine", "retry"],
        ["compact"],
        ["evaluate", "--period", "month"],
        ["rebuild"],
        ["checkpoint"],
        ["forget", "cus_1", "--yes"],
        ["verify"],
    ):
        main([*words, *folder])
    capsys.readouterr()
    found = run(ledger, capsys, "audit", "--after", "0")
    assert [item["act"] for item in found] == [
        "model.accept",
        "events.ingest",
        "events.ingest",
        "quarantine.retry",
        "log.compact",
        "scores.evaluate",
        "projections.rebuild",
        "checkpoint.sign",
        "subject.forget",
    ]
    assert {item["who"] for item in found} == {f"operating system user {getpass.getuser()}"}
    assert found[2]["details"]["quarantined"] == 1
    assert "cus_1" not in json.dumps(found)


def test_python_has_the_same(ledger: Ledger) -> None:
    """A project that is open in Python makes keys and reads the audit."""
    with open_project(ledger.folder) as project:
        made = project.make_key("books", "tenant", properties={"business": "acct_A"})
        assert made.secret not in repr(made)
        assert project.revoke_key("books")
        listed = project.keys()
        assert [item.name for item in listed] == ["books"]
        (entry,) = project.audit(act="key.make")
        assert (entry.subject, entry.origin) == ("books", "Python")
