"""Names, values and questions that try to be SQL: they are data wherever they go."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from aftermath import Command, prove

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

INJECTIONS = [
    "'; DROP TABLE segments; --",
    '"; DELETE FROM quarantine; --',
    "' OR '1'='1",
    "x' UNION SELECT sql FROM sqlite_master --",
    "$1",
    "?",
    "{{7*7}}",
    "%s%n",
    "*/ SELECT 1 /*",
    "../../etc/passwd",
    "`id`",
    "\\",
    "NULL",
]

SIGNED_FLOW = """\
flow: injected
owner: "O'Brien; DROP TABLE models; --"
description: "'); DROP TABLE segments; --"
accounts:
  outside: {kind: reservoir, properties: [kind]}
  inside: {kind: clearing, properties: [select, order], clears_within: 1 day}
events:
  select.from:
    producer: drop.table
    moves:
      - amount: where
        from: {account: outside, kind: {constant: "'; DROP TABLE segments; --"}}
        to: inside
  group.by:
    producer: drop.table
    moves:
      - {amount: where, from: inside, to: {account: outside, kind: select}}
"""


@pytest.mark.fault("SQL in ids, properties, their names, and what is asked for")
@pytest.mark.parametrize("text", INJECTIONS)
def test_sql_in_values_is_data(ledger: Ledger, command: Command, creation: Callable[..., Any], text: str) -> None:
    """Values and names come back as they went in, through every command, and every table is still there."""
    properties = {"charge": text, "business": text, "network": text, text: text, f'"{text}"': 1}
    assert ledger.ingest(creation(id=text, properties=properties)).accepted == 1
    assert ledger.ingest(creation(id=text, properties=properties)).duplicates == 1
    assert ledger.ingest(creation(id=text, properties={**properties, text: "other"})).quarantined == 1
    assert ledger.ingest(creation(id="a", type=text), creation(id="b", producer=text)).quarantined == 2
    (event,) = json.loads(command(ledger, "trace", f"charge={text}", "--json").out)["events"]
    assert event["id"] == text
    (found,) = json.loads(command(ledger, "query", "SELECT id, property_charge AS c FROM events", "--json").out)
    assert found == {"id": text, "c": text}
    asked = [
        (["trace", f"{text}=x"], {2}),
        (["balance", text], {2}),
        (["balance", "business_balance", f"business={text}"], {0}),
        (["open", "--owner", text], {2}),
        (["open", "--currency", text], {2}),
        (["open", "--type", text], {2}),
        (["status", "--at", text], {2}),
        (["status", "--known-at", text], {2}),
        (["draw", text], {2}),
        (["quarantine", "list", "--code", text], {0, 2}),
        (["ingest", "--variable", f"{text.replace('=', '')}=x"], {2}),
        (["ingest", text], {2}),
    ]
    for arguments, codes in asked:
        assert command(ledger, *arguments).code in codes, arguments
    prove(ledger, [text])


@pytest.mark.fault("SQL in owners, constants, event types and properties named as SQL's own words")
def test_sql_in_a_flow_is_data(new_ledger: NewLedger, command: Command) -> None:
    """A flow whose names are words of SQL posts, clears and is asked as any other."""
    ledger = new_ledger(SIGNED_FLOW)
    base = {"effective_at": "2026-01-02T03:04:05Z", "occurred_at": "2026-01-02T03:04:05Z", "currency": "USD"}
    inside = {"select": "a", "order": "b"}
    events = [
        {**base, "type": "select.from", "id": "1", "properties": inside, "amounts": {"where": 5}},
        {**base, "type": "group.by", "id": "2", "properties": inside, "amounts": {"where": 5}},
    ]
    assert ledger.ingest(*events).accepted == 2
    for arguments in (["status"], ["open"], ["balance", "outside"], ["trace", "select=a"], ["check"], ["draw"]):
        assert command(ledger, *arguments).code == 0
    views = ("events", "entries", "open_accounts", "episodes", "balances", "segments")
    for view in views:
        assert command(ledger, "query", f"FROM {view}", "--json").code == 0
    balances = json.loads(command(ledger, "query", "SELECT account, balance FROM balances", "--json").out)
    assert {item["account"]: item["balance"] for item in balances} == {
        "outside{kind='; DROP TABLE segments; --}": -5,
        "outside{kind=a}": 5,
    }
    prove(ledger, ["1", "2"])


@pytest.mark.fault("SQL in the variables of a source, and in what a source gives")
def test_sql_in_variables_of_a_source_is_data(new_ledger: NewLedger, command: Command) -> None:
    """A variable is a value for the source's SQL, never SQL."""
    ledger = new_ledger(variables={"name": "in the settings"})
    (ledger.folder / "sources").mkdir()
    source = """SELECT 'charge.creation' AS type, 'id-' || getvariable('name') AS id, 'USD' AS currency,
        TIMESTAMPTZ '2026-01-02 03:04:05Z' AS effective_at, effective_at AS occurred_at, 'c' AS property_charge,
        getvariable('name') AS property_business, 'visa' AS property_network, 5 AS amount_gross"""
    (ledger.folder / "sources" / "one.sql").write_text(source, encoding="utf-8")
    texts = [text for text in INJECTIONS if text]
    for text in texts:
        assert command(ledger, "ingest", "--variable", f"name={text}").code == 0
    prove(ledger, [f"id-{text}" for text in texts])
    for content, code in ((b"\xff\xfe", "source_invalid"), (b"SELECT 1; DROP TABLE x", "source_invalid"), (b"", "")):
        (ledger.folder / "sources" / "one.sql").write_bytes(content)
        ran = command(ledger, "ingest", "--json")
        assert (ran.code, ran.error) == (1, code or "source_invalid")


@pytest.mark.fault("A question that writes, reads other files, or never ends its statement")
@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE open_accounts",
        "SELECT 1; DELETE FROM reservoirs",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "COPY events TO '/tmp/stolen.csv'",
        "ATTACH '/tmp/other.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "EXPLAIN ANALYZE DELETE FROM reservoirs",
        "WITH a AS (SELECT 1) INSERT INTO reservoirs SELECT * FROM a",
        "SELECT getenv('HOME')",
        "SELECT '" + "x" * 100_000,
        "(" * 20_000,
        "\0",
        "",
        "SELECT \ud800",
    ],
    ids=lambda sql: repr(sql[:24]),
)
def test_a_question_only_reads(ledger: Ledger, command: Command, creation: Callable[..., Any], sql: str) -> None:
    """It is refused as wrong use, with a code, and the ledger is as it was."""
    ledger.ingest(creation())
    ran = command(ledger, "query", sql, "--json")
    assert (ran.code, ran.error) in {(2, "query_failed"), (2, "query_not_select"), (2, "argument_not_text")}
    prove(ledger, ["evt_1"])
