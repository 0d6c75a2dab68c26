"""Flows as Mermaid."""

from __future__ import annotations

import pytest

from clearwell.errors import UsageError
from clearwell.flows.draw import draw_flow
from clearwell.flows.load import load_model


def test_draws_own_and_other_accounts(card_payments: str, payouts: str) -> None:
    """Clearing accounts are rounded, reservoirs are cylinders, accounts of other flows are dashed."""
    model, _ = load_model({"a.yaml": card_payments, "b.yaml": payouts})
    assert model is not None
    assert draw_flow(model, "payouts") == (
        "flowchart LR\n"
        '    account_payout_in_transit(["payout_in_transit<br/>payout"])\n'
        '    account_bank[("bank<br/>desk")]\n'
        '    account_business_balance[("business_balance<br/>business<br/>of card_payments")]\n'
        '    account_business_balance -->|"payout.created: paid"| account_payout_in_transit\n'
        '    account_payout_in_transit -->|"payout.paid: paid"| account_bank\n'
        "    classDef otherFlow stroke-dasharray: 5 5\n"
        "    class account_business_balance otherFlow\n"
    )


def test_joins_edges_between_the_same_accounts(card_payments: str) -> None:
    """Several moves between two accounts are one edge with a label of several lines."""
    model, _ = load_model({"a.yaml": card_payments.replace("to: platform_fees", "to: business_balance")})
    assert model is not None
    edges = [line.strip() for line in draw_flow(model, "card_payments").splitlines() if "-->" in line]
    assert edges[1:] == [
        'account_charge_undisbursed -->|"charge.release: net<br/>charge.release: fee"| account_business_balance'
    ]


def test_unknown_flow_is_refused(card_payments: str) -> None:
    """A flow that is not in the model is refused with those that are."""
    model, _ = load_model({"a.yaml": card_payments})
    assert model is not None
    with pytest.raises(UsageError, match="one of the flows card_payments, found 'cards'"):
        draw_flow(model, "cards")
