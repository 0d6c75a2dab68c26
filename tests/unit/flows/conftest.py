"""The example of the flow language that the tests start from."""

from __future__ import annotations

import pytest

CARD_PAYMENTS = """\
flow: card_payments
owner: payments-engineering
description: A card charge, from creation to the business's balance.
accounts:
  card_network_receivable: {kind: reservoir, properties: [network]}
  charge_undisbursed:
    kind: clearing
    properties: [charge, business]
    clears_within: 10 minutes            # or "2 business days" with calendar: BR, or: learned
  business_balance: {kind: reservoir, properties: [business]}
  platform_fees:    {kind: reservoir, properties: []}
events:
  charge.creation:
    producer: charges
    arrives_within: 5 minutes            # deadline for recorded_at - occurred_at
    moves:
      - {amount: gross, from: card_network_receivable, to: charge_undisbursed}
  charge.release:
    producer: disbursements
    moves:
      - {amount: net, from: charge_undisbursed, to: business_balance}
      - {amount: fee, from: charge_undisbursed, to: platform_fees}
"""

PAYOUTS = """\
flow: payouts
owner: treasury
accounts:
  payout_in_transit: {kind: clearing, properties: [payout], clears_within: 2 business days, calendar: BR}
  bank: {kind: reservoir, properties: [desk], owner: banking}
events:
  payout.created:
    producer: payouts
    properties: [payout, source_business, note]
    amounts: {paid: {signed: true}}
    moves:
      - amount: paid
        from: {account: business_balance, business: source_business}
        to: payout_in_transit
  payout.paid:
    producer: banks
    moves:
      - {amount: paid, from: payout_in_transit, to: {account: bank, desk: {constant: main}}}
"""


@pytest.fixture
def card_payments() -> str:
    """The text of the card payments flow."""
    return CARD_PAYMENTS


@pytest.fixture
def payouts() -> str:
    """The text of a flow that uses an account of card payments, a mapping, a constant and a signed amount."""
    return PAYOUTS
