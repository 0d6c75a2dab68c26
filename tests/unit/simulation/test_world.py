"""The simulated world: seeded, bounded, ordered, and sound event by event."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from plain_books import joined
from polars.testing import assert_frame_equal

from clearwell.errors import UsageError
from clearwell.simulation import world as world_module
from clearwell.simulation.delivery import PRODUCERS
from clearwell.simulation.events import EVENT_SCHEMA
from clearwell.simulation.lifecycles import LIFECYCLES
from clearwell.simulation.options import NO_FAULTS, FaultRates, WorldOptions
from clearwell.simulation.world import WorldChunk, simulate, simulate_with_faults

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
    """With many blocks the stream is still in order of delivery, and nothing is lost; only deliveries are repeated."""
    monkeypatch.setattr(world_module, "BLOCK_CHARGES", 100)
    world = joined(simulate_with_faults(replace(SMALL, faults=NO_FAULTS)))
    assert world.recorded_at.is_sorted()
    events = world.events.unique("id")
    assert (events["type"] == "charge.creation").sum() == SMALL.charge_count
    assert (events["type"] == "charge.release").sum() == SMALL.charge_count
    assert 0 < len(world.events) - len(events) < SMALL.events / 100


def test_faults_and_times_do_not_depend_on_the_chunk_size() -> None:
    """Truth and instants of delivery are the same however the stream is cut."""
    one, two = (joined(simulate_with_faults(replace(SMALL, chunk_events=size))) for size in (250_000, 777))
    assert_frame_equal(one.faults, two.faults)
    assert one.recorded_at.equals(two.recorded_at)


def test_a_world_ends_with_what_has_arrived(faulty_world: WorldChunk, faulty_options: WorldOptions) -> None:
    """With `until` the stream is the beginning of the same stream, and the faults are those that show in it."""
    until = faulty_options.start + timedelta(days=2)
    world = joined(simulate_with_faults(replace(faulty_options, until=until)))
    known = faulty_world.recorded_at <= until
    assert world.events.equals(faulty_world.events.filter(known))
    assert world.recorded_at.equals(faulty_world.recorded_at.filter(known))
    assert world.faults.equals(faulty_world.faults.filter(pl.col("from_recorded_at") <= until))
    assert 0 < len(world.faults) < len(faulty_world.faults)


def test_each_producer_is_late_in_its_own_way(faulty_world: WorldChunk) -> None:
    """Lags have the producer's usual length, some events overtake others, and some come twice."""
    producers = {step.event_type: step.producer for item in LIFECYCLES for step in item.steps}
    stream = faulty_world.events.with_columns(
        producer=pl.col("type").replace_strict(producers),
        lag=(faulty_world.recorded_at - faulty_world.events["occurred_at"]).dt.total_microseconds(),
    )
    for (name,), events in stream.partition_by("producer", as_dict=True).items():
        producer = PRODUCERS[str(name)]
        assert 0.3 * producer.usual_lag <= events["lag"].median() <= max(4 * producer.usual_lag, 120e6), name  # type: ignore[operator]
    busy = stream.filter(producer="disbursements")
    assert (busy["occurred_at"].diff().dt.total_microseconds() < 0).sum() > 10
    assert busy["id"].is_duplicated().any()


def test_lines_of_a_bank_file_arrive_together() -> None:
    """All lines of a bank and a day have one instant of delivery, on the morning after they are effective."""
    world = joined(simulate_with_faults(replace(SMALL, events=20_000, faults=NO_FAULTS)))
    stream = world.events.with_columns(recorded_at=world.recorded_at)
    lines = stream.filter(type="bank_statement.line").unique("id", keep="first")
    files = lines.group_by("property_bank", pl.col("effective_at").dt.date()).agg(
        pl.col("recorded_at").n_unique().alias("deliveries"), pl.col("recorded_at").first(), pl.len()
    )
    assert files["deliveries"].to_list() == [1] * len(files)
    assert files["len"].max() > 3  # type: ignore[operator]
    assert (files["recorded_at"].dt.date() - files["effective_at"] == timedelta(days=1)).all()
    assert files["recorded_at"].dt.hour().is_between(6, 8).all()


def test_brazil_is_paid_about_thirty_days_later() -> None:
    """The networks pay a day's sales in Brazil, and only these, in 26 to 32 days; nothing else takes so long."""
    events = whole(replace(SMALL, events=20_000, faults=NO_FAULTS)).unique("id")
    scheduled = events.filter(type="settlement.scheduled")
    pairs = scheduled.join(events.filter(type="settlement.received"), on="property_settlement")
    assert set(scheduled["currency_settled"]) == {"BRL"}
    sold = events.filter(type="charge.creation", currency_gross="BRL")["amount_gross"].sum()
    assert scheduled["amount_settled"].sum() == sold > 0
    days = (pairs["effective_at_right"] - pairs["effective_at"]).dt.total_days()
    assert len(pairs) == len(scheduled)
    assert days.is_between(26, 32).all()


def test_what_is_paid_out_was_earned() -> None:
    """No business is paid more of a currency than its sales, transfers, conversions and won disputes brought in."""
    events = whole(replace(SMALL, events=20_000, faults=NO_FAULTS)).unique("id")

    def total(event_type: str, amount: str, whose: str = "business") -> pl.DataFrame:
        return (
            events.filter(type=event_type)
            .group_by(business=f"property_{whose}", currency=f"currency_{amount}")
            .agg(money=pl.col(f"amount_{amount}").sum())
        )

    earned = [
        total("charge.release", "net"),
        total("conversion.requested", "bought"),
        total("transfer.received", "transferred", "seller"),
        total("dispute.won", "disputed"),
        total("dispute.won", "dispute_fee"),
    ]
    paid = total("payout.created", "paid_out").with_columns(-pl.col("money"))
    left = pl.concat([*earned, paid]).group_by("business", "currency").agg(pl.col("money").sum())
    assert len(paid)
    assert (left["money"] >= 0).all()


def test_some_releases_come_before_their_creation() -> None:
    """The stream has releases that are delivered before the charge they release exists."""
    events = whole(replace(SMALL, faults=NO_FAULTS)).with_row_index()
    created = events.filter(pl.col("type") == "charge.creation")
    released = events.filter(pl.col("type") == "charge.release")
    early = created.join(released, on="property_charge").filter(pl.col("index_right") < pl.col("index"))
    assert 0 < len(early) < len(created) / 20


def test_events_reach_the_size_asked_for() -> None:
    """A world without faults has at least the events asked for, and less than a fourth more."""
    for seed in range(3, 8):
        size = len(whole(replace(SMALL, seed=seed, faults=NO_FAULTS)))
        assert SMALL.events <= size <= SMALL.events * 1.25


def test_one_event_makes_a_world() -> None:
    """The smallest size is one charge and what follows from it."""
    events = whole(WorldOptions(events=1, faults=NO_FAULTS))
    assert {"charge.creation", "charge.release"} <= set(events["type"])


def test_times_lie_where_they_belong(faulty_world: WorldChunk, faulty_options: WorldOptions) -> None:
    """Creations lie in the span, nothing precedes the start, and data exists after its activity, and arrives later."""
    events = faulty_world.events
    created = events.filter(pl.col("type") == "charge.creation")["effective_at"]
    assert created.min() >= faulty_options.start  # type: ignore[operator]
    # A double posting of a creation comes up to five minutes after the right one.
    assert created.max() <= faulty_options.end + timedelta(minutes=5)  # type: ignore[operator]
    assert (events["occurred_at"] >= events["effective_at"]).all()
    assert (faulty_world.recorded_at >= events["occurred_at"]).all()


def test_columns_are_those_of_the_naming_convention(faulty_world: WorldChunk) -> None:
    """Chunks have exactly the columns and types of the schema."""
    assert faulty_world.events.schema == EVENT_SCHEMA


def test_ids_are_long_and_random(faulty_world: WorldChunk) -> None:
    """Every id has 24 characters, and an event that comes again is the very same."""
    ids = faulty_world.events["id"]
    lengths = ids.str.len_bytes()
    assert (lengths.min(), lengths.max()) == (24, 24)
    assert ids.n_unique() == len(faulty_world.events.unique()) < len(ids)


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
        {"until": datetime(2026, 1, 5)},  # noqa: DTZ001
        {"faults_of": {"loan": NO_FAULTS}},
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
