"""Traces across model changes: each event is read as the model it was recorded under has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from clearwell.application import modelling, tracing
from clearwell.application.cutting import CutRequest
from clearwell.errors import UsageError
from clearwell.project import Project

if TYPE_CHECKING:
    from conftest import Ledger

Make = Callable[..., dict[str, Any]]


def traced(ledger: Ledger, values: Mapping[str, str], steps: int = 1) -> list[str]:
    """The ids of the events of a trace."""
    with ledger.open() as workspace:
        found = tracing.trace(workspace, CutRequest(), values, steps)
        return [event["id"] for event in found.events]


def put_in_force(ledger: Ledger, flow: str) -> None:
    ledger.write_flow(flow)
    with ledger.open() as workspace:
        modelling.accept_model(workspace)


@pytest.fixture
def moved(ledger: Ledger, design_flow: str, creation: Make) -> Ledger:
    """One charge whose account takes the business from `business`, and one that takes it from `network`."""
    ledger.ingest(creation(properties={"charge": "ch_1", "business": "acct_A", "network": "acct_B"}))
    put_in_force(
        ledger,
        design_flow.replace("to: charge_undisbursed}", "to: {account: charge_undisbursed, business: network}}", 1),
    )
    ledger.ingest(creation(id="evt_9", properties={"charge": "ch_2", "business": "acct_A", "network": "acct_B"}))
    return ledger


def test_a_value_is_found_where_the_event_s_own_model_takes_it_from(moved: Ledger) -> None:
    """The account's business is the network only for the event that was recorded under the later model."""
    assert traced(moved, {"business": "acct_B"}) == ["evt_9"]


def test_a_step_finds_what_touches_the_account_by_its_own_model(moved: Ledger, creation: Make) -> None:
    """An event of the earlier model does not touch the account that its properties would name in the later one."""
    moved.ingest(creation(id="evt_10", properties={"charge": "ch_1", "business": "acct_C", "network": "acct_B"}))
    assert traced(moved, {"charge": "ch_1", "business": "acct_C"}) == ["evt_10"]
    assert traced(moved, {"charge": "ch_1", "business": "acct_C"}, steps=3) == ["evt_10"]


def test_a_property_that_was_declared_later_is_found_in_earlier_events(
    ledger: Ledger, design_flow: str, creation: Make
) -> None:
    """What the first model kept among the other properties is found, as text, once a model declares the name."""
    properties = creation()["properties"]
    ledger.ingest(creation(properties={**properties, "terminal": 7}))
    declared = "    producer: charges\n    properties: [charge, business, network, terminal]\n"
    put_in_force(ledger, design_flow.replace("    producer: charges\n", declared))
    ledger.ingest(creation(id="evt_9", properties={**properties, "charge": "ch_2", "terminal": "7"}))
    ledger.ingest(creation(id="evt_10", properties={**properties, "charge": "ch_3", "terminal": "8"}))
    assert traced(ledger, {"terminal": "7"}) == ["evt_1", "evt_9"]


def test_an_event_is_traced_by_its_producer_and_id(ledger: Ledger, creation: Make, release: Make) -> None:
    """With its entries and accounts, whose balance another event may have changed; a step further finds that one."""
    ledger.ingest(creation(), release(id="evt/3"), creation(id="evt_9", properties=creation()["properties"]))
    with ledger.open() as workspace:
        project = Project(workspace)
        for name, found in (("charges/evt_1", "evt_1"), ("disbursements/evt/3", "evt/3"), ("#3", "evt_9")):
            trace = project.trace(event=name)
            assert [event["id"] for event in trace.events] == [found]
            assert {row["account_type"] for row in trace.accounts} >= {"charge_undisbursed"}
            assert {row["balance"] for row in trace.accounts} == {None}
        further = project.trace(event="charges/evt_1", steps=2)
        assert [event["id"] for event in further.events] == ["evt_1", "evt/3", "evt_9"]
        balances = [row["balance"] for row in further.accounts if row["account_type"] == "charge_undisbursed"]
        assert balances == [1000]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"event": "charges/evt_9"}, "event_unknown"),
        ({"event": "disbursements/evt_1"}, "event_unknown"),
        ({"event": "#2"}, "event_unknown"),
        ({"event": "#0"}, "event_unknown"),
        ({"event": "charges/evt_1", "at": "2026-01-01"}, "event_unknown"),
        ({"event": "#1", "at": "2026-01-01"}, "event_unknown"),
        ({"event": "#1", "known_at": 0}, "event_unknown"),
        ({"event": "evt_1"}, "event_unreadable"),
        ({"event": "charges/evt_1", "values": {"charge": "ch_1"}}, "trace_subject_wrong"),
        ({}, "trace_subject_wrong"),
    ],
)
def test_an_event_that_is_not_in_the_books_is_refused(
    ledger: Ledger, creation: Make, asked: dict[str, Any], code: str
) -> None:
    """With what was expected: of another producer, beyond the log or the cut, or no name of an event at all."""
    ledger.ingest(creation())
    with ledger.open() as workspace, pytest.raises(UsageError) as caught:
        Project(workspace).trace(**asked)
    assert caught.value.code == code
