"""The log as it ought to be: which records are accepted, in which place, at which system time, under which model.

Refuses to look at a real log; it is told what producers told the product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from clearwell.flows.model import Model
from clearwell.simulation.auditor.books import AcceptedWindow, Books
from clearwell.simulation.auditor.events import Recorded, read_event, refusal
from clearwell.values.cuts import Cut

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Fate:
    """What became of a record: accepted at `sequence`, counted as a duplicate, or quarantined with a rejection code."""

    outcome: Literal["accepted", "duplicate", "quarantined"]
    sequence: int | None = None
    code: str = ""


@dataclass(frozen=True)
class ModelPeriod:
    """From `accepted_at` on, this model was in force, and the days of this zone were business days."""

    model: Model
    time_zone: str
    accepted_at: datetime


@dataclass(frozen=True)
class Segment:
    """The events that became durable together; `number` counts from 1."""

    number: int
    recorded_at: datetime
    events: tuple[Recorded, ...]


@dataclass
class Audit:
    """A log as it ought to be: tell it the models and windows that come into force and the records, in order.

    `periods`, `events` and `windows` are what it has so far. `now` is always the clock's instant; system time
    grows strictly whatever the clock does.
    """

    periods: list[ModelPeriod] = field(default_factory=list)
    events: list[Recorded] = field(default_factory=list)
    windows: list[AcceptedWindow] = field(default_factory=list)
    _known: dict[tuple[str, str], Recorded] = field(default_factory=dict)

    def put_in_force(self, model: Model, time_zone: str, now: datetime) -> None:
        """Post what is recorded from here on under `model`; nothing happens when it is in force already."""
        last = self.periods[-1] if self.periods else None
        if last is None or (last.model.version, last.time_zone) != (model.version, time_zone):
            self.periods.append(ModelPeriod(model, time_zone, self._next_instant(now)))

    def accept_windows(
        self,
        seconds: Mapping[str, int],
        now: datetime,
        values: Mapping[str, tuple[str, Mapping[str, int]]] | None = None,
    ) -> datetime:
        """Let what was learned be the window of these account types, by name; returns from when on it is.

        `values` has, by account type, a property and the windows of some of its values.
        """
        accepted_at = self._next_instant(now)
        for name, own in seconds.items():
            property_name, by_value = (values or {}).get(name, ("", {}))
            self.windows.append(AcceptedWindow(name, own, accepted_at, property_name, by_value))
        return accepted_at

    def record(self, records: Sequence[Mapping[str, Any]], now: datetime) -> list[Fate]:
        """Take one batch of records in; returns the fate of each. The accepted ones share one `recorded_at`."""
        recorded_at = self._next_instant(now)
        return [self._record(record, recorded_at) for record in records]

    def _record(self, record: Mapping[str, Any], recorded_at: datetime) -> Fate:
        event, model = read_event(record), self.periods[-1].model
        code = refusal(event, record.get("producer"), model)
        if code in ("event_type_unknown", "producer_mismatch"):
            return Fate("quarantined", code=code)
        identity = (model.event_types[event.type].producer, event.id)
        known = self._known.get(identity)
        if known is not None and known.event == event:
            return Fate("duplicate")
        if code or known is not None:
            return Fate("quarantined", code=code or "event_id_conflict")
        accepted = Recorded(event, len(self.events) + 1, recorded_at, model)
        self._known[identity] = accepted
        self.events.append(accepted)
        return Fate("accepted", accepted.sequence)

    def _next_instant(self, now: datetime) -> datetime:
        newest = [item.recorded_at for item in self.events[-1:]]
        newest += [item.accepted_at for item in self.periods[-1:]] + [item.accepted_at for item in self.windows[-1:]]
        return max(now, max(newest) + _TICK) if newest else now

    def _system_times(self) -> list[datetime]:
        accepted = [item.accepted_at for item in self.periods] + [item.accepted_at for item in self.windows]
        return [item.recorded_at for item in self.events] + accepted

    def segments(self) -> list[Segment]:
        """The accepted events by the batch they came in, oldest first."""
        batches: dict[datetime, list[Recorded]] = {}
        for item in self.events:
            batches.setdefault(item.recorded_at, []).append(item)
        return [Segment(number, at, tuple(own)) for number, (at, own) in enumerate(batches.items(), 1)]

    def cut(self, now: datetime, at: datetime | None = None, known_at: datetime | int | None = None) -> Cut:
        """The cut that is meant by an effective time and a sequence or recorded time; None as on the command line."""
        newest = max(self._system_times())
        if known_at is None:
            return Cut(at or now, newest, len(self.events))
        if isinstance(known_at, int):
            recorded_at = self.events[known_at - 1].recorded_at if known_at else min(self._system_times())
            return Cut(at or recorded_at, recorded_at, known_at)
        sequence = sum(item.recorded_at <= known_at for item in self.events)
        return Cut(at or known_at, min(known_at, newest), sequence)

    def books(self, cut: Cut) -> Books:
        """The books at a cut, by the model, in the zone and with the windows in force at its recorded time."""
        so_far = [item for item in self.periods if item.accepted_at <= cut.recorded_at] or self.periods[:1]
        known = tuple(item for item in self.events if item.sequence <= cut.sequence)
        included = tuple(item for item in known if item.event.effective_at <= cut.effective_at)
        models = tuple(item.model for item in so_far)
        learned = {item.account_type: item for item in self.windows if item.accepted_at <= cut.recorded_at}
        return Books(cut, models, so_far[-1].time_zone, included, known, learned)
