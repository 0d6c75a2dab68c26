"""One world with everything that engines could answer differently, told to product and auditor alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet

from agreement import Both, Change, Delivery, History, tell
from clearwell.quality.relations import MICROSECONDS
from clearwell.quality.running import LogAtCut

if TYPE_CHECKING:
    from conftest import NewLedger

TIME_ZONE = "America/New_York"
AT = "2026-04-15T12:00:00Z"
"""When the world is asked: long after its last event."""

Record = dict[str, Any]

_HUGE = 2**63 - 1
_CLOCKS_FORWARD, _CLOCKS_BACK = datetime(2026, 3, 8), datetime(2025, 11, 2)  # noqa: DTZ001


def flow(*, later: bool = False) -> str:
    """Fixed, business-day and learned windows, an account type without properties and one of a constant.

    `later` is the flow after a change: another deadline, one property and one amount more.
    """
    pool, dispute = {"account": "pool"}, {"account": "dispute", "reason": {"constant": "it's"}}
    accounts: dict[str, Any] = {
        "pool": {"kind": "reservoir", "properties": []},
        "charge": {"kind": "clearing", "properties": ["charge", "business"], "clears_within": "10 minutes"},
        "payout": {
            "kind": "clearing", "properties": ["payout"], "clears_within": "2 business days", "calendar": "US-NY",
        },
        "dispute": {"kind": "clearing", "properties": ["charge", "reason"], "clears_within": "learned"},
        "transit": {"kind": "clearing", "properties": [], "clears_within": "3 days"},
    }  # fmt: skip
    fee = {"amount": "fee", "from": "charge", "to": "pool"}
    release = [{"amount": "net", "from": "charge", "to": "pool"}, fee]
    events: dict[str, Any] = {
        "charge.created": {
            **_event("charges", [{"amount": "gross", "from": "pool", "to": "charge"}], "5 minutes"),
            "properties": ["charge", "business", "network"],
        },
        "charge.released": _event("charges", release, "1 hour" if later else "1 day"),
        "payout.sent": _event("payouts", [{"amount": "gross", "from": "pool", "to": "payout"}], None),
        "payout.paid": _event("banks", [{"amount": "gross", "from": "payout", "to": "pool"}], "2 days"),
        "dispute.opened": _event("charges", [{"amount": "gross", "from": "pool", "to": dispute}], "1 day"),
        "dispute.closed": _event("charges", [{"amount": "gross", "from": dispute, "to": "pool"}], "1 day"),
        "transit.changed": _event(
            "treasury", [{"amount": "signed_money", "from": "pool", "to": "transit"}], "1 hour", ["signed_money"]
        ),
        "transit.turned": _event(
            "treasury",
            [{"amount": "gross", "from": "transit", "to": pool}, {"amount": "net", "from": pool, "to": "transit"}],
            "1 hour",
        ),
        "charge.doubled": _event(
            "charges",
            [{"amount": "gross", "from": "pool", "to": "charge"}, {"amount": "gross", "from": "pool", "to": "transit"}],
            "5 minutes",
        ),
    }  # fmt: skip
    if later:
        accounts["charge"]["clears_within"] = "1 day"
        accounts["surcharge"] = {"kind": "clearing", "properties": ["colour"], "clears_within": "1 hour"}
        for name, source, target in (("taken", "pool", "surcharge"), ("given", "surcharge", "pool")):
            move = {"amount": "extra", "from": source, "to": target}
            events[f"surcharge.{name}"] = _event("treasury", [move], "5 minutes")
    return json.dumps({"flow": "everything", "owner": "testers", "accounts": accounts, "events": events})


def _event(producer: str, moves: list[Any], deadline: str | None, signed: list[str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"producer": producer, "moves": moves}
    if deadline:
        found["arrives_within"] = deadline
    if signed:
        found["amounts"] = {name: {"signed": True} for name in signed}
    return found


def tell_everything(new_ledger: NewLedger) -> Both:
    """The world, in segments of nine events, with the change of its flow in between."""
    records = list(_records())
    acts = (Delivery(tuple(records), 3_600), Change(flow(later=True), TIME_ZONE, 60), Delivery(tuple(_later()), 60))
    return tell(new_ledger, History(flow(), TIME_ZONE, 9, acts))


def tell_nothing(new_ledger: NewLedger) -> Both:
    """A model in force, and no event."""
    return tell(new_ledger, History(flow(), TIME_ZONE, 9, (Change(flow(later=True), TIME_ZONE),)))


def log_of_three(folder: Path) -> LogAtCut:
    """Three events in one file: instants before 1970, amounts whose sum overflows, and a column that no file has."""
    folder.mkdir()
    instants = pa.array([-1, 0, 1_000], pa.timestamp("ms", "UTC"))
    rows = {"sequence": pa.array([1, 2, 3]), **dict.fromkeys(MICROSECONDS.values(), instants)}
    parquet.write_table(pa.table({**rows, "amount_x": pa.array([2**62, 2**62, None])}), folder / "one.parquet")
    schema = {"sequence": "int64", **dict.fromkeys(MICROSECONDS, "int64"), "amount_x": "int64"}
    return LogAtCut([str(folder / "one.parquet")], 3, 10**15, schema | {"property_none": "string"})


def _records() -> Iterator[Record]:
    for number in range(12):
        at = datetime(2026, 3, 1) + timedelta(hours=7 * number, microseconds=number)  # noqa: DTZ001
        currency = ("USD", "EUR", "JPY")[number % 3]
        charge = {"charge": f"ch_{number}", "business": f"acct_{number % 4}", "network": ("visa", "amex")[number % 2]}
        yield _record("charge.created", at, charge, currency, gross=1_000 + number)
        if number % 4 != 3:  # What is left open, is opened again, drained too far, or cleared late.
            after = at + timedelta(minutes=9 + number)
            yield _record("charge.released", after, charge, currency, net=970, fee=30 + (number if number % 2 else 0))
        if number % 5 == 0:
            yield _record("charge.created", at + timedelta(days=1), charge, currency, gross=500)
    for number, hour in enumerate(range(-30, 54, 3)):
        for day in (_CLOCKS_FORWARD, _CLOCKS_BACK):
            at = day + timedelta(hours=hour, minutes=7)
            payout = {"payout": f"po_{day:%m}_{number}"}
            yield _record("payout.sent", at, payout, "USD", gross=_HUGE)
            if number % 3:
                yield _record("payout.paid", at + timedelta(hours=20 * (number % 7)), payout, "USD", gross=_HUGE)
    for number in range(4):
        dispute = {"charge": f"ch_{number}"}
        at = datetime(2026, 2, 20, 1, number)  # noqa: DTZ001
        yield _record("dispute.opened", at, dispute, "EUR", gross=_HUGE - number)
        if number % 2:
            yield _record("dispute.closed", at + timedelta(days=3), dispute, "EUR", gross=_HUGE - number)


def _later() -> Iterator[Record]:
    day = datetime(2026, 3, 20)  # noqa: DTZ001
    for number, value in enumerate((100, -100, -250, 250, -7, 3, 0)):
        yield _record("transit.changed", day + timedelta(hours=number), {}, "USD", signed_money=value)
    two = {"gross": {"value": 40, "currency": "USD"}, "net": {"value": 55, "currency": "JPY"}}
    yield _record("transit.turned", day + timedelta(hours=9), {}, None, **two)
    yield _record("transit.turned", day + timedelta(hours=10), {}, "JPY", gross=55, net=55)
    yield _record("charge.doubled", day, {"charge": "ch_x", "business": "acct_ü"}, "USD", gross=25)
    yield _record("charge.released", day, {"charge": "ch_3", "business": "acct_3"}, "USD", net=1_003, fee=0)
    for number in range(3):
        yield _record("surcharge.taken", day + timedelta(days=number), {"colour": f"c{number}"}, "EUR", extra=5)
    yield _record("surcharge.given", day + timedelta(days=9), {"colour": "c1"}, "EUR", extra=5)


def _record(event_type: str, at: datetime, properties: dict[str, str], currency: str | None, **amounts: Any) -> Record:
    told = {"type": event_type, "effective_at": f"{at.isoformat()}Z", "properties": properties, "amounts": amounts}
    happened = at + timedelta(days=3) if at.day % 2 else datetime(2026, 3, 31, 11, 58)  # noqa: DTZ001
    told |= {"id": f"{event_type} {at} {properties} {amounts}", "occurred_at": f"{happened.isoformat()}Z"}
    return told | ({"currency": currency} if currency else {})
