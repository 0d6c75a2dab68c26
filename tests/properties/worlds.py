"""Strategies: small random models, and records for them that are late, early, repeated, mixed up and huge."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from agreement import NOW, Acceptance, Ask, Change, Delivery, History, load, system_times, turning_points
from clearwell.flows.load import load_model
from clearwell.flows.model import EventType, Model
from clearwell.simulation.auditor import Account, Audit, post
from clearwell.simulation.auditor.events import key_of, read_event

TIME_ZONES = ("UTC", "America/New_York", "Europe/Amsterdam", "Asia/Kolkata")
_PROPERTIES = ("p", "q")
_VALUES = ("a", "a", "a", "a'b ü")
_WINDOWS: tuple[dict[str, str], ...] = (
    {"clears_within": "10 minutes"},
    {"clears_within": "3 days"},
    {"clears_within": "learned"},
    {"clears_within": "1 business day", "calendar": "US-NY"},
    {"clears_within": "3 business days", "calendar": "NL"},
)
_DEADLINES = ("1 minute", "20 days")
_LARGEST = 2**63 - 1
_CENTRAL = timezone(timedelta(hours=1))

TIMES = int(os.environ.get("CLEARWELL_EXAMPLES_TIMES", "1"))
"""By how much every number of examples is multiplied; `make long` sets it."""

Flow = dict[str, Any]
Record = dict[str, Any]


@dataclass(frozen=True)
class World:
    """A model's text, its records in order of delivery, and the zone whose days count."""

    flow: str
    model: Model
    records: tuple[Record, ...]
    time_zone: str

    def audit(self) -> Audit:
        """The auditor, told every record one by one, a second apart."""
        audit = Audit()
        audit.put_in_force(self.model, self.time_zone, NOW)
        for number, record in enumerate(self.records, 1):
            audit.record([record], NOW + timedelta(seconds=number))
        return audit


def examples(count: int) -> settings:
    """So many examples, or a multiple of them in a long run."""
    return settings(max_examples=count * TIMES, suppress_health_check=list(HealthCheck))


# --- worlds under one model ------------------------------------------------------------------------------------------


@st.composite
def worlds(draw: st.DrawFn, most_events: int = 16) -> World:
    """A model and records for it.

    Amounts often are what is open in the account that a move drains, for books where nothing ever clears would leave
    the rules about episodes untried.
    """
    flow = json.dumps(draw(flows()))
    author = _Author(draw, load(flow))
    fresh = [author.fresh() for _ in range(draw(st.integers(0, most_events)))]
    order = fresh + (draw(st.lists(st.sampled_from(fresh), max_size=3)) if fresh else [])
    if draw(st.integers(0, 3)) == 0:
        order = draw(st.permutations(order))
    return World(flow, author.model, tuple(order), draw(st.sampled_from(TIME_ZONES)))


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """A flow: account types, one of them clearing at least, and event types."""
    accounts: dict[str, Any] = {"pool": {"kind": "reservoir", "properties": []}}
    for number in range(draw(st.integers(1, 3))):
        _add_account(draw, accounts, number, clearing=number == 0)
    events: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 3))):
        _put_event(draw, accounts, events, f"event.e{number}")
    _add_missing(accounts, events)
    return {"flow": "random", "owner": "testers", "accounts": accounts, "events": events}


def _add_account(draw: st.DrawFn, accounts: dict[str, Any], number: int, *, clearing: bool = False) -> None:
    properties = draw(st.lists(st.sampled_from(_PROPERTIES), unique=True))
    if clearing or draw(st.booleans()):
        window = draw(st.sampled_from(_WINDOWS))
        accounts[f"c{number}"] = {"kind": "clearing", "properties": properties, **window}
    else:
        accounts[f"r{number}"] = {"kind": "reservoir", "properties": properties}


def _put_event(draw: st.DrawFn, accounts: dict[str, Any], events: dict[str, Any], name: str) -> None:
    moves = draw(st.one_of(st.lists(_moves(accounts), min_size=1, max_size=3), _turns(accounts)))
    used = sorted({move["amount"] for move in moves})
    producer = events[name]["producer"] if name in events else draw(st.sampled_from(["one", "two"]))
    amounts = {amount: {"signed": draw(st.booleans())} for amount in used}
    deadline = {"arrives_within": draw(st.sampled_from(_DEADLINES))} if draw(st.booleans()) else {}
    events[name] = {"producer": producer, "moves": moves, "amounts": amounts, **deadline}


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
                move = {"amount": "x", "from": {"account": "pool"}, "to": end}
                events[f"fill.{name}"] = {"producer": "filler", "moves": [move]}
            if not any(move["from"]["account"] == name for move in moves):
                move = {"amount": "x", "from": end, "to": {"account": "pool"}}
                events[f"drain.{name}"] = {"producer": "drainer", "moves": [move]}


# --- histories: several models, many deliveries -----------------------------------------------------------------------


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Deliveries with a model that changes in between; what was told comes again, as it was or altered."""
    flow = draw(flows())
    zone, first = draw(st.sampled_from(TIME_ZONES)), json.dumps(flow)
    author, acts = _Author(draw, load(first)), list[Delivery | Change | Acceptance]()
    current = (first, zone)
    for number in range(draw(st.integers(1, 4))):
        if number and draw(st.booleans()):
            flow = draw(_changed_flows(flow))
            current = (json.dumps(flow), draw(st.sampled_from([current[1], current[1], *TIME_ZONES])))
            author.follow(load(current[0]))
            acts.append(Change(*current, draw(_waits())))
        records = [author.fresh(rivals=True) for _ in range(draw(st.integers(0, 5)))]
        records += [author.again() for _ in range(draw(st.integers(0, 3))) if author.told]
        if records:
            acts.append(Delivery(tuple(draw(st.permutations(records))), draw(_waits())))
        if "learned" in current[0] and draw(st.booleans()):
            acts.append(Acceptance(draw(_waits())))
    batch_events = draw(st.sampled_from([1, 2, 3, 500_000]))
    return History(first, zone, batch_events, tuple(acts))


def _waits() -> st.SearchStrategy[int]:
    """Seconds by which the clock goes on; it may stand still, or be set back."""
    return st.sampled_from([0, 1, 3_600, 200_000, -60])


@st.composite
def _changed_flows(draw: st.DrawFn, flow: Flow) -> Flow:
    """The flow after one to three changes that a log does not forbid; unchanged where they do not fit together."""
    changed: Flow = json.loads(json.dumps(flow))
    for change in draw(st.lists(st.sampled_from(_CHANGES), min_size=1, max_size=3)):
        change(draw, changed)
    _add_missing(changed["accounts"], changed["events"])
    model, _ = load_model({"flow.yaml": json.dumps(changed)})
    return flow if model is None else changed


def _change_window(draw: st.DrawFn, flow: Flow) -> None:
    account = draw(st.sampled_from([item for item in flow["accounts"].values() if item["kind"] == "clearing"]))
    account.pop("calendar", None)
    account.update(draw(st.sampled_from(_WINDOWS)))


def _change_owner(draw: st.DrawFn, flow: Flow) -> None:
    flow["owner"] = draw(st.sampled_from(["testers", "others"]))


def _change_moves(draw: st.DrawFn, flow: Flow) -> None:
    _put_event(draw, flow["accounts"], flow["events"], draw(st.sampled_from(sorted(flow["events"]))))


def _change_signs(draw: st.DrawFn, flow: Flow) -> None:
    event = draw(st.sampled_from([item for item in flow["events"].values() if "amounts" in item] or [{}]))
    for rule in event.get("amounts", {}).values():
        rule["signed"] = not rule["signed"]


def _change_producer(draw: st.DrawFn, flow: Flow) -> None:
    draw(st.sampled_from(list(flow["events"].values())))["producer"] = draw(st.sampled_from(["one", "two"]))


def _declare_property(draw: st.DrawFn, flow: Flow) -> None:
    draw(st.sampled_from(list(flow["events"].values())))["properties"] = ["p", "q", "z"]


def _remove_event(draw: st.DrawFn, flow: Flow) -> None:
    if len(flow["events"]) > 1:
        del flow["events"][draw(st.sampled_from(sorted(flow["events"])))]


def _add_event(draw: st.DrawFn, flow: Flow) -> None:
    _put_event(draw, flow["accounts"], flow["events"], draw(st.sampled_from(["event.e1", "event.e3", "event.e4"])))


def _add_account_type(draw: st.DrawFn, flow: Flow) -> None:
    if not {"c4", "r4"} & flow["accounts"].keys():
        _add_account(draw, flow["accounts"], 4)


def _change_nothing(_draw: st.DrawFn, flow: Flow) -> None:
    flow["description"] = "Other words."


_CHANGES: tuple[Callable[[st.DrawFn, Flow], None], ...] = (
    *(_change_window, _change_owner, _change_moves, _change_signs, _change_producer, _declare_property),
    *(_remove_event, _add_event, _add_account_type, _change_nothing),
)


# --- records ----------------------------------------------------------------------------------------------------------


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


class _Author:
    """Writes records for a model, and keeps the auditor's balances beside them to know what would clear."""

    def __init__(self, draw: st.DrawFn, model: Model) -> None:
        self._draw = draw
        self._audit = Audit()
        self._balances: dict[Account, int] = {}
        self.told: list[Record] = []
        self.model = model
        self.follow(model)

    def follow(self, model: Model) -> None:
        """Write for this model from here on."""
        self.model = model
        self._audit.put_in_force(model, "UTC", NOW)

    def fresh(self, *, rivals: bool = False) -> Record:
        """An event that nobody told before; with `rivals`, sometimes under an id that another one has."""
        draw = self._draw
        number = len(self.told)
        if rivals and self.told and _rarely(draw):
            number = draw(st.integers(0, len(self.told) - 1))
        event_type = self.model.event_types[draw(st.sampled_from(sorted(self.model.event_types)))]
        record: Record = {"type": event_type.name, "id": f"e{number}"}
        record |= _told_times(draw, draw(times()), draw(st.sampled_from([0, 0, 7])))
        properties = {name: draw(st.sampled_from(_VALUES)) for name in event_type.required_properties}
        if _rarely(draw):
            properties["z"] = draw(st.sampled_from(["a", "extra", 12]))
        record["properties"] = properties
        record |= self._amounts(event_type, properties)
        if _rarely(draw):
            record["producer"] = event_type.producer
        self._tell(record)
        return record

    def again(self) -> Record:
        """Something that was told before: to the letter, in other words, or with other content."""
        draw = self._draw
        record: Record = json.loads(json.dumps(draw(st.sampled_from(self.told))))
        match draw(st.sampled_from(["same", "same", "reworded", "moved", "dearer", "more", "less"])):
            case "reworded":
                event = read_event(record)
                record |= {"effective_at": event.effective_at.astimezone(_CENTRAL).isoformat()}
                amounts = {name: {"value": money, "currency": code} for name, (money, code) in event.amounts.items()}
                record["amounts"] = amounts
            case "moved":
                later = read_event(record).effective_at + timedelta(microseconds=1)
                record["effective_at"] = later.isoformat()
            case "dearer":
                amounts = read_event(record).amounts
                record["amounts"] = {
                    name: {"value": abs(money) // 2, "currency": code} for name, (money, code) in amounts.items()
                }
            case "more":
                record["properties"]["z"] = "more"
            case "less":
                record["properties"].pop("z", None)
        self._tell(record)
        return record

    def _tell(self, record: Record) -> None:
        self.told.append(record)
        known = len(self._audit.events)
        self._audit.record([record], NOW)
        for accepted in self._audit.events[known:]:
            for entry in post(accepted):
                self._balances[entry.account] = self._balances.get(entry.account, 0) + entry.amount

    def _amounts(self, event_type: EventType, properties: Mapping[str, str]) -> Record:
        """The amounts, in the long form, or where all are of one currency sometimes in the short one."""
        draw = self._draw
        currency = draw(st.sampled_from(["USD", "USD", "USD", "EUR"]))
        amounts = {}
        for rule in event_type.amounts:
            value = draw(st.sampled_from([0, 1, 1, 2, 3, _LARGEST, _LARGEST - 1]))
            if rule.signed and draw(st.booleans()):
                value = -value
            standing = self._standing(event_type, rule.name, properties, currency)
            if standing and (rule.signed or standing > 0) and abs(standing) <= _LARGEST and draw(st.integers(0, 2)):
                value = standing
            amounts[rule.name] = (value, currency if draw(st.integers(0, 5)) else "EUR")
        if {code for _, code in amounts.values()} == {currency} and draw(st.booleans()):
            return {"currency": currency, "amounts": {name: value for name, (value, _) in amounts.items()}}
        return {"amounts": {name: {"value": value, "currency": code} for name, (value, code) in amounts.items()}}

    def _standing(self, event_type: EventType, amount: str, properties: Mapping[str, str], currency: str) -> int:
        """What the first move of an amount would have to move to bring one of its sides to zero."""
        move = next(item for item in event_type.moves if item.amount == amount)
        drained = self._balances.get((move.source.account_type, key_of(move.source, properties), currency), 0)
        filled = self._balances.get((move.destination.account_type, key_of(move.destination, properties), currency), 0)
        return drained if move.source.account_type.startswith("c") else -filled


def _rarely(draw: st.DrawFn) -> bool:
    return draw(st.integers(0, 5)) == 5


def _told_times(draw: st.DrawFn, effective_at: datetime, lag_seconds: int) -> Record:
    """Both times as producers write them, some with an offset of their own."""
    zone = draw(st.sampled_from([UTC, UTC, _CENTRAL]))
    occurred_at = effective_at + timedelta(seconds=lag_seconds)
    return {"effective_at": effective_at.astimezone(zone).isoformat(), "occurred_at": occurred_at.isoformat()}


# --- questions --------------------------------------------------------------------------------------------------------


@st.composite
def asks(draw: st.DrawFn, audit: Audit) -> Ask:
    """A question: cuts on both clocks, often where a figure changes, and a value to trace that may be there."""
    at: list[st.SearchStrategy[Any]] = [st.none(), times()]
    if audit.events:
        at += [st.sampled_from(turning_points(audit))] * 2
    known_at = [st.none(), st.integers(0, len(audit.events)), st.sampled_from(system_times(audit))]
    names = sorted(_traceable(audit))
    values = st.sampled_from(["a", "k", "extra", "12", "a'b ü"])
    traced = draw(st.dictionaries(st.sampled_from(names), values, max_size=2)) if names else {}
    account_type = draw(st.sampled_from(list(audit.periods[0].model.account_types)))
    return Ask(draw(st.one_of(at)), draw(st.one_of(known_at)), account_type, traced, draw(st.integers(1, 3)))


def _traceable(audit: Audit) -> set[str]:
    """The properties that events carry by some model, and those of the accounts that their moves name."""
    models = [period.model for period in audit.periods]
    of_accounts = {
        name
        for model in models
        for event_type in model.event_types.values()
        for move in event_type.moves
        for side in (move.source, move.destination)
        for name in model.account_types[side.account_type].properties
    }
    return of_accounts.union(*(model.property_names for model in models))
