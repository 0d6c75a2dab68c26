"""What fuzzing runs: for each parser valid examples to start from, and an oracle that says what must hold of any input.

An oracle takes bytes and returns, or raises BrokenPromiseError. Any other exception is a defect as well: a parser
answers with a result whose counts add up, or with a ClearwellError of a code that is named here.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clearwell import settings
from clearwell.errors import ClearwellError
from clearwell.flows import load
from clearwell.flows.model import Model
from clearwell.flows.problems import PROBLEM_CODES
from clearwell.ingest import ndjson, tables
from clearwell.ingest.batches import Batch, first_applicable
from clearwell.ledger.rejections import RejectionCode
from clearwell.ledger.validation import Rules, validate
from clearwell.log import checkpoints, proofs
from clearwell.log.merkle import inclusion_path, leaf_hash, node_hash, root_at
from clearwell.values import columns, instants, times
from clearwell.values.currencies import Currencies


class BrokenPromiseError(AssertionError):
    """A parser returned, but not what it promises."""


@dataclass(frozen=True)
class Target:
    """A parser under fuzzing. `seeds` are valid, `found` are inputs that once broke it, `words` help to mutate."""

    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    found: tuple[bytes, ...] = ()
    words: tuple[str, ...] = ()


def promise(kept: bool, text: str, evidence: object = "") -> None:
    """Raise BrokenPromiseError unless the promise was kept."""
    if not kept:
        raise BrokenPromiseError(f"{text}: {evidence!r}" if evidence != "" else text)


def _require_code(error: ClearwellError, *codes: str) -> None:
    promise(error.code in codes, f"expected one of the codes {', '.join(codes)}", error.code)
    promise(bool(error.message), "expected a message")


# Records: NDJSON and CSV.

FLOW = """\
flow: card_payments
owner: payments-engineering
description: A charge.
accounts:
  receivable: {kind: reservoir, properties: [network]}
  undisbursed: {kind: clearing, properties: [charge, business], clears_within: 2 business days, calendar: BR}
  balance: {kind: reservoir, properties: [business]}
  fees: {kind: reservoir}
events:
  creation:
    producer: charges
    arrives_within: 5 minutes
    properties:
      charge:
      business:
      network:
      payer: {personal: true, subject: business}
    amounts: {gross: {signed: true}}
    moves:
      - {amount: gross, from: receivable, to: undisbursed}
  release:
    producer: disbursements
    moves:
      - {amount: net, from: undisbursed, to: {account: balance, business: destination}}
      - {amount: fee, from: undisbursed, to: fees}
"""

_RECORD: dict[str, Any] = {
    "type": "creation",
    "id": "evt_1",
    "effective_at": "2026-01-02T03:04:05Z",
    "occurred_at": "2026-01-02T03:04:05.123456+01:00",
    "properties": {"charge": "ch_1", "business": "a", "network": "visa", "payer": "Zoë", "memo": {"x": [1, None]}},
    "amounts": {"gross": {"value": -1000, "currency": "USD"}},
}
_SHORT: dict[str, Any] = {
    "type": "release",
    "id": "evt_2",
    "producer": "disbursements",
    "effective_at": "2026-01-02T03:04:05Z",
    "occurred_at": "2026-01-02T03:04:05Z",
    "currency": "USD",
    "properties": {"charge": 12, "business": "a", "destination": "b"},
    "amounts": {"net": 970, "fee": "30"},
}
_REFUSED: tuple[dict[str, Any], ...] = (
    {**_RECORD, "amounts": {"net": 1}},
    {**_RECORD, "effective_at": "2026-01-02", "other": 1},
    {**_RECORD, "properties": [], "amounts": None},
    {**_SHORT, "properties": {"charge": {"x": 1}}, "amounts": {"net": [1], "fee": 1.5}},
)
_ENVELOPE = ("type", "id", "producer", "effective_at", "occurred_at", "currency")
_CODES = frozenset(RejectionCode)
_WHOLE = ndjson.NdjsonOptions(record_bytes=1_000)
_IN_PIECES = ndjson.NdjsonOptions(record_bytes=1_000, block_bytes=700, block_lines=2, kept_bytes=1_500)

Fate = tuple[object, ...]
"""What became of a record, to be compared between two ways of reading."""


@cache
def model() -> Model:
    """The model that records are read with."""
    found, problems = load.load_model({"flow.yaml": FLOW})
    assert found is not None, problems
    return found


@cache
def _reader(options: ndjson.NdjsonOptions) -> ndjson.NdjsonReader:
    return ndjson.NdjsonReader(model(), options)


@cache
def _rules() -> Rules:
    return Rules(model(), Currencies(), datetime(2026, 3, 1, tzinfo=UTC), timedelta(days=366))


def check_ndjson(data: bytes) -> None:
    """Every line that is not blank becomes one event or is refused once, and how the input was cut changes nothing."""
    lines = {number: _line(line) for number, line in enumerate(data.split(b"\n"), 1)}
    records = [number for number, line in lines.items() if line.strip(b" \t\r") or len(line) > _WHOLE.record_bytes]
    whole, error = _fates(lambda: _reader(_WHOLE).read(io.BytesIO(data), "fuzz"), lines, _check_accepted_line)
    promise(error is None, "expected no error", error)
    promise(list(whole) == records, "expected every line that is not blank, once", (list(whole), records))
    if len(lines) <= _IN_PIECES.block_lines and len(data) <= _IN_PIECES.block_bytes:
        return  # It would be read in the same way.
    pieces, error = _fates(lambda: _reader(_IN_PIECES).read(io.BytesIO(data), "fuzz"), lines, _check_accepted_line)
    if error is not None:
        _require_code(error, "line_too_long")
        longest = max(map(len, lines.values()))
        promise(longest >= _IN_PIECES.kept_bytes - 2, "expected a long line where one was reported", longest)
        promise(list(pieces) == records[: len(pieces)], "expected all before the long line", list(pieces))
    else:
        promise(list(pieces) == records, "expected every line in pieces, too", (list(pieces), records))
    changed = {number: (fate, whole[number]) for number, fate in pieces.items() if fate != whole[number]}
    promise(not changed, "expected the same fate however the input was cut", changed)


def _line(line: bytes) -> bytes:
    return line.removesuffix(b"\r")


def _fates(
    read: Callable[[], Iterator[Batch]],
    lines: Mapping[int, bytes],
    check_accepted: Callable[[bytes, Mapping[str, Any]], None],
) -> tuple[dict[int, Fate], ClearwellError | None]:
    """What became of each record, by line, in order; and the error that ended the reading. Checks batch by batch."""
    fates: dict[int, Fate] = {}
    error: ClearwellError | None = None
    try:
        for batch in read():
            own = _fates_of_batch(batch, lines, check_accepted)
            promise(not own.keys() & fates.keys(), "expected no line in two batches", own.keys() & fates.keys())
            fates.update(own)
    except ClearwellError as raised:
        error = raised
    return dict(sorted(fates.items())), error


def _fates_of_batch(
    batch: Batch, lines: Mapping[int, bytes], check_accepted: Callable[[bytes, Mapping[str, Any]], None]
) -> dict[int, Fate]:
    codes = set(batch.rejections["code"])
    promise(codes <= _CODES, "expected codes of the closed list", codes)
    places = batch.records["position"].to_list() if batch.records.width else []
    promise(len(set(places)) == len(places), "expected every record once", places)
    validated = validate(batch.records, _rules()) if places else None
    refused = first_applicable(batch.rejections, *([validated.rejections] if validated else []))
    promise(set(refused["code"]) <= _CODES, "expected codes of the closed list", refused["code"].to_list())
    fates: dict[int, Fate] = {}
    reasons = refused.sort("position")
    positions = reasons["position"].to_list()
    for row, raw in zip(reasons.iter_rows(named=True), batch.raw(positions), strict=True):
        number = int(batch.lines[row["position"]])
        if lines:
            promise(raw == lines[number], "expected the bytes as they came", (raw, lines[number]))
        fates[number] = ("refused", row["code"], row["field"], row["found"], raw)
    events = validated.events.filter(~pl.col("position").is_in(positions)) if validated else pl.DataFrame()
    for event in events.iter_rows(named=True):
        number = int(batch.lines[event.pop("position")])
        promise(number not in fates, "expected a record to be accepted or refused", number)
        fates[number] = ("accepted", *sorted((name, value) for name, value in event.items() if value is not None))
        check_accepted(lines.get(number, b""), event)
    rest = {int(batch.lines[place]) for place in places} - fates.keys()
    promise(not rest, "expected every record to be accepted or refused", rest)
    return fates


def _check_accepted_line(line: bytes, event: Mapping[str, Any]) -> None:
    """An accepted event says what Python's own reader of JSON finds in its line."""
    try:
        content = json.loads(_without_last_commas(line.decode()), parse_int=str, parse_float=_Float)
    except ValueError as error:
        raise BrokenPromiseError(f"expected JSON in an accepted line, found {error}: {line!r}") from None
    promise(isinstance(content, dict), "expected an object in an accepted line", line)
    for name in ("type", "id", "producer"):
        if isinstance(content.get(name), str):
            promise(event[name] == content[name], f"expected the {name} of the line", (event[name], content[name]))
    for name, value in (content.get("properties") or {}).items():
        column = columns.property_column(name)
        if column in event and type(value) in (str, type(None)):
            promise(event[column] == value, f"expected the property {name} of the line", (event[column], value))
    for name, amount in (content.get("amounts") or {}).items():
        value = amount["value"] if isinstance(amount, dict) else amount
        if value is not None:
            same = event[columns.amount_column(name)] == (float(value) if isinstance(value, _Float) else int(value))
            promise(same, f"expected the amount {name} of the line", (event[columns.amount_column(name)], value))


class _Float(str):
    """The text of a number with a fraction or an exponent."""

    __slots__ = ()


def _without_last_commas(text: str) -> str:
    """The text without a comma behind the last member of an object or array, which DuckDB, unlike JSON, lets pass."""
    return re.sub(r'("(?:[^"\\]|\\.)*")|,(?=[ \t\r\n]*[}\]])', lambda match: match[1] or "", text)


def check_csv(data: bytes) -> None:
    """Rows are numbered without a gap; where nothing is quoted, they are the lines that are not empty."""
    rows = _plain_rows(data)
    fates, error = _fates(lambda: tables.read_csv(io.BytesIO(data), "fuzz", model()), {}, lambda _line, _event: None)
    if error is not None:
        _require_code(error, "csv_unreadable", "columns_wrong", "column_unknown")
        return
    numbers = list(fates)
    promise(numbers == list(range(2, len(numbers) + 2)), "expected rows without a gap", numbers)
    if rows is None:
        return
    promise(len(rows) == len(numbers), "expected every row, once", (len(rows), len(numbers)))
    width = len(next(csv.reader([data.split(b"\n")[0].decode("utf-8-sig")])))
    for (number, fate), row in zip(fates.items(), rows, strict=True):
        fits = row.count(b",") + 1 == width
        if fate[0] == "refused" and not fits:
            promise(fate[-1] == row, "expected the bytes as they came", (number, fate[-1], row))
        promise(fits or fate[1] == RejectionCode.RECORD_UNREADABLE, "expected a row of another width refused", row)
        promise(fate[1] != RejectionCode.RECORD_UNREADABLE or not fits, "expected a row that fits to be read", row)


def _plain_rows(data: bytes) -> list[bytes] | None:
    """The rows behind the header, where nobody can differ about what they are: nothing is quoted."""
    _, _, body = data.partition(b"\n")
    if b'"' in body:
        return None
    return [row for row in re.split(rb"\r\n|\n|\r", body) if row]


# Texts that people write: flows, settings, instants.


def _in_folder(name: str, data: bytes, read: Callable[[Path], object]) -> object:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        (Path(folder) / name).write_bytes(data)
        return read(Path(folder))


def check_flow(data: bytes) -> None:
    """A model, or problems of the closed list that point into the file; the same ones again."""
    try:
        texts: Any = _in_folder("flow.yaml", data, load.read_flow_files)
    except ClearwellError as error:
        _require_code(error, "flow_file_unreadable")
        return
    (text,) = texts.values()
    texts = {"flow.yaml": text}
    found, problems = load.load_model(texts)
    errors = [problem for problem in problems if problem.severity == "error"]
    promise((found is None) == bool(errors), "expected a model or errors", problems)
    last = len(re.findall(r"\r\n|[\r\n\x85\u2028\u2029]", text)) + 1
    for problem in problems:
        promise(problem.code in PROBLEM_CODES, "expected a code of the closed list", problem)
        promise(1 <= problem.line <= last, "expected a line of the file", (problem, last))
        promise("\n" not in str(problem), "expected a problem on one line", str(problem))
    again, same = load.load_model(texts)
    promise(same == problems, "expected the same problems again", (problems, same))
    promise(again == found, "expected the same model again")


def check_settings(data: bytes) -> None:
    """Settings within their limits that can be written and read again, or an error about the file."""
    try:
        found: Any = _in_folder(settings.FILE_NAME, data, settings.read_settings)
    except ClearwellError as error:
        _require_code(error, "settings_unreadable", "settings_invalid")
        return
    promise(1_000 <= found.record_bytes <= 64_000_000, "expected record_bytes within its limits", found)
    promise(1 <= found.batch_events <= 5_000_000, "expected batch_events within its limits", found)
    promise(timedelta(0) <= found.future_limit <= timedelta(days=36_500), "expected a limit in days", found)
    try:
        Currencies(found.currencies)
    except ClearwellError as error:
        _require_code(error, "currency_code_invalid", "currency_exponent_invalid", "currency_redefined")
    written = json.dumps(found.model_dump(mode="json")).encode()
    again = _in_folder(settings.FILE_NAME, written, settings.read_settings)
    promise(again == found, "expected settings to be read again as they were", (found, again))


def check_instants(data: bytes) -> None:
    """One text read alone, as a cut, and in a column: the same instant, or none; what is written is read again."""
    text = data.decode("utf-8", "replace")
    alone = _or_refusal(instants.parse_instant, text)
    cut = _or_refusal(instants.parse_cut_instant, text)
    if alone is not None:
        promise(cut == alone, "expected a cut at the instant", (text, cut, alone))
        promise(alone.tzinfo is UTC, "expected an instant in UTC", alone)
        promise(instants.parse_instant(instants.format_instant(alone)) == alone, "expected it read again", text)
    elif cut is not None:
        promise(re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) is not None, "expected a bare date", text)
    in_column = _in_column([text])[0]
    sound = "2026-01-02T03:04:05Z"
    among = _in_column([sound, text, sound])
    promise(among == [_in_column([sound])[0], in_column, among[0]], "expected no change by neighbours", (text, among))
    if alone is not None and times.EARLIEST <= alone <= times.LATEST:
        promise(in_column == alone, "expected the same instant in a column", (text, in_column, alone))
    if in_column is not None:
        promise(times.EARLIEST <= in_column <= times.LATEST, "expected an instant within the limits", text)
        promise(alone in (None, in_column), "expected the same instant alone", (text, in_column, alone))
        promise(len(times.stored_text(in_column)) == 27, "expected a text of one length", in_column)


def _or_refusal(read: Callable[[str], datetime], text: str) -> datetime | None:
    try:
        return read(text)
    except ValueError as error:
        promise(str(error).startswith("expected "), "expected a ValueError of our own", error)
        return None


def _in_column(texts: list[str]) -> list[datetime | None]:
    found = times.to_instants(pl.Series("effective_at", texts, dtype=pl.String))
    promise(found.dtype == times.INSTANT and len(found) == len(texts), "expected a column of instants", found)
    return found.to_list()


# Evidence that people keep: proofs and checkpoints.

_EVENTS = tuple(
    json.dumps(
        {"id": f"evt_{number}", "properties": {"name": 'Zoë "Z" \u2028 😀'}, "sequence": number},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    for number in range(1, 6)
)
_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_VERIFIER = checkpoints.verifier_of(_KEY)


def _node(level: int, position: int) -> bytes:
    if not level:
        return leaf_hash(_EVENTS[position].encode())
    return node_hash(_node(level - 1, 2 * position), _node(level - 1, 2 * position + 1))


_ROOT = root_at(len(_EVENTS), _node)


def _proof(index: int) -> bytes:
    path = proofs.hexes(inclusion_path(index, len(_EVENTS), _node))
    return proofs.Proof(_EVENTS[index], index, len(_EVENTS), path, _ROOT.hex()).text().encode()


def check_proof(data: bytes) -> None:
    """A proof is refused by a code or read whole; and only an event of the log, unchanged, is ever proved."""
    text = data.decode("utf-8", "surrogatepass") if _decodes(data) else data.decode("latin-1")
    try:
        found = proofs.read_proof(text)
    except ClearwellError as error:
        _require_code(error, "proof_invalid")
        return
    promise(proofs.read_proof(found.text()) == found, "expected the proof read again as it was", found)
    for size in (None, len(_EVENTS)):
        differences = proofs.differences(found, _ROOT.hex(), size)
        promise(all(item.what and item.expected for item in differences), "expected what differs", differences)
        if not differences:
            promise(0 <= found.leaf_index < len(_EVENTS), "expected a leaf of the log", found.leaf_index)
            promise(found.event == _EVENTS[found.leaf_index], "expected an event of the log, unchanged", found.event)
    proofs.differences(found, found.root, found.tree_size)


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _note(size: int, *extension: str) -> str:
    root = root_at(size, _node)
    return checkpoints.signed(checkpoints.Checkpoint(_VERIFIER.name, size, root, extension), _KEY)


_NOTES = (_note(5), _note(3, "an extension", "and — another"), _note(0))
_SIGNED = frozenset(checkpoints.read_checkpoint(note).signed_text for note in _NOTES)


def check_checkpoint(data: bytes) -> None:
    """A note is refused by a code or can be put together again; and only a text that was signed counts as signed."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        verifier = checkpoints.read_verifier(text)
        promise(verifier.text() == text.strip(), "expected the key's one form", text)
    except ClearwellError as error:
        _require_code(error, "verifier_key_invalid")
    try:
        found = checkpoints.read_checkpoint(text)
    except ClearwellError as error:
        _require_code(error, "checkpoint_invalid")
        return
    lines = "".join(
        f"— {item.name} {base64.b64encode(item.key_id + item.value).decode()}\n" for item in found.signatures
    )
    promise(f"{found.signed_text}\n{lines}" == text, "expected the note put together again", text)
    promise(found.checkpoint.text() == found.signed_text, "expected one way to write it", found)
    if found.is_signed_by(_VERIFIER):
        promise(found.signed_text in _SIGNED, "expected only what was signed to count as signed", found.signed_text)


def _ndjson_lines(records: Iterable[Mapping[str, Any]], end: str = "\n") -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + end for record in records).encode()


_CSV = (
    "type,id,producer,effective_at,occurred_at,currency,property_charge,property_business,property_network,"
    "property_payer,property_memo,amount_gross\n"
    "creation,evt_1,charges,2026-01-02T03:04:05Z,2026-01-02T03:04:05Z,USD,ch_1,a,visa,Zoë,,1000\n"
)

TARGETS: Mapping[str, Target] = {
    "ndjson": Target(
        check_ndjson,
        (
            _ndjson_lines([_RECORD, _SHORT]),
            _ndjson_lines([_SHORT], "\r\n \n\n"),
            *(_ndjson_lines([record]) for record in _REFUSED),
            b'{"type":"creation"}\n[1]\nnull\n"x"\n{"a":',
        ),
        (
            _ndjson_lines([_SHORT])
            + b"\xc2\xa0\n\x0b\n \n",  # White space, but not JSON's: once dropped beside a blank.
            b"{\r\r\n[\r\r\n",  # One of two carriage returns belongs to the record.
            _ndjson_lines([_RECORD]).replace(b"}}}", b"},}}"),  # A comma too many, which changes nothing.
        ),
        words=('"properties":{', '"amounts":{', '"gross":', "NaN", "-Infinity", '\\"', "\\ud800", "1e400", "}\n{"),
    ),
    "csv": Target(
        check_csv,
        (
            _CSV.encode(),
            (_CSV + 'creation,"evt,\n""2""",,,,,,,,,x,1\r\n\ntoo,few\n').encode(),
            b"\xef\xbb\xbftype,id,effective_at,occurred_at,amounts.net.value,amounts.net.currency\nrelease,1,,,5,USD\n",
            b"type,id,effective_at,occurred_at,other_properties\nrelease,1,,,{}\nrelease,2,,,[\n",
        ),
        words=("amount_gross", "currency_gross", "other_properties", "recorded_at", '""', "\r\n", '",'),
    ),
    "flow": Target(
        check_flow,
        (FLOW.encode(), b"flow: x\nowner: y\naccounts: {}\nevents: {}\n", b"flow: &a x\nowner: *a\n", b"- !t 1\n"),
        words=("clears_within: ", "learned", "business days", "calendar: ", "constant: ", "subject: ", "? ", "<<: "),
    ),
    "settings": Target(
        check_settings,
        (
            b"name: x\ntime_zone: Europe/Amsterdam\ncurrencies: {XBT: 8}\nvariables: {data: /d}\nrecord_bytes: 5000\n",
            b"data: ledger\nfuture_limit_days: 10\nbatch_events: 1000\ncompaction_events: 2000\n",
            b"",
            b"a: [1, 2.5, 0x1f, 2026-01-02, !!binary aGk=, null]\n",
        ),
        words=("compaction_events: ", "!!python/", "!!timestamp ", "&a ", "*a", "? ", "---\n", "%YAML 1.1\n", "1:20"),
    ),
    "instants": Target(
        check_instants,
        (
            b"2026-01-02T03:04:05Z",
            b"2026-01-02 03:04+0530",
            b"2026-01-02T03:04:05.123456789-23:59",
            b"2026-01-02",
            b"0001-01-01T00:00:00+23:59",
            b"9999-12-31T23:59:59.999999-01:00",
            b"2026-02-30T24:00:60Z",
        ),
        (b"2026-01-02T04:05.1234567Z",),  # A part of a minute was once read as one of a second.
        words=("T", "Z", "+00:00", ".1234567", "24:00", ":60"),
    ),
    "proof": Target(
        check_proof,
        (_proof(0), _proof(3), _proof(4)),
        words=('"leaf_index": ', '"tree_size": ', '"audit_path": ', "[]", "null", "1e9", "\\ud800", "NaN"),
    ),
    "checkpoint": Target(
        check_checkpoint,
        (*(note.encode() for note in _NOTES), _VERIFIER.text().encode()),
        (b"\xff\xff" + _VERIFIER.text().encode(),),  # A name that is no text.
        words=("\n\n", "— ", "+", "=", "\n"),
    ),
}
"""The parsers by name."""
