"""The simulated world: seeded, bounded, ordered, and sound event by event."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from clearwell.errors import UsageError
from clearwell.simulation import world as world_module
from clearwell.simulation.lifecycles import EVENT_SCHEMA
from clearwell.simulation.options import NO_FAULTS, FaultRates, WorldOptions
from clearwell.simulation.world import WorldChunk, simulate

SMALL = WorldOptions(events=3_000, seed=3, span=timedelta(days=2))


def whole(options: WorldOptions) -> pl.DataFrame:
    return pl.concat(simulate(options))


def test_same_seed_gives_the_same_world() -> None:
    """Equal options give equal events, in the same order."""
    assert_frame_equal(whole(SMALL), whole(SMALL))


def test_other_seed_gives_another_world() -> None:
    """No event id of one seed occurs under another."""
    other = whole(replace(SMALL, seed=4))
    assert set(whole(SMALL)["id"]).isdisjoint(other["id"])


@pytest.mark.parametrize("chunk_events", [1, 997, 10_000])
def test_chunk_size_changes_only_the_cuts(chunk_events: int) -> None:
    """The stream is the same whatever the chunk size, and every chunk but the last is full."""
    options = WorldOptions(events=600, seed=3, span=timedelta(days=2))
    chunks = list(simulate(replace(options, chunk_events=chunk_events)))
    assert_frame_equal(pl.concat(chunks), whole(options))
    assert all(len(chunk) == chunk_events for chunk in chunks[:-1])


def test_order_holds_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many blocks the stream is still in order of occurrence, and nothing is lost or doubled."""
    monkeypatch.setattr(world_module, "BLOCK_CHARGES", 100)
    events = whole(replace(SMALL, faults=NO_FAULTS))
    assert events["occurred_at"].is_sorted()
    assert events["id"].n_unique() == len(events)
    assert (events["type"] == "charge.creation").sum() == SMALL.charge_count
    assert (events["type"] == "charge.release").sum() == SMALL.charge_count


def test_some_releases_come_before_their_creation() -> None:
    """The stream has releases that are delivered before the charge they release exists."""
    events = whole(replace(SMALL, faults=NO_FAULTS)).with_row_index()
    created = events.filter(pl.col("type") == "charge.creation")
    released = events.filter(pl.col("type") == "charge.release")
    early = created.join(released, on="property_charge").filter(pl.col("index_right") < pl.col("index"))
    assert 0 < len(early) < len(created) / 20


def test_events_reach_the_size_asked_for() -> None:
    """A world without faults has at least the events asked for, and less than a fifth more."""
    size = len(whole(replace(SMALL, faults=NO_FAULTS)))
    assert SMALL.events <= size <= SMALL.events * 1.2


def test_one_event_makes_a_world() -> None:
    """The smallest size is one charge and what follows from it."""
    events = whole(WorldOptions(events=1, faults=NO_FAULTS))
    assert {"charge.creation", "charge.release"} <= set(events["type"])


def test_times_lie_where_they_belong(faulty_world: WorldChunk, faulty_options: WorldOptions) -> None:
    """Creations lie in the span, nothing precedes the start, and data exists only after its activity."""
    events = faulty_world.events
    created = events.filter(pl.col("type") == "charge.creation")["effective_at"]
    assert created.min() >= faulty_options.start  # type: ignore[operator]
    # A double posting of a creation comes up to five minutes after the right one.
    assert created.max() <= faulty_options.end + timedelta(minutes=5)  # type: ignore[operator]
    assert (events["occurred_at"] >= events["effective_at"]).all()


def test_columns_are_those_of_the_naming_convention(faulty_world: WorldChunk) -> None:
    """Chunks have exactly the columns and types of the schema."""
    assert faulty_world.events.schema == EVENT_SCHEMA


def test_ids_are_long_and_random(faulty_world: WorldChunk) -> None:
    """Every id has 20 to 30 characters, and only planted duplicates repeat one."""
    ids = faulty_world.events["id"]
    lengths = ids.str.len_bytes()
    assert (lengths.min(), lengths.max()) == (24, 24)
    duplicates = (faulty_world.faults["kind"] == "duplicate_delivery").sum()
    assert len(ids) - ids.n_unique() == duplicates > 0


def test_currencies_and_businesses_are_uneven(faulty_world: WorldChunk) -> None:
    """There are five currencies, and the largest business has several times the charges of the median one."""
    created = faulty_world.events.filter(pl.col("type") == "charge.creation")
    assert set(created["currency_gross"]) <= {"USD", "EUR", "GBP", "JPY", "BRL"}
    sizes = created.group_by("property_business").len()["len"]
    assert sizes.max() > 2 * sizes.median()  # type: ignore[operator]


@pytest.mark.parametrize(
    "wrong",
    [
        {"events": 0},
        {"chunk_events": 0},
        {"seed": -1},
        {"start": datetime(2026, 1, 5)},  # noqa: DTZ001
        {"span": timedelta(0)},
    ],
)
def test_unusable_options_are_refused(wrong: dict[str, Any]) -> None:
    """A world that cannot be made is the caller's mistake, with a stable code."""
    with pytest.raises(UsageError) as caught:
        WorldOptions(**wrong)
    assert caught.value.code == "world_options_invalid"


@pytest.mark.parametrize("wrong", [{"missing_event": -0.1}, {"late_event": 1.1}, {"wrong_amount": float("nan")}])
def test_unusable_rates_are_refused(wrong: dict[str, float]) -> None:
    """Rates are shares; together they cannot exceed all lifecycles."""
    with pytest.raises(UsageError):
        FaultRates(**wrong)


def test_start_in_another_zone_is_the_same_instant() -> None:
    """The zone in which the start is written does not matter."""
    shifted = SMALL.start.astimezone(tz=UTC)
    assert_frame_equal(whole(replace(SMALL, start=shifted)), whole(SMALL))
