"""Lines read all at once by their form give what they give one by one: the same records, faults and order."""

from __future__ import annotations

import io
import json
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearwell.flows.load import load_model
from clearwell.ingest import forms
from clearwell.ingest.alike import AlikeReader
from clearwell.ingest.batches import Batch
from clearwell.ingest.ndjson import NdjsonOptions, NdjsonReader

FLOW = """{flow: f, owner: o, accounts: {pool: {kind: reservoir},
  c: {kind: clearing, properties: [p, q], clears_within: 10 minutes}},
events: {fill: {producer: a, moves: [{amount: x, from: pool, to: c}, {amount: fee, from: pool, to: c}]},
  drain: {producer: a, moves: [{amount: x, from: c, to: pool}]}}}"""
MODEL = load_model({"flow.yaml": FLOW})[0]
assert MODEL is not None
OPTIONS = NdjsonOptions(record_bytes=1_000)

AT = "2026-01-02T03:04:05Z"
SAMPLES: list[dict[str, Any]] = [
    {"properties": {"p": "a", "q": "b"}, "currency": "USD", "amounts": {"x": 17}},
    {"properties": {"q": "b", "p": 5}, "amounts": {"x": {"value": 1, "currency": "USD"}, "fee": {"value": -3}}},
    {"properties": {"p": True, "q": None}, "currency": None, "amounts": {"fee": "12", "x": {"value": 7}}},
    {"properties": {"p": "a", "note": "n", "no": None, "ok": False, "many": 3}, "amounts": {}},
    {"properties": {"p": "a", "note": "n", "no": None, "ok": False, "many": 3}, "amounts": {"x": 1}},
    {"properties": {"p": "a", "note": {"deep": "n"}, "tags": [1, "b"]}, "amounts": {"x": 1}},
    {"producer": "a", "properties": {"p": "é"}, "amounts": {"x": 1.5}, "colour": "red"},
]
SEPARATORS = [(",", ":"), (", ", ": "), (" ,", "\t:")]
TEXTS = [
    *("", "a", '"', "\\", "\\u0041", "{", "[1", "NaN", "-inf", "null", "0", "x" * 12, "y" * 13, "z" * 30, "é" * 5),
    *("\u2028", "\ufeff", "😀", "\x7f", "\ud800", "a/b", ",", ":", '":"', "}", "\x00", "\t", "\r", " 5", "x" * 990),
]
NUMBERS = ["0", "-0", "05", "1.0", "1e3", "-", "--1", "9" * 15, "9" * 16, "9" * 17, "-" + "9" * 16, "true", "NaN", '""']
BYTES = [
    *(b'"', b"\\", b",", b":", b"{", b"}", b"[", b"]", b" ", b"\t", b"\r", b"\n", b"\0", b"\xff", b"\xc3", b"\xa9"),
    *(b"1", b"-", b".", b"e", b"null", b'"x":', b'"p":"b",', b'"id":"2"', b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1f"),
]


def _line(record: dict[str, Any], number: int, separators: tuple[str, str]) -> bytes:
    whole = {"type": "fill", "id": f"e{number}", "effective_at": AT, "occurred_at": AT, **record}
    return json.dumps(whole, ensure_ascii=False, separators=separators).encode("utf-8", "surrogatepass")


PLAIN = [_line(record, 1, separators) for record in SAMPLES for separators in SEPARATORS]


def _with(line: bytes, old: bytes, new: bytes, at: int) -> bytes:
    """The line with one of the places where it says `old` changed to `new`."""
    places = line.split(old)
    cut = 1 + at % max(1, len(places) - 1)
    return old.join(places[:cut]) + (new if len(places) > 1 else b"") + old.join(places[cut:])


def _changed(line: bytes, change: tuple[str, int, int, bytes]) -> bytes:
    kind, start, size, put = change
    if kind == "bytes":
        start %= len(line) + 1
        return line[:start] + put + line[start + size :]
    old = b'"a"' if kind == "text" else b"1"
    return _with(line, old, put, start)


def _all_changed(line: bytes, several: list[tuple[str, int, int, bytes]]) -> bytes:
    return reduce(_changed, several, line)


def _text(text: str) -> bytes:
    return b'"' + text.encode("utf-8", "surrogatepass") + b'"'


places = st.integers(0, 400)
values = st.one_of(
    st.sampled_from(TEXTS).map(_text), st.text(max_size=20).map(_text), st.sampled_from(NUMBERS).map(str.encode)
)
changes = st.one_of(
    st.tuples(st.sampled_from(["text", "number"]), places, st.just(0), values),
    st.tuples(st.just("bytes"), places, st.integers(0, 3), st.sampled_from(BYTES)),
)
odd_lines = st.builds(_all_changed, st.sampled_from(PLAIN), st.lists(changes, max_size=3))
endings = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \n"])
blocks = st.lists(st.tuples(odd_lines, endings).map(b"".join), min_size=1, max_size=30).map(b"".join)


def _batches(reader: NdjsonReader, *contents: bytes) -> list[Batch]:
    return [batch for content in contents for batch in reader.read(io.BytesIO(content), "test")]


def _taught() -> NdjsonReader:
    """A reader that knows the forms of the plain lines."""
    reader = NdjsonReader(MODEL, OPTIONS)
    _batches(reader, b"\n".join(PLAIN))
    return reader


def _line_by_line(monkeypatch: pytest.MonkeyPatch) -> NdjsonReader:
    """A reader that learns nothing, and so looks at every line."""
    monkeypatch.setattr(AlikeReader, "learn", lambda *_: 0)
    return NdjsonReader(MODEL, OPTIONS)


def _agree(*contents: bytes) -> None:
    with pytest.MonkeyPatch.context() as patched:
        expected = _batches(_line_by_line(patched), *contents)
    found = _batches(_taught(), *contents)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.records.schema == theirs.records.schema
        assert ours.records.rows() == theirs.records.rows()
        assert ours.rejections.rows() == theirs.rejections.rows()
        assert ours.lines.tolist() == theirs.lines.tolist()


@settings(max_examples=60)
@given(first=blocks, second=blocks, ended=st.booleans())
def test_lines_read_by_form_and_one_by_one_agree(first: bytes, second: bytes, ended: bool) -> None:
    """Whatever the lines are, and whatever odd lines forms were learned from, both ways of reading say the same."""
    _agree(first, second if ended else second.rstrip(b"\r\n"))


def test_every_odd_value_in_every_sample_agrees() -> None:
    """Each hostile text and number in the place of each value: both ways of reading say the same."""
    puts = [*map(_text, TEXTS), *map(str.encode, NUMBERS)]
    lines = [_changed(line, (kind, 0, 0, put)) for line in PLAIN for put in puts for kind in ("text", "number")]
    lines += [b"{}", b'{"id":""}', b'{"id":1}', b'{"properties":{}}', b'{"amounts":{"x":0}}']
    lines += [line.replace(b'"p":', b'"r":') for line in PLAIN]
    _agree(b"\n".join(lines), b"\r\n".join(lines))


def test_plain_lines_are_read_by_their_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts and whole numbers, undeclared ones among them, need no look at single lines."""
    reader = _taught()
    monkeypatch.setattr(reader, "_parse", None)
    lines = [_line(record, number, SEPARATORS[0]) for number in range(100, 200) for record in SAMPLES[:5]]
    (batch,) = _batches(reader, b"\n".join([*lines, b""]))
    assert batch.records["id"].to_list() == [f"e{number}" for number in range(100, 200) for _ in range(5)]
    others = '{"note":"n","no":null,"ok":false,"many":3}'
    assert batch.records["other_properties"][:5].to_list() == [None, None, None, others, others]


CANARIES: dict[str, tuple[object, str, Any]] = {
    "digits": (forms, "_digits", lambda words: np.ones(words.shape, dtype=np.bool_)),
    "bytes between values": (forms, "_chunks_of", lambda text: CHUNKS_OF(text[:4])),
    "escapes and control characters": (forms.Piece, "_fit", lambda _, feeds: np.ones(len(feeds) - 1, dtype=np.bool_)),
}
CHUNKS_OF = forms._chunks_of


@pytest.mark.parametrize("unseen", CANARIES)
def test_a_proof_left_out_is_found(monkeypatch: pytest.MonkeyPatch, unseen: str) -> None:
    """The comparison can fail: when a part of a line is not looked at, it does."""
    owner, name, careless = CANARIES[unseen]
    monkeypatch.setattr(owner, name, staticmethod(careless) if owner is forms.Piece else careless)
    with pytest.raises(AssertionError):
        test_every_odd_value_in_every_sample_agrees()
