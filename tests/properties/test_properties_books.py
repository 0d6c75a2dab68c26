"""The product's books at random cuts of random worlds are those of the plain reference."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import reference
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from reference import Books
from worlds import NOW, World, load, times, wire, worlds

from clearwell.application import cutting, projecting, questions
from clearwell.application.cutting import CutRequest
from clearwell.values.instants import format_instant

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

_EPISODE = """account_type, account, currency, balance, turnover, entry_count, opened_effective_at,
    opened_recorded_at, opened_sequence, last_effective_at, last_recorded_at, last_sequence"""

REAL = settings(
    max_examples=25, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck), derandomize=False
)


def deliver(new_ledger: NewLedger, world: World, batches: int) -> tuple[Ledger, list[reference.Entry]]:
    """Ingest a world in so many files; returns the ledger and the entries that it should have."""
    ledger = new_ledger(world.flow, time_zone=world.time_zone)
    ledger.clock.now = NOW
    size = max(1, -(-len(world.events) // batches))
    for start in range(0, len(world.events), size):
        ledger.ingest(*map(wire, world.events[start : start + size]))
        ledger.clock.advance(seconds=1)
    return ledger, expected_entries(ledger, world)


def expected_entries(ledger: Ledger, world: World) -> list[reference.Entry]:
    with ledger.open() as workspace:
        segments = workspace.log().segments
    recorded_at = [datetime.fromisoformat(item.recorded_at) for item in segments for _ in range(int(item.event_count))]
    return reference.post(world.model, reference.accepted(world.model, world.events), recorded_at)


def product_books(ledger: Ledger, at: datetime, sequence: int) -> dict[str, Any]:
    """All that the application says at a cut."""
    request = CutRequest(format_instant(at), str(sequence))
    with ledger.open() as workspace:
        with cutting.books_at(workspace, request) as books:
            query = books.store.connection.execute
            tables = {
                name: sorted(query(f"SELECT {_EPISODE} FROM {name}").fetchall()) for name in ("open_at", "episodes_at")
            }
            reservoirs = query("SELECT account_type, account, currency, balance, entry_count FROM reservoirs_at")
            tables["reservoirs"] = sorted(reservoirs.fetchall())
        status = questions.status(workspace, request).account_types
        accounts = questions.open_accounts(workspace, request, questions.OpenFilter()).accounts
    states = sorted(
        (item["account_type"], str(item["properties"]), item["currency"], item["state"]) for item in accounts
    )
    return {**tables, "status": status, "states": states}


def reference_books(books: Books) -> dict[str, Any]:
    """The same by the plain way."""
    episodes = books.episodes()
    still_open = [item for item in episodes if item.balance]
    counts = books.entry_counts()
    kinds = {name: item.kind for name, item in books.model.account_types.items()}
    reservoirs = [
        (*account, money, counts[account])
        for account, money in books.balances().items()
        if kinds[account[0]] == "reservoir"
    ]
    states = [
        (
            name,
            str(dict(zip(books.model.account_types[name].properties, key.split("\x1f"), strict=False))),
            currency,
            "overdue" if books.is_due(item) else "in_flight",
        )
        for item in still_open
        for name, key, currency in [item.account]
    ]
    return {
        "open_at": sorted(item.figures for item in still_open),
        "episodes_at": sorted(item.figures for item in episodes if not item.balance),
        "reservoirs": sorted(reservoirs),
        "status": books.status(),
        "states": sorted(states),
    }


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Fail unless both say the same; shares are compared to twelve digits, all else exactly."""
    for name in ("open_at", "episodes_at", "reservoirs", "states"):
        assert found[name] == expected[name], name
    assert len(found["status"]) == len(expected["status"])
    for row, wanted in zip(found["status"], expected["status"], strict=True):
        for share in ("clearing", "clearing_by_count"):
            if wanted[share] is not None:
                wanted[share] = pytest.approx(wanted[share], rel=1e-12, abs=1e-12)
        assert row == wanted


@given(world=worlds(), batches=st.integers(1, 4), data=st.data())
@REAL
def test_books_at_any_cut_are_those_of_the_reference(
    new_ledger: NewLedger, world: World, batches: int, data: st.DataObject
) -> None:
    """Open accounts, episodes, reservoirs, states and status at cuts on both clocks agree with plain loops."""
    if not world.events:
        return
    ledger, entries = deliver(new_ledger, world, batches)
    count = len(reference.accepted(world.model, world.events))
    on_an_event = st.sampled_from([item.effective_at for item in world.events])
    for _ in range(3):
        at = data.draw(st.one_of(on_an_event, times(), st.just(NOW + timedelta(days=90))), label="at")
        sequence = data.draw(st.one_of(st.just(count), st.integers(0, count)), label="known at")
        books = reference.books_at(world.model, entries, at, sequence, world.time_zone)
        event(f"{min(len(books.episodes()), 5)} episodes")
        same(product_books(ledger, at, sequence), reference_books(books))


@pytest.mark.parametrize(("day", "sequence"), [(7, 3), (9, 2), (9, 3), (5, 3)])
def test_an_event_that_clears_one_episode_and_opens_the_next(new_ledger: NewLedger, day: int, sequence: int) -> None:
    """The entries of one event belong to two episodes of one account: a cut must not count the first one's again."""
    flow = """{flow: f, owner: o, accounts: {pool: {kind: reservoir}, c: {kind: clearing, clears_within: 10 minutes}},
    events: {fill: {producer: a, moves: [{amount: x, from: pool, to: c}]},
    turn: {producer: a, moves: [{amount: x, from: c, to: pool}, {amount: y, from: pool, to: c}]}}}"""
    amounts = [{"x": (5, "USD")}, {"x": (5, "USD"), "y": (7, "USD")}, {"x": (1, "USD")}]
    told = [
        reference.Event(name, f"e{number}", datetime(2026, 3, at, tzinfo=UTC), {}, amounts[number])
        for number, (name, at) in enumerate([("fill", 5), ("turn", 6), ("fill", 8)])
    ]
    world = World(flow, load(flow), tuple(told), "UTC")
    ledger, entries = deliver(new_ledger, world, 1)
    at = datetime(2026, 3, day, tzinfo=UTC)
    same(product_books(ledger, at, sequence), reference_books(reference.books_at(world.model, entries, at, sequence)))


def test_one_altered_entry_is_noticed(new_ledger: NewLedger, design_flow: str, creation: Any) -> None:
    """The comparison fails when the reference has one entry of another amount: it can tell right from wrong."""
    ledger = new_ledger(design_flow)
    ledger.ingest(creation(), creation(id="evt_3"))
    at = ledger.clock()
    amounts = {"gross": (1000, "USD")}
    with ledger.open() as workspace:
        model = workspace.project_model()
        recorded_at = [datetime.fromisoformat(item.recorded_at) for item in workspace.log().segments] * 2
    effective_at = datetime.fromisoformat(creation()["effective_at"])
    told = [
        reference.Event("charge.creation", name, effective_at, creation()["properties"], amounts)
        for name in ("evt_1", "evt_3")
    ]
    entries = reference.post(model, told, recorded_at)
    same(product_books(ledger, at, 2), reference_books(reference.books_at(model, entries, at, 2)))
    altered = [replace(entries[0], amount=entries[0].amount - 1), *entries[1:]]
    with pytest.raises(AssertionError, match="reservoirs"):
        same(product_books(ledger, at, 2), reference_books(reference.books_at(model, altered, at, 2)))


@given(world=worlds(), batches=st.integers(1, 3))
@settings(REAL, max_examples=8)
def test_a_rebuild_gives_identical_tables(new_ledger: NewLedger, world: World, batches: int) -> None:
    """Folding the whole log at once gives the rows that came from following it, and verification finds no fault."""
    if not world.events:
        return
    ledger, _ = deliver(new_ledger, world, batches)
    before = projected(ledger)
    with ledger.open() as workspace:
        assert projecting.catch_up(workspace, anew=True) == len(reference.accepted(world.model, world.events))
    assert projected(ledger) == before
    assert ledger.verify().faults == ()


def projected(ledger: Ledger) -> dict[str, list[Any]]:
    with ledger.open() as workspace, projecting.projections(workspace) as read:
        names = ("open_accounts", "episodes", "reservoirs", "progress")
        return {name: sorted(read.store.connection.execute(f"SELECT * FROM {name}").fetchall()) for name in names}
