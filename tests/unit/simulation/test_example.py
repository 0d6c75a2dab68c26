"""The example project `card_platform` and the simulated world belong together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from clearwell.flows.load import load_model, read_flow_files
from clearwell.simulation.lifecycles import AMOUNTS, CHARGE, PAYOUT, PROPERTIES, REFUND, Lifecycle
from clearwell.simulation.options import NO_FAULTS, FaultRates, WorldOptions
from clearwell.simulation.world import WorldChunk, simulate
from clearwell.values.calendars import due_at

FLOWS = Path(__file__).parents[3] / "examples" / "card_platform" / "flows"


def test_every_event_is_posted_by_the_example(faulty_world: WorldChunk) -> None:
    """Each event has what its type's moves need, with amounts that are not negative, and no field beside."""
    model, problems = load_model(read_flow_files(FLOWS))
    assert not problems
    assert model is not None
    assert set(faulty_world.events["type"].unique()) == set(model.event_types)
    for event in faulty_world.events.iter_rows(named=True):
        rule = model.event_types[event["type"]]
        assert {name for name in PROPERTIES if event[f"property_{name}"]} == set(rule.properties)
        amounts = {name for name in AMOUNTS if event[f"amount_{name}"] is not None}
        assert amounts == {amount.name for amount in rule.amounts}
        assert all(event[f"amount_{name}"] >= 0 and event[f"currency_{name}"] for name in amounts)


def test_faults_name_the_producers_of_the_example(faulty_world: WorldChunk) -> None:
    """The producer in a planted fault is the one that the flow declares for the event type."""
    model, _ = load_model(read_flow_files(FLOWS))
    assert model is not None
    for event_type, producer in faulty_world.faults.select("event_type", "producer").unique().iter_rows():
        assert model.event_types[event_type].producer == producer


ALL_LATE = FaultRates(0, 0, 0, 0, 0, late_event=1)


def on_time(lifecycle: Lifecycle, faults: FaultRates) -> set[bool]:
    """For accounts of a fortnight's world: whether they close within the window the example declares."""
    model, _ = load_model(read_flow_files(FLOWS))
    assert model is not None
    window = model.account_types[lifecycle.account_type].clears_within
    assert window is not None
    # The third Monday of January is a holiday in the window's calendar.
    start = datetime(2026, 1, 9, tzinfo=UTC)
    options = WorldOptions(events=6_000, seed=13, start=start, span=timedelta(days=14), faults=faults)
    events = pl.concat(simulate(options))
    pairs = events.filter(type=lifecycle.opening_type).join(
        events.filter(type=lifecycle.closing_type), on=f"property_{lifecycle.subject}", suffix="_closing"
    )
    verdicts = set()
    for opened, closed in pairs.select("effective_at", "effective_at_closing").iter_rows():
        due = due_at(window, opened, "UTC")
        assert due is not None
        verdicts.add(closed <= due)
    return verdicts


@pytest.mark.parametrize("lifecycle", [CHARGE, REFUND, PAYOUT], ids=lambda lifecycle: lifecycle.subject)
def test_right_events_come_within_the_window(lifecycle: Lifecycle) -> None:
    """Without faults every clearing account closes within its window, over weekends and holidays too."""
    assert on_time(lifecycle, NO_FAULTS) == {True}


@pytest.mark.parametrize("lifecycle", [CHARGE, REFUND, PAYOUT], ids=lambda lifecycle: lifecycle.subject)
def test_late_events_come_beyond_the_window(lifecycle: Lifecycle) -> None:
    """When every closing event is late, every clearing account closes after its window has run out."""
    assert on_time(lifecycle, ALL_LATE) == {False}
