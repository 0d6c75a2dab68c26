"""Repeated events and conflicts: within a batch, against the log, across restarts and model changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from clearwell.application import modelling, quarantining
from clearwell.ingest import duplicates, identities

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

Make = Callable[..., dict[str, Any]]

SAME: list[dict[str, Any]] = [
    {},
    {"amounts": {"gross": 1000}, "currency": "USD"},
    {"effective_at": "2026-01-02T05:04:05.000+02:00"},
    {"producer": "charges"},
    {"currency": "EUR"},
]
OTHER: list[tuple[str, dict[str, Any]]] = [
    ("amount_gross", {"amounts": {"gross": {"value": 1001, "currency": "USD"}}}),
    ("currency_gross", {"amounts": {"gross": {"value": 1000, "currency": "EUR"}}}),
    ("effective_at", {"effective_at": "2026-01-02T03:04:05.000001Z"}),
    ("occurred_at", {"occurred_at": "2026-01-02T03:04:06Z"}),
    ("property_charge", {"properties": {"charge": "ch_2", "business": "acct_A", "network": "visa"}}),
    ("other_properties", {"properties": {"charge": "ch_1", "business": "acct_A", "network": "visa", "note": "n"}}),
]


@pytest.mark.parametrize("apart", [False, True], ids=["one_batch", "after_a_restart"])
def test_the_same_content_again_is_a_duplicate(ledger: Ledger, creation: Make, apart: bool) -> None:
    """An event told again in other words is counted and not recorded again."""
    again = [creation(**changes) for changes in SAME]
    if apart:
        ledger.ingest(creation())
        receipt = ledger.ingest(*again)
        assert (receipt.accepted, receipt.first_sequence) == (0, None)
    else:
        receipt = ledger.ingest(creation(), *again)
        assert (receipt.accepted, receipt.last_sequence) == (1, 1)
    assert (receipt.duplicates, receipt.quarantined) == (len(SAME), 0)


@pytest.mark.parametrize("apart", [False, True], ids=["one_batch", "after_a_restart"])
def test_other_content_under_a_known_identity_is_a_conflict(ledger: Ledger, creation: Make, apart: bool) -> None:
    """It goes to quarantine with the names of the fields that differ, and the first event stands."""
    told = [creation(**changes) for _, changes in OTHER]
    if apart:
        ledger.ingest(creation())
        receipt = ledger.ingest(*told)
    else:
        receipt = ledger.ingest(creation(), *told)
    assert (receipt.duplicates, receipt.quarantined) == (0, len(OTHER))
    with ledger.open() as workspace:
        reasons = [item.reason for item in quarantining.quarantined(workspace)]
    assert {item.code for item in reasons} == {"event_id_conflict"}
    assert [item.found for item in reasons] == [f"other values of {name}" for name, _ in OTHER]
    where = "sequence 1" if apart else "the same batch"
    assert all(item.expected.endswith(where) for item in reasons)


def test_ids_are_of_their_producer(ledger: Ledger, creation: Make, release: Make) -> None:
    """Two producers may use one id for different events."""
    assert ledger.ingest(creation(id="same"), release(id="same")).accepted == 2


def test_a_refused_record_takes_no_identity(ledger: Ledger, creation: Make) -> None:
    """A record that was refused does not stand in the way of a good one with its id, in whichever order they come."""
    bad = creation(amounts={"gross": {"value": -1, "currency": "USD"}})
    receipt = ledger.ingest(bad, creation(), bad)
    assert (receipt.accepted, receipt.duplicates, receipt.quarantined) == (1, 0, 2)


def test_equal_hashes_are_not_equal_events(ledger: Ledger, creation: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """When every identity has one hash, events are still told apart by their full identity."""
    constant = lambda: (pl.col("id").hash(4) & 0).alias("identity_hash")  # noqa: E731
    monkeypatch.setattr(duplicates, "identity_hash", constant)
    monkeypatch.setattr(identities, "identity_hash", constant)
    events = [creation(id=f"e{number}") for number in range(6)]
    assert ledger.ingest(*events[:3], events[0]).accepted == 3
    receipt = ledger.ingest(*events, creation(id="e1", occurred_at="2026-01-01T00:00:00Z"))
    assert (receipt.accepted, receipt.duplicates, receipt.quarantined) == (3, 3, 1)


def test_a_newly_declared_property_makes_no_conflict(new_ledger: NewLedger, design_flow: str, creation: Make) -> None:
    """The same event again is a duplicate, although the model has since declared a property that it carried."""
    ledger = new_ledger(design_flow)
    event = creation(properties={"charge": "ch_1", "business": "acct_A", "network": "visa", "note": "n"})
    ledger.ingest(event)
    declared = "    producer: charges\n    properties: [charge, business, network, note]\n"
    ledger.write_flow(design_flow.replace("    producer: charges\n", declared))
    receipt = ledger.ingest(event)
    assert (receipt.accepted, receipt.duplicates, receipt.quarantined) == (0, 1, 0)


def test_table_and_text_say_the_same_event(ledger: Ledger, creation: Make) -> None:
    """An event told once as NDJSON and once as a Parquet row, with an undeclared property, is a duplicate."""
    event = creation(properties={"charge": "ch_1", "business": "acct_A", "network": "visa", "note": 'a "quoted" é'})
    ledger.ingest(event)
    columns = {f"property_{name}": value for name, value in event["properties"].items()}
    row = {name: event[name] for name in ("type", "id", "effective_at", "occurred_at")}
    path = ledger.folder / "again.parquet"
    pl.DataFrame([{**row, **columns, "amount_gross": 1000, "currency": "USD"}]).write_parquet(path)
    receipt = ledger.ingest_file(path)
    assert (receipt.accepted, receipt.duplicates, receipt.quarantined) == (0, 1, 0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"producer": "nobody"}, "producer_mismatch"), ({"amounts": {"gross": 1000, "fee": "x"}}, "amount_unknown")],
    ids=["another_producer", "an_amount_that_is_no_number"],
)
def test_a_refused_record_that_says_more_is_no_duplicate(
    ledger: Ledger, creation: Make, changes: dict[str, Any], code: str
) -> None:
    """A record under a known id is a duplicate only when everything that it says is what the event says."""
    ledger.ingest(creation(currency="USD"))
    receipt = ledger.ingest(creation(currency="USD", **changes))
    assert (receipt.accepted, receipt.duplicates, receipt.quarantined) == (0, 0, 1)
    with ledger.open() as workspace:
        assert [item.reason.code for item in quarantining.quarantined(workspace)] == [code]


def test_an_event_accepted_under_an_earlier_model_is_a_duplicate(
    ledger: Ledger, design_flow: str, creation: Make
) -> None:
    """What the model asks for now does not undo that the same event is in the log."""
    ledger.ingest(creation())
    ledger.write_flow(
        design_flow.replace(
            "{kind: reservoir, properties: []}\nevents",
            "{kind: reservoir, properties: []}\n  acquirer_costs: {kind: reservoir, properties: [acquirer]}\nevents",
        ).replace(
            "to: charge_undisbursed}",
            "to: charge_undisbursed}\n      - {amount: cost, from: acquirer_costs, to: platform_fees}",
            1,
        )
    )
    with ledger.open() as workspace:
        modelling.accept_model(workspace)
    receipt = ledger.ingest(creation())
    assert (receipt.accepted, receipt.duplicates, receipt.quarantined) == (0, 1, 0)


def test_an_event_with_an_amount_that_no_model_has_any_more_is_known_again(
    ledger: Ledger, design_flow: str, creation: Make, release: Make
) -> None:
    """Told again under a model without the amount, it is a duplicate; a new event with it is still refused."""
    ledger.ingest(creation(), release())
    fee = "      - {amount: fee, from: charge_undisbursed, to: platform_fees}\n"
    ledger.write_flow(design_flow.replace(fee, "      - {amount: net, from: charge_undisbursed, to: platform_fees}\n"))
    with ledger.open() as workspace:
        modelling.accept_model(workspace)
    receipt = ledger.ingest(creation(), release(), release(id="evt_9"))
    assert (receipt.accepted, receipt.duplicates, receipt.quarantined) == (0, 2, 1)
    with ledger.open() as workspace:
        (waiting,) = quarantining.quarantined(workspace)
    assert (waiting.reason.code, waiting.reason.field) == ("amount_unknown", "amounts.fee")
