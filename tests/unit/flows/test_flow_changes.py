"""What changed between two models."""

from __future__ import annotations

import pytest

from clearwell.flows.changes import CHANGE_CODES, Change, compare_models
from clearwell.flows.load import load_model
from clearwell.flows.model import Model

FEE_MOVE = "{amount: fee, from: charge_undisbursed, to: platform_fees}"

# (what to replace in the example, by what, the changes as "subject what")
CASES: list[tuple[str, str, list[str]]] = [
    ("owner: payments-engineering", "owner: payments-engineering # still", []),
    ("from creation to", "until", []),
    (
        "platform_fees:    {kind: reservoir",
        "platform_fees: {owner: finance, kind: reservoir",
        ["platform_fees owner_changed"],
    ),
    (
        "kind: clearing\n    properties: [charge, business]\n    clears_within: 10 minutes",
        "kind: reservoir\n    properties: [charge, business]",
        ["charge_undisbursed kind_changed", "charge_undisbursed window_changed"],
    ),
    (
        "properties: [network]",
        "properties: [network, region]",
        [
            "card_network_receivable properties_changed",
            "charge.creation moves_changed",
            "charge.creation required_properties_added",
        ],
    ),
    (
        "properties: []",
        "properties: [charge]",
        [
            "platform_fees properties_changed",
            "charge.release moves_changed",
            "till.opened moves_changed",
            "till.opened required_properties_added",
        ],
    ),
    ("10 minutes", "20 minutes", ["charge_undisbursed window_changed"]),
    ("producer: charges", "producer: acquiring", ["charge.creation producer_changed"]),
    ("    arrives_within: 5 minutes", "", ["charge.creation deadline_changed"]),
    (
        "producer: charges",
        "producer: charges\n    properties: [network, charge, business, country]",
        ["charge.creation properties_changed"],
    ),
    (
        "producer: charges",
        "producer: charges\n    properties: {network: {}, charge: {}, business: {}, email: {personal: true}}",
        ["charge.creation properties_changed", "charge.creation personal_changed"],
    ),
    (
        "to: charge_undisbursed",
        "to: {account: charge_undisbursed, business: {constant: one}}",
        ["charge.creation moves_changed", "charge.creation required_properties_removed"],
    ),
    (
        FEE_MOVE,
        FEE_MOVE.replace("fee,", "commission,"),
        ["charge.release moves_changed", "charge.release amounts_added", "charge.release amounts_removed"],
    ),
    (
        "producer: disbursements",
        "producer: disbursements\n    amounts: {fee: {signed: true}}",
        ["charge.release amounts_changed"],
    ),
    (
        "till:",
        "drawer:",
        ["drawer added", "till removed", "till.opened moves_changed"],
    ),
]
TILL = """\
flow: stores
owner: stores
accounts:
  till: {kind: reservoir}
events:
  till.opened:
    producer: stores
    moves: [{amount: float, from: till, to: platform_fees}]
"""


def model_of(card: str, stores: str | None = None) -> Model:
    """Return the model of these texts, which have no errors."""
    model, problems = load_model({"a.yaml": card} | ({"b.yaml": stores} if stores else {}))
    assert model is not None, problems
    return model


def summary(changes: tuple[Change, ...]) -> list[str]:
    """Return the changes as `subject what`."""
    return [f"{change.subject} {change.what}" for change in changes]


@pytest.mark.parametrize(("old", "new", "expected"), CASES)
def test_one_edit(card_payments: str, old: str, new: str, expected: list[str]) -> None:
    """Each edit of the example gives the changes it makes and no others."""
    assert old in card_payments + TILL
    stores = TILL.replace(old, new).replace("from: till", f"from: {new[:-1]}" if old == "till:" else "from: till")
    changed = model_of(card_payments.replace(old, new), stores)
    assert summary(compare_models(model_of(card_payments, TILL), changed)) == expected


def test_owner_flow_and_order(card_payments: str) -> None:
    """Flows come first; what moves to another flow keeps its name and says so."""
    old = model_of(card_payments, TILL)
    new = model_of(
        card_payments.replace("owner: payments-engineering", "owner: cards"),
        TILL.replace("flow: stores", "flow: shops"),
    )
    assert summary(compare_models(old, new)) == [
        "card_payments owner_changed",
        "shops added",
        "stores removed",
        "business_balance owner_changed",
        "card_network_receivable owner_changed",
        "charge_undisbursed owner_changed",
        "platform_fees owner_changed",
        "till flow_changed",
        "till.opened flow_changed",
    ]


def test_removed_flow_takes_all_with_it(card_payments: str) -> None:
    """A removed flow is reported with its account types and event types, in sentences."""
    changes = compare_models(model_of(card_payments, TILL), model_of(card_payments))
    assert [change.text for change in changes] == [
        "Flow stores was removed.",
        "Account type till was removed.",
        "Event type till.opened was removed.",
    ]


def test_sentence_says_from_and_to(card_payments: str) -> None:
    """A change names the old and the new."""
    (change,) = compare_models(model_of(card_payments), model_of(card_payments.replace("10 minutes", "learned")))
    assert change.text == "Account type charge_undisbursed: the clearing window changed from 10 minutes to learned."


def test_every_code_is_tested() -> None:
    """No code of a change is listed without a case that gives it."""
    seen = {line.split()[1] for case in CASES for line in case[2]} | {"flow_changed"}
    assert seen == set(CHANGE_CODES)


def test_unlisted_code_is_our_own_mistake() -> None:
    """A change outside the closed list fails at once."""
    with pytest.raises(AssertionError, match="renamed"):
        Change("flow", "a", "renamed", "x")
