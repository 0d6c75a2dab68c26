"""What the platform does with money, from the first event of each kind of business to its last.

A lifecycle is a chain of steps (events) and the clearing accounts between them, each opened by one step and closed by
another. Refuses to make events: `sales` and `treasury` make them right, and `faults` makes some of them wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from clearwell.simulation.delivery import DAY, HOUR, MINUTE


@dataclass(frozen=True)
class Step:
    """One event of a lifecycle. `mistaken` is the property that a wrong property changes in it; none: it has none."""

    event_type: str
    producer: str
    mistaken: str = ""


@dataclass(frozen=True)
class Entry:
    """What a step brings to a clearing account: the sum of these amounts, with a sign."""

    sign: int
    amounts: tuple[str, ...]


@dataclass(frozen=True)
class Leg:
    """A clearing account between two steps of a lifecycle: the entry of each, by the step's place.

    Two legs of different currencies may be of one account.
    """

    account_type: str
    properties: tuple[str, ...]
    entries: Mapping[int, Entry]

    def partner(self, step: int) -> int:
        """The place of the other step."""
        return next(place for place in self.entries if place != step)


@dataclass(frozen=True)
class Lifecycle:
    """A kind of business. `late_after` is how long after the step before, in microseconds, a step is too late.

    `disturbed` says for each kind of wrong amount which step has it, and in which amount.
    """

    name: str
    steps: tuple[Step, ...]
    legs: tuple[Leg, ...]
    late_after: tuple[int, int]
    disturbed: Mapping[str, tuple[int, str]]


@dataclass(frozen=True)
class Course:
    """Lifecycles of one kind as they should be: a frame of events per step, all frames row-aligned."""

    lifecycle: Lifecycle
    frames: tuple[pl.DataFrame, ...]


def _passed_on(account_type: str, properties: tuple[str, ...], steps: tuple[int, int], *amounts: str) -> Leg:
    """A leg into which the first step puts what the second takes out."""
    return Leg(account_type, properties, {steps[0]: Entry(1, amounts), steps[1]: Entry(-1, amounts)})


def _dispute(decided: str) -> Lifecycle:
    return Lifecycle(
        name="dispute",
        steps=(Step("dispute.opened", "disputes"), Step(decided, "dispute_decisions", "business")),
        legs=(_passed_on("dispute_held", ("dispute", "business"), (0, 1), "disputed", "dispute_fee"),),
        late_after=(32 * DAY, 45 * DAY),
        disturbed={"wrong_amount": (1, "disputed"), "wrong_fee": (1, "dispute_fee")},
    )


CHARGE = Lifecycle(
    name="charge",
    steps=(Step("charge.creation", "charges"), Step("charge.release", "disbursements", "business")),
    legs=(
        Leg(
            "charge_undisbursed",
            ("charge", "business"),
            {0: Entry(1, ("gross",)), 1: Entry(-1, ("net", "fee"))},
        ),
    ),
    late_after=(20 * MINUTE, 12 * HOUR),
    disturbed={"wrong_amount": (1, "net"), "wrong_fee": (1, "fee")},
)
REFUND = Lifecycle(
    name="refund",
    steps=(Step("refund.created", "refunds"), Step("refund.settled", "card_gateway", "business")),
    legs=(_passed_on("refund_in_transit", ("refund", "business"), (0, 1), "refunded"),),
    late_after=(60 * HOUR, 120 * HOUR),
    disturbed={"wrong_amount": (1, "refunded")},
)
DISPUTE_WON = _dispute("dispute.won")
DISPUTE_LOST = _dispute("dispute.lost")
TRANSFER = Lifecycle(
    name="transfer",
    steps=(Step("transfer.created", "transfers"), Step("transfer.received", "connected_accounts", "seller")),
    legs=(_passed_on("transfer_in_transit", ("transfer", "seller"), (0, 1), "transferred"),),
    late_after=(30 * HOUR, 120 * HOUR),
    disturbed={"wrong_amount": (1, "transferred")},
)
CONVERSION = Lifecycle(
    name="conversion",
    steps=(Step("conversion.requested", "treasury"), Step("conversion.executed", "treasury_desk", "business")),
    legs=(
        _passed_on("conversion_in_transit", ("conversion", "business"), (0, 1), "sold"),
        _passed_on("conversion_in_transit", ("conversion", "business"), (1, 0), "bought"),
    ),
    late_after=(HOUR, 12 * HOUR),
    disturbed={"fx_rounding": (1, "bought")},
)
PAYOUT = Lifecycle(
    name="payout",
    steps=(
        Step("payout.created", "payouts"),
        Step("payout.paid", "bank_gateway", "business"),
        Step("bank_statement.line", "bank_statements", "payout"),
    ),
    legs=(
        _passed_on("payout_in_transit", ("payout", "business"), (0, 1), "paid_out"),
        _passed_on("bank_settlement", ("payout", "bank"), (1, 2), "paid_out"),
    ),
    # Two business days can be five or six days of the calendar; a week is late whatever the calendar says.
    late_after=(7 * DAY, 10 * DAY),
    disturbed={"wrong_amount": (1, "paid_out")},
)
SETTLEMENT = Lifecycle(
    name="network_settlement",
    steps=(
        Step("settlement.scheduled", "network_schedules"),
        Step("settlement.received", "network_funds", "business"),
    ),
    legs=(_passed_on("network_settlement_brazil", ("settlement", "business"), (1, 0), "settled"),),
    late_after=(37 * DAY, 45 * DAY),
    disturbed={"wrong_amount": (1, "settled")},
)
LIFECYCLES = (CHARGE, REFUND, DISPUTE_WON, DISPUTE_LOST, TRANSFER, CONVERSION, PAYOUT, SETTLEMENT)
LIFECYCLE_NAMES = tuple(dict.fromkeys(lifecycle.name for lifecycle in LIFECYCLES))
