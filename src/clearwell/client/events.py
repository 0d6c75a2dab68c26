"""Events as a producer makes them, and their lines of NDJSON. Money is never a float, and an instant has an offset.

It refuses obvious mistakes where they are made. What a record must have to be an event, the service judges.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from clearwell.errors import UsageError
from clearwell.values.instants import format_instant

_CURRENCY = re.compile(r"[A-Z][A-Z0-9]{2,11}")


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in whole minor units of its currency: `Money(1000, "USD")` is 10.00 USD.

    Raises UsageError (`event_invalid`) for an amount that is no integer, or a currency that cannot be one.
    """

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        """Check both."""
        _whole(self.amount_minor, "an amount")
        _check_currency(self.currency, "the currency of an amount")


@dataclass(frozen=True, slots=True)
class Event:
    """One operation of a producer: published once, never changed.

    `id` names it for ever among the events of its producer. `effective_at` is when the activity goes on the books,
    `occurred_at` when the data first existed; both have an offset from UTC. An amount is `Money`, or an integer in
    minor units of `currency`. `producer` may be left out: the flow says it.

    Raises UsageError (`event_invalid`) for what can be no event.
    """

    type: str
    id: str
    effective_at: datetime = field(kw_only=True)
    occurred_at: datetime = field(kw_only=True)
    properties: Mapping[str, str | int] = field(kw_only=True, default_factory=dict)
    amounts: Mapping[str, Money | int] = field(kw_only=True, default_factory=dict)
    currency: str = field(kw_only=True, default="")
    producer: str = field(kw_only=True, default="")

    def __post_init__(self) -> None:
        """Check every field, and keep copies of what the caller could change."""
        where = _named(self.type, self.id)
        for name in ("effective_at", "occurred_at"):
            _instant(getattr(self, name), f"{where}: {name}")
        for name, value in self.properties.items():
            _check_property(value, f"{where}: properties.{name}")
        if self.currency:
            _check_currency(self.currency, f"{where}: currency")
        for name, amount in self.amounts.items():
            if isinstance(amount, Money):
                continue
            _whole(amount, f"{where}: amounts.{name}")
            if not self.currency:
                raise _invalid(f"{where}: amounts.{name}: expected Money, or a currency for the event, found neither")
        object.__setattr__(self, "properties", dict(self.properties))
        object.__setattr__(self, "amounts", dict(self.amounts))

    def as_wire(self) -> dict[str, Any]:
        """The event as the object of its JSON."""
        wire: dict[str, Any] = {
            "type": self.type,
            "id": self.id,
            "effective_at": format_instant(self.effective_at),
            "occurred_at": format_instant(self.occurred_at),
            "properties": dict(self.properties),
            "amounts": {
                name: {"value": item.amount_minor, "currency": item.currency} if isinstance(item, Money) else item
                for name, item in self.amounts.items()
            },
        }
        for name in ("currency", "producer"):
            if value := getattr(self, name):
                wire[name] = value
        return wire


Publishable = Event | Mapping[str, Any]
"""An event, or the object of its JSON; there, instants may be datetimes with an offset."""


def as_lines(events: Publishable | Iterable[Publishable]) -> list[bytes]:
    """Events as lines of NDJSON, without their ends. Raises UsageError (`event_invalid`) and names the event."""
    several = [events] if isinstance(events, (Event, Mapping)) else events
    return [_line(event) for event in several]


def _line(event: Publishable) -> bytes:
    if isinstance(event, Event):
        wire: Any = event.as_wire()
    elif isinstance(event, Mapping):
        where = _named(event.get("type"), event.get("id"))
        try:
            wire = _exact(event, where)
        except RecursionError:
            raise _invalid(f"{where}: expected an event, found objects within objects without end") from None
    else:
        raise _invalid(f"expected an Event or a mapping, found {event!r:.80}")
    try:
        return json.dumps(wire, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise _invalid(f"event {wire['id']!r}: expected text of whole characters, found {error.object!r:.80}") from None


def _named(event_type: object, event_id: object) -> str:
    """How a message calls the event. Its type and id must be there: without an id, nothing is published once."""
    for value, name in ((event_type, "type"), (event_id, "id")):
        if not isinstance(value, str) or not value:
            raise _invalid(f"event {event_id!r:.80}: expected a text as {name}, found {value!r:.80}")
    return f"event {event_id!r:.200}"


def _exact(value: object, where: str) -> Any:
    """A value as JSON says it exactly. Raises UsageError for a float, a time without an offset, or another kind."""
    match value:
        case None | bool() | int() | str():
            return value
        case datetime():
            return format_instant(_instant(value, where))
        case Money():
            return {"value": value.amount_minor, "currency": value.currency}
        case Mapping():
            if any(not isinstance(name, str) for name in value):
                raise _invalid(f"{where}: expected texts as keys, found {list(value)!r:.80}")
            return {name: _exact(item, f"{where}: {name}") for name, item in value.items()}
        case list() | tuple():
            return [_exact(item, where) for item in value]
    raise _invalid(f"{where}: expected text, a whole number or an instant, found {value!r:.80}")


def _instant(value: object, where: str) -> datetime:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise _invalid(f"{where}: expected a datetime with an offset from UTC, found {value!r:.80}")
    return value


def _whole(value: object, where: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _invalid(f"{where}: expected a whole number of minor units, found {value!r:.80}")


def _check_currency(value: object, where: str) -> None:
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
        raise _invalid(f"{where}: expected a currency code such as USD, found {value!r:.80}")


def _check_property(value: object, where: str) -> None:
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise _invalid(f"{where}: expected text or a whole number, found {value!r:.80}")


def _invalid(message: str) -> UsageError:
    return UsageError("event_invalid", message)
