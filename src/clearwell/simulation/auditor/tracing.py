"""The rows of `trace`: which events carry a value, and which accounts they touched, by plain loops over the books.

Refuses to stop short: however many there are, all are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clearwell.flows.model import AccountReference
from clearwell.simulation.auditor.books import Books, Row
from clearwell.simulation.auditor.events import Account, Recorded, key_of, post


def trace(books: Books, values: Mapping[str, str], steps: int = 1) -> tuple[list[Row], list[Row]]:
    """The events and accounts of `trace`, both in log order.

    An event touches an account when a move of its type names it, also where the move is of zero.
    """
    found = {item.sequence: 1 for item in books.events if _carries(item, values)}
    followed: set[tuple[str, str]] = set()
    for step in range(2, steps + 1):
        touched = [entry.account for entry in books.entries if entry.recorded.sequence in found]
        followed |= {account[:2] for account in touched if books.is_clearing(account)}
        for item in books.events:
            if item.sequence not in found and _touched(item) & followed:
                found[item.sequence] = step
    events = [_event(books, item, found[item.sequence]) for item in books.events if item.sequence in found]
    own = [entry for entry in books.entries if entry.recorded.sequence in found]
    accounts = [
        _account(books, account, [entry.amount for entry in own if entry.account == account], values, followed)
        for account in dict.fromkeys(entry.account for entry in own)
    ]
    return events, accounts


def _event(books: Books, recorded: Recorded, step: int) -> Row:
    event, event_type = recorded.event, recorded.event_type
    entries = [
        {
            "account_type": entry.account[0],
            "properties": books.properties_of(entry.account),
            "currency": entry.account[2],
            "amount": entry.amount,
        }
        for entry in post(recorded)
    ]
    return {
        "step": step,
        "sequence": recorded.sequence,
        "flow": event_type.flow,
        "type": event.type,
        "producer": event_type.producer,
        "id": event.id,
        "effective_at": event.effective_at,
        "occurred_at": event.occurred_at,
        "recorded_at": recorded.recorded_at,
        "properties": dict(event.properties),
        "amounts": {name: {"value": money, "currency": code} for name, (money, code) in event.amounts.items()},
        "entries": entries,
    }


def _account(
    books: Books, account: Account, amounts: Sequence[int], values: Mapping[str, str], followed: set[tuple[str, str]]
) -> Row:
    declared, properties = books.model.account_types[account[0]], books.properties_of(account)
    whole = values.items() <= properties.items() or account[:2] in followed
    known = books.is_clearing(account) and whole
    opened = [item.first.effective_at for item in books.open_episodes() if item.account == account]
    return {
        "flow": declared.flow,
        "account_type": account[0],
        "kind": declared.kind,
        "owner": declared.owner,
        "properties": properties,
        "currency": account[2],
        "moved": sum(amounts),
        "entry_count": len(amounts),
        "balance": books.balances[account] if known else None,
        "opened_at": opened[0] if known and opened else None,
    }


def _carries(recorded: Recorded, values: Mapping[str, str]) -> bool:
    """Whether the event has every value, in the property of that name or in what an account's property comes from."""
    return all(value in _values_of(recorded, name) for name, value in values.items())


def _values_of(recorded: Recorded, name: str) -> list[str | None]:
    event = recorded.event
    found = [event.properties.get(name)]
    for side in _sides(recorded):
        names = recorded.model.account_types[side.account_type].properties
        for own, item in zip(names, side.values, strict=True):
            if own == name:
                found.append(item.value if item.source == "constant" else event.properties[item.value])
    return found


def _touched(recorded: Recorded) -> set[tuple[str, str]]:
    return {(side.account_type, key_of(side, recorded.event.properties)) for side in _sides(recorded)}


def _sides(recorded: Recorded) -> list[AccountReference]:
    return [side for move in recorded.event_type.moves for side in (move.source, move.destination)]
