"""What a world is made from: its size, seed and span, how often each fault is planted, and the incidents.

Refuses values from which no world can be made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta

from clearwell.errors import UsageError
from clearwell.simulation.incidents import FAULT_KINDS, Incident
from clearwell.simulation.lifecycles import LIFECYCLE_NAMES


@dataclass(frozen=True)
class FaultRates:
    """The share of lifecycles (charge, refund, payout and so on) that get a fault of each kind; at most one each.

    A kind strikes only lifecycles that can have it: `wrong_fee` those with a fee, `fx_rounding` conversions. A
    `late_event` is right but arrives late; with a `late_settlement` the money itself moves late.
    """

    missing_event: float = 0.0002
    wrong_property: float = 0.0001
    wrong_amount: float = 0.0001
    wrong_fee: float = 0.0001
    fx_rounding: float = 0.005
    double_posting: float = 0.0001
    late_event: float = 0.0003
    late_settlement: float = 0.0003

    def __post_init__(self) -> None:
        rates = [getattr(self, rate.name) for rate in fields(self)]
        # The comparison is written so that a rate that is not a number is refused too.
        if not (all(rate >= 0 for rate in rates) and sum(rates) <= 1):
            raise _unusable("fault rates", "shares of 0 or more whose sum is at most 1", self)


NO_FAULTS = FaultRates(**dict.fromkeys(FAULT_KINDS, 0.0))


@dataclass(frozen=True)
class WorldOptions:
    """Everything a world depends on; equal options give equal worlds, whatever `chunk_events` is.

    `events` is a size to reach: card payments alone make about that many, and all the rest adds some percent.
    Charges are made from `start` (aware) for `span`; what they set in motion is played out beyond that, so that at the
    end only planted faults are left standing. With `until` (aware) the world ends with what has arrived by then.
    `faults` are the rates of all lifecycles but those named in `faults_of`.
    Raises UsageError for sizes below 1, a negative seed, an instant without zone, an empty span, and an unknown
    lifecycle.
    """

    events: int = 1_000_000
    seed: int = 1
    start: datetime = datetime(2026, 1, 5, tzinfo=UTC)
    span: timedelta = timedelta(days=7)
    until: datetime | None = None
    chunk_events: int = 250_000
    faults: FaultRates = field(default_factory=FaultRates)
    faults_of: Mapping[str, FaultRates] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()

    def __post_init__(self) -> None:
        if self.events < 1:
            raise _unusable("events", "1 or more", self.events)
        if self.chunk_events < 1:
            raise _unusable("chunk_events", "1 or more", self.chunk_events)
        if self.seed < 0:
            raise _unusable("seed", "0 or more", self.seed)
        if self.start.utcoffset() is None:
            raise _unusable("start", "an instant with a time zone", self.start)
        if self.until is not None and self.until.utcoffset() is None:
            raise _unusable("until", "an instant with a time zone", self.until)
        if self.span <= timedelta(0):
            raise _unusable("span", "a positive duration", self.span)
        for name in self.faults_of:
            _require_lifecycle(name)

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
        """The number of businesses: it grows with the charges of a week, so that payouts stay a small part of them."""
        weeks = max(1.0, self.span / timedelta(weeks=1))
        return min(5_000, max(10, int(self.events / weeks) // 1_000))

    def rates_of(self, lifecycle: str) -> FaultRates:
        """The rates of a kind of lifecycle."""
        return self.faults_of.get(lifecycle, self.faults)


def with_rates(options: WorldOptions, rates: Mapping[str, float]) -> WorldOptions:
    """The same world with other rates: a key is a kind of fault, or `LIFECYCLE.KIND`, such as `payout.missing_event`.

    What is said of a lifecycle goes before what is said of all. Raises UsageError for a key that is neither.
    """
    overall = {key: rate for key, rate in rates.items() if "." not in key}
    for kind in overall:
        _require_kind(kind)
    changed = replace(
        options,
        faults=replace(options.faults, **overall),
        faults_of={name: replace(found, **overall) for name, found in options.faults_of.items()},
    )
    for key, rate in rates.items():
        lifecycle, dot, kind = key.partition(".")
        if dot:
            _require_lifecycle(lifecycle)
            _require_kind(kind)
            own = replace(changed.rates_of(lifecycle), **{kind: rate})
            changed = replace(changed, faults_of={**changed.faults_of, lifecycle: own})
    return changed


def _require_lifecycle(name: str) -> None:
    if name not in LIFECYCLE_NAMES:
        raise _unusable("lifecycle", f"one of {', '.join(LIFECYCLE_NAMES)}", name)


def _require_kind(name: str) -> None:
    if name not in FAULT_KINDS:
        raise _unusable("kind of fault", f"one of {', '.join(FAULT_KINDS)}", name)


def _unusable(name: str, expected: str, found: object) -> UsageError:
    return UsageError("world_options_invalid", f"simulated world: {name}: expected {expected}, found {found}")
