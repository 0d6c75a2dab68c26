"""The command line: its help, exit codes and shapes of answers, and every kind of input that it takes."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest

import catalogs
from clearwell.application import questions
from clearwell.cli.main import app, main

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]
AT = ("--at", "2026-01-02T04:00:00Z")


@dataclass(frozen=True)
class Ran:
    """What one command line left: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        return list(csv.reader(io.StringIO(self.out)))


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in this process: `run("status", "--json", project=folder)`."""

    def act(*arguments: str, project: Path | None = None) -> Ran:
        capsys.readouterr()
        code = main([*arguments, *(["--project", str(project)] if project else [])])
        return Ran(code, *capsys.readouterr())

    return act


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of `init` with its three events. Tests only ask it."""
    folder = tmp_path_factory.mktemp("cli") / "shop"
    assert main(["init", str(folder)]) == 0
    assert main(["ingest", str(folder / "events" / "first.ndjson"), "-p", str(folder)]) == 0
    return folder


# Help.

COMMANDS = [
    [*group, command.name or getattr(command.callback, "__name__", "")]
    for group, commands in [
        ([], app.registered_commands),
        *([[item.name or ""], item.typer_instance.registered_commands] for item in app.registered_groups),
    ]
    for command in commands
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(run: Run, command: list[str]) -> None:
    """`--help` exits 0 and shows a command line that one can copy."""
    ran = run(*command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert f"clearwell {' '.join(command)}" in " ".join(ran.out.split("Example: ")[1].split())


def test_all_commands_are_looked_at() -> None:
    """The list that the test of help goes through has the documented commands."""
    assert {command[-1] for command in COMMANDS} >= {
        *("init", "check", "draw", "ingest", "status", "open", "trace", "balance", "query", "verify", "rebuild"),
        *("list", "show", "retry", "export", "simulate", "demo", "seal", "prove", "verify-proof", "checkpoint"),
    }


# Exit codes.

WRONG_USE: dict[str, tuple[Sequence[str], str]] = {
    "no arguments": ([], ""),
    "an unknown command": (["frobnicate"], "frobnicate"),
    "an unknown option": (["status", "--frobnicate"], "--frobnicate"),
    "a missing argument": (["balance"], "account_type"),
    "an unknown format": (["status", "--format", "xml"], "--format"),
    "an unknown state": (["open", "--state", "lost"], "--state"),
    "an age that is none": (["open", "--older-than", "soon"], "--older-than"),
    "an age without a fixed length": (["open", "--older-than", "2 business days"], "--older-than"),
    "money below zero": (["open", "--min-money", "-1"], "--min-money"),
    "money beyond all numbers": (["open", "--max-money", str(10**30 + 1)], "--max-money"),
    "no limit at all": (["open", "--limit", "0"], "--limit"),
    "an unknown flow": (["open", "--flow", "payroll"], "[flow_unknown]"),
    "an unknown account type": (["open", "-t", "petty_cash"], "[account_type_unknown]"),
    "an unknown owner": (["open", "--owner", "nobody"], "payments-engineering, found 'nobody' [owner_unknown]"),
    "an unknown currency": (["open", "--currency", "usd"], "[currency_unknown]"),
    "an unknown property": (["open", "--property", "colour=red"], "[property_unknown]"),
    "a property without value": (["open", "--property", "charge"], "NAME=VALUE"),
    "a property twice": (["open", "--property", "charge=ch_1", "--property", "charge=ch_2"], "charge"),
    "a traced value twice": (["trace", "charge=ch_1", "charge=ch_2"], "charge"),
    "an unknown traced property": (["trace", "colour=red"], "[property_unknown]"),
    "too many steps": (["trace", "charge=ch_1", "--steps", "11"], "--steps"),
    "an unreadable cut": (["status", "--at", "yesterday"], "[cut_unreadable]"),
    "a cut beyond the log": (["status", "--known-at", "4"], "[cut_unknown]"),
    "an unknown balance": (["balance", "petty_cash"], "[account_type_unknown]"),
    "an unknown flow to draw": (["draw", "payroll"], "[flow_unknown]"),
    "a file that is not there": (["ingest", "absent.ndjson"], "[file_not_found]"),
    "a file of an unknown format": (["ingest", "events.xls"], "[format_unknown]"),
    "nothing to ingest": (["ingest"], "[nothing_to_ingest]"),
    "standard input twice": (["ingest", "-", "-"], "[input_repeated]"),
    "a variable twice": (["ingest", "--variable", "a=1", "--variable", "a=2"], "--variable"),
    "a variable that nobody reads": (["ingest", "--variable", "a=1"], "found 'a' [variable_unknown]"),
    "an unknown record": (["quarantine", "show", "99"], "99"),
    "a project again": (["init"], "[project_exists]"),
    "an unknown example": (["init", "new", "--example", "bakery"], "[example_unknown]"),
}


@pytest.mark.parametrize("case", WRONG_USE)
def test_wrong_use_exits_2_and_says_what_is_wrong(
    run: Run, shop: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """A command line that cannot be meant changes nothing, and names what it stumbled over on standard error."""
    arguments, told = WRONG_USE[case]
    monkeypatch.chdir(shop)
    before = sorted(shop.rglob("*"))
    ran = run(*arguments)
    assert ran.code == 2
    assert told in ran.err
    assert "Traceback" not in ran.err
    assert sorted(shop.rglob("*")) == before


@pytest.mark.parametrize("command", ["check", "status", "open", "verify", "rebuild", "ingest", "quarantine list"])
def test_a_folder_that_is_no_project_exits_2(run: Run, tmp_path: Path, command: str) -> None:
    """Without a clearwell.yaml nothing is done, and nothing is made."""
    ran = run(*command.split(), project=tmp_path)
    assert (ran.code, list(tmp_path.iterdir())) == (2, [])
    assert "[project_not_found]" in ran.err


def test_a_project_without_events_exits_2(run: Run, ledger: Ledger) -> None:
    """A question to an empty ledger is answered by what to do first."""
    ran = run("status", project=ledger.folder)
    assert (ran.code, "[ledger_empty]" in ran.err) == (2, True)


def test_an_error_is_json_when_json_is_asked_for(run: Run, shop: Path) -> None:
    """With --json the error is an object on standard error, and standard output stays empty."""
    ran = run("open", "--json", "--owner", "nobody", project=shop)
    assert (ran.code, ran.out) == (2, "")
    assert set(json.loads(ran.err)["error"]) == {"code", "message", "details"}


@pytest.mark.parametrize("command", ["check", "ingest events.ndjson"])
def test_a_bad_flow_exits_1(run: Run, ledger: Ledger, creation: Make, command: str) -> None:
    """Flows with problems are no model: check lists the problems, and nothing is ingested."""
    ledger.write_flow("flow: broken\nowner: me\naccounts: {}\nevents: {a.b: {moves: []}}\n")
    path = ledger.write(json.dumps(creation()).encode(), "events.ndjson")
    ran = run(*command.replace("events.ndjson", str(path)).split(), project=ledger.folder)
    assert ran.code == 1
    assert "flow.yaml" in ran.out + ran.err


def test_bad_settings_exit_1(run: Run, ledger: Ledger) -> None:
    """A setting that cannot be is the project's problem, and is named."""
    ledger.write_settings(time_zone="Mars/Olympus")
    ran = run("check", project=ledger.folder)
    assert (ran.code, "time_zone" in ran.err) == (1, True)


def test_quarantined_records_exit_1(run: Run, ledger: Ledger, creation: Make) -> None:
    """What could not become an event is counted, listed with its place, shown whole, and exported as it came."""
    path = ledger.write(json.dumps(creation(type=...)).encode(), "events.ndjson")
    ran = run("ingest", str(path), "--json", project=ledger.folder)
    assert (ran.code, ran.json["quarantined"]) == (1, 1)
    (listed,) = run("quarantine", "list", "--json", project=ledger.folder).json
    assert (listed["code"], listed["line"]) == ("type_missing", 1)
    shown = run("quarantine", "show", str(listed["number"]), project=ledger.folder)
    assert (shown.code, path.read_text() in shown.out) == (0, True)
    assert run("quarantine", "export", project=ledger.folder).out == path.read_text() + "\n"
    assert run("quarantine", "retry", project=ledger.folder).code == 1
    corrected = ledger.write(json.dumps(creation()).encode(), "corrected.json")
    retried = run("quarantine", "retry", "1", "--corrected", str(corrected), "--json", project=ledger.folder)
    assert (retried.code, retried.json["accepted"], retried.json["released"]) == (0, 1, [1])


def test_a_fault_exits_1(run: Run, ledger: Ledger, creation: Make) -> None:
    """Verify exits 0 for a sound ledger, and 1 with the fault's name for one that was touched."""
    ledger.ingest(creation())
    sound = run("verify", "--json", project=ledger.folder)
    keys = {"ok", "segments", "events", "sealed", "head", "faults"}
    assert (sound.code, sound.json["ok"], set(sound.json)) == (0, True, keys)
    (segment,) = (ledger.data / "log").glob("segment-*.parquet")
    segment.unlink()
    touched = run("verify", project=ledger.folder)
    assert (touched.code, f"segment_missing: {segment.name}" in touched.out) == (1, True)


def test_our_failure_exits_3(run: Run, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of the program says that it is one, without a stack trace."""
    monkeypatch.delenv("CLEARWELL_DEBUG", raising=False)
    monkeypatch.setattr(questions, "status", lambda *_: 1 // 0)
    ran = run("status", project=shop)
    assert ran.code == 3
    assert "ZeroDivisionError" in ran.err
    assert "Traceback" not in ran.err


# Shapes of answers.

STATUS = [
    *("flow", "account_type", "owner", "kind", "currency", "open_count", "open_money", "in_flight_money"),
    *("overdue_count", "overdue_money", "due_money", "due_count", "clearing", "clearing_by_count"),
]
OPEN = ["account_type", "properties", "currency", "balance", "turnover", "opened_at", "age_seconds"]
OPEN += ["state", "entry_count"]
BALANCE = ["account_type", "properties", "currency", "balance", "entry_count"]
TRACE = ["step", "sequence", "flow", "type", "producer", "id", "effective_at", "occurred_at", "recorded_at"]
TRACE += ["properties", "amounts", "entries"]
CUT = ["effective_at", "recorded_at", "sequence"]
STUCK = {
    "account_type": "charge_undisbursed",
    "properties": {"charge": "ch_2", "business": "acct_A"},
    "currency": "USD",
    "balance": 2500,
    "turnover": 2500,
    "opened_at": "2026-01-02T03:05:00Z",
    "age_seconds": 3300,
    "state": "overdue",
    "entry_count": 1,
}


def test_status_json(run: Run, shop: Path) -> None:
    """`status --json` is the cut and, per account type and currency, exactly the documented fields."""
    answer = run("status", "--json", *AT, project=shop).json
    assert (list(answer), list(answer["cut"])) == (["cut", "account_types"], CUT)
    assert [list(row) for row in answer["account_types"]] == [STATUS] * 4
    (row,) = [row for row in answer["account_types"] if row["kind"] == "clearing"]
    figures = {"open_count": 1, "open_money": 2500, "in_flight_money": 0, "overdue_count": 1, "overdue_money": 2500}
    figures |= {"due_money": 3500, "due_count": 2}
    assert row == row | figures | {"clearing": 1 - 2500 / 3500, "clearing_by_count": 0.5}
    assert {type(row[name]) for name in figures} == {int}


def test_open_json(run: Run, shop: Path) -> None:
    """`open --json` is a list with exactly the documented fields per account."""
    answer = run("open", "--json", *AT, project=shop).json
    assert (answer, list(answer[0])) == ([STUCK], OPEN)
    assert run("open", "--format", "json", "--state", "in_flight", *AT, project=shop).json == []


def test_ingest_json(run: Run, ledger: Ledger, creation: Make, release: Make) -> None:
    """`ingest --json` is the receipt with exactly the documented fields; without a new event it has no sequences."""
    names = ["accepted", "duplicates", "quarantined", "first_sequence", "last_sequence"]
    path = ledger.write(b"\n".join(json.dumps(item).encode() for item in (creation(), release())), "events.ndjson")
    answers = [run("ingest", str(path), "--json", project=ledger.folder).json for _ in range(2)]
    assert [list(answer) for answer in answers] == [names] * 2
    assert [list(answer.values()) for answer in answers] == [[2, 0, 0, 1, 2], [0, 2, 0, None, None]]


CSV: dict[str, tuple[Sequence[str], list[str], int]] = {
    "status": (["status"], STATUS, 4),
    "open": (["open"], OPEN, 1),
    "open, none": (["open", "--state", "in_flight"], OPEN, 0),
    "balance": (["balance", "business_balance"], BALANCE, 1),
    "balance, none": (["balance", "business_balance", "business=nobody"], BALANCE, 0),
    "trace": (["trace", "charge=ch_1"], TRACE, 2),
    "trace, none": (["trace", "charge=ch_9"], TRACE, 0),
    "query": (["query", "SELECT 1 AS a, NULL AS b"], ["a", "b"], 1),
    "query, none": (["query", "SELECT 1 AS a WHERE false"], ["a"], 0),
}


@pytest.mark.parametrize("case", CSV)
def test_csv_has_a_header_with_and_without_rows(run: Run, shop: Path, case: str) -> None:
    """The first line names the columns, as JSON does, even where no row follows."""
    arguments, names, count = CSV[case]
    ran = run(*arguments, "--format", "csv", *AT, project=shop)
    assert (ran.code, ran.rows[0], len(ran.rows) - 1) == (0, names, count)


def test_csv_cells_can_be_read_back(run: Run, shop: Path) -> None:
    """Properties are JSON in a cell, instants ISO 8601, money whole minor units."""
    header, cells = run("open", "--format", "csv", *AT, project=shop).rows
    row = dict(zip(header, cells, strict=True))
    assert json.loads(row.pop("properties")) == STUCK["properties"]
    assert row == {name: str(value) for name, value in STUCK.items() if name != "properties"}


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--min-money", "2500", "--max-money", "2500"], 1),
        (["--min-money", "2501"], 0),
        (["--max-money", str(10**30), "--min-money", "0"], 1),
        (["--older-than", "55 minutes"], 1),
        (["--older-than", "1 hour"], 0),
        (["--owner", "payments-engineering", "--flow", "card_payments", "--currency", "USD"], 1),
        (["--currency", "EUR"], 0),
        (["--property", "charge=ch_2", "--property", "business=acct_A"], 1),
        (["--property", "charge=ch_1"], 0),
    ],
)
def test_filters_of_open(run: Run, shop: Path, arguments: list[str], count: int) -> None:
    """Filters keep what matches all of them; bounds include themselves."""
    assert len(run("open", "--json", *arguments, *AT, project=shop).json) == count


def test_money_in_a_currency_no_longer_declared(run: Run, new_ledger: NewLedger, creation: Make) -> None:
    """Nobody knows its decimals any more, so tables show whole minor units and say so."""
    ledger = new_ledger(currencies={"USDC": 6})
    ledger.ingest(creation(amounts={"gross": {"value": 1_234_567, "currency": "USDC"}}))
    assert "1.234567" in run("status", project=ledger.folder).out
    ledger.write_settings()
    for arguments in (["status"], ["open"], ["balance", "charge_undisbursed"], ["trace", "charge=ch_1"]):
        ran = run(*arguments, project=ledger.folder)
        assert (ran.code, "1,234,567 minor units" in ran.out) == (0, True)


# The time line.

PAYOUT_FLOW = """\
flow: payouts
owner: treasury
accounts:
  card_network_receivable: {kind: reservoir, properties: [network]}
  charge_undisbursed: {kind: clearing, properties: [charge], clears_within: 10 minutes}
  payout_in_transit: {kind: clearing, properties: [payout], clears_within: 1 day}
  bank_account: {kind: reservoir, properties: [bank]}
events:
  charge.creation:
    producer: charges
    moves: [{amount: gross, from: card_network_receivable, to: charge_undisbursed}]
  charge.release:
    producer: disbursements
    moves: [{amount: net, from: charge_undisbursed, to: {account: payout_in_transit, payout: batch}}]
  payout.paid:
    producer: banking
    moves: [{amount: net, from: payout_in_transit, to: {account: bank_account, bank: {constant: main}}}]
"""


@pytest.fixture(scope="module")
def payouts(new_ledger: NewLedger, creation: Make) -> Path:
    """Two charges that one payout hands over to the bank, and a third that waits."""
    ledger = new_ledger(PAYOUT_FLOW)

    def event(kind: str, number: int, minute: int, **properties: str) -> dict[str, Any]:
        at = f"2026-01-02T03:{minute:02}:00Z"
        amounts = {"gross" if kind == "charge.creation" else "net": 2000 if kind == "payout.paid" else 1000}
        own = {"type": kind, "id": f"e{number}", "effective_at": at, "occurred_at": at, "currency": "USD"}
        return creation(**own, properties=properties, amounts=amounts)

    ledger.ingest(
        event("payout.paid", 1, 30, payout="po_1"),
        event("charge.creation", 2, 0, charge="ch_1", network="visa"),
        event("charge.creation", 3, 1, charge="ch_2", network="visa"),
        event("charge.creation", 4, 2, charge="ch_3", network="visa"),
        event("charge.release", 5, 5, charge="ch_1", batch="po_1"),
        event("charge.release", 6, 6, charge="ch_2", batch="po_1"),
    )
    return ledger.folder


TRACES: dict[str, tuple[Sequence[str], list[tuple[str, int]]]] = {
    "one step": (["charge=ch_1"], [("e2", 1), ("e5", 1)]),
    "two steps, over the payout": (["charge=ch_1", "--steps", "2"], [("e1", 2), ("e2", 1), ("e5", 1), ("e6", 2)]),
    "three steps, to the other charge": (
        ["charge=ch_1", "--steps", "3"],
        [("e1", 2), ("e2", 1), ("e3", 3), ("e5", 1), ("e6", 2)],
    ),
    "the account's name of a mapped property": (["payout=po_1"], [("e1", 1), ("e5", 1), ("e6", 1)]),
    "the event's name of a mapped property": (["batch=po_1"], [("e5", 1), ("e6", 1)]),
    "a constant": (["bank=main"], [("e1", 1)]),
    "two values": (["charge=ch_1", "batch=po_1"], [("e5", 1)]),
    "a value that nothing has": (["charge=ch_9"], []),
}


@pytest.mark.parametrize("case", TRACES)
def test_a_trace_finds_what_a_value_touches(run: Run, payouts: Path, case: str) -> None:
    """Each step goes on over the clearing accounts found before; log order, with the step each event was found in."""
    arguments, found = TRACES[case]
    answer = run("trace", *arguments, "--json", project=payouts).json
    assert list(answer) == ["cut", "events", "accounts", "truncated"]
    assert [(item["id"], item["step"]) for item in answer["events"]] == found


def test_a_trace_is_a_time_line(run: Run, payouts: Path) -> None:
    """The table goes by effective time, with the time since the event before, and says what was cleared."""
    ran = run("trace", "charge=ch_1", "--steps", "2", project=payouts)
    lines = [line for line in ran.out.splitlines() if "[" in line and line.startswith("2026")]
    assert lines == [
        "2026-01-02 03:00:00Z  charge.creation  e2  [charges, #2]",
        "2026-01-02 03:05:00Z  charge.release  e5  [disbursements, #5]  (+5 m)",
        "2026-01-02 03:06:00Z  charge.release  e6  [disbursements, #6]  (+1 m)",
        "2026-01-02 03:30:00Z  payout.paid  e1  [banking, #1]  (+24 m)",
    ]
    (handed_over,) = [line for line in ran.out.splitlines() if "payout_in_transit" in line and "treasury" in line]
    assert handed_over.split()[-2:] == ["0.00", "cleared"]
    assert "bank_account{bank=main}" in ran.out


# Query.

REFUSED_SQL = [
    "INSERT INTO open_accounts SELECT * FROM open_accounts",
    "UPDATE reservoirs SET balance = 0",
    "DELETE FROM episodes",
    "CREATE TABLE mine AS SELECT 1",
    "DROP VIEW events",
    "COPY (SELECT 1) TO 'stolen.csv'",
    "COPY events TO 'stolen.csv'",
    "ATTACH 'other.duckdb'",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE DELETE FROM reservoirs",
    "SET enable_external_access = true",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "INSTALL httpfs",
    "SELECT 1; SELECT 2",
    "SELECT 1; DELETE FROM reservoirs",
    "WITH gone AS (SELECT 1) DELETE FROM reservoirs",
    "",
    "SELEC 1",
    "SELECT * FROM read_text('{outside}')",
    "SELECT * FROM read_csv('{outside}')",
    "SELECT * FROM '{outside}'",
    "SELECT * FROM read_text('data/../{name}')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM sqlite_scan('data/catalog.sqlite', 'segments')",
    "SELECT nonsense FROM events",
]


@pytest.mark.parametrize("sql", REFUSED_SQL)
def test_a_query_only_reads_and_only_the_log(run: Run, shop: Path, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    """Anything but one SELECT over the views is wrong use, and leaves every file as it was."""
    outside = shop / "events" / "first.ndjson"
    text = sql.format(outside=outside, folder=outside.parent, name=outside.relative_to(shop))
    monkeypatch.chdir(shop)
    before = {path: path.read_bytes() for path in shop.rglob("*") if path.is_file()}
    ran = run("query", text, project=shop)
    assert (ran.code, ran.out) == (2, "")
    assert "[query_" in ran.err
    assert {path: path.read_bytes() for path in shop.rglob("*") if path.is_file()} == before


def test_no_file_is_read_to_find_out_what_a_query_is(run: Run, shop: Path, tmp_path: Path) -> None:
    """A statement that names files is refused before anything looks at them."""
    (tmp_path / "schema.sql").write_text("CREATE TABLE mine (number INTEGER);")
    (tmp_path / "load.sql").write_text("")
    told = [run("query", f"IMPORT DATABASE '{folder}'", project=shop) for folder in (tmp_path, tmp_path / "absent")]
    assert [ran.code for ran in told] == [2, 2]
    assert told[1].err == told[0].err.replace(str(tmp_path), str(tmp_path / "absent"))


@pytest.mark.parametrize("view", ["events", "entries", "open_accounts", "episodes", "balances", "segments"])
def test_a_query_reads_the_views(run: Run, shop: Path, view: str) -> None:
    """Every documented view can be asked, as of the cut."""
    counts = {"events": 3, "entries": 8, "open_accounts": 1, "episodes": 1, "balances": 4, "segments": 1}
    sql = f"SELECT count(*) AS count FROM {view}"
    assert run("query", sql, "--json", *AT, project=shop).json == [{"count": counts[view]}]
    assert run("query", sql, "--json", "--known-at", "0", project=shop).json == [{"count": 0}]


def test_columns_of_one_name_have_no_json(run: Run, shop: Path) -> None:
    """An object cannot hold both, so JSON is refused; a table and CSV show them."""
    refused = run("query", "SELECT 1 AS a, 2 AS b, 3 AS a", "--json", project=shop)
    assert (refused.code, json.loads(refused.err)["error"]["code"]) == (2, "query_columns_repeated")
    assert run("query", "SELECT 1 AS a, 2 AS a", "--format", "csv", project=shop).rows == [["a", "a"], ["1", "2"]]


# Inputs.


def _ndjson(records: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def _table(records: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """The records with a column per field."""
    rows = []
    for record in records:
        row = {name: value for name, value in record.items() if name not in ("properties", "amounts")}
        row |= {f"property_{name}": value for name, value in record["properties"].items()}
        row |= {f"amount_{name}": value for name, value in record["amounts"].items()}
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def _written(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


INPUTS: dict[str, Callable[[Sequence[Mapping[str, Any]]], bytes]] = {
    "events.ndjson": _ndjson,
    "events.JSONL": _ndjson,
    "events.ndjson.gz": lambda it: gzip.compress(_ndjson(it)),
    "two members.ndjson.gz": lambda it: b"".join(gzip.compress(_ndjson([record])) for record in it),
    "events.ndjson.zst": lambda it: _zstd(_ndjson(it)),
    "events.csv": lambda it: _table(it).write_csv().encode(),
    "events.csv.gz": lambda it: gzip.compress(_table(it).write_csv().encode()),
    "events.parquet": lambda it: _written(_table(it).write_parquet),
    "dictionaries.parquet": lambda it: _written(_table(it).cast({pl.String: pl.Categorical}).write_parquet),
    "file.arrow": lambda it: _written(_table(it).write_ipc),
    "stream.arrows": lambda it: _written(_table(it).write_ipc_stream),
    "stream.arrow.zst": lambda it: _zstd(_written(_table(it).write_ipc_stream)),
}


@pytest.fixture
def records(creation: Make, release: Make) -> list[dict[str, Any]]:
    """A charge and its release, both with their currency at the event."""
    return [creation(currency="USD", amounts={"gross": 1000}), release()]


@pytest.mark.parametrize("name", INPUTS)
def test_every_kind_of_file_brings_the_same_events(
    run: Run, ledger: Ledger, records: list[dict[str, Any]], name: str
) -> None:
    """Whatever the format and compression, the events are the same: NDJSON brings only duplicates afterwards."""
    path = ledger.write(INPUTS[name](records), name)
    ran = run("ingest", str(path), "--json", project=ledger.folder)
    assert (ran.code, ran.json["accepted"]) == (0, 2)
    again = ledger.write(_ndjson(records), "again.ndjson")
    assert run("ingest", str(again), "--json", project=ledger.folder).json["duplicates"] == 2


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_standard_input(
    run: Run, ledger: Ledger, records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """`-` reads standard input: NDJSON, or the format that is named."""
    content = INPUTS[f"events.{form}"](records)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    ran = run("ingest", "-", *(["--input-format", form] if form == "csv" else []), "--json", project=ledger.folder)
    assert (ran.code, ran.json["accepted"]) == (0, 2)


@pytest.mark.parametrize("given_by", ["option", "settings", "nobody"])
def test_a_source_reads_a_variable(run: Run, ledger: Ledger, records: list[dict[str, Any]], given_by: str) -> None:
    """A source gets a variable from the option or from the settings; without it, it fails and names itself."""
    path = ledger.write(_table(records).write_csv().encode(), "export.csv")
    (ledger.folder / "sources").mkdir()
    sql = b"SELECT * FROM read_csv(GetVariable( 'export' ), all_varchar = true)"
    ledger.write(sql, "sources/charges.sql")
    ledger.write_settings(variables={"export": str(path)} if given_by == "settings" else {})
    option = ["--variable", f"export={path}"] if given_by == "option" else []
    ran = run("ingest", *option, "--json", project=ledger.folder)
    if given_by == "nobody":
        assert (ran.code, "source charges" in ran.err) == (1, True)
    else:
        assert (ran.code, ran.json["accepted"]) == (0, 2)
    mistaken = run("ingest", "--variable", "exports=x", project=ledger.folder)
    assert (mistaken.code, "expected one of export, found 'exports' [variable_unknown]" in mistaken.err) == (2, True)


DAMAGED: dict[str, tuple[Callable[[bytes], bytes], int, str]] = {
    "events.ndjson": (lambda _: b"", 0, ""),
    "events.ndjson.gz": (lambda content: content[:-12], 1, "input_damaged"),
    "events.ndjson.zst": (lambda content: content[:-12], 1, "input_damaged"),
    "events.csv": (lambda _: b"", 1, "columns_wrong"),
    "events.csv.gz": (lambda content: content[:-12], 1, "input_damaged"),
    "events.parquet": (lambda content: content[:-12], 1, "parquet_unreadable"),
    "file.arrow": (lambda content: content[:-12], 1, "arrow_unreadable"),
    "stream.arrows": (lambda _: b"", 1, "arrow_unreadable"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_an_empty_or_damaged_file(run: Run, ledger: Ledger, records: list[dict[str, Any]], name: str) -> None:
    """An empty NDJSON file has no records; a file that is cut off, or lacks its header, is named, and exits 1."""
    damage, code, told = DAMAGED[name]
    path = ledger.write(damage(INPUTS[name](records)), name)
    ran = run("ingest", str(path), "--json", project=ledger.folder)
    assert ran.code == code
    if told:
        error = json.loads(ran.err)["error"]
        assert (error["code"], str(path) in error["message"]) == (told, True)
    else:
        assert ran.json["accepted"] == 0


# Starting.


@pytest.mark.parametrize(
    "name", ["2026", "a: b", 'say "yes"', "#1", "*", "null", "naïve 東京 😀", "tab\there", "\x7f\x85"]
)
def test_a_project_may_have_any_name(run: Run, tmp_path: Path, name: str) -> None:
    """The settings that init writes can be read, whatever the folder is called."""
    assert run("init", str(tmp_path / name)).code == 0
    assert run("check", project=tmp_path / name).code == 0


# The process.


def _process(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clearwell", *arguments]
    environment = catalogs.environment(folder, folder / "data")
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


def test_the_program_runs(shop: Path) -> None:
    """As a process, the program answers on standard output and exits 0."""
    ran = _process("open", "--json", *AT, folder=shop)
    assert (ran.returncode, json.loads(ran.stdout), ran.stderr) == (0, [STUCK], "")


def test_the_process_exits_with_the_code(tmp_path: Path) -> None:
    """The exit code of the process is that of the command."""
    ran = _process("status", folder=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "[project_not_found]" in ran.stderr
