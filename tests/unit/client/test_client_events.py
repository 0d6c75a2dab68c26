"""Events of producers: exact JSON, and obvious mistakes refused where they are made."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from clearwell.client.events import Event, Money, as_lines
from clearwell.errors import UsageError
from faulty_service import event

AT = datetime(2026, 1, 2, 3, 4, 5, 60, tzinfo=UTC)


def made(**changes: Any) -> Event:
    fields: dict[str, Any] = {"effective_at": AT, "occurred_at": AT, "properties": {"charge": "ch_1"}}
    return Event("charge.creation", "evt_1", **{**fields, **changes})


def test_an_event_is_exact_json() -> None:
    """Instants are in UTC to the microsecond, and large amounts keep every digit."""
    at = datetime(2026, 1, 2, 4, 4, 5, tzinfo=timezone(timedelta(hours=1)))
    (line,) = as_lines(
        made(effective_at=at, amounts={"gross": Money(9_007_199_254_740_993, "USD")}, producer="charges")
    )
    assert json.loads(line) == {
        "type": "charge.creation",
        "id": "evt_1",
        "effective_at": "2026-01-02T03:04:05Z",
        "occurred_at": "2026-01-02T03:04:05.000060Z",
        "properties": {"charge": "ch_1"},
        "amounts": {"gross": {"value": 9_007_199_254_740_993, "currency": "USD"}},
        "producer": "charges",
    }


def test_integers_are_of_the_currency_of_the_event() -> None:
    """The short form: amounts as integers, and one currency."""
    (line,) = as_lines(made(amounts={"net": 970, "fee": 30}, currency="USD"))
    assert json.loads(line)["amounts"] == {"net": 970, "fee": 30}
    assert json.loads(line)["currency"] == "USD"


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: made(effective_at=datetime(2026, 1, 2)),  # noqa: DTZ001
        lambda: made(occurred_at="2026-01-02T03:04:05Z"),
        lambda: made(amounts={"gross": 10}),
        lambda: made(amounts={"gross": 10.0}, currency="USD"),
        lambda: made(amounts={"gross": True}, currency="USD"),
        lambda: made(amounts={"gross": Decimal(10)}, currency="USD"),
        lambda: made(currency="usd"),
        lambda: made(properties={"charge": 1.5}),
        lambda: Money(10.5, "USD"),  # type: ignore[arg-type]
        lambda: Money(10, "dollars"),
        lambda: Event("", "evt_1", effective_at=AT, occurred_at=AT),
        lambda: Event("charge.creation", 7, effective_at=AT, occurred_at=AT),  # type: ignore[arg-type]
        lambda: as_lines(event(1, amounts={"gross": {"value": 10.0, "currency": "USD"}})),
        lambda: as_lines(event(1, id="")),
        lambda: as_lines({"type": "charge.creation"}),
        lambda: as_lines(event(1, occurred_at=datetime(2026, 1, 2))),  # noqa: DTZ001
        lambda: as_lines(event(1, properties={1: "one"})),
        lambda: as_lines(event(1, properties={"charge": "\ud800"})),
        lambda: as_lines("charge.creation"),
    ],
)
def test_an_obvious_mistake_is_refused(mistake: Callable[[], Any]) -> None:
    """A time without an offset, a float, an amount without a currency, an event without an id: none is published."""
    with pytest.raises(UsageError) as refused:
        mistake()
    assert refused.value.code == "event_invalid"


def test_what_is_endless_is_refused() -> None:
    """An object within itself is told of, and is no RecursionError."""
    endless: dict[str, Any] = event(1)
    endless["properties"] = endless
    with pytest.raises(UsageError, match="without end"):
        as_lines(endless)


def test_a_plain_object_is_taken_as_it_is() -> None:
    """What an Event does not know, such as a null, reaches the service, which judges it; instants may be datetimes."""
    (line,) = as_lines(event(1, effective_at=AT, currency=None))
    assert json.loads(line) == event(1, effective_at="2026-01-02T03:04:05.000060Z", currency=None)


def test_an_event_does_not_change_with_what_it_was_made_of() -> None:
    """Properties are copied."""
    properties = {"charge": "ch_1"}
    event = made(properties=properties)
    properties["charge"] = "ch_2"
    assert event.properties == {"charge": "ch_1"}
