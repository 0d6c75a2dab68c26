"""The planted faults are the whole truth about the clearing accounts that are left standing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from clearwell.simulation.faults import FAULT_KINDS, FAULT_SCHEMA, PlantedFault, planted_faults
from clearwell.simulation.options import NO_FAULTS, FaultRates, WorldOptions
from clearwell.simulation.world import WorldChunk, simulate, simulate_with_faults
from clearwell.values.accounts import account_name

# Event type: the account type, the property beside the business, and sign and names of the amounts it moves.
TOUCHES = {
    "charge.creation": ("charge_undisbursed", "charge", 1, ("gross",)),
    "charge.release": ("charge_undisbursed", "charge", -1, ("net", "fee")),
    "refund.created": ("refund_in_transit", "refund", 1, ("refunded",)),
    "refund.settled": ("refund_in_transit", "refund", -1, ("refunded",)),
    "payout.created": ("payout_in_transit", "payout", 1, ("paid_out",)),
    "payout.paid": ("payout_in_transit", "payout", -1, ("paid_out",)),
}
Balances = dict[tuple[str, str], int]
WINDOWS = {
    "charge_undisbursed": timedelta(minutes=10),
    "refund_in_transit": timedelta(days=2),
    "payout_in_transit": timedelta(days=6),
}


def standing(events: Iterable[dict[str, Any]]) -> Balances:
    """The non-zero clearing accounts after a fold in plain Python that knows ids."""
    balances: Balances = defaultdict(int)
    seen: dict[str, dict[str, Any]] = {}
    for event in events:
        if seen.setdefault(event["id"], event) is not event:
            assert seen[event["id"]] == event
            continue
        if event["type"] in TOUCHES:
            account_type, subject, sign, amounts = TOUCHES[event["type"]]
            names = (subject, "business")
            account = account_name(account_type, {name: event[f"property_{name}"] for name in names})
            for name in amounts:
                balances[account, event[f"currency_{name}"]] += sign * event[f"amount_{name}"]
    return {key: balance for key, balance in balances.items() if balance}


def explained(faults: Iterable[PlantedFault], at: datetime | None = None) -> Balances:
    """What the faults say is left standing at the end, or at a cut."""
    balances: Balances = defaultdict(int)
    for fault in faults:
        if fault.until is None or (at is not None and fault.effective_at <= at < fault.until):
            balances[fault.account, fault.currency] += fault.amount_minor
    return {key: balance for key, balance in balances.items() if balance}


def test_faults_explain_every_standing_account(faulty_world: WorldChunk) -> None:
    """At the end the non-zero clearing accounts are exactly those of the faults, to the minor unit."""
    found = standing(faulty_world.events.iter_rows(named=True))
    assert found == explained(planted_faults(faulty_world.faults))
    assert len(found) > 100


def test_canary_a_lost_event_is_noticed(faulty_world: WorldChunk) -> None:
    """When one right event is taken away, the planted faults no longer explain everything."""
    blamed = set(faulty_world.faults["event_id"])
    events = list(faulty_world.events.iter_rows(named=True))
    taken = next(i for i, e in enumerate(events) if e["type"] == "charge.release" and e["id"] not in blamed)
    del events[taken]
    assert standing(events) != explained(planted_faults(faulty_world.faults))


def test_at_a_cut_the_rest_is_in_flight(faulty_world: WorldChunk, faulty_options: WorldOptions) -> None:
    """At the end of the span every standing account is explained by a fault or opened within its window."""
    cut = faulty_options.end
    so_far = faulty_world.events.filter(pl.col("effective_at") <= cut)
    known = explained(planted_faults(faulty_world.faults), at=cut)
    opened: dict[str, datetime] = {}
    for event in so_far.iter_rows(named=True):
        if event["type"] in TOUCHES:
            account_type, subject, _, _ = TOUCHES[event["type"]]
            names = (subject, "business")
            account = account_name(account_type, {name: event[f"property_{name}"] for name in names})
            opened[account] = max(event["effective_at"], opened.get(account, event["effective_at"]))
    in_flight = 0
    for key, balance in standing(so_far.iter_rows(named=True)).items():
        if known.get(key) != balance:
            in_flight += 1
            assert cut - opened[key[0]] <= WINDOWS[key[0].partition("{")[0]], key
    assert in_flight > 0


def test_a_world_without_faults_clears() -> None:
    """Without faults there is no planted fault and no clearing account left standing."""
    chunks = list(simulate_with_faults(WorldOptions(events=4_000, seed=5, faults=NO_FAULTS)))
    assert standing(row for chunk in chunks for row in chunk.events.iter_rows(named=True)) == {}
    assert sum(len(chunk.faults) for chunk in chunks) == 0


def test_a_small_world_has_every_kind(faulty_world: WorldChunk) -> None:
    """Every kind is planted in each of the three lifecycles."""
    assert faulty_world.faults.schema == FAULT_SCHEMA
    planted = set(faulty_world.faults.select("kind", "account_type").iter_rows())
    assert {(kind, "charge_undisbursed") for kind in FAULT_KINDS} <= planted
    assert {kind for kind, account_type in planted if account_type != "charge_undisbursed"} == set(FAULT_KINDS)


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_every_lifecycle_can_have_the_same_fault(kind: str) -> None:
    """With the rate 1 of one kind every lifecycle has it, and the faults still explain everything."""
    rates = FaultRates(**{name: float(name == kind) for name in FAULT_KINDS})
    chunks = list(simulate_with_faults(WorldOptions(events=2_000, seed=11, faults=rates)))
    faults = [fault for chunk in chunks for fault in planted_faults(chunk.faults)]
    found = standing(row for chunk in chunks for row in chunk.events.iter_rows(named=True))
    assert {fault.kind for fault in faults} == {kind}
    assert found == explained(faults)
    assert bool(found) == (kind not in {"duplicate_delivery", "late_event"})


def test_the_blamed_event_is_in_the_stream_unless_missing(faulty_world: WorldChunk) -> None:
    """Each fault names an event of the stream with its time; only that of a missing event is not there."""
    times = {row["id"]: row["effective_at"] for row in faulty_world.events.iter_rows(named=True)}
    for fault in planted_faults(faulty_world.faults):
        if fault.kind == "missing_event":
            assert fault.event_id not in times
        else:
            assert times[fault.event_id] == (fault.until or fault.effective_at)


def test_late_events_are_beyond_the_window(faulty_world: WorldChunk) -> None:
    """A late event comes after its account's window has run out, counted from the opening event."""
    opened = {}
    for event in faulty_world.events.iter_rows(named=True):
        if event["type"] in TOUCHES and TOUCHES[event["type"]][2] > 0:
            account_type, subject, _, _ = TOUCHES[event["type"]]
            names = (subject, "business")
            account = account_name(account_type, {name: event[f"property_{name}"] for name in names})
            opened[account] = event["effective_at"]
    late = [fault for fault in planted_faults(faulty_world.faults) if fault.kind == "late_event"]
    assert late
    for fault in late:
        assert fault.until is not None
        assert fault.until - opened[fault.account] > WINDOWS[fault.account_type]


def test_rates_are_kept() -> None:
    """Each kind strikes its share of lifecycles, within what chance allows (seed 2)."""
    rates = FaultRates(0.05, 0.05, 0.05, 0.05, 0.05, 0.05)
    chunks = list(simulate_with_faults(WorldOptions(events=20_000, seed=2, faults=rates)))
    lifecycles = 10_000
    counts = Counter(
        kind
        for chunk in chunks
        for kind, account in chunk.faults.select("kind", "account_type").iter_rows()
        if account == "charge_undisbursed"
    )
    counts["wrong_property"] //= 2
    for kind in FAULT_KINDS:
        assert abs(counts[kind] / lifecycles - 0.05) < 0.01, kind


def test_simulate_is_the_same_stream_without_the_truth(faulty_world: WorldChunk, faulty_options: WorldOptions) -> None:
    """Asking for the truth does not change the events."""
    assert pl.concat(simulate(faulty_options)).equals(faulty_world.events)
