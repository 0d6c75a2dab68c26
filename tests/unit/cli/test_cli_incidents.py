"""`clearwell incident`: what people and programs see, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clearwell.cli.main import main

ACCOUNT = "charge_undisbursed{charge=ch_2, business=acct_A}"
AT = ["--at", "2026-01-02T04:00:00Z"]


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A project with the first events, and an open incident."""
    monkeypatch.chdir(tmp_path)
    main(["init", "."])
    main(["ingest", "events/first.ndjson"])
    assert main(["incident", "open", "outage", "--known", "Releases stood still"]) == 0
    capsys.readouterr()
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that succeeds prints."""
    assert main(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_an_incident_from_open_to_close(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command says what it did, to people and to programs."""
    assert "Incident 2, deploy, is open." in said(capsys, "incident", "open", "deploy")
    assert "1 subject(s), of which 1 are newly attributed" in said(capsys, "incident", "attribute", "outage", ACCOUNT)
    selected = json.loads(said(capsys, "incident", "attribute", "outage", "-t", "charge_undisbursed", *AT, "--json"))
    assert (selected["rule"], selected["found"], selected["changed"]) == ("uncleared", 1, 0)
    assert selected["cut"]["sequence"] == 3
    moved = said(capsys, "incident", "attribute", "deploy", ACCOUNT, "--move")
    assert "1 of these were attributed to another incident" in moved
    assert "Releases stood still" in said(capsys, "incident", "list")
    (row, other) = json.loads(said(capsys, "incident", "list", "--json"))
    assert (row["known"], row["uncleared_count"], other["uncleared_count"]) == ("Releases stood still", 0, 1)
    assert "is closed." in said(capsys, "incident", "close", "outage", "--known", "Repaired")
    assert len(said(capsys, "incident", "list", "--format", "csv").splitlines()) == 2
    assert len(json.loads(said(capsys, "incident", "list", "--all", "--json"))) == 2
    assert "attributed to it no longer" in said(capsys, "incident", "withdraw", "deploy", "--all")


def test_quality_says_what_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """In the table, in JSON with the instant whose attributions count, and in CSV."""
    asked = ["quality", "--period", "all", *AT]
    assert "Explained by" not in said(capsys, *asked)
    late = json.loads(said(capsys, "incident", "attribute", "outage", "--event-type", "charge.creation", "--json"))
    assert (late["rule"], late["found"]) == ("late", 2)
    assert "Explained by what is attributed to incidents, as known at" in said(capsys, *asked)
    content = json.loads(said(capsys, *asked, "--json"))
    assert content["explained_at"]
    assert [(row["attributed_money"], row["explained"]) for row in content["nodes"]] == [
        *[(3500, 1 - 2500 / 4500)] * 3,
        (0, 1 - 2500 / 3500),
    ]
    assert said(capsys, *asked, "--format", "csv").splitlines()[0].endswith(",attributed_money,explained")


def test_subjects_from_a_file(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One to a line; what is there twice counts once."""
    (shop / "subjects.txt").write_text("charges/evt_1\ncharges/evt_2\ncharges/evt_1\n", encoding="utf-8")
    own = ["outage", "--rule", "late", "--file", "subjects.txt", "--json"]
    assert json.loads(said(capsys, "incident", "attribute", *own))["changed"] == 2
    assert json.loads(said(capsys, "incident", "withdraw", *own))["changed"] == 2


@pytest.mark.parametrize(
    "wrong",
    [
        ["open", "outage"],
        ["close", "nothing"],
        ["attribute", "nothing", ACCOUNT],
        ["attribute", "outage"],
        ["attribute", "outage", "somebody"],
        ["attribute", "outage", ACCOUNT, "--rule", "sad"],
        ["attribute", "outage", "--file", "gone.txt"],
        ["attribute", "outage", "-t", "charge_undisbursed", "--opened-from", "soon"],
        ["attribute", "outage", "-t", "charge_undisbursed", "--property", "business"],
        ["attribute", "outage", "--comparison", "1"],
        ["withdraw", "outage"],
        ["withdraw", "outage", ACCOUNT, "--all"],
    ],
)
def test_wrong_use_is_told(capsys: pytest.CaptureFixture[str], wrong: list[str]) -> None:
    """Exit code 2, and what was expected."""
    assert main(["incident", *wrong]) == 2
    assert capsys.readouterr().err


def test_a_file_that_is_no_text_is_told(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its name."""
    (shop / "subjects.txt").write_bytes(b"\xff\n")
    assert main(["incident", "attribute", "outage", "--file", "subjects.txt"]) == 2
    assert "subjects.txt" in capsys.readouterr().err


def test_without_a_ledger_there_is_nothing_to_explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is made: no incident opens before there are events, and the list is empty."""
    main(["init", str(tmp_path / "new")])
    capsys.readouterr()
    assert main(["incident", "open", "outage", "-p", str(tmp_path / "new")]) == 2
    assert json.loads(said(capsys, "incident", "list", "--json", "-p", str(tmp_path / "new"))) == []
    assert not (tmp_path / "new" / "data").exists()
