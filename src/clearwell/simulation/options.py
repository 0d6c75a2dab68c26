"""What a world is made from: its size, seed and span, and how often each fault is planted.

Refuses values from which no world can be made.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta

from clearwell.errors import UsageError


@dataclass(frozen=True)
class FaultRates:
    """The share of lifecycles (charge, refund, payout) that get a fault of each kind; at most one each."""

    missing_event: float = 0.0002
    wrong_property: float = 0.0001
    wrong_amount: float = 0.0001
    double_posting: float = 0.0001
    duplicate_delivery: float = 0.0005
    late_event: float = 0.0005

    def __post_init__(self) -> None:
        rates = [getattr(self, rate.name) for rate in fields(self)]
        # The comparison is written so that a rate that is not a number is refused too.
        if not (all(rate >= 0 for rate in rates) and sum(rates) <= 1):
            raise _unusable("fault rates", "shares of 0 or more whose sum is at most 1", self)


NO_FAULTS = FaultRates(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True)
class WorldOptions:
    """Everything a world depends on; equal options give equal worlds, whatever `chunk_events` is.

    `events` is a size to reach: card payments alone make about that many, and refunds, payouts and
    conversions add some percent. Charges are made from `start` (aware) for `span`; what they set in
    motion is played out beyond that, so that at the end only planted faults are left standing.
    Raises UsageError for sizes below 1, a negative seed, a start without zone and an empty span.
    """

    events: int = 1_000_000
    seed: int = 1
    start: datetime = datetime(2026, 1, 5, tzinfo=UTC)
    span: timedelta = timedelta(days=7)
    chunk_events: int = 250_000
    faults: FaultRates = field(default_factory=FaultRates)

    def __post_init__(self) -> None:
        if self.events < 1:
            raise _unusable("events", "1 or more", self.events)
        if self.chunk_events < 1:
            raise _unusable("chunk_events", "1 or more", self.chunk_events)
        if self.seed < 0:
            raise _unusable("seed", "0 or more", self.seed)
        if self.start.utcoffset() is None:
            raise _unusable("start", "an instant with a time zone", self.start)
        if self.span <= timedelta(0):
            raise _unusable("span", "a positive duration", self.span)

    @property
    def end(self) -> datetime:
        """The end of the span: a cut at which the last charges, refunds and payouts are in flight."""
        return self.start + self.span

    @property
    def charge_count(self) -> int:
        """The number of charges; each makes two events."""
        return (self.events + 1) // 2

    @property
    def business_count(self) -> int:
        """The number of businesses: it grows with the world, so that payouts stay a small part of it."""
        return min(5_000, max(10, self.events // 1_000))


def _unusable(name: str, expected: str, found: object) -> UsageError:
    return UsageError("world_options_invalid", f"simulated world: {name}: expected {expected}, found {found}")
