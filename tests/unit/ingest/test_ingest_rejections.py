"""Every rejection code, as NDJSON and as rows: its record, its place, its precedence, and the record whole."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from clearwell.application import quarantining
from clearwell.catalog.quarantine import QuarantinedRecord
from clearwell.errors import DataError
from clearwell.ledger.rejections import STATEMENTS, RejectionCode

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]

LIMIT = 2_000
PROPERTIES = {"charge": "ch_1", "business": "acct_A", "network": "visa"}
C = RejectionCode

OF_IMPORTS = {C.RECORDED_AT_MISSING, C.RECORDED_AT_INVALID, C.RECORDED_AT_IN_FUTURE}
"""Codes that only history gets: see test_ingest_import."""


def gross(value: object, currency: object = "USD") -> dict[str, Any]:
    return {"amounts": {"gross": {"value": value, "currency": currency}}}


def charge(value: object) -> dict[str, Any]:
    return {"properties": {**PROPERTIES, "charge": value}}


FAULTY: list[tuple[RejectionCode, str, dict[str, Any]]] = [
    (C.RECORD_TOO_LARGE, "record", {"properties": {**PROPERTIES, "note": "x" * LIMIT}}),
    (C.FIELD_UNKNOWN, "colour", {"colour": "red"}),
    (C.FIELD_UNKNOWN, "amounts.gross.unit", {"amounts": {"gross": {"value": 1, "currency": "USD", "unit": 1}}}),
    (C.FIELD_INVALID, "type", {"type": {"name": "charge.creation"}}),
    (C.FIELD_INVALID, "effective_at", {"effective_at": ["2026-01-02T03:04:05Z"]}),
    (C.FIELD_INVALID, "amounts.gross.currency", gross(1, {})),
    (C.FIELD_INVALID, "properties", {"properties": "ch_1"}),
    (C.FIELD_INVALID, "properties", {"properties": [1]}),
    (C.FIELD_INVALID, "amounts", {"amounts": 1000}),
    (C.FIELD_INVALID, "amounts", {"amounts": [1000]}),
    (C.TYPE_MISSING, "type", {"type": ...}),
    (C.TYPE_MISSING, "type", {"type": ""}),
    (C.EVENT_TYPE_UNKNOWN, "type", {"type": "charge.refund"}),
    (C.ID_MISSING, "id", {"id": ...}),
    (C.ID_MISSING, "id", {"id": ""}),
    (C.ID_INVALID, "id", {"id": "ü" * 129}),
    (C.ID_INVALID, "id", {"id": "a\tb"}),
    (C.ID_INVALID, "id", {"id": "a\0b"}),
    (C.PRODUCER_MISMATCH, "producer", {"producer": "disbursements"}),
    (C.EFFECTIVE_AT_MISSING, "effective_at", {"effective_at": None}),
    (C.EFFECTIVE_AT_INVALID, "effective_at", {"effective_at": "2026-01-02T03:04:05"}),
    (C.EFFECTIVE_AT_INVALID, "effective_at", {"effective_at": 1767323045}),
    (C.EFFECTIVE_AT_INVALID, "effective_at", {"effective_at": "2026-02-30T00:00:00Z"}),
    (C.EFFECTIVE_AT_TOO_FAR_AHEAD, "effective_at", {"effective_at": "2027-03-05T00:00:00Z"}),
    (C.OCCURRED_AT_MISSING, "occurred_at", {"occurred_at": ...}),
    (C.OCCURRED_AT_INVALID, "occurred_at", {"occurred_at": "yesterday"}),
    (C.OCCURRED_AT_TOO_FAR_AHEAD, "occurred_at", {"occurred_at": "2027-03-05T00:00:00Z"}),
    (C.PROPERTY_MISSING, "properties.charge", charge(None)),
    (C.PROPERTY_MISSING, "properties.network", {"properties": ...}),
    (C.PROPERTY_INVALID, "properties.charge", charge("")),
    (C.PROPERTY_INVALID, "properties.charge", charge("a\x1fb")),
    (C.PROPERTY_INVALID, "properties.charge", charge("x" * 513)),
    (C.PROPERTY_INVALID, "properties.charge", charge({"id": "ch_1"})),
    (C.PERSONAL_PROPERTY_UNDECLARED, "properties.email", {"properties": {**PROPERTIES, "email": "a@example.com"}}),
    (C.AMOUNT_UNKNOWN, "amounts.tax", {"amounts": {"gross": 1, "tax": 1}, "currency": "USD"}),
    (C.AMOUNT_UNKNOWN, "amounts.fee", {"amounts": {"gross": 1, "fee": 1}, "currency": "USD"}),
    (C.AMOUNT_MISSING, "amounts.gross", {"amounts": {}}),
    (C.AMOUNT_MISSING, "amounts.gross", {"amounts": {"gross": None}}),
    (C.AMOUNT_VALUE_INVALID, "amounts.gross", gross(10.5)),
    (C.AMOUNT_VALUE_INVALID, "amounts.gross", gross(True)),
    (C.AMOUNT_VALUE_INVALID, "amounts.gross", gross("ten")),
    (C.AMOUNT_VALUE_INVALID, "amounts.gross", gross(2**63)),
    (C.AMOUNT_VALUE_INVALID, "amounts.gross", gross(-(2**63))),
    (C.AMOUNT_VALUE_INVALID, "amounts.gross", gross([1])),
    (C.AMOUNT_NEGATIVE, "amounts.gross", gross(-1)),
    (C.AMOUNT_CURRENCY_MISSING, "amounts.gross.currency", gross(1, None)),
    (C.AMOUNT_CURRENCY_UNKNOWN, "amounts.gross.currency", gross(1, "usd")),
]

UNREADABLE = {
    C.RECORD_UNREADABLE: [
        b'{"type": ',
        b"[1]",
        b"17",
        b"null",
        b'"text"',
        b"{'a': 1}",
        b'{"id": "\\ud800"}',
        b"\xff{}",
    ],
    C.FIELD_REPEATED: [
        b'{"id": "a", "id": "b"}',
        b'{"id": "a", "i\\u0064": "b"}',
        b'{"properties": {"charge": "a", "charge": "b"}}',
        b'{"amounts": {"gross": {"value": 1, "value": 2}}}',
    ],
}


@pytest.fixture(scope="module")
def flow(design_flow: str) -> str:
    """The flow of the design, with a personal property of the release, which the creation does not declare."""
    personal = "properties: {charge: {}, business: {}, email: {personal: true}}"
    return design_flow.replace("producer: disbursements\n", f"producer: disbursements\n    {personal}\n")


def waiting(ledger: Ledger) -> list[QuarantinedRecord]:
    with ledger.open() as workspace:
        return quarantining.quarantined(workspace, limit=1_000)


@pytest.fixture(scope="module")
def refused(new_ledger: NewLedger, flow: str, creation: Make) -> dict[int, QuarantinedRecord]:
    """What became of one file with every faulty record, a good one at its start and its end: by line."""
    ledger = new_ledger(flow, record_bytes=LIMIT)
    records = [json.dumps(creation(**{"id": f"f{n}", **changes})).encode() for n, (_, _, changes) in enumerate(FAULTY)]
    records += [record for group in UNREADABLE.values() for record in group]
    receipt = ledger.ingest(creation(), *records, b"", creation(id="last"))
    assert receipt.accepted + receipt.quarantined == len(records) + 2
    found = {item.reason.line: item for item in waiting(ledger)}
    assert 1 not in found
    assert len(records) + 3 not in found
    return {line: item for line, item in found.items() if item.record == records[line - 2]}


def test_the_table_has_every_code() -> None:
    """Every member of the enumeration is provoked here, and has its statement."""
    provoked = {code for code, _, _ in FAULTY} | set(UNREADABLE) | {C.EVENT_ID_CONFLICT} | OF_IMPORTS
    assert provoked == set(RejectionCode) == set(STATEMENTS)


@pytest.mark.parametrize("case", range(len(FAULTY)), ids=lambda n: f"{FAULTY[n][0].value}-{n}")
def test_a_faulty_record_gets_its_code(refused: dict[int, QuarantinedRecord], case: int) -> None:
    """The record is in quarantine, whole, under its line, with its code and the field at fault."""
    code, field, _ = FAULTY[case]
    assert case + 2 in refused, "the record was accepted, or is not kept as it came"
    reason = refused[case + 2].reason
    assert (reason.code, reason.field) == (code.value, field)


_UNREADABLE_CASES = [(code, record) for code, group in UNREADABLE.items() for record in group]


@pytest.mark.parametrize("case", range(len(_UNREADABLE_CASES)), ids=lambda n: f"{_UNREADABLE_CASES[n][0].value}-{n}")
def test_an_unreadable_record_gets_its_code(refused: dict[int, QuarantinedRecord], case: int) -> None:
    """A line that is no record, or says a thing twice, is kept byte for byte with its code."""
    found = refused[len(FAULTY) + 2 + case]
    assert (found.reason.code, found.record) == _UNREADABLE_CASES[case]


PAIRS: list[tuple[RejectionCode, dict[str, Any]]] = [
    (C.RECORD_TOO_LARGE, {"colour": "x" * LIMIT}),
    (C.FIELD_UNKNOWN, {"colour": "red", "type": {}}),
    (C.FIELD_INVALID, {"id": {}, "type": "charge.refund"}),
    (C.TYPE_MISSING, {"type": ..., "id": ...}),
    (C.EVENT_TYPE_UNKNOWN, {"type": "charge.refund", "id": "a\tb"}),
    (C.ID_MISSING, {"id": ..., "producer": "nobody"}),
    (C.ID_INVALID, {"id": "a\tb", "producer": "nobody"}),
    (C.PRODUCER_MISMATCH, {"producer": "nobody", "effective_at": ...}),
    (C.EFFECTIVE_AT_MISSING, {"effective_at": ..., "occurred_at": "x"}),
    (C.EFFECTIVE_AT_INVALID, {"effective_at": "x", "occurred_at": ...}),
    (C.EFFECTIVE_AT_TOO_FAR_AHEAD, {"effective_at": "2028-01-01T00:00:00Z", "occurred_at": "x"}),
    (C.OCCURRED_AT_MISSING, {"occurred_at": ..., "properties": {}}),
    (C.OCCURRED_AT_INVALID, {"occurred_at": "x", **charge("")}),
    (C.OCCURRED_AT_TOO_FAR_AHEAD, {"occurred_at": "2028-01-01T00:00:00Z", **gross("x")}),
    (C.PROPERTY_MISSING, {"properties": {"charge": "", "business": "b"}, **gross(-1)}),
    (C.PROPERTY_INVALID, {**charge({}), "amounts": {"tax": 1}}),
    (C.PROPERTY_INVALID, {"properties": {**PROPERTIES, "email": "x" * 513}}),
    (C.PERSONAL_PROPERTY_UNDECLARED, {"properties": {**PROPERTIES, "email": "a@example.com"}, **gross(-1)}),
    (C.AMOUNT_UNKNOWN, {"amounts": {"tax": 1}}),
    (C.AMOUNT_MISSING, {"type": "charge.release", "amounts": {"net": "x"}}),
    (C.AMOUNT_VALUE_INVALID, gross("x", None)),
    (C.AMOUNT_NEGATIVE, gross(-1, "xxx")),
    (C.AMOUNT_VALUE_INVALID, {"type": "charge.release", "amounts": {"net": 1, "fee": "x"}}),
    (C.AMOUNT_NEGATIVE, {"type": "charge.release", "amounts": {"net": {"value": 1, "currency": "xx"}, "fee": -1}}),
]


def test_of_two_faults_the_first_in_order_counts(new_ledger: NewLedger, flow: str, creation: Make) -> None:
    """A record with two faults gets the code that comes first in the list, whoever of reader and rules saw it."""
    ledger = new_ledger(flow, record_bytes=LIMIT)
    ledger.ingest(*(creation(**changes) for _, changes in PAIRS))
    found = {item.reason.line: item.reason.code for item in waiting(ledger)}
    assert found == {number: code.value for number, (code, _) in enumerate(PAIRS, 1)}


def test_blank_lines_are_no_records_but_count_as_lines(ledger: Ledger, creation: Make) -> None:
    """Lines with nothing but white space are passed over, and the record after them keeps its line number."""
    receipt = ledger.ingest(b"     ", creation(), b"  \t  ", b"{}")
    assert (receipt.accepted, [item.reason.line for item in waiting(ledger)]) == (1, [4])


@pytest.mark.parametrize(("beyond", "accepted"), [(0, 1), (1, 0)])
def test_a_record_as_long_as_the_limit_is_not_too_large(
    new_ledger: NewLedger, creation: Make, beyond: int, accepted: int
) -> None:
    """`record_bytes` is the length of the record itself, without the line feed that ends it."""
    ledger = new_ledger(record_bytes=LIMIT)
    room = LIMIT - len(json.dumps(creation(properties={**PROPERTIES, "note": ""})))
    record = creation(properties={**PROPERTIES, "note": "x" * (room + beyond)})
    assert len(json.dumps(record)) == LIMIT + beyond
    assert ledger.ingest(record).accepted == accepted


HEADER = [
    *("type", "id", "producer", "effective_at", "occurred_at", "currency"),
    *("property_charge", "property_business", "property_network", "amount_gross", "currency_gross", "amount_fee"),
]
AT = "2026-01-02T03:04:05Z"
ROW = dict(zip(HEADER, ["charge.creation", "x", "", AT, AT, "", "ch_1", "b", "visa", "1000", "USD", ""], strict=True))
ROWS: list[tuple[RejectionCode, dict[str, str]]] = [
    (C.TYPE_MISSING, {"type": ""}),
    (C.EVENT_TYPE_UNKNOWN, {"type": "charge.refund"}),
    (C.ID_MISSING, {"id": ""}),
    (C.ID_INVALID, {"id": "a\tb"}),
    (C.PRODUCER_MISMATCH, {"producer": "disbursements"}),
    (C.EFFECTIVE_AT_MISSING, {"effective_at": ""}),
    (C.EFFECTIVE_AT_INVALID, {"effective_at": "2026-01-02"}),
    (C.EFFECTIVE_AT_TOO_FAR_AHEAD, {"effective_at": "2028-01-01T00:00:00Z"}),
    (C.OCCURRED_AT_MISSING, {"occurred_at": ""}),
    (C.OCCURRED_AT_INVALID, {"occurred_at": "2026-01-02"}),
    (C.OCCURRED_AT_TOO_FAR_AHEAD, {"occurred_at": "2028-01-01T00:00:00Z"}),
    (C.PROPERTY_MISSING, {"property_charge": ""}),
    (C.PROPERTY_INVALID, {"property_charge": "a\x7fb"}),
    (C.PERSONAL_PROPERTY_UNDECLARED, {"property_email": "a@example.com"}),
    (C.AMOUNT_UNKNOWN, {"amount_fee": "1"}),
    (C.AMOUNT_MISSING, {"amount_gross": ""}),
    (C.AMOUNT_VALUE_INVALID, {"amount_gross": "1.5"}),
    (C.AMOUNT_NEGATIVE, {"amount_gross": "-1"}),
    (C.AMOUNT_CURRENCY_MISSING, {"currency_gross": ""}),
    (C.AMOUNT_CURRENCY_UNKNOWN, {"currency_gross": "XXX"}),
]
NOT_OF_ROWS = {C.RECORD_TOO_LARGE, C.RECORD_UNREADABLE, C.FIELD_REPEATED, C.FIELD_UNKNOWN, C.FIELD_INVALID}


def faulty_rows() -> list[dict[str, str]]:
    row = {**ROW, "property_email": ""}
    return [row, *({**row, "id": f"r{number}", **changes} for number, (_, changes) in enumerate(ROWS))]


def as_csv(rows: list[dict[str, str]], *more: str) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else HEADER, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return (out.getvalue() + "".join(more)).encode()


def test_the_rows_have_every_code_that_a_row_can_get() -> None:
    """Apart from faults of JSON text and of identity, every code is provoked in a table too."""
    assert {code for code, _ in ROWS} == set(RejectionCode) - NOT_OF_ROWS - OF_IMPORTS - {C.EVENT_ID_CONFLICT}


@pytest.mark.parametrize("ending", ["csv", "parquet", "arrow"])
def test_a_faulty_row_gets_its_code(new_ledger: NewLedger, flow: str, ending: str) -> None:
    """Rows of CSV, Parquet and Arrow get the same codes as records, under their row's number, with all values kept."""
    ledger = new_ledger(flow)
    rows = faulty_rows()
    path = ledger.folder / f"rows.{ending}"
    frame = pl.DataFrame([{name: value or None for name, value in row.items()} for row in rows])
    if ending == "csv":
        path.write_bytes(as_csv(rows))
    elif ending == "parquet":
        frame.write_parquet(path)
    else:
        frame.write_ipc(path)
    assert ledger.ingest_file(path).accepted == 1
    first = 2 if ending == "csv" else 1
    found = {item.reason.line - first: item for item in waiting(ledger)}
    assert {number: item.reason.code for number, item in found.items()} == {
        number: code.value for number, (code, _) in enumerate(ROWS, 1)
    }
    for number, item in found.items():
        kept = item.record.decode()
        lost = [value for value in rows[number].values() if value and json.dumps(value)[1:-1] not in kept]
        assert not lost, f"{item.reason.code}: the record in quarantine lacks {lost}"


def test_csv_rows_of_another_length_are_unreadable(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row with too few or too many cells is kept as it stands, under its line, whatever block it was read in."""
    monkeypatch.setattr("clearwell.ingest.tables._CSV_BLOCK_BYTES", 400)
    good = [as_csv([{**ROW, "id": f"g{number}"}]).decode().split("\n")[1] + "\n" for number in range(6)]
    bad = good[0].replace("1000", "x")
    text = as_csv([], good[0], "a,b\n", good[1], good[2], bad, "c" + "," * 20 + "\n", good[3], bad, good[4], "d\n")
    receipt = ledger.ingest_file(ledger.write(text, "rows.csv"))
    assert receipt.accepted == 5
    assert sorted((item.reason.line, item.reason.code) for item in waiting(ledger)) == [
        (3, "record_unreadable"),
        (6, "amount_value_invalid"),
        (7, "record_unreadable"),
        (9, "amount_value_invalid"),
        (11, "record_unreadable"),
    ]
    assert {item.record for item in waiting(ledger) if item.reason.code == "record_unreadable"} == {
        b"a,b",
        b"c" + b"," * 20,
        b"d",
    }


TYPED_ROW: dict[str, Any] = {
    **{name: ROW[name] for name in ("type", "id", "property_charge", "property_business", "property_network")},
    **dict.fromkeys(("effective_at", "occurred_at"), datetime(2026, 1, 2, tzinfo=UTC)),
    "amount_gross": 1000,
    "currency_gross": "USD",
}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("amount_gross", 1000.0),
        ("amount_gross", True),
        ("amount_gross", date(2026, 1, 2)),
        ("amount_gross", datetime(2026, 1, 2, tzinfo=UTC)),
        ("amount_gross", timedelta(seconds=1)),
        ("effective_at", datetime(2026, 1, 2)),  # noqa: DTZ001  (Without a zone is the case.)
        ("effective_at", date(2026, 1, 2)),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_a_typed_column_of_the_wrong_kind_is_refused(ledger: Ledger, column: str, value: object) -> None:
    """A float, a truth value, a day or a duration is no amount of money, and a time without a zone no instant."""
    path = ledger.folder / "rows.parquet"
    pl.DataFrame([{**TYPED_ROW, column: value}]).write_parquet(path)
    assert ledger.ingest_file(path).accepted == 0
    code = "amount_value_invalid" if column == "amount_gross" else f"{column}_invalid"
    assert [item.reason.code for item in waiting(ledger)] == [code]


@pytest.mark.parametrize(
    ("column", "value"),
    [("id", ["a"]), ("id", b"\xff"), ("property_charge", ["a"]), ("property_note", ["a"]), ("amount_gross", [1])],
    ids=["list_id", "binary_id", "list_property", "list_undeclared_property", "list_amount"],
)
def test_a_nested_or_binary_column_is_bad_data(ledger: Ledger, column: str, value: object) -> None:
    """A column that cannot be text or a number is the data's fault: refused or reported, and never our failure."""
    path = ledger.folder / "rows.parquet"
    pl.DataFrame([{**TYPED_ROW, column: value}]).write_parquet(path)
    try:
        assert ledger.ingest_file(path).accepted == 0
    except DataError:
        return
    assert len(waiting(ledger)) == 1


@pytest.mark.parametrize(
    "microseconds", [-62_135_596_800_000_001, 253_402_300_800_000_000], ids=["year_0", "year_10000"]
)
def test_a_time_beyond_the_calendar_is_refused(ledger: Ledger, microseconds: int) -> None:
    """A timestamp outside the years 1 to 9999 goes to quarantine, and does not stop the rows beside it."""
    rows = pl.DataFrame([TYPED_ROW, {**TYPED_ROW, "id": "beyond"}])
    times = pl.Series([TYPED_ROW["effective_at"], None]).dt.cast_time_unit("us").to_physical()
    times[1] = microseconds
    path = ledger.folder / "rows.parquet"
    rows.with_columns(effective_at=times.cast(pl.Datetime("us", "UTC"))).write_parquet(path)
    assert ledger.ingest_file(path).accepted == 1
    assert len(waiting(ledger)) == 1


@pytest.mark.parametrize("name", ["email", "em\\u0061il"])
def test_other_properties_may_not_hold_a_personal_one(new_ledger: NewLedger, flow: str, name: str) -> None:
    """A row cannot bring what is personal past its own column, where it would be kept in clear."""
    ledger = new_ledger(flow)
    out = io.StringIO()
    writer = csv.DictWriter(out, [*HEADER, "other_properties"])
    writer.writeheader()
    for event, others in (("e1", f'{{"{name}": "a@example.com"}}'), ("e2", '{"colour": "email"}')):
        writer.writerow({**ROW, "id": event, "other_properties": others})
    receipt = ledger.ingest_file(ledger.write(out.getvalue().encode(), "rows.csv"))
    assert (receipt.accepted, receipt.quarantined) == (1, 1)
    reason = waiting(ledger)[0].reason
    assert (reason.code, reason.field, reason.line) == ("field_invalid", "other_properties", 2)


@pytest.mark.parametrize("text", ["no json", "[1]", '"text"', "17"])
@pytest.mark.parametrize("amount", ["1000", "x"])
def test_other_properties_must_be_an_object(ledger: Ledger, text: str, amount: str) -> None:
    """A row whose `other_properties` is no JSON object goes to quarantine, whatever else is wrong with it."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [*HEADER, "other_properties"])
    writer.writeheader()
    writer.writerow({**ROW, "amount_gross": amount, "other_properties": text})
    receipt = ledger.ingest_file(ledger.write(out.getvalue().encode(), "rows.csv"))
    assert (receipt.accepted, receipt.quarantined) == (0, 1)
    assert text in waiting(ledger)[0].record.decode().replace("\\", "")
