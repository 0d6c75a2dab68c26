"""The example project `card_platform` and the simulated world belong together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from plain_books import example_model, joined

from clearwell.simulation.delivery import PRODUCERS
from clearwell.simulation.events import AMOUNTS, PROPERTIES
from clearwell.simulation.incidents import FAULT_KINDS
from clearwell.simulation.lifecycles import LIFECYCLES, Leg, Lifecycle
from clearwell.simulation.options import NO_FAULTS, FaultRates, WorldOptions
from clearwell.simulation.world import WorldChunk, simulate_with_faults
from clearwell.values.calendars import due_at

LEGS = [(lifecycle, leg) for lifecycle in LIFECYCLES for leg in lifecycle.legs]
ALL_LATE = FaultRates(**{kind: float(kind == "late_settlement") for kind in FAULT_KINDS})


def test_every_event_is_posted_by_the_example(faulty_world: WorldChunk) -> None:
    """Each event has what its type's moves need, with amounts that are not negative, and no field beside."""
    model = example_model()
    assert set(faulty_world.events["type"].unique()) == set(model.event_types)
    for event in faulty_world.events.iter_rows(named=True):
        rule = model.event_types[event["type"]]
        assert {name for name in PROPERTIES if event[f"property_{name}"]} == set(rule.properties)
        amounts = {name for name in AMOUNTS if event[f"amount_{name}"] is not None}
        assert amounts == {amount.name for amount in rule.amounts}
        assert all(event[f"amount_{name}"] >= 0 and event[f"currency_{name}"] for name in amounts)


def test_faults_name_the_producers_of_the_example(faulty_world: WorldChunk) -> None:
    """The producer in a planted fault is the one that the flow declares for the event type."""
    for event_type, producer in faulty_world.faults.select("event_type", "producer").unique().iter_rows():
        assert example_model().event_types[event_type].producer == producer


def test_steps_and_accounts_are_those_of_the_example() -> None:
    """The simulator's producers are the flows', and its legs have the properties of the flows' account types."""
    model = example_model()
    steps = {step.event_type: step.producer for lifecycle in LIFECYCLES for step in lifecycle.steps}
    assert steps == {name: event.producer for name, event in model.event_types.items()}
    assert set(steps.values()) == set(PRODUCERS)
    legs = {leg.account_type: leg.properties for _, leg in LEGS}
    assert legs == {item.name: item.properties for item in model.account_types.values() if item.kind == "clearing"}


@pytest.fixture(scope="module")
def healthy() -> WorldChunk:
    # The third Monday of January is a holiday in the payouts' calendar.
    start = datetime(2026, 1, 9, tzinfo=UTC)
    options = WorldOptions(events=8_000, seed=13, start=start, span=timedelta(days=14), faults=NO_FAULTS)
    return joined(simulate_with_faults(options))


def closings(world: WorldChunk, lifecycle: Lifecycle, leg: Leg) -> pl.DataFrame:
    """For each account of the leg: when it was opened, when the second step happened, and when it arrived."""
    first, second = (lifecycle.steps[place].event_type for place in sorted(leg.entries))
    subject = f"property_{leg.properties[0]}"
    events = world.events.with_columns(recorded_at=world.recorded_at).unique("id", keep="first")
    opened, closed = (
        events.filter(type=name).select(subject, r"^(effective|recorded)_at$") for name in (first, second)
    )
    return opened.join(closed, on=subject, suffix="_closed")


def due(leg: Leg, opened: datetime) -> datetime:
    window = example_model().account_types[leg.account_type].clears_within
    assert window is not None
    found = due_at(window, opened, "UTC")
    assert found is not None
    return found


@pytest.mark.parametrize(("lifecycle", "leg"), LEGS, ids=lambda item: getattr(item, "account_type", ""))
def test_right_events_arrive_within_the_window(healthy: WorldChunk, lifecycle: Lifecycle, leg: Leg) -> None:
    """Without faults both events of an account have arrived before its window has run out, on weekends and holidays."""
    pairs = closings(healthy, lifecycle, leg)
    assert len(pairs)
    for row in pairs.iter_rows(named=True):
        limit = due(leg, row["effective_at"])
        assert max(row["effective_at_closed"], row["recorded_at"], row["recorded_at_closed"]) < limit


@pytest.mark.parametrize(("lifecycle", "leg"), LEGS, ids=lambda item: getattr(item, "account_type", ""))
def test_late_settlements_come_beyond_the_window(lifecycle: Lifecycle, leg: Leg) -> None:
    """When one step of every lifecycle is late, accounts close after their window has run out."""
    options = WorldOptions(events=6_000, seed=13, span=timedelta(days=3), faults=ALL_LATE)
    world = joined(simulate_with_faults(options))
    blamed = set(world.faults["event_id"])
    late = world.events.filter(
        pl.col("id").is_in(blamed), pl.col("type") == lifecycle.steps[max(leg.entries)].event_type
    )
    subject = f"property_{leg.properties[0]}"
    pairs = closings(world, lifecycle, leg).filter(pl.col(subject).is_in(late[subject].implode()))
    assert len(pairs)
    for row in pairs.iter_rows(named=True):
        assert row["effective_at_closed"] > due(leg, row["effective_at"])
