"""A simulated world as its auditor was told it, event by event, and what its truth says of every node of the score."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import groupby
from typing import Any

from plain_books import example_model, joined

from clearwell.simulation.auditor import Audit, Books, Completeness, ProducerRecord, completeness_of
from clearwell.simulation.files import wire_lines
from clearwell.simulation.lifecycles import LIFECYCLES
from clearwell.simulation.options import WorldOptions
from clearwell.simulation.truth import PlantedFault, planted_faults
from clearwell.simulation.world import simulate_with_faults

LOST = {"missing_event", "dropped_hour"}
WRONG = {"wrong_amount", "wrong_fee", "fx_rounding"}
Delivery = tuple[datetime, dict[str, Any]]
Node = tuple[str, str, str]
"""The kind of a node, its name, and the currency."""


@dataclass(frozen=True)
class Told:
    """What is told of a world: the records in order of delivery, and the planted faults."""

    deliveries: list[Delivery]
    faults: list[PlantedFault]

    @cached_property
    def audit(self) -> Audit:
        """An auditor who was told every record at its instant."""
        audit = Audit()
        audit.put_in_force(example_model(), "UTC", self.deliveries[0][0] - timedelta(days=1))
        for instant, group in groupby(self.deliveries, key=lambda pair: pair[0]):
            audit.record([record for _, record in group], instant)
        return audit

    def books(self, at: datetime, known_at: datetime | None = None) -> Books:
        """The books at a cut."""
        return self.audit.books(self.audit.cut(at, at, known_at))

    def stands(self, at: datetime, known_at: datetime) -> list[PlantedFault]:
        """The faults whose account stands overdue at a cut."""
        found = []
        for fault in self.faults:
            due = fault.due_at(example_model(), "UTC")
            if fault.stands_at(at, known_at) and due is not None and due <= at:
                found.append(fault)
        return found

    @cached_property
    def lost(self) -> list[PlantedFault]:
        """The faults whose event never came."""
        known = {record["id"] for _, record in self.deliveries}
        return [fault for fault in self.faults if fault.event_id not in known]

    @cached_property
    def lost_money(self) -> dict[tuple[str, str, str], int]:
        """By event type, id and currency the money of the events that never came: what stands in either account."""
        return {(it.event_type, it.event_id, it.currency): abs(it.amount_minor) for it in self.lost}

    @cached_property
    def late_ids(self) -> set[str]:
        """The events that a fault let come late."""
        late = {"late_event", "stuck_bank_file"}
        return {fault.event_id for fault in self.faults if fault.kind in late and fault.until_recorded_at is not None}

    def completeness(self, books: Books) -> list[Completeness]:
        """Every event type held against the records of its producer: what would have come without the faults."""
        wrong = {(it.event_id, it.currency): _error(it) for it in self.faults if it.kind in WRONG}
        repeated = {it.event_id for it in self.faults if it.kind == "double_posting"}
        records: dict[str, dict[tuple[str, str], ProducerRecord]] = {name: {} for name in example_model().event_types}
        for _, record in self.deliveries:
            if record["id"] not in repeated:
                at = datetime.fromisoformat(record["occurred_at"])
                for currency, money in moved_money(record).items():
                    key = (record["id"], currency)
                    own = ProducerRecord(record["id"], at, money - wrong.get(key, 0), currency)
                    records[record["type"]][key] = own
        for fault in self.lost:
            own = ProducerRecord(fault.event_id, fault.from_effective_at, abs(fault.amount_minor), fault.currency)
            records[fault.event_type][fault.event_id, fault.currency] = own
        return [completeness_of(books, name, list(own.values())) for name, own in records.items()]


def play(options: WorldOptions) -> Told:
    """The world of these options."""
    world = joined(simulate_with_faults(options))
    records = map(json.loads, wire_lines(world.events))
    return Told(list(zip(world.recorded_at, records, strict=True)), list(planted_faults(world.faults)))


def moved_money(record: dict[str, Any]) -> dict[str, int]:
    """What a record moves, by currency."""
    found: Counter[str] = Counter()
    for move in example_model().event_types[record["type"]].moves:
        amount = record["amounts"][move.amount]
        found[amount["currency"]] += amount["value"]
    return {currency: money for currency, money in found.items() if money}


def _error(fault: PlantedFault) -> int:
    """How much more the event says than it should, by what it brings to the account that the fault strands."""
    signs = {
        leg.entries[place].sign
        for lifecycle in LIFECYCLES
        for place, step in enumerate(lifecycle.steps)
        for leg in lifecycle.legs
        if step.event_type == fault.event_type
        and leg.account_type == fault.account_type
        and place in leg.entries
        and lifecycle.disturbed.get(fault.kind, (-1, ""))[1] in leg.entries[place].amounts
    }
    (sign,) = signs
    return fault.amount_minor * sign


def nodes_of_flow(flow: str, currency: str) -> Iterator[Node]:
    """The nodes that money of a flow's event counts in."""
    yield "company", "company", currency
    yield "team", example_model().flow(flow).owner, currency
    yield "flow", flow, currency


def nodes_of_account_type(name: str, currency: str) -> Iterator[Node]:
    """The nodes that money in an account counts in."""
    yield from nodes_of_flow(example_model().account_types[name].flow, currency)
    yield "account_type", name, currency


@dataclass(frozen=True)
class Expected:
    """The sums of every node by the truth."""

    total: Counter[Node]
    uncleared: Counter[Node]
    late: Counter[Node]
    missing: Counter[Node]


def expected_nodes(told: Told, at: datetime, known_at: datetime) -> Expected:
    """What the truth says at a cut; an account type's total, what was due, is left to the auditor."""
    expected = Expected(Counter(), Counter(), Counter(), Counter())
    seen = set()
    for recorded_at, record in told.deliveries:
        if record["id"] in seen or recorded_at > known_at or datetime.fromisoformat(record["effective_at"]) > at:
            continue
        seen.add(record["id"])
        for currency, money in moved_money(record).items():
            for node in nodes_of_flow(example_model().event_types[record["type"]].flow, currency):
                expected.total[node] += money
                expected.late[node] += money if record["id"] in told.late_ids else 0
    for fault in told.stands(at, known_at):
        for node in nodes_of_account_type(fault.account_type, fault.currency):
            expected.uncleared[node] += abs(fault.amount_minor)
    for (event_type, _, currency), money in told.lost_money.items():
        for node in nodes_of_flow(example_model().event_types[event_type].flow, currency):
            expected.missing[node] += money
    return expected
