"""CSV, Parquet and Arrow as nobody should write them, and cells that other programs would run as formulas."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
from aftermath import Command, Tally, prove, waiting

if TYPE_CHECKING:
    from conftest import Ledger

HEADER = "type,id,effective_at,occurred_at,currency,property_charge,property_business,property_network,amount_gross"
INSTANT = "2026-01-02T03:04:05Z"


def row(number: int, **changes: str) -> str:
    cells = {
        "type": "charge.creation",
        "id": f"evt_{number}",
        "effective_at": INSTANT,
        "occurred_at": INSTANT,
        "currency": "USD",
        "charge": f"ch_{number}",
        "business": "acct_A",
        "network": "visa",
        "gross": "10",
    }
    return ",".join({**cells, **changes}.values())


def table(**changes: Any) -> pa.Table:
    """A table of one sound event, with columns replaced."""
    columns = {name: pa.array([cell]) for name, cell in zip(HEADER.split(","), row(1).split(","), strict=True)}
    columns["amount_gross"] = pa.array([10])
    return pa.table({**columns, **changes})


def written(ledger: Ledger, content: pa.Table, name: str) -> Path:
    path = ledger.folder / name
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(content, path)
    elif path.suffix == ".arrows":
        with pyarrow.ipc.new_stream(path, content.schema) as stream:
            stream.write_table(content)
    else:
        with pyarrow.ipc.new_file(path, content.schema) as file:
            file.write_table(content)
    return path


CSV_REFUSED = {
    "too_few_cells": ("a,b", "record_unreadable"),
    "too_many_cells": (row(9) + ",1,2,3", "record_unreadable"),
    "nul": (row(9, charge="a\0b"), "property_invalid"),
    "float": (row(9, gross="1.0"), "amount_value_invalid"),
    "exponent": (row(9, gross="1e3"), "amount_value_invalid"),
    "nan": (row(9, gross="NaN"), "amount_value_invalid"),
    "2_63": (row(9, gross=str(2**63)), "amount_value_invalid"),
    "formula_as_amount": (row(9, gross="=1+1"), "amount_value_invalid"),
    "ten_megabytes": (row(9, charge="x" * 10_000_000), "property_invalid"),
    "line_feed_in_cell": (row(9, charge='"a\nb"'), "property_invalid"),
}


@pytest.mark.fault("A row of CSV that is no event")
@pytest.mark.parametrize("case", CSV_REFUSED)
def test_a_hostile_row_goes_to_quarantine_alone(ledger: Ledger, command: Command, case: str) -> None:
    """It waits in quarantine under a code, and the rows beside it are accepted."""
    text, code = CSV_REFUSED[case]
    path = ledger.write("\n".join([HEADER, row(1), text, row(2), ""]).encode(), "in.csv")
    ran = command(ledger, "ingest", str(path), "--json")
    assert (ran.code, json.loads(ran.out)["accepted"], json.loads(ran.out)["quarantined"]) == (1, 2, 1)
    assert [found for found, _, _ in waiting(ledger)] == [code]
    prove(ledger, ["evt_1", "evt_2"])


CSV_DAMAGED = {
    "no_header": b"\xff\xfe\x00",
    "endless_header": b"x" * 2_000_000,
    "columns_unknown": b"a,b,c\n1,2,3\n",
    "column_twice": f"{HEADER},id\n".encode(),
    "quote_in_header": b'"' + HEADER.encode() + b"\n",
    "not_utf_8": f"{HEADER}\n{row(1)}\n".encode() + row(2).replace("ch_2", "\xff").encode("latin-1") + b"\n",
    "quote_never_closed": f"{HEADER}\n{row(1, charge=chr(34) + 'a')}\n".encode() + b"x" * 80_000_000,
}


@pytest.mark.fault("A file that is no CSV")
@pytest.mark.parametrize("case", CSV_DAMAGED)
def test_a_file_that_is_no_csv(ledger: Ledger, command: Command, case: str) -> None:
    """The command says so with a code and ends with exit code 1; the next file comes in."""
    path = ledger.write(CSV_DAMAGED[case], "in.csv")
    ran = command(ledger, "ingest", str(path), "--json")
    assert (ran.code, ran.error) in {(1, "csv_unreadable"), (1, "columns_wrong")}
    assert ledger.ingest_file(ledger.write(f"{HEADER}\n{row(1)}\n".encode(), "good.csv")).accepted == 1
    prove(ledger, ["evt_1"])


_TOO_LATE = 2**62
COLUMNS: dict[str, pa.Array] = {
    "not_utf_8": pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
    ),
    "month_interval": pa.array([pa.MonthDayNano([1, 2, 3])]),
    "half_float": pa.array([1.5], pa.float16()),
    "nan": pa.array([float("nan")]),
    "unsigned": pa.array([2**64 - 1], pa.uint64()),
    "wide_decimal": pa.array([decimal.Decimal(10) ** 60], pa.decimal256(70, 0)),
    "decimal": pa.array([decimal.Decimal(10) ** 30], pa.decimal128(38, 0)),
    "dictionary": pa.array(["x"]).dictionary_encode(),
    "run_ends": pa.RunEndEncodedArray.from_arrays([1], ["x"]),
    "union": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
    "fixed_binary": pa.array([b"1234"], pa.binary(4)),
    "binary_view": pa.array([b"1"], pa.binary_view()),
    "text_view": pa.array(["1"], pa.string_view()),
    "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"1" * 16], pa.binary(16))),
    "truth": pa.array([True]),
    "day": pa.array([datetime.date(2026, 1, 1)]),
    "time": pa.array([datetime.time(1)]),
    "duration": pa.array([datetime.timedelta(1)]),
    "instant_beyond_time": pa.array([_TOO_LATE], pa.timestamp("s", "UTC")),
    "day_beyond_time": pa.array([_TOO_LATE - _TOO_LATE % 86_400_000], pa.date64()),
    "zone_of_nowhere": pa.array([0], pa.timestamp("s", "Nowhere/At_All")),
    "no_zone": pa.array([0], pa.timestamp("s")),
    "null": pa.array([None]),
    "list": pa.array([[1]]),
    "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
}


@pytest.mark.fault("A Parquet or Arrow column of a strange type, or with values that cannot be")
@pytest.mark.parametrize("ending", ["arrow", "arrows", "parquet"])
@pytest.mark.parametrize("kind", COLUMNS)
def test_a_strange_column(ledger: Ledger, command: Command, tally: Tally, kind: str, ending: str) -> None:
    """As any field, it is a plain value, or refused by record or by file with a code: never taken in damaged."""
    accepted = 0
    for name in ("id", "effective_at", "property_charge", "property_other", "amount_gross", "other_properties"):
        tally.rounds += 1
        try:
            path = written(ledger, table(**{name: COLUMNS[kind]}), f"{name}.{ending}")
        except (pa.ArrowException, OSError):  # The format has no such type.
            continue
        ran = command(ledger, "ingest", str(path), "--json")
        if ran.error:
            assert ran.code == 1
            assert ran.error in {"columns_wrong", "table_damaged", "arrow_unreadable", "parquet_unreadable"}
            continue
        receipt = json.loads(ran.out)
        assert receipt["accepted"] + receipt["duplicates"] + receipt["quarantined"] == 1
        accepted += receipt["accepted"]
    with ledger.open() as workspace:
        events = [frame for _, frame in workspace.log().after(0)]
    assert sum(frame.height for frame in events) == accepted
    for frame in events:
        frame.rows()  # Every value can be read.
    if events:
        assert list(ledger.verify().faults) == []


DAMAGED = 120 if "FAULT_ROUNDS" in os.environ else 60
"""So many files of each kind; `make faults` makes more."""


@pytest.mark.fault("A Parquet or Arrow file, cut off, with flipped bytes, or wholly made up")
@pytest.mark.parametrize("ending", ["arrow", "arrows", "parquet", "arrow.gz"])
def test_a_damaged_table(ledger: Ledger, command: Command, tally: Tally, ending: str) -> None:
    """Whatever the bytes are: events that can be read, or an error with a code, and an unharmed ledger."""
    chance = random.Random(20_260_102)
    path = written(ledger, table(), f"sound.{ending.removesuffix('.gz')}")
    sound = path.read_bytes()
    for number in range(DAMAGED):
        tally.rounds += 1
        damaged = bytearray(sound[: chance.randrange(len(sound))] if number % 3 == 0 else sound)
        for _ in range(chance.randrange(1, 6)):
            if damaged:
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        content = bytes(damaged) if number % 10 else chance.randbytes(chance.randrange(2_000))
        name = f"damaged.{ending}"
        ledger.write(gzip.compress(content) if ending.endswith(".gz") else content, name)
        ran = command(ledger, "ingest", str(ledger.folder / name), "--json")
        assert ran.code in {0, 1}, ran.err
        assert (ran.code == 0) or ran.error or json.loads(ran.out)["quarantined"]
    with ledger.open() as workspace:
        for _, frame in workspace.log().after(0):
            frame.rows()
        count = workspace.log().last_sequence
    if count:
        assert list(ledger.verify().faults) == []


FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    '=HYPERLINK("x")',
    "\t=1",
    "|cmd",
    "a,b",
    'a"b',
    "a;b",
    "'",
    "=cmd|' /C'!A0",
]


@pytest.mark.fault("Values that a spreadsheet would run as a formula")
def test_formulas_are_given_back_as_they_came(ledger: Ledger, command: Command, creation: Callable[..., Any]) -> None:
    """They are data: CSV, JSON and the export of quarantine give back what came in, byte for byte, quoted as CSV is."""
    texts = [text for text in FORMULAS if "\t" not in text]
    records = [
        creation(id=text, properties={"charge": text, "business": text, "network": text, text: text}) for text in texts
    ]
    refused = json.dumps(creation(id="bad", type="=1+1", properties={"charge": "=1+1"})).encode()
    receipt = ledger.ingest(*records, refused)
    assert (receipt.accepted, receipt.quarantined) == (len(texts), 1)
    query = "SELECT id, property_charge, property_business FROM events ORDER BY sequence"
    ran = command(ledger, "query", query, "--format", "csv")
    assert list(csv.reader(io.StringIO(ran.out)))[1:] == [[text] * 3 for text in texts]
    ran = command(ledger, "query", query, "--json")
    assert [item["id"] for item in json.loads(ran.out)] == texts
    assert command(ledger, "quarantine", "export").out.encode() == refused + b"\n"
    (listed,) = list(csv.DictReader(io.StringIO(command(ledger, "quarantine", "list", "--format", "csv").out)))
    assert (listed["found"], listed["record"].encode()) == ("=1+1", refused)
    for text in texts:
        assert json.loads(command(ledger, "trace", f"charge={text}", "--json").out)["events"][0]["id"] == text
    prove(ledger, texts)
