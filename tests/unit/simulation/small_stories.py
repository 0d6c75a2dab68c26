"""A shop of two flows with round numbers, for figures that are worked out by hand.

A `sale` fills an `unpaid` account for a day, a `payment` drains it; a `parcel` goes through `unshipped` within an hour
and belongs to another team. Sales must arrive within a minute, payments within an hour, parcels whenever they like.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from clearwell.flows.load import load_model
from clearwell.flows.model import Model
from clearwell.simulation.auditor import Audit, Books

SALES = """
flow: sales
owner: shop-team
accounts:
  customers: {kind: reservoir}
  unpaid: {kind: clearing, properties: [order, branch], clears_within: 1 day}
  cash: {kind: reservoir}
events:
  sale:
    producer: tills
    arrives_within: 1 minute
    moves: [{amount: price, from: customers, to: unpaid}, {amount: tax, from: customers, to: unpaid}]
  payment:
    producer: bank
    arrives_within: 1 hour
    moves: [{amount: paid, from: unpaid, to: cash}]
"""
PARCELS = """
flow: parcels
owner: parcel-team
accounts:
  stock: {kind: reservoir}
  unshipped: {kind: clearing, properties: [order], owner: night-shift, clears_within: 1 hour}
events:
  parcel.packed:
    producer: warehouse
    moves: [{amount: worth, from: stock, to: unshipped}]
  parcel.sent:
    producer: warehouse
    moves: [{amount: worth, from: unshipped, to: stock}]
"""
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
NOON = MONDAY + timedelta(hours=12)
Story = list[tuple[dict[str, Any], timedelta]]


def shop(sales: str = SALES) -> Model:
    """The model of the shop."""
    model, problems = load_model({"sales.yaml": sales, "parcels.yaml": PARCELS})
    assert model is not None, problems
    return model


def told(name: str, event_type: str, at: datetime, lag: timedelta, **content: Any) -> tuple[dict[str, Any], timedelta]:
    """A record that is effective and occurs `at`, and comes so much later; `content` has amounts and properties."""
    amounts = {key: value for key, value in content.items() if isinstance(value, int)}
    properties = {key: value for key, value in content.items() if isinstance(value, str) and key != "currency"}
    record = {"type": event_type, "id": name, "effective_at": at.isoformat(), "occurred_at": at.isoformat()}
    return {
        **record,
        "currency": content.get("currency", "EUR"),
        "amounts": amounts,
        "properties": properties,
    }, lag


def story() -> Story:
    """Three orders of Monday noon, in EUR.

    `one` of 100 + 20 is paid after an hour. `two` of 200 + 0 is told two minutes late, and paid with 150 after two
    days. `three` of 80 + 0 is packed as a parcel of 30, and not paid.
    """
    second, day = timedelta(seconds=1), timedelta(days=1)
    order = {"branch": "north"}
    return [
        told("s1", "sale", NOON, 10 * second, price=100, tax=20, order="one", **order),
        told("s2", "sale", NOON, 120 * second, price=200, tax=0, order="two", **order),
        told("s3", "sale", NOON, 60 * second, price=80, tax=0, order="three", branch="south"),
        told("k3", "parcel.packed", NOON + day / 2, day, worth=30, order="three"),
        told("p1", "payment", NOON + day / 24, day / 24, paid=120, order="one", **order),
        told("p2", "payment", NOON + 2 * day, second, paid=150, order="two", **order),
    ]


def audit_of(told_records: Story) -> Audit:
    """An auditor who was told each record at its instant."""
    audit = Audit()
    audit.put_in_force(shop(), "UTC", MONDAY - timedelta(days=1))
    arrivals = [(datetime.fromisoformat(record["occurred_at"]) + lag, record) for record, lag in told_records]
    for at, record in sorted(arrivals, key=lambda pair: pair[0]):
        (fate,) = audit.record([record], at)
        assert fate.outcome == "accepted", (record, fate)
    return audit


def books_of(told_records: Story, at: datetime = MONDAY + timedelta(days=9)) -> Books:
    """The books of a story up to an instant, as known then."""
    audit = audit_of(told_records)
    return audit.books(audit.cut(at, at, at))


def row_of(rows: Iterable[dict[str, Any]], **marks: Any) -> dict[str, Any]:
    """The one row with these marks."""
    (row,) = [row for row in rows if marks.items() <= row.items()]
    return row


def without(records: Story, name: str) -> Story:
    """The story without the event of this id."""
    return [item for item in records if item[0]["id"] != name]


def but(records: Story, name: str, *, lag: timedelta | None = None, **changed: Any) -> Story:
    """The story with something else in the event of this id: amounts, properties, fields, or how late it comes."""
    return [
        (_changed(record, changed), lag or own) if record["id"] == name else (record, own) for record, own in records
    ]


def _changed(record: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    parts = {part: {key: changed.get(key, value) for key, value in record[part].items()} for part in _PARTS}
    return {key: changed.get(key, value) for key, value in record.items()} | parts


_PARTS = ("amounts", "properties")
