"""Planted faults: what goes wrong with one event of a lifecycle, by chance or by an incident, and the truth about it.

Each kind is one function that turns a right event into a wrong one. The truth is stated per clearing account that the
fault strands. Refuses to plant more than one fault in a lifecycle, so that no fault hides another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clearwell.simulation import incidents
from clearwell.simulation.delivery import DAY, INSTANT, MINUTE, PRODUCERS, SECOND, microseconds
from clearwell.simulation.identifiers import identifiers
from clearwell.simulation.incidents import FAULT_KINDS, NEVER, Incident, strikes
from clearwell.simulation.lifecycles import Course, Leg, Lifecycle, Step
from clearwell.simulation.options import FaultRates
from clearwell.simulation.truth import FAULT_SCHEMA
from clearwell.values.columns import amount_column, currency_column, property_column

_TIMES = ("effective_at", "occurred_at", "recorded_at")
_SHARE_OF_FIRST_STEP = 0.2
Frames = tuple[pl.DataFrame, ...]


@dataclass(frozen=True)
class Plan:
    """What goes wrong in a course: the rates of its lifecycle, the incidents, and the names that can be mistaken.

    `names` has for a property, such as `business`, the values (at least two) from which a wrong one is taken; for any
    other property it is made up.
    """

    rates: FaultRates
    incidents: tuple[Incident, ...]
    names: Mapping[str, pl.Series]


@dataclass(frozen=True)
class Planted:
    """The events of a course as they come to pass, each frame with its step, and the planted faults among them."""

    events: list[tuple[Step, pl.DataFrame]]
    faults: list[pl.DataFrame]


@dataclass(frozen=True)
class _Case:
    """Row-aligned lifecycles whose event at `place` goes wrong in the same way."""

    kind: str
    lifecycle: Lifecycle
    place: int
    frames: Frames
    rng: np.random.Generator
    plan: Plan
    incident: Incident | None

    @property
    def step(self) -> Step:
        return self.lifecycle.steps[self.place]

    @property
    def event(self) -> pl.DataFrame:
        return self.frames[self.place]

    @property
    def others(self) -> list[tuple[Step, pl.DataFrame]]:
        """The events that are as they should be."""
        steps = zip(self.lifecycle.steps, self.frames, strict=True)
        return [pair for place, pair in enumerate(steps) if place != self.place]

    def happening(self, *events: pl.DataFrame) -> list[tuple[Step, pl.DataFrame]]:
        """All events, with these in place of the one that is struck."""
        return [*((self.step, event) for event in events), *self.others]

    def touched(self) -> Iterator[tuple[Leg, pl.DataFrame, pl.Series]]:
        """The accounts of the event: the leg, the event at its other side, and what the event brings, right."""
        for leg in self.lifecycle.legs:
            if self.place in leg.entries:
                entry = leg.entries[self.place]
                amount = pl.sum_horizontal(amount_column(name) for name in entry.amounts)
                brought = self.event.select(amount * entry.sign).to_series()
                yield leg, self.frames[leg.partner(self.place)], brought

    def stranded(
        self,
        leg: Leg,
        amount: pl.Series,
        *,
        named_by: pl.DataFrame,
        blamed: pl.DataFrame,
        since: pl.DataFrame,
        until: pl.DataFrame | None = None,
    ) -> pl.DataFrame:
        """State the truth: `amount` stands in the accounts that `named_by` names, from one event until another.

        `blamed` are the events at fault. An account whose money comes before it could be missed is left out.
        """
        pairs = (part for name in leg.properties for part in (f", {name}=", pl.col(property_column(name))))
        texts = [pl.lit(part) if isinstance(part, str) else part for part in pairs]
        texts[0] = pl.lit(f"{leg.account_type}{{{leg.properties[0]}=")
        currency = currency_column(leg.entries[self.place].amounts[0])
        nothing = pl.lit(None, INSTANT)
        rows = named_by.select(
            pl.lit(self.kind).alias("kind"),
            pl.lit(self.incident and self.incident.name, pl.String).alias("incident"),
            pl.lit(self.step.producer).alias("producer"),
            blamed["type"].alias("event_type"),
            blamed["id"].alias("event_id"),
            pl.lit(leg.account_type).alias("account_type"),
            pl.concat_str(*texts, pl.lit("}")).alias("account"),
            self.event[currency].alias("currency"),
            amount.alias("amount_minor"),
            since["effective_at"].alias("from_effective_at"),
            (nothing if until is None else until["effective_at"]).alias("until_effective_at"),
            since["recorded_at"].alias("from_recorded_at"),
            (nothing if until is None else until["recorded_at"]).alias("until_recorded_at"),
        )
        ended_first = (pl.col("until_effective_at") <= pl.col("from_effective_at")) & (
            pl.col("until_recorded_at") <= pl.col("from_recorded_at")
        )
        return rows.filter(~ended_first.fill_null(value=False)).match_to_schema(FAULT_SCHEMA)


def plant(course: Course, plan: Plan, rng: np.random.Generator) -> Planted:
    """Let each lifecycle go right, or wrong once: by the first incident that strikes it, else with the rates."""
    if not len(course.frames[0]):
        return Planted([], [])
    # A fate is 0 for right, else a kind; by chance when negative, by an incident when positive.
    fate, place = _by_chance(course, plan.rates, rng)
    _by_incident(course, plan.incidents, fate, place)
    steps = course.lifecycle.steps
    if not fate.any():
        return Planted(list(zip(steps, course.frames, strict=True)), [])
    right = pl.Series(fate == 0)
    planted = Planted([(step, frame.filter(right)) for step, frame in zip(steps, course.frames, strict=True)], [])
    for number, where in np.unique(np.stack([fate, place])[:, fate != 0], axis=1).T.tolist():
        rows = np.flatnonzero((fate == number) & (place == where))
        incident = plan.incidents[number - 1] if number > 0 else None
        kind = incident.kind if incident else FAULT_KINDS[-number - 1]
        frames = tuple(frame[rows] for frame in course.frames)
        outcome = _PLANTERS[kind](_Case(kind, course.lifecycle, where, frames, rng, plan, incident))
        planted.events.extend(outcome.events)
        planted.faults.extend(outcome.faults)
    return planted


def _by_chance(
    course: Course, rates: FaultRates, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per lifecycle minus the number of its fault (from one, in `FAULT_KINDS`) or 0, and the place of the event."""
    count, places = len(course.frames[0]), range(len(course.lifecycle.steps))
    able = {kind: [place for place in places if strikes(kind, course.lifecycle, place)] for kind in FAULT_KINDS}
    limits = np.cumsum([getattr(rates, kind) if able[kind] else 0.0 for kind in FAULT_KINDS])
    drawn = np.searchsorted(limits, rng.random(count), side="right")
    struck = np.flatnonzero(drawn < len(FAULT_KINDS))
    fate, place = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    fate[struck] = -1 - drawn[struck]
    luck = rng.random(len(struck))
    for number, kind in enumerate(FAULT_KINDS):
        if able[kind]:
            of_kind = drawn[struck] == number
            chosen = np.searchsorted(np.cumsum(_weights(able[kind])), luck[of_kind], side="right")
            place[struck[of_kind]] = np.array(able[kind])[np.minimum(chosen, len(able[kind]) - 1)]
    return fate, place


def _weights(places: list[int]) -> list[float]:
    """How likely each of these steps is struck: the first of a lifecycle less than the others."""
    if places[0] == 0 and len(places) > 1:
        return [_SHARE_OF_FIRST_STEP, *[(1 - _SHARE_OF_FIRST_STEP) / (len(places) - 1)] * (len(places) - 1)]
    return [1 / len(places)] * len(places)


def _by_incident(
    course: Course, struck_by: tuple[Incident, ...], fate: NDArray[np.int64], place: NDArray[np.int64]
) -> None:
    """Put the number of the incident (from one) into the fate of the lifecycles that it strikes."""
    for number, incident in reversed(list(enumerate(struck_by, start=1))):
        for where, step in enumerate(course.lifecycle.steps):
            if step.producer == incident.producer and strikes(incident.kind, course.lifecycle, where):
                frame = course.frames[where]
                at = frame["occurred_at"].to_physical().to_numpy()
                hit = (at >= microseconds(incident.start)) & (at < microseconds(incident.end))
                if incident.bank is not None:
                    hit &= (frame["property_bank"] == incident.bank).to_numpy()
                fate[hit], place[hit] = number, where


def _missing_event(case: _Case) -> Planted:
    faults = [
        case.stranded(leg, -brought, named_by=partner, blamed=case.event, since=partner)
        for leg, partner, brought in case.touched()
    ]
    return Planted(case.others, faults)


def _wrong_property(case: _Case) -> Planted:
    """The event names another: in each account that is told apart by it one stays as it is, and another is opened."""
    name = case.step.mistaken
    wrong = _other_values(case, name)
    changed = case.event.with_columns(wrong.alias(property_column(name)))
    faults = []
    for leg, partner, brought in case.touched():
        if name in leg.properties:
            faults.append(case.stranded(leg, -brought, named_by=partner, blamed=changed, since=partner))
            faults.append(case.stranded(leg, brought, named_by=changed, blamed=changed, since=changed))
    return Planted(case.happening(changed), faults)


def _wrong_amount(case: _Case) -> Planted:
    """One amount of the event is off by one to nine minor units; by one where it is a matter of rounding."""
    count, (_, name) = len(case.event), case.lifecycle.disturbed[case.kind]
    most = 1 if case.kind == incidents.FX_ROUNDING else 9
    error = pl.Series(case.rng.integers(1, most + 1, count) * case.rng.choice(np.array([-1, 1]), count))
    changed = case.event.with_columns((pl.col(amount_column(name)) + error).alias(amount_column(name)))
    faults = []
    for leg, partner, _ in case.touched():
        entry = leg.entries[case.place]
        if name in entry.amounts:
            first = _chosen(partner["recorded_at"] <= changed["recorded_at"], partner, changed)
            faults.append(case.stranded(leg, entry.sign * error, named_by=partner, blamed=changed, since=first))
    return Planted(case.happening(changed), faults)


def _double_posting(case: _Case) -> Planted:
    """A retry some seconds or minutes later got a new id, so nothing recognises it; or the next day's file repeats."""
    if PRODUCERS[case.step.producer].daily_file:
        again = case.event.with_columns(pl.col("occurred_at", "recorded_at") + pl.duration(days=1))
    else:
        again = _later(case.event, _delay(case, SECOND, 5 * MINUTE), *_TIMES)
    again = _out_of_incidents(case, again.with_columns(id=identifiers(case.rng, "evt_", len(again))))
    one, two = case.event, again
    swapped = two["recorded_at"] < one["recorded_at"]
    first, last = _chosen(swapped, two, one), _chosen(swapped, one, two)
    faults = []
    for leg, partner, brought in case.touched():
        # When the event at the other side comes last, the account has been open since the first of the two.
        since = _chosen(partner["recorded_at"] > last["recorded_at"], first, last)
        faults.append(case.stranded(leg, brought, named_by=partner, blamed=again, since=since))
    return Planted(case.happening(one, two), faults)


def _late_event(case: _Case) -> Planted:
    """The event is right and says when it happened, but it is delivered long after."""
    delay = _how_late(case, case.event["recorded_at"])
    return _outstanding_until(case, _later(case.event, delay, "recorded_at"))


def _late_settlement(case: _Case) -> Planted:
    """The event itself happens late, long after the step before it."""
    delay = _how_late(case, case.event["effective_at"])
    if PRODUCERS[case.step.producer].daily_file:
        delay = pl.Series(-(-delay.to_physical().to_numpy() // DAY) * DAY).cast(pl.Duration("us"))
    return _outstanding_until(case, _out_of_incidents(case, _later(case.event, delay, *_TIMES)))


def _stuck_bank_file(case: _Case) -> Planted:
    if case.incident is not None and case.incident.delay == NEVER:
        return _missing_event(case)
    return _late_event(case)


def _outstanding_until(case: _Case, late: pl.DataFrame) -> Planted:
    faults = [
        case.stranded(leg, -brought, named_by=partner, blamed=late, since=partner, until=late)
        for leg, partner, brought in case.touched()
    ]
    return Planted(case.happening(late), faults)


def _how_late(case: _Case, usual: pl.Series) -> pl.Series:
    """How much later than usual: as the incident says, else until a while after the step before it."""
    delay = case.incident.delay if case.incident else None
    if delay is not None:
        return pl.Series(np.full(len(usual), delay // timedelta(microseconds=1))).cast(pl.Duration("us"))
    before = case.frames[max(case.place - 1, 0)]["effective_at"]
    return before + _delay(case, *case.lifecycle.late_after) - usual


def _other_values(case: _Case, name: str) -> pl.Series:
    """For each event another value of the property: any other known name, else one that is made up."""
    right = case.event[property_column(name)]
    known = case.plan.names.get(name)
    if known is None:
        return identifiers(case.rng, right[0].split("_")[0] + "_", len(right))
    places = pl.DataFrame({"name": known}).with_row_index("place")
    own = right.alias("name").to_frame().join(places, on="name", how="left", maintain_order="left")["place"]
    shift = case.rng.integers(1, len(known), len(right))
    return known.gather((own.to_numpy().astype(np.int64) + shift) % len(known))


def _delay(case: _Case, shortest: int, longest: int) -> pl.Series:
    return pl.Series(case.rng.integers(shortest, longest, len(case.event))).cast(pl.Duration("us"))


def _later(event: pl.DataFrame, delay: pl.Series, *times: str) -> pl.DataFrame:
    return event.with_columns(pl.col(times) + delay)


def _out_of_incidents(case: _Case, moved: pl.DataFrame) -> pl.DataFrame:
    """Postpone further what would come to lie in an incident at its producer, since it could not be left out there."""
    daily = PRODUCERS[case.step.producer].daily_file
    for incident in sorted(case.plan.incidents, key=lambda item: item.start):
        if incident.producer == case.step.producer and incident != case.incident:
            length = microseconds(incident.end) - microseconds(incident.start)
            length = -(-length // DAY) * DAY if daily else length
            inside = moved["occurred_at"].is_between(incident.start, incident.end, closed="left")
            moved = _later(moved, (inside.cast(pl.Int64) * length).cast(pl.Duration("us")), *_TIMES)
    return moved


def _chosen(which: pl.Series, yes: pl.DataFrame, no: pl.DataFrame) -> pl.DataFrame:
    """Row by row the times of one event or of the other."""
    return pl.select([pl.when(which).then(yes[name]).otherwise(no[name]).alias(name) for name in _TIMES])


_PLANTERS: dict[str, Callable[[_Case], Planted]] = {
    incidents.MISSING_EVENT: _missing_event,
    incidents.WRONG_PROPERTY: _wrong_property,
    incidents.WRONG_AMOUNT: _wrong_amount,
    incidents.WRONG_FEE: _wrong_amount,
    incidents.FX_ROUNDING: _wrong_amount,
    incidents.DOUBLE_POSTING: _double_posting,
    incidents.LATE_EVENT: _late_event,
    incidents.LATE_SETTLEMENT: _late_settlement,
    incidents.DROPPED_HOUR: _missing_event,
    incidents.STUCK_BANK_FILE: _stuck_bank_file,
}
