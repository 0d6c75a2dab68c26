"""The canonical form of an event: one written out by hand, and what is odd."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import polars as pl

from clearwell.log.leaves import canonical, leaf_hashes

_INSTANT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_ENVELOPE = {
    "sequence": 1,
    "recorded_at": _INSTANT,
    "flow": "card_payments",
    "type": "charge.creation",
    "id": "evt_1",
    "producer": "charges",
    "effective_at": _INSTANT,
    "occurred_at": _INSTANT,
    "model_version": "ab",
}
_TEXT = (
    '{"amounts":AMOUNTS,"effective_at":"2026-01-02T03:04:05.000000Z","flow":"card_payments","id":"evt_1",'
    '"model_version":"ab","occurred_at":"2026-01-02T03:04:05.000000Z","producer":"charges","properties":{"a":"x"},'
    '"recorded_at":"2026-01-02T03:04:05.000000Z","sequence":1,"type":"charge.creation"}'
)


def _form(**columns: object) -> str:
    text: str = canonical(pl.DataFrame([{**_ENVELOPE, "property_a": "x", **columns}]))[0]
    return text


def test_the_form_written_out() -> None:
    """Keys are sorted, nothing is spaced, instants have six decimals and Z, money is a whole number."""
    expected = _TEXT.replace("AMOUNTS", '{"gross":{"currency":"USD","value":1000}}')
    assert _form(amount_gross=1000, currency_gross="USD") == expected


def test_an_event_without_amounts_has_an_empty_object() -> None:
    """`amounts` is always there, so that two readers cannot differ about its absence."""
    assert _form(amount_gross=None, currency_gross=None) == _TEXT.replace("AMOUNTS", "{}")


def test_an_amount_without_currency_says_so() -> None:
    """What no door lets in is still told from what it does: the currency is null, or the column is missing."""
    expected = _TEXT.replace("AMOUNTS", '{"gross":{"currency":null,"value":1}}')
    assert _form(amount_gross=1, currency_gross=None) == expected
    assert _form(amount_gross=1) == expected


def test_a_currency_without_an_amount_is_no_amount() -> None:
    """An amount is there where it has a value."""
    assert _form(amount_gross=None, currency_gross="USD") == _TEXT.replace("AMOUNTS", "{}")


def test_nothing_has_no_leaves() -> None:
    """No events, no texts and no hashes."""
    empty = pl.DataFrame([_ENVELOPE]).clear()
    assert canonical(empty).to_list() == []
    assert leaf_hashes(empty).shape == (0, 32)


def test_the_example_of_the_guide() -> None:
    """The event that docs/guides/proof.md shows is in its canonical form, and its leaf is the hash given there."""
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "proof.md").read_text(encoding="utf-8")
    shown = re.search(r"^```json file=event\.json\n([^\n]*)\n```\n.*?^```text\n([0-9a-f]{64})  -\n", guide, re.M | re.S)
    assert shown is not None
    properties = {"property_charge": "ch_1", "property_business": "acct_A", "property_network": "visa"}
    times = {"recorded_at": datetime(2026, 3, 1, 12, tzinfo=UTC), "model_version": "24ab921b4c87"}
    amount = {"amount_gross": 1000, "currency_gross": "USD"}
    events = pl.DataFrame([{**_ENVELOPE, **properties, **times, **amount}])
    assert canonical(events)[0] == shown[1]
    leaf = leaf_hashes(events).tobytes()
    assert leaf.hex() == shown[2]
    second, root = (bytes.fromhex(item) for item in re.findall(r"[0-9a-f]{64}", guide.split(shown[2])[-1])[:2])
    assert sha256(b"\x01" + leaf + second).digest() == root
