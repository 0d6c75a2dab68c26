"""Clearing equations, and what signed amounts change about filling and draining."""

from __future__ import annotations

import pytest

from clearwell.flows.check import Equation, Term, clearing_equations
from clearwell.flows.load import load_model
from clearwell.flows.model import Model


@pytest.fixture
def model(card_payments: str, payouts: str) -> Model:
    """Card payments and payouts together."""
    loaded, problems = load_model({"flows/card.yaml": card_payments, "flows/payouts.yaml": payouts})
    assert loaded is not None, problems
    return loaded


def test_equations(model: Model) -> None:
    """Each clearing account type says who fills it, who drains it and the equation under which it clears."""
    undisbursed, in_transit = clearing_equations(model)
    assert undisbursed == Equation(
        account_type="charge_undisbursed",
        flow="card_payments",
        owner="payments-engineering",
        clears_within="10 minutes",
        filled_by=(Term("charge.creation", "gross", "charges"),),
        drained_by=(
            Term("charge.release", "net", "disbursements"),
            Term("charge.release", "fee", "disbursements"),
        ),
    )
    assert undisbursed.text == "charge.creation.gross = charge.release.net + charge.release.fee"
    assert (in_transit.text, in_transit.clears_within) == (
        "payout.created.paid = payout.paid.paid",
        "2 business days (BR)",
    )


def test_equation_spans_flows(card_payments: str, payouts: str) -> None:
    """An account that another flow drains has that flow's terms in its equation."""
    text = card_payments.replace(
        "business_balance: {kind: reservoir, properties: [business]}",
        "business_balance: {kind: clearing, properties: [business], clears_within: learned}",
    )
    loaded, problems = load_model({"a.yaml": text, "b.yaml": payouts})
    assert loaded is not None, problems
    texts = {equation.account_type: equation.text for equation in clearing_equations(loaded)}
    assert texts["business_balance"] == "charge.release.net = payout.created.paid"


@pytest.mark.parametrize(("signed", "codes"), [("true", []), ("false", ["clearing_account_never_drained"])])
def test_signed_amount_fills_and_drains(signed: str, codes: list[str]) -> None:
    """A signed amount can drain the account it goes to; an unsigned one cannot."""
    text = f"""\
flow: rounding
owner: finance
accounts:
  difference: {{kind: clearing, properties: [batch], clears_within: 1 day}}
  rounding_result: {{kind: reservoir}}
events:
  difference.found:
    producer: batches
    amounts: {{rounding: {{signed: {signed}}}}}
    moves: [{{amount: rounding, from: rounding_result, to: difference}}]
"""
    loaded, problems = load_model({"rounding.yaml": text})
    assert [problem.code for problem in problems] == codes
    if loaded is not None:
        assert clearing_equations(loaded)[0].text == "difference.found.rounding = 0"
