"""Events as a producer makes them, and their lines of NDJSON. Money is never a float, and an instant has an offset.

It refuses obvious mistakes where they are made. What a record must have to be an event, the service judges.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from clearwell.errors import UsageError
from clearwell.values.instants import format_instant

_CURRENCY = re.compile(r"[A-Z][A-Z0-9]{2,11}")
_INSTANT = "a datetime with an offset from UTC"
_as_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in whole minor units of its currency: `Money(1000, "USD")` is 10.00 USD.

    Raises UsageError (`event_invalid`) for an amount that is no integer, or a currency that cannot be one.
    """

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        """Check both."""
        _check(self.amount_minor, _is_whole, "an amount", "a whole number of minor units")
        _check(self.currency, _is_currency, "the currency of an amount", "a currency code such as USD")


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
        _require_names(self.type, self.id)
        try:
            self._check_fields()
        except UsageError as error:
            raise _invalid(f"event {self.id!r:.200}: {error.message}") from None
        object.__setattr__(self, "properties", dict(self.properties))
        object.__setattr__(self, "amounts", dict(self.amounts))

    def _check_fields(self) -> None:
        _check(self.effective_at, _is_instant, "effective_at", _INSTANT)
        _check(self.occurred_at, _is_instant, "occurred_at", _INSTANT)
        for name, value in self.properties.items():
            _check(value, _is_property, name, "text or a whole number")
        if self.currency:
            _check(self.currency, _is_currency, "currency", "a currency code such as USD")
        for name, amount in self.amounts.items():
            if isinstance(amount, Money):
                continue
            _check(amount, _is_whole, name, "a whole number of minor units")
            if not self.currency:
                raise _invalid(f"{name}: expected Money, or a currency for the event, found neither")

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
        _require_names(event.get("type"), event.get("id"))
        try:
            wire = _exact(event, "event")
        except UsageError as error:
            raise _invalid(f"event {event['id']!r:.200}: {error.message}") from None
        except RecursionError:
            message = f"event {event['id']!r:.200}: expected an event, found objects within objects without end"
            raise _invalid(message) from None
    else:
        raise _invalid(f"expected an Event or a mapping, found {event!r:.80}")
    try:
        return _as_json(wire).encode()
    except UnicodeEncodeError as error:
        message = f"event {wire['id']!r:.200}: expected text of whole characters, found {error.object!r:.80}"
        raise _invalid(message) from None


def _require_names(event_type: object, event_id: object) -> None:
    """Raise UsageError where the type or the id is missing: without an id, nothing is published once."""
    for value, name in ((event_type, "type"), (event_id, "id")):
        if not isinstance(value, str) or not value:
            raise _invalid(f"event {event_id!r:.80}: expected a text as {name}, found {value!r:.80}")


def _exact(value: object, name: str) -> Any:
    """A value as JSON says it exactly. Raises UsageError for a float, a time without an offset, or another kind."""
    match value:
        case None | bool() | int() | str():
            return value
        case datetime():
            _check(value, _is_instant, name, _INSTANT)
            return format_instant(value)
        case Money():
            return {"value": value.amount_minor, "currency": value.currency}
        case Mapping():
            for key in value:
                _check(key, _is_text, name, "texts as keys")
            return {key: _exact(item, key) for key, item in value.items()}
        case list() | tuple():
            return [_exact(item, name) for item in value]
    raise _invalid(f"{name}: expected text, a whole number or an instant, found {value!r:.80}")


def _check(value: object, is_so: Callable[[Any], bool], name: str, expected: str) -> None:
    if not is_so(value):
        raise _invalid(f"{name}: expected {expected}, found {value!r:.80}")


def _is_instant(value: object) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_property(value: object) -> bool:
    return isinstance(value, str) or _is_whole(value)


def _is_currency(value: object) -> bool:
    return isinstance(value, str) and _CURRENCY.fullmatch(value) is not None


def _invalid(message: str) -> UsageError:
    return UsageError("event_invalid", message)
