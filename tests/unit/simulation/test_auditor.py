"""The auditor's own figures, worked out by hand: whoever judges must be right first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clearwell.flows.load import load_model
from clearwell.flows.model import Model
from clearwell.simulation.auditor import Audit, Fate, trace
from clearwell.values.cuts import Cut

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def model_of(text: str) -> Model:
    model, problems = load_model({"flow.yaml": text})
    assert model is not None, problems
    return model


@pytest.fixture
def audit(design_flow: str) -> Audit:
    """An auditor to whom the flow of the design is in force."""
    audit = Audit()
    audit.put_in_force(model_of(design_flow), "UTC", NOW)
    return audit


def test_fates_of_records(audit: Audit, creation: Any, release: Any) -> None:
    """The first of an identity is accepted, the same content again a duplicate, other content a conflict."""
    short = creation(currency="USD", amounts={"gross": 1000}, effective_at="2026-01-02T04:04:05+01:00")
    told = [creation(), short, creation(amounts={"gross": {"value": 1, "currency": "USD"}}), release()]
    told += [creation(id="evt_9", properties={"charge": "ch_1"}), creation(id="evt_9", type="charge.unknown")]
    assert audit.record(told, NOW) == [
        Fate("accepted", 1),
        Fate("duplicate"),
        Fate("quarantined", code="event_id_conflict"),
        Fate("accepted", 2),
        Fate("quarantined", code="property_missing"),
        Fate("quarantined", code="event_type_unknown"),
    ]


def test_system_time_grows(audit: Audit, creation: Any, release: Any) -> None:
    """Each batch is a microsecond later than what was known, though the clock stands still or is set back."""
    audit.record([creation()], NOW)
    audit.record([release()], NOW - timedelta(days=1))
    assert [item.recorded_at for item in audit.events] == [NOW + TICK, NOW + 2 * TICK]
    assert audit.cut(NOW, known_at=NOW + TICK) == Cut(NOW + TICK, NOW + TICK, 1)
    assert audit.cut(NOW, CREATED, 0) == Cut(CREATED, NOW, 0)
    assert audit.cut(NOW) == Cut(NOW, NOW + 2 * TICK, 2)


def test_books_of_the_design(audit: Audit, creation: Any, release: Any) -> None:
    """A charge of 10.00 that was released less 0.30: one episode of ten minutes, cleared, and 9.70 at the business."""
    audit.record([creation(), release()], NOW)
    books = audit.books(audit.cut(NOW))
    (episode,) = books.episodes
    assert (episode.balance, episode.turnover, episode.due_money, len(episode.entries)) == (0, 1000, 1000, 3)
    assert books.due_at(episode) == CREATED + timedelta(minutes=10)
    assert {account[0]: money for account, money in books.balances.items()} == {
        "card_network_receivable": -1000,
        "charge_undisbursed": 0,
        "business_balance": 970,
        "platform_fees": 30,
    }
    (row,) = [row for row in books.status() if row["kind"] == "clearing"]
    assert (row["open_count"], row["due_money"], row["due_count"], row["clearing"]) == (0, 1000, 1, 1.0)


def test_states_turn_at_the_due_instant(audit: Audit, creation: Any, release: Any) -> None:
    """Before the release is on the books the money is in flight, and overdue from the due instant on."""
    audit.record([creation(), release(effective_at="2026-01-02T05:00:00Z")], NOW)
    due = CREATED + timedelta(minutes=10)
    states = {}
    for at in (CREATED - TICK, CREATED, due - TICK, due):
        states[at] = [(row["state"], row["age_seconds"]) for row in audit.books(audit.cut(NOW, at)).open_accounts()]
    assert list(states.values()) == [[], [("in_flight", 0)], [("in_flight", 599)], [("overdue", 600)]]


def test_trace_follows_accounts(audit: Audit, creation: Any, release: Any) -> None:
    """A value finds its events; the next step finds what touches their clearing accounts, and knows the balance."""
    audit.record(
        [creation(), release(), creation(id="evt_3", properties={**creation()["properties"], "charge": "x"})], NOW
    )
    books = audit.books(audit.cut(NOW))
    first, accounts = trace(books, {"network": "visa", "charge": "ch_1"})
    assert [row["sequence"] for row in first] == [1]
    assert [row["balance"] for row in accounts if row["account_type"] == "charge_undisbursed"] == [None]
    second, accounts = trace(books, {"network": "visa", "charge": "ch_1"}, steps=2)
    assert [(row["sequence"], row["step"]) for row in second] == [(1, 1), (2, 2)]
    assert [row["balance"] for row in accounts if row["account_type"] == "charge_undisbursed"] == [0]


def test_a_later_window_does_not_change_the_past(audit: Audit, creation: Any, design_flow: str) -> None:
    """A cut is judged by the model in force at its recorded time; events keep the model they were recorded under."""
    audit.record([creation()], NOW)
    audit.put_in_force(model_of(design_flow.replace("10 minutes", "100 days")), "UTC", NOW + timedelta(days=1))
    rows = [audit.books(audit.cut(NOW, NOW, known_at)).open_accounts()[0] for known_at in (1, None)]
    assert [row["state"] for row in rows] == ["overdue", "in_flight"]
