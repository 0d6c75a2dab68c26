"""The planted faults are the whole truth about the clearing accounts that stand open, at every cut."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from plain_books import Entry, entries_of, example_model, joined, standing_at

from clearwell.simulation.incidents import FAULT_KINDS, INCIDENT_KINDS, Incident, incident_from
from clearwell.simulation.lifecycles import LIFECYCLE_NAMES
from clearwell.simulation.options import NO_FAULTS, FaultRates, WorldOptions, with_rates
from clearwell.simulation.truth import FAULT_SCHEMA, Books, PlantedFault, Verdict, judge, planted_faults
from clearwell.simulation.world import WorldChunk, simulate, simulate_with_faults

START = WorldOptions.start
FAR = datetime(2027, 1, 1, tzinfo=UTC)
HEALS = {"late_event", "late_settlement"}


class Held:
    """A world whose books by plain loops are held against its truth, cut by cut."""

    def __init__(self, world: WorldChunk, faults: pl.DataFrame | None = None) -> None:
        self._entries: list[Entry] = entries_of(world)
        self._faults = list(planted_faults(world.faults if faults is None else faults))

    def at(self, effective_at: datetime, recorded_at: datetime) -> Verdict:
        found = standing_at(self._entries, effective_at, recorded_at).overdue
        return judge(self._faults, Books(effective_at, recorded_at, example_model(), "UTC"), found)


@pytest.fixture(scope="module")
def held(faulty_world: WorldChunk) -> Held:
    return Held(faulty_world)


def cuts() -> list[tuple[datetime, datetime]]:
    """Cuts as they are asked for: at the time itself, some hours later, and with all that was ever known."""
    times = [START + timedelta(hours=hours) for hours in (9, 23.5, 42.8, 43.5, 61, 75, 96, 121, 190, 260, 800, 1_500)]
    return [(at, known) for at in times for known in (at, at + timedelta(hours=7), FAR)]


def test_at_every_cut_overdue_is_what_the_truth_says(held: Held) -> None:
    """At cuts on both clocks the overdue accounts are exactly those of the faults, to the minor unit."""
    overdue = Counter[str]()
    for effective_at, recorded_at in cuts():
        verdict = held.at(effective_at, recorded_at)
        assert verdict.holds, (effective_at, recorded_at, verdict.missed[:3], verdict.unexplained)
        overdue.update(fault.kind for fault in verdict.overdue)
    assert set(overdue) == set(INCIDENT_KINDS)


def test_at_the_end_nothing_else_stands(faulty_world: WorldChunk, held: Held) -> None:
    """When all has happened and all windows have run out, no account is in flight and the faults explain the rest."""
    standing = standing_at(entries_of(faulty_world), FAR, FAR)
    verdict = held.at(FAR, FAR)
    assert not standing.in_flight
    assert verdict.holds
    assert len(verdict.overdue) == len(standing.overdue) > 100
    assert not {fault.kind for fault in verdict.overdue} & {*HEALS, "stuck_bank_file"}


def test_canary_a_lost_event_is_noticed(faulty_world: WorldChunk) -> None:
    """When one right event is taken away, the planted faults no longer explain everything."""
    blamed = set(faulty_world.faults["event_id"])
    rows = faulty_world.events.with_row_index().filter(pl.col("type") == "charge.release", ~pl.col("id").is_in(blamed))
    keep = pl.int_range(len(faulty_world.events), eager=True) != rows["index"][0]
    events, recorded_at = faulty_world.events.filter(keep), faulty_world.recorded_at.filter(keep)
    verdict = Held(WorldChunk(events, faulty_world.faults, recorded_at)).at(FAR, FAR)
    assert not verdict.holds
    assert len(verdict.unexplained) == 1


def test_canary_a_wrong_time_in_the_truth_is_noticed(faulty_world: WorldChunk, held: Held) -> None:
    """When the truth says of a late event that it came an hour sooner, a cut in that hour contradicts it."""
    faults = faulty_world.faults.with_row_index()
    late = faults.filter(kind="late_event", account_type="charge_undisbursed").row(0, named=True)
    told = pl.when(pl.col("index") == late["index"]).then(pl.col("until_recorded_at") - pl.duration(minutes=5))
    wrong = faults.with_columns(told.otherwise("until_recorded_at").alias("until_recorded_at")).drop("index")
    cut = late["until_recorded_at"] - timedelta(minutes=1)
    assert held.at(cut, cut).holds
    assert Held(faulty_world, wrong).at(cut, cut).unexplained == {
        (late["account"], late["currency"]): late["amount_minor"]
    }


def test_a_world_without_faults_clears() -> None:
    """Without faults there is no planted fault, and no clearing account left standing when all has happened."""
    world = joined(simulate_with_faults(WorldOptions(events=4_000, seed=5, faults=NO_FAULTS)))
    standing = standing_at(entries_of(world), FAR, FAR)
    assert not standing.overdue
    assert not standing.in_flight
    assert not len(world.faults)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_every_lifecycle_can_have_the_same_fault(kind: str, seed: int) -> None:
    """With the rate 1 of one kind every lifecycle that can have it does, and the truth holds at every cut."""
    rates = FaultRates(**{name: float(name == kind) for name in FAULT_KINDS})
    world = joined(simulate_with_faults(WorldOptions(events=600, seed=seed, span=timedelta(days=3), faults=rates)))
    assert set(world.faults["kind"]) == {kind}
    books = Held(world)
    for effective_at, recorded_at in [*cuts()[::4], (FAR, FAR)]:
        assert books.at(effective_at, recorded_at).holds, (effective_at, recorded_at)
    left = {fault.kind for fault in books.at(FAR, FAR).overdue}
    assert left == (set() if kind in HEALS else {kind})


def test_a_fault_can_be_planted_in_one_lifecycle_alone() -> None:
    """A rate for one kind of lifecycle strikes only its accounts."""
    options = with_rates(WorldOptions(events=2_000, seed=3, faults=NO_FAULTS), {"payout.missing_event": 1.0})
    faults = joined(simulate_with_faults(options)).faults
    assert set(faults["account_type"]) == {"payout_in_transit", "bank_settlement"}
    assert set(faults["kind"]) == {"missing_event"}


def test_every_kind_of_business_has_faults(faulty_world: WorldChunk) -> None:
    """Faults are planted in every clearing account type of the example."""
    assert faulty_world.faults.schema == FAULT_SCHEMA
    clearing = {name for name, item in example_model().account_types.items() if item.kind == "clearing"}
    assert set(faulty_world.faults["account_type"]) == clearing
    assert len(LIFECYCLE_NAMES) == 7


def test_the_blamed_event_is_in_the_stream_unless_lost(faulty_world: WorldChunk) -> None:
    """Each fault names an event of the stream; only that of a missing event or a dropped hour is not there."""
    known = set(faulty_world.events["id"])
    for fault in planted_faults(faulty_world.faults):
        assert (fault.event_id in known) == (fault.kind not in {"missing_event", "dropped_hour"})


def test_a_late_event_is_right_and_arrives_late(faulty_world: WorldChunk) -> None:
    """A late event says when it happened and is delivered long after; a late settlement happens late."""
    stream = faulty_world.events.with_columns(recorded_at=faulty_world.recorded_at)
    late = faulty_world.faults.filter(pl.col("kind").is_in(list(HEALS)), account_type="charge_undisbursed")
    events = stream.unique("id", keep="first").join(late, left_on="id", right_on="event_id")
    waited = (pl.col("recorded_at") - pl.col("occurred_at")).alias("waited")
    for (kind,), rows in events.select("kind", waited).partition_by("kind", as_dict=True).items():
        assert (rows["waited"] > timedelta(minutes=10)).all() == (kind == "late_event")


def test_a_dropped_hour_loses_all_events_of_the_producer(
    faulty_world: WorldChunk, faulty_options: WorldOptions
) -> None:
    """In the range of the incident no event of the producer arrives, and each one that is missing is in the truth."""
    incident = faulty_options.incidents[0]
    released = faulty_world.events.filter(type="charge.release")["occurred_at"]
    assert not released.is_between(incident.start, incident.end, closed="left").any()
    lost = faulty_world.faults.filter(incident=incident.name)
    assert len(lost) > 10
    assert set(lost["kind"]) == {"dropped_hour"}
    assert set(lost["event_type"]) == {"charge.release"}


def test_a_stuck_bank_file_comes_days_late_as_a_whole(faulty_world: WorldChunk, faulty_options: WorldOptions) -> None:
    """All lines of the bank's file arrive together, as late as the incident says, and other banks' are not struck."""
    incident = faulty_options.incidents[1]
    stuck = faulty_world.faults.filter(incident=incident.name)
    assert len(stuck)
    assert stuck["account"].str.contains("rhine_bank").all()
    lines = faulty_world.events.with_columns(recorded_at=faulty_world.recorded_at).filter(
        pl.col("id").is_in(stuck["event_id"].implode())
    )
    assert lines["recorded_at"].n_unique() == lines["occurred_at"].n_unique() == 1
    assert lines["recorded_at"][0] - lines["occurred_at"][0] == timedelta(days=5, minutes=2)


def test_a_bank_file_that_never_comes_strands_its_payouts_for_good() -> None:
    """With `never` the lines are not in the stream and their accounts stand at the end."""
    incident = incident_from("stuck_bank_file:bank_statements:2026-01-08/2026-01-09/never")
    options = WorldOptions(events=3_000, seed=4, faults=NO_FAULTS, incidents=(incident,))
    world = joined(simulate_with_faults(options))
    assert len(world.faults)
    assert world.faults["until_recorded_at"].null_count() == len(world.faults)
    assert not world.events["id"].is_in(world.faults["event_id"].implode()).any()
    assert Held(world).at(FAR, FAR).holds


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_any_kind_can_be_an_incident(kind: str) -> None:
    """Within an incident every event of the producer that can have the fault has it, and nothing outside it."""
    producer = {"fx_rounding": "treasury_desk", "wrong_fee": "disbursements"}.get(kind, "card_gateway")
    incident = Incident(kind, producer, START + timedelta(days=1), START + timedelta(days=3))
    options = WorldOptions(events=6_000, seed=8, faults=NO_FAULTS, incidents=(incident,))
    world = joined(simulate_with_faults(options))
    assert set(world.faults["kind"]) == {kind}
    assert set(world.faults["producer"]) == {producer}
    books = Held(world)
    for effective_at, recorded_at in [*cuts()[::5], (FAR, FAR)]:
        assert books.at(effective_at, recorded_at).holds, (effective_at, recorded_at)


def test_one_fault_at_most_in_a_lifecycle(faulty_world: WorldChunk) -> None:
    """No account and currency is stated twice, and the faults of one account have one cause."""
    faults = faulty_world.faults
    assert not faults.select("account", "currency").is_duplicated().any()
    causes = faults.group_by("account").agg(pl.col("event_id").n_unique())
    assert causes["event_id"].max() == 1


def test_rates_are_kept() -> None:
    """Each kind strikes its share of charges, within what chance allows (seed 2)."""
    rates = FaultRates(**dict.fromkeys(FAULT_KINDS, 0.05))
    faults = joined(simulate_with_faults(WorldOptions(events=20_000, seed=2, faults=rates))).faults
    counts = Counter(faults.filter(account_type="charge_undisbursed")["kind"])
    counts["wrong_property"] //= 2
    for kind in FAULT_KINDS:
        expected = 0.0 if kind == "fx_rounding" else 0.05
        assert abs(counts[kind] / 10_000 - expected) < 0.01, kind


def test_simulate_is_the_same_stream_without_the_truth(faulty_world: WorldChunk, faulty_options: WorldOptions) -> None:
    """Asking for the truth does not change the events."""
    assert pl.concat(simulate(faulty_options)).equals(faulty_world.events)


def test_judging_tells_all_apart() -> None:
    """Money that is missing, of another amount, or not planted at all: each makes the verdict fail."""
    at = START + timedelta(days=1)
    fault = PlantedFault(
        *("missing_event", None, "disbursements", "charge.release", "evt_1", "charge_undisbursed"),
        *("charge_undisbursed{charge=ch_1, business=acct_A}", "USD", 100, START, None, START, None),
    )
    books = Books(at, at, example_model(), "UTC")
    assert judge([fault], books, {fault.key: 100}).holds
    assert judge([fault], books, {}).missed == [fault]
    other = judge([fault], books, {fault.key: 99})
    assert other.missed == [fault]
    assert other.unexplained == {fault.key: 99}
    assert judge([], books, {fault.key: 100}).unexplained == {fault.key: 100}
    early = Books(START + timedelta(minutes=5), at, example_model(), "UTC")
    assert judge([fault], early, {}).not_due == [fault]
    assert judge([fault], Books(at, START - timedelta(1), example_model(), "UTC"), {}).over == [fault]
