"""The command `forget`: what it asks, what it says, and its exit codes."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from clearwell.cli.main import main

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]

PERSONAL = (
    "properties: {charge: {}, business: {}, network: {}, customer: {}, name: {personal: true, subject: customer}}"
)
PERSON = {"charge": "ch_1", "business": "acct_A", "network": "visa", "customer": "cus_1", "name": "Alice"}


class Terminal(io.StringIO):
    """Standard input at which somebody sits."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def private(new_ledger: NewLedger, design_flow: str, creation: Make) -> Ledger:
    made = new_ledger(design_flow.replace("producer: charges\n", f"producer: charges\n    {PERSONAL}\n"))
    made.ingest(creation(properties=PERSON))
    made.ingest(creation(id="q1", properties=PERSON, amounts={}))
    return made


def forget(ledger: Ledger, *arguments: str) -> int:
    return main(["forget", *arguments, "--project", str(ledger.folder)])


def test_without_a_terminal_it_must_be_meant(private: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe nothing is asked, and nothing is done without --yes."""
    assert forget(private, "cus_1") == 2
    assert "confirmation_needed" in capsys.readouterr().err
    assert forget(private, "cus_1", "--yes") == 0
    assert capsys.readouterr().out == (
        "cus_1: its key is destroyed. Its personal values read as erased from now on.\n"
        "1 record(s) in quarantine that named it are erased.\n"
    )


def test_it_can_be_repeated(private: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    """A second time, and for somebody unknown, it says so and is done."""
    forget(private, "cus_1", "--yes")
    capsys.readouterr()
    assert forget(private, "cus_1", "--yes") == 0
    assert forget(private, "cus_9", "--yes") == 0
    assert capsys.readouterr().out == (
        "cus_1: its key was destroyed before.\ncus_9: nothing personal was ever kept of it, and nothing will be.\n"
    )


def test_programs_get_json(private: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer says what became of the key, how many records were erased, and what stays in clear."""
    assert forget(private, "cus_1", "--yes", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"subject": "cus_1", "key": "destroyed", "quarantined": 1, "in_clear": []}


@pytest.mark.parametrize(("answer", "code", "said"), [("n\n", 130, ""), ("y\n", 0, "cus_1: its key is destroyed.")])
def test_at_a_terminal_it_asks(
    private: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    code: int,
    said: str,
) -> None:
    """The question says what is known of the subject; only a yes destroys anything."""
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert forget(private, "cus_1") == code
    shown = capsys.readouterr()
    assert "it has a key, and what that encrypts could never be read again" in shown.err
    assert shown.out.strip()[: len(said) or None] == said


def test_check_shows_what_is_personal(private: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` lists personal properties, for people and for programs."""
    assert main(["check", "--project", str(private.folder)]) == 0
    assert ["name", "charge.creation", "customer"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    assert main(["check", "--json", "--project", str(private.folder)]) == 0
    assert json.loads(capsys.readouterr().out)["personal"] == [
        {"event_type": "charge.creation", "property": "name", "subject": "customer"}
    ]
