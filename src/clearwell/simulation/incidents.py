"""Incidents: a known cause in a range of time at one producer, and all of its events there that go wrong by it.

Refuses an incident that could strike nothing: an unknown kind or producer, or a kind that this producer never has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from clearwell.errors import UsageError
from clearwell.simulation.delivery import PRODUCERS
from clearwell.simulation.lifecycles import LIFECYCLES, Lifecycle
from clearwell.simulation.platform import BANKS
from clearwell.values.durations import FixedDuration, parse_duration
from clearwell.values.instants import format_instant, parse_cut_instant

MISSING_EVENT = "missing_event"
WRONG_PROPERTY = "wrong_property"
WRONG_AMOUNT, WRONG_FEE, FX_ROUNDING = "wrong_amount", "wrong_fee", "fx_rounding"
DOUBLE_POSTING = "double_posting"
LATE_EVENT, LATE_SETTLEMENT = "late_event", "late_settlement"
FAULT_KINDS = (
    *(MISSING_EVENT, WRONG_PROPERTY, WRONG_AMOUNT, WRONG_FEE, FX_ROUNDING),
    *(DOUBLE_POSTING, LATE_EVENT, LATE_SETTLEMENT),
)
"""What can go wrong with one event, by rate or by incident."""

DROPPED_HOUR, STUCK_BANK_FILE = "dropped_hour", "stuck_bank_file"
INCIDENT_KINDS = (DROPPED_HOUR, STUCK_BANK_FILE, *FAULT_KINDS)
"""What can go wrong at one producer for a while."""

NEVER = timedelta.max
_WHOLE = (MISSING_EVENT, DOUBLE_POSTING, LATE_EVENT, DROPPED_HOUR)
_WITH_DELAY = (STUCK_BANK_FILE, LATE_EVENT, LATE_SETTLEMENT)
_USUALLY_STUCK = timedelta(days=3)
_FORM = "KIND:PRODUCER:START/END, such as dropped_hour:card_gateway:2026-01-07T18:00Z/2026-01-07T19:00Z"


def strikes(kind: str, lifecycle: Lifecycle, step: int) -> bool:
    """Whether a fault of this kind can befall this step of the lifecycle."""
    if kind in _WHOLE:
        return True
    if kind == STUCK_BANK_FILE:
        return PRODUCERS[lifecycle.steps[step].producer].daily_file
    if kind == WRONG_PROPERTY:
        return bool(lifecycle.steps[step].mistaken)
    if kind == LATE_SETTLEMENT:
        return step > 0
    return lifecycle.disturbed.get(kind, (-1, ""))[0] == step


@dataclass(frozen=True)
class Incident:
    """All events of `producer` with `occurred_at` from `start` to before `end` (both aware) suffer a fault of `kind`.

    A dropped hour is lost. A stuck bank file (of `bank`, or of all) arrives `late`, or never: `NEVER`. `late` may also
    be said for late events and late settlements; without it each is late by a time of its own.
    Raises UsageError when it could strike nothing.
    """

    kind: str
    producer: str
    start: datetime
    end: datetime
    bank: str | None = None
    late: timedelta | None = None

    def __post_init__(self) -> None:
        _require(self.kind in INCIDENT_KINDS, f"a kind of {', '.join(INCIDENT_KINDS)}", self.kind)
        _require(self.producer in PRODUCERS, f"a producer of {', '.join(PRODUCERS)}", self.producer)
        able = [
            step.producer
            for lifecycle in LIFECYCLES
            for place, step in enumerate(lifecycle.steps)
            if strikes(self.kind, lifecycle, place)
        ]
        expected = f"a producer that can have a {self.kind} ({', '.join(dict.fromkeys(able))})"
        _require(self.producer in able, expected, self.producer)
        banks = list(BANKS) if PRODUCERS[self.producer].daily_file else []
        expected = f"a bank of {', '.join(banks)}" if banks else f"no bank, for {self.producer} has none"
        _require(self.bank is None or self.bank in banks, expected, self.bank)
        aware = self.start.utcoffset() is not None and self.end.utcoffset() is not None
        found = f"{self.start.isoformat()} and {self.end.isoformat()}"
        _require(aware and self.start < self.end, "a start before an end, both with a zone", found)
        late = "never" if self.late == NEVER else self.late
        _require(late is None or self.kind in _WITH_DELAY, f"no delay for a {self.kind}", late)
        _require(self.late is None or self.late > timedelta(0), "a delay above zero", late)
        _require(late != "never" or self.kind == STUCK_BANK_FILE, f"an end of the delay of a {self.kind}", late)

    @property
    def delay(self) -> timedelta | None:
        """How late its events are; None when each has a delay of its own."""
        return _USUALLY_STUCK if self.kind == STUCK_BANK_FILE and self.late is None else self.late

    @property
    def name(self) -> str:
        """The incident as it is written: what `incident_from` reads."""
        place = self.producer if self.bank is None else f"{self.producer}.{self.bank}"
        late = "" if self.late is None else "/never" if self.late == NEVER else f"/{_duration(self.late)}"
        return f"{self.kind}:{place}:{_instant(self.start)}/{_instant(self.end)}{late}"


def incident_from(text: str) -> Incident:
    """Read `KIND:PRODUCER:START/END[/LATE]`; PRODUCER may be `bank_statements.BANK`, LATE `never` or `5 days`.

    Raises UsageError for a text that is none.
    """
    kind, _, rest = text.partition(":")
    place, _, times = rest.partition(":")
    start, _, rest = times.partition("/")
    end, _, late = rest.partition("/")
    producer, _, bank = place.partition(".")
    if not (kind and producer and start and end):
        raise _wrong(_FORM, text)
    try:
        window = (parse_cut_instant(start), parse_cut_instant(end))
        delay = _delay(late)
    except ValueError as error:
        raise UsageError("incident_unreadable", f"incident {text!r}: {error}") from error
    return Incident(kind, producer, *window, bank=bank or None, late=delay)


def _delay(text: str) -> timedelta | None:
    if not text:
        return None
    if text == "never":
        return NEVER
    duration = parse_duration(text)
    if not isinstance(duration, FixedDuration):
        raise ValueError(f"expected a fixed duration such as '5 days', or never, found {text!r}")
    return timedelta(seconds=duration.seconds)


def _duration(duration: timedelta) -> str:
    seconds = duration // timedelta(seconds=1)
    unit, size = next(item for item in (("day", 86_400), ("hour", 3_600), ("second", 1)) if seconds % item[1] == 0)
    return f"{seconds // size} {unit}" + ("s" if seconds != size else "")


def _instant(instant: datetime) -> str:
    text = format_instant(instant)
    return text.removesuffix("T00:00:00Z") if text.endswith("T00:00:00Z") else re.sub(r":00Z$", "Z", text)


def _require(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise _wrong(expected, found)


def _wrong(expected: str, found: object) -> UsageError:
    return UsageError("incident_unreadable", f"incident: expected {expected}, found {found}")
