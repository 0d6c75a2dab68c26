"""A changed model comes into force only when the log allows it, and only with a person's word where it has a price."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from clearwell.application import modelling
from clearwell.application.writing import writing
from clearwell.errors import DataError

if TYPE_CHECKING:
    from conftest import Ledger

Make = Callable[..., dict[str, Any]]

REFUSED, ASKED, FREE = "model_change_refused", "model_change_not_accepted", ""
RELEASE = "      - {amount: fee, from: charge_undisbursed, to: platform_fees}\n"

CHANGES: dict[str, tuple[str, str, str]] = {
    "window": (FREE, "10 minutes", "2 days"),
    "comment": (FREE, "flow: card_payments", "flow: card_payments  # a word"),
    "owner": (FREE, "payments-engineering", "treasury"),
    "new event type": (
        FREE,
        RELEASE,
        RELEASE + "  charge.refund: {producer: charges, moves: [{amount: refund, from: charge_undisbursed, "
        "to: card_network_receivable}]}\n",
    ),
    "new amount": (ASKED, RELEASE, RELEASE + "      - {amount: tax, from: charge_undisbursed, to: platform_fees}\n"),
    "amount without a move": (ASKED, RELEASE, ""),
    "other target": (ASKED, "to: business_balance}", "to: {account: business_balance, business: payee}}"),
    "signed amount": (
        ASKED,
        "    producer: charges\n",
        "    producer: charges\n    amounts: {gross: {signed: true}}\n",
    ),
    "producer": (ASKED, "producer: charges", "producer: acquiring"),
    "kind": (
        REFUSED,
        "charge_undisbursed: {kind: clearing, properties: [charge, business], clears_within: 10 minutes}",
        "charge_undisbursed: {kind: reservoir, properties: [charge, business]}",
    ),
    "properties of an account": (REFUSED, "properties: [charge, business]", "properties: [business, charge]"),
    "renamed account": (REFUSED, "platform_fees", "platform_income"),
}


@pytest.fixture
def filled(ledger: Ledger, creation: Make, release: Make) -> Ledger:
    """One charge released in full, one open."""
    other = {"charge": "ch_2", "business": "acct_A", "network": "visa"}
    ledger.ingest(creation(), release(), creation(id="evt_3", properties=other))
    return ledger


def put_in_force(ledger: Ledger, *, accept: bool) -> str:
    with ledger.open() as workspace, writing(workspace) as lease:
        return modelling.put_in_force(workspace, lease, accept=accept)[0].version


def in_force(ledger: Ledger) -> list[str]:
    with ledger.open() as workspace:
        return [period.version for period in workspace.periods()]


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_change_needs(filled: Ledger, design_flow: str, creation: Make, change: str) -> None:
    """Free changes come into force with the next ingest, others when accepted, and some never."""
    code, old, new = CHANGES[change]
    assert old in design_flow
    filled.write_flow(design_flow.replace(old, new))
    before = in_force(filled)
    if code:
        with pytest.raises(DataError) as caught:
            filled.ingest(creation())
        assert (caught.value.code, bool(caught.value.details)) == (code, True)
        assert in_force(filled) == before
    if code == REFUSED:
        with pytest.raises(DataError) as caught:
            put_in_force(filled, accept=True)
        assert caught.value.code == REFUSED
        assert in_force(filled) == before
    else:
        version = put_in_force(filled, accept=bool(code))
        assert in_force(filled) == [*before, version]
    assert filled.fault_codes() == set()


def test_check_names_the_consequences_and_changes_nothing(filled: Ledger, design_flow: str) -> None:
    """`check` says how many events would no longer post, and how many open accounts may no longer clear."""
    filled.write_flow(design_flow.replace(RELEASE, CHANGES["new amount"][2]))
    with filled.open() as workspace:
        report = modelling.check(workspace)
    assert report.ok
    assert report.version != report.in_force
    assert [(item.severity, item.text.split(":")[0]) for item in report.consequences] == [
        ("acceptance", "1 of the 1 charge.release events in the log would no longer post"),
        ("acceptance", "1 open charge_undisbursed account(s) may no longer clear"),
    ]
    assert len(in_force(filled)) == 1


def test_any_change_is_free_while_the_log_is_empty(ledger: Ledger, design_flow: str) -> None:
    """Without events there is nothing that a change could break."""
    put_in_force(ledger, accept=False)
    ledger.write_flow(design_flow.replace(*CHANGES["kind"][1:]))
    put_in_force(ledger, accept=False)
    assert len(set(in_force(ledger))) == 2


def test_an_event_keeps_the_model_it_was_posted_under(filled: Ledger, design_flow: str, release: Make) -> None:
    """After an accepted change old events stay as posted, new ones follow the new moves, and a rebuild agrees."""
    filled.write_flow(
        design_flow.replace(
            "net, from: charge_undisbursed, to: business_balance", "net, from: charge_undisbursed, to: platform_fees"
        )
    )
    put_in_force(filled, accept=True)
    filled.ingest(release(id="evt_4", properties={"charge": "ch_2", "business": "acct_A"}))
    money = {row["account_type"]: row["open_money"] for row in filled.status().account_types}
    assert money == {
        "card_network_receivable": -2000,
        "charge_undisbursed": 0,
        "business_balance": 970,
        "platform_fees": 1030,
    }
    assert filled.fault_codes() == set()


def test_a_broken_model_stops_ingest_before_anything(filled: Ledger, creation: Make) -> None:
    """A flow file with an error is reported with its problems, and no event is taken in."""
    filled.write_flow("flow: broken\n", "broken")
    with pytest.raises(DataError) as caught:
        filled.ingest(creation(id="evt_9"))
    assert caught.value.code == "model_invalid"
    (filled.folder / "flows" / "broken.yaml").unlink()
    assert filled.ingest(creation(id="evt_9")).accepted == 1


def test_a_model_that_comes_back_begins_a_new_period(filled: Ledger, design_flow: str) -> None:
    """Back and forth between two models gives three periods in order of time."""
    filled.write_flow(design_flow.replace("10 minutes", "1 day"))
    put_in_force(filled, accept=False)
    filled.write_flow(design_flow)
    put_in_force(filled, accept=False)
    versions = in_force(filled)
    assert len(versions) == 3
    assert versions[0] == versions[2] != versions[1]
    with filled.open() as workspace:
        times = [period.accepted_at for period in workspace.periods()]
    assert times == sorted(set(times))
