"""What a record tells, whether a model can take it, and the entries that its event makes.

Refuses to say whether a record is well formed: it is told records of the wire format.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clearwell.flows.model import AccountReference, EventType, Model
from clearwell.values.accounts import account_key
from clearwell.values.instants import parse_instant

Account = tuple[str, str, str]
"""Account type, account key, currency."""


@dataclass(frozen=True)
class Event:
    """What a record of the wire format says. Two are equal when their content is: the producer is not part of it.

    `amounts` holds (value in minor units, currency) by name; times are in UTC.
    """

    type: str
    id: str
    effective_at: datetime
    occurred_at: datetime
    properties: Mapping[str, str]
    amounts: Mapping[str, tuple[int, str]]


@dataclass(frozen=True)
class Recorded:
    """An accepted event with its place in the log, and the model that it is posted under for ever."""

    event: Event
    sequence: int
    recorded_at: datetime
    model: Model

    @property
    def event_type(self) -> EventType:
        """The event's type, as the model in force had it."""
        return self.model.event_types[self.event.type]


@dataclass(frozen=True)
class Entry:
    """One side of a move. `index` is twice the move's number in its event type, plus one at the `to` side."""

    account: Account
    amount: int
    index: int
    recorded: Recorded

    @property
    def effective_at(self) -> datetime:
        """When the entry's event goes on the books."""
        return self.recorded.event.effective_at


def read_event(record: Mapping[str, Any]) -> Event:
    """The event that a well-formed record tells, in the long form or the short one. Null means absent."""
    properties = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in (record.get("properties") or {}).items()
        if value is not None
    }
    amounts = {}
    for name, told in (record.get("amounts") or {}).items():
        amount = told if isinstance(told, Mapping) else {"value": told}
        if amount.get("value") is not None:
            amounts[name] = (int(amount["value"]), amount.get("currency") or record["currency"])
    return Event(
        type=record["type"],
        id=record["id"],
        effective_at=parse_instant(record["effective_at"]),
        occurred_at=parse_instant(record["occurred_at"]),
        properties=properties,
        amounts=amounts,
    )


def refusal(event: Event, told_producer: str | None, model: Model) -> str:
    """The first rejection code by which `model` cannot take the event; '' when it can."""
    event_type = model.event_types.get(event.type)
    if event_type is None:
        return "event_type_unknown"
    if told_producer not in (None, event_type.producer):
        return "producer_mismatch"
    if any(name not in event.properties for name in event_type.required_properties):
        return "property_missing"
    declared = {rule.name: rule for rule in event_type.amounts}
    if any(name not in declared for name in event.amounts):
        return "amount_unknown"
    if any(name not in event.amounts for name in declared):
        return "amount_missing"
    if any(value < 0 and not declared[name].signed for name, (value, _) in event.amounts.items()):
        return "amount_negative"
    return ""


def post(recorded: Recorded) -> Iterator[Entry]:
    """The entries of an event in log order; a move of zero makes none."""
    for number, move in enumerate(recorded.event_type.moves):
        value, currency = recorded.event.amounts[move.amount]
        if value == 0:
            continue
        for side, reference, amount in ((0, move.source, -value), (1, move.destination, value)):
            account = (reference.account_type, key_of(reference, recorded.event.properties), currency)
            yield Entry(account, amount, 2 * number + side, recorded)


def key_of(reference: AccountReference, properties: Mapping[str, str]) -> str:
    """The key of the account that one side of a move touches, by the event's properties."""
    values = [item.value if item.source == "constant" else properties[item.value] for item in reference.values]
    return account_key(values)
