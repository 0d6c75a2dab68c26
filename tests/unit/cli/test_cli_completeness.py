"""`clearwell completeness` as a command: its exit codes, its JSON, and what it tells in words."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

import clearwell
from clearwell.cli.main import main

RECORDS = "id,amount,currency,time\nevt_1,1000,USD,2026-01-02T03:04:05Z\nevt_2,2500,USD,2026-01-02T03:05:00Z\n"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A project with the first events, and a source over records.csv."""
    monkeypatch.chdir(tmp_path)
    main(["init", "."])
    main(["ingest", "events/first.ndjson"])
    source = {"event_type": "charge.creation", "file": "records.csv"}
    (tmp_path / "clearwell.yaml").write_text(json.dumps({"producer_sources": {"charges": source}}), encoding="utf-8")
    (tmp_path / "records.csv").write_text(RECORDS, encoding="utf-8")
    capsys.readouterr()
    return tmp_path


@pytest.mark.usefixtures("shop")
def test_all_that_matches_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is listed, and the share is 1."""
    assert main(["completeness", "--json", "--period", "2026-01"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["completeness"], found["matched_count"], found["differences"]) == (1.0, 2, [])
    assert found["period"] == {"start": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"}


def test_what_does_not_match_exits_1(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Differences are listed up to the limit, and what the counts do not say is told in words."""
    (shop / "records.csv").write_text(
        RECORDS + "evt_8,1,USD,\nevt_9,2,USD,2026-01-02T00:00:00Z\n,3,USD,2026-01-02T00:00:00Z\n", encoding="utf-8"
    )
    assert main(["completeness", "--limit", "1"]) == 1
    shown = capsys.readouterr().out
    assert "Missing in charges: 0.03 USD in 2 record(s)." in shown
    assert "charges: 1 record(s) without an id" in shown
    assert "… and 1 more" in shown
    assert "To trace" not in shown
    assert main(["completeness", "charges", "--json", "--limit", "1", "--period", "2026-01-02"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["missing_money"], found["without_time_count"]) == ({"USD": {"count": 1, "money": 2}}, 1)
    assert [item["id"] for item in found["differences"]] == ["evt_9"]


def test_a_listed_event_is_traced(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command that is told finds it, with its entries."""
    (shop / "records.csv").write_text(RECORDS.replace("2500", "2600"), encoding="utf-8")
    assert main(["completeness"]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("To trace"))
    assert main(shlex.split(line)[-3:]) == 0
    assert "25.00 USD  charge_undisbursed{charge=ch_2" in capsys.readouterr().out


@pytest.mark.usefixtures("shop")
def test_an_unknown_source_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the sources that there are."""
    assert main(["completeness", "payouts"]) == 2
    assert "charges" in capsys.readouterr().err


def test_python_says_the_same(shop: Path) -> None:
    """`Project.completeness` and `Project.differences`."""
    (shop / "records.csv").write_text("id\nevt_1\n", encoding="utf-8")
    with clearwell.open_project(shop) as project:
        (found,) = project.completeness("charges", at="2026-01-03")
        assert (found.unexpected_count, found.is_whole) == (1, False)
        (row,) = project.differences(found, limit=5)
        assert (row["kind"], row["id"], row["sequence"], row["event_amount"]) == ("unexpected", "evt_2", 2, None)
