"""Strategies: small random models, and events for them that are late, early, repeated, mixed up and huge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from reference import Event, key_of, post

from clearwell.flows.load import load_model
from clearwell.flows.model import EventType, Model

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
TIME_ZONES = ("UTC", "America/New_York", "Europe/Amsterdam")
_PROPERTIES = ("p", "q")
_VALUES = ("a", "a", "a", "a'b ü")
_WINDOWS: tuple[dict[str, str], ...] = (
    {"clears_within": "10 minutes"},
    {"clears_within": "3 days"},
    {"clears_within": "learned"},
    {"clears_within": "1 business day", "calendar": "US-NY"},
    {"clears_within": "3 business days", "calendar": "NL"},
)
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class World:
    """A model's text, its events in order of delivery, and the zone whose days count."""

    flow: str
    model: Model
    events: tuple[Event, ...]
    time_zone: str


def load(text: str) -> Model:
    """The model of one flow file."""
    model, problems = load_model({"flow.yaml": text})
    assert model is not None, problems
    return model


def wire(event: Event) -> dict[str, Any]:
    """The event in the wire format."""
    at = event.effective_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    amounts = {name: {"value": value, "currency": currency} for name, (value, currency) in event.amounts.items()}
    return {
        "type": event.type,
        "id": event.id,
        "effective_at": at,
        "occurred_at": at,
        "properties": dict(event.properties),
        "amounts": amounts,
    }


@st.composite
def worlds(draw: st.DrawFn, most_events: int = 16) -> World:
    """A model and events for it.

    Amounts often are what is open in the account that a move drains, for books where nothing ever clears would leave
    the rules about episodes untried.
    """
    flow = draw(flows())
    model = load(flow)
    fresh: list[Event] = []
    balances: dict[tuple[str, str, str], int] = {}
    for number in range(draw(st.integers(0, most_events))):
        fresh.append(replace(draw(_events(model, balances)), id=f"e{number}"))
        for entry in post(model, fresh[-1:], [NOW]):
            balances[entry.account] = balances.get(entry.account, 0) + entry.amount
    repeated = draw(st.lists(st.sampled_from(fresh), max_size=3)) if fresh else []
    order = fresh + repeated
    if draw(st.integers(0, 3)) == 0:
        order = draw(st.permutations(order))
    return World(flow, model, tuple(order), draw(st.sampled_from(TIME_ZONES)))


@st.composite
def flows(draw: st.DrawFn) -> str:
    """The text of a flow (JSON is YAML): account types, one of them clearing at least, and event types."""
    accounts: dict[str, Any] = {"pool": {"kind": "reservoir", "properties": []}}
    for number in range(draw(st.integers(1, 3))):
        properties = draw(st.lists(st.sampled_from(_PROPERTIES), unique=True))
        if number == 0 or draw(st.booleans()):
            accounts[f"c{number}"] = {
                "kind": "clearing",
                "properties": properties,
                **draw(st.sampled_from(_WINDOWS)),
            }
        else:
            accounts[f"r{number}"] = {"kind": "reservoir", "properties": properties}
    events = {
        f"event.e{number}": {
            "producer": draw(st.sampled_from(["one", "two"])),
            "moves": draw(st.one_of(st.lists(_moves(accounts), min_size=1, max_size=3), _turns(accounts))),
        }
        for number in range(draw(st.integers(1, 3)))
    }
    for event in events.values():
        used = sorted({move["amount"] for move in event["moves"]})
        event["amounts"] = {name: {"signed": draw(st.booleans())} for name in used}
    _add_missing(accounts, events)
    return json.dumps({"flow": "random", "owner": "testers", "accounts": accounts, "events": events})


@st.composite
def _moves(draw: st.DrawFn, accounts: dict[str, Any]) -> dict[str, Any]:
    source, destination = draw(_endpoints(accounts)), draw(_endpoints(accounts))
    if source == destination:
        source, destination = {"account": "pool"}, draw(_endpoints({k: v for k, v in accounts.items() if k != "pool"}))
    return {"amount": draw(st.sampled_from(["x", "y"])), "from": source, "to": destination}


@st.composite
def _turns(draw: st.DrawFn, accounts: dict[str, Any]) -> list[dict[str, Any]]:
    """Moves that drain an account and fill the same one again, in one event."""
    end = draw(_endpoints({name: item for name, item in accounts.items() if item["kind"] == "clearing"}))
    pool = {"account": "pool"}
    return [{"amount": "x", "from": end, "to": pool}, {"amount": "y", "from": pool, "to": end}]


@st.composite
def _endpoints(draw: st.DrawFn, accounts: dict[str, Any]) -> dict[str, Any]:
    name = draw(st.sampled_from(sorted(accounts)))
    ways = st.sampled_from(["p", "q", {"constant": "k"}, {"constant": "a"}])
    return {"account": name} | {item: draw(ways) for item in accounts[name]["properties"]}


def _add_missing(accounts: dict[str, Any], events: dict[str, Any]) -> None:
    """Every clearing account type must be filled and drained by some event type."""
    moves = [move for event in events.values() for move in event["moves"]]
    for name, account in accounts.items():
        if account["kind"] == "clearing":
            end = {"account": name} | {item: item for item in account["properties"]}
            if not any(move["to"]["account"] == name for move in moves):
                move = {"amount": "x", "from": "pool", "to": end}
                events[f"fill.{name}"] = {"producer": "filler", "moves": [move]}
            if not any(move["from"]["account"] == name for move in moves):
                move = {"amount": "x", "from": end, "to": "pool"}
                events[f"drain.{name}"] = {"producer": "drainer", "moves": [move]}


def times() -> st.SearchStrategy[datetime]:
    """Instants over six weeks with both changes of the clocks in them, some ahead of `NOW`; few enough to meet."""
    steps = st.sampled_from([0, 1, 5, 10, 11, 90, 150, 24 * 60])
    days = st.integers(0, 45)
    micros = st.sampled_from([0, 0, 0, 1, 999_999])
    return st.builds(
        lambda day, step, micro: (
            datetime(2026, 3, 5, tzinfo=UTC) + timedelta(days=day, minutes=step, microseconds=micro)
        ),
        days,
        steps,
        micros,
    )


@st.composite
def _events(draw: st.DrawFn, model: Model, balances: Mapping[tuple[str, str, str], int]) -> Event:
    event_type = model.event_types[draw(st.sampled_from(sorted(model.event_types)))]
    currency = draw(st.sampled_from(["USD", "USD", "USD", "EUR"]))
    properties = {name: draw(st.sampled_from(_VALUES)) for name in event_type.required_properties}
    amounts = {}
    for rule in event_type.amounts:
        value = draw(st.sampled_from([0, 1, 1, 2, 3, _LARGEST, _LARGEST - 1]))
        if rule.signed and draw(st.booleans()):
            value = -value
        standing = _standing(event_type, rule.name, properties, currency, balances)
        if standing and (rule.signed or standing > 0) and abs(standing) <= _LARGEST and draw(st.integers(0, 2)):
            value = standing
        amounts[rule.name] = (value, currency if draw(st.integers(0, 5)) else "EUR")
    return Event(event_type.name, "", draw(times()), properties, amounts)


def _standing(
    event_type: EventType,
    amount: str,
    properties: Mapping[str, str],
    currency: str,
    balances: Mapping[tuple[str, str, str], int],
) -> int:
    """What the first move of an amount would have to move to bring one of its sides to zero."""
    move = next(item for item in event_type.moves if item.amount == amount)
    drained = balances.get((move.source.account_type, key_of(move.source, properties), currency), 0)
    filled = balances.get((move.destination.account_type, key_of(move.destination, properties), currency), 0)
    return drained if move.source.account_type.startswith("c") else -filled
