"""`clearwell quality`, `evaluate` and `history`: what people and programs see."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from clearwell.cli.main import main

if TYPE_CHECKING:
    from conftest import Ledger

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def told(ledger: Ledger, creation: Make, release: Make) -> list[str]:
    """A ledger with one charge that cleared and one that did not; the options that name it, at a certain cut."""
    ledger.ingest(creation(), release(), creation(id="evt_3", properties={**creation()["properties"], "charge": "c"}))
    return ["--project", str(ledger.folder), "--at", "2026-01-03"]


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that succeeds prints."""
    assert main(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_the_tree_is_printed(told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A line per node, children below their parents, with the score and the money that lowers it."""
    lines = said(capsys, "quality", *told, "--period", "all").splitlines()
    assert [line.split()[0] for line in lines if " USD " in line] == [
        "company",
        "payments-engineering",
        "card_payments",
        "charge_undisbursed",
    ]
    assert "10.00" in lines[-2] or "10.00" in lines[-3]


def test_the_tree_as_json_and_csv(told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get the cut, the period with its instants, and exact integers."""
    content = json.loads(said(capsys, "quality", *told, "--period", "2026-01", "--json"))
    assert content["period"] == {"name": "2026-01", "start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}
    assert content["cut"]["sequence"] == 3
    assert content["nodes"][0]["uncleared_money"] == 1000
    header, *rows = said(capsys, "quality", *told, "--period", "all", "--format", "csv").splitlines()
    assert header.startswith("node,name,parent,currency,total_money")
    assert len(rows) == 4


def test_what_changed_since_the_period_before(
    ledger: Ledger, creation: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two stuck of 30 and 20 in a day, and one of 10 in the next: the score is as low, and 40 less are lost."""
    times = {day: dict.fromkeys(("effective_at", "occurred_at"), f"2026-01-0{day}T03:00:00Z") for day in (2, 3)}
    for day, amounts in ((2, (3000, 2000)), (3, (1000,))):
        ledger.clock.now = datetime(2026, 1, day, 12, tzinfo=UTC)
        for amount in amounts:
            own = {"charge": f"c{day}{amount}"}
            gross = {"gross": {"value": amount, "currency": "USD"}}
            properties = {**creation()["properties"], **own}
            ledger.ingest(creation(id=f"evt_{day}{amount}", **times[day], properties=properties, amounts=gross))
    options = ["--project", str(ledger.folder), "--at", "2026-01-04", "--period"]
    rows = json.loads(said(capsys, "quality", *options, "2026-01-03", "--json"))["nodes"]
    assert [(row["score_before"], row["score_change"], row["lost_money_change"]) for row in rows] == [(0, 0, -4000)] * 4
    lines = said(capsys, "quality", *options, "2026-01-03").splitlines()
    assert [line.split()[-2:] for line in lines if " USD " in line] == [["▼", "40.00"]] * 4
    first = json.loads(said(capsys, "quality", *options, "2026-01-02", "--json"))["nodes"][0]
    assert (first["score_before"], first["score_change"], first["lost_money_change"]) == (None, None, 5000)
    ever = json.loads(said(capsys, "quality", *options, "all", "--json"))["nodes"][0]
    assert (ever["score_change"], ever["lost_money_change"]) == (None, None)


@pytest.mark.parametrize("metric", ["timeliness", "lags", "clearing", "aging"])
@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_metrics_are_printed(told: list[str], capsys: pytest.CaptureFixture[str], metric: str, form: str) -> None:
    """Each metric, in each form, has a row."""
    shown = said(capsys, "quality", *told, "--period", "all", "--metric", metric, "--format", form)
    if form == "json":
        assert json.loads(shown)[metric]
    else:
        assert ("charge.creation" if metric in ("timeliness", "lags") else "charge_undisbursed") in shown


def test_aging_in_buckets_of_one_s_own(told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The buckets have the names that they were asked for by."""
    asked = ["quality", *told, "--period", "all", "--metric", "aging", "--json"]
    own = ["--past-due", "2 hours", "--past-due", "3 days"]
    assert [row["past_due"] for row in json.loads(said(capsys, *asked, *own))["aging"]] == ["3 days"]
    assert [row["past_due"] for row in json.loads(said(capsys, *asked))["aging"]] == ["1 d"]


def test_the_statement_behind_a_figure_gives_it(told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """DuckDB's statement runs as it is printed, and its sums are those of the answer."""
    asked = ["quality", *told, "--period", "all", "--metric", "timeliness"]
    (statement,) = said(capsys, *asked, "--sql", "duckdb").split(";\n")[:1]
    sums = duckdb.sql(statement).to_arrow_table().to_pylist()
    rows = json.loads(said(capsys, *asked, "--json"))["timeliness"]
    names = ("event_type", "currency", "event_count", "money", "late_money")
    assert sorted(tuple(row[name] for name in names) for row in sums) == sorted(
        tuple(row[name] for name in names) for row in rows
    )
    assert said(capsys, "quality", *told, "--sql", "trino").count("WITH") == 2


def test_history_shows_what_was_evaluated(told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each period once, with the cut that it is of; a second evaluation at the cut adds nothing."""
    since = ["--since", "2026-01-01", "--until", "2026-01-02"]
    assert json.loads(said(capsys, "evaluate", *told, *since, "--json"))["added"] == 2
    assert json.loads(said(capsys, "evaluate", *told, *since, "--json"))["added"] == 0
    rows = json.loads(said(capsys, "history", *told[:2], "--json"))
    assert [(row["period"], row["uncleared_money"]) for row in rows] == [("2026-01-02", 1000)]
    assert rows[0]["cut"]["effective_at"] == "2026-01-03T00:00:00.000000Z"
    assert "2026-01-02" in said(capsys, "history", *told[:2], "--node", "card_payments", "--currency", "USD")


def test_history_is_computed_again(told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 where the log gives what was kept, and 1 with the period where it does not."""
    said(capsys, "evaluate", *told, "--since", "2026-01-02", "--until", "2026-01-02")
    assert "2026-01-02" in said(capsys, "history", *told[:2], "--verify")
    with sqlite3.connect(Path(told[1]) / "data" / "catalog.sqlite") as catalog:
        catalog.execute("UPDATE scores SET uncleared_money = '999' WHERE node = 'company'")
        catalog.execute("DELETE FROM evaluation_comparisons")
    assert main(["history", *told[:2], "--verify"]) == 1
    assert "2026-01-02: computed again" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ["quality", "--by", "owner"],
        ["quality", "--period", "someday"],
        ["quality", "--metric", "beauty"],
        ["quality", "--metric", "clearing", "--by", "charge", "--by", "business"],
        ["quality", "--engine", "abacus"],
        ["quality", "--sql", "runes"],
        ["quality", "--metric", "aging", "--past-due", "3 days", "--past-due", "2 hours"],
        ["quality", "--metric", "aging", "--past-due", "soon"],
        ["evaluate", "--since", "yesterday"],
        ["evaluate", "--period", "hour", "--since", "1900-01-01"],
    ],
)
def test_wrong_use_is_told(told: list[str], capsys: pytest.CaptureFixture[str], wrong: list[str]) -> None:
    """Exit code 2, and what was expected."""
    assert main([*wrong, *told]) == 2
    assert capsys.readouterr().err
