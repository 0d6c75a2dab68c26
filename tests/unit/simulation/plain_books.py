"""The books of a simulated world by plain loops over the example's flows: what stands overdue at a cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from clearwell.flows.load import load_model, read_flow_files
from clearwell.flows.model import AccountReference, Model
from clearwell.simulation.world import WorldChunk
from clearwell.values.accounts import account_name
from clearwell.values.calendars import due_at

FLOWS = Path(__file__).parents[3] / "examples" / "card_platform" / "flows"
Key = tuple[str, str]


@cache
def example_model() -> Model:
    """The model of the example project."""
    model, problems = load_model(read_flow_files(FLOWS))
    assert not problems
    assert model is not None
    return model


@dataclass(frozen=True)
class Entry:
    """One side of a move in a clearing account."""

    account_type: str
    key: Key
    amount: int
    effective_at: datetime
    recorded_at: datetime


def joined(chunks: Iterable[WorldChunk]) -> WorldChunk:
    """All chunks of a world as one."""
    parts = list(chunks)
    return WorldChunk(
        pl.concat([part.events for part in parts]),
        pl.concat([part.faults for part in parts]),
        pl.concat([part.recorded_at for part in parts]),
    )


def entries_of(chunk: WorldChunk) -> list[Entry]:
    """All entries in clearing accounts, in order of delivery; an event that comes again counts once."""
    seen: dict[str, dict[str, Any]] = {}
    found: list[Entry] = []
    for event, recorded_at in zip(chunk.events.iter_rows(named=True), chunk.recorded_at, strict=True):
        if seen.setdefault(event["id"], event) is not event:
            assert seen[event["id"]] == event
            continue
        found += _posted(event, recorded_at)
    return found


def _posted(event: dict[str, Any], recorded_at: datetime) -> Iterator[Entry]:
    for move in example_model().event_types[event["type"]].moves:
        value, currency = event[f"amount_{move.amount}"], event[f"currency_{move.amount}"]
        for reference, amount in ((move.source, -value), (move.destination, value)):
            declared = example_model().account_types[reference.account_type]
            if declared.kind == "clearing" and amount:
                properties = dict(zip(declared.properties, _values(reference, event), strict=True))
                name = account_name(declared.name, properties)
                yield Entry(declared.name, (name, currency), amount, event["effective_at"], recorded_at)


def _values(reference: AccountReference, event: dict[str, Any]) -> list[str]:
    return [item.value if item.source == "constant" else event[f"property_{item.value}"] for item in reference.values]


@dataclass(frozen=True)
class Standing:
    """The open accounts at a cut, each with its money: those whose window has run out, and the others."""

    overdue: dict[Key, int]
    in_flight: dict[Key, int]


def standing_at(entries: list[Entry], effective_at: datetime, recorded_at: datetime) -> Standing:
    """Fold the entries that the cut includes, and tell overdue accounts from those in flight."""
    balances: dict[Key, int] = {}
    opened: dict[Key, Entry] = {}
    for entry in entries:
        if entry.effective_at <= effective_at and entry.recorded_at <= recorded_at:
            if not balances.get(entry.key):
                opened[entry.key] = entry
            balances[entry.key] = balances.get(entry.key, 0) + entry.amount
    standing = Standing({}, {})
    for key, balance in balances.items():
        if balance:
            window = example_model().account_types[opened[key].account_type].clears_within
            assert window is not None
            due = due_at(window, opened[key].effective_at, "UTC")
            assert due is not None
            (standing.overdue if due <= effective_at else standing.in_flight)[key] = balance
    return standing
