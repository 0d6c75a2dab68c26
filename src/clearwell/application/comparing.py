"""Completeness against producers: which of their own records have no event, which events no record, and what differs.

The run and every difference are kept in the catalog. What reads a producer's records is passed in.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from clearwell.application.auditing import note
from clearwell.application.compared_events import ComparedEvents, compared_events
from clearwell.application.cutting import CutRequest, Known, known_at
from clearwell.application.workspace import Workspace
from clearwell.catalog import comparisons
from clearwell.errors import UsageError
from clearwell.flows.model import EventType
from clearwell.log.ahead import one_ahead
from clearwell.quality import completeness
from clearwell.quality.completeness import Buckets, Columns, Hashing
from clearwell.settings import ProducerSource
from clearwell.values.cuts import Cut
from clearwell.values.periods import Span, parse_named
from clearwell.values.times import stored_text

Progress = Callable[[int], None]

_KEPT_AT_ONCE = 20_000
_NAMED_AT_ONCE = 10_000


@dataclass(frozen=True)
class Asked:
    """Which records are wanted: those of a source, of a period or all."""

    name: str
    source: ProducerSource
    period: Span | None


class Producer(Protocol):
    """A producer's own records, in one view of them: none comes or goes while they are compared."""

    @property
    def columns(self) -> Columns:
        """What the records have."""

    @property
    def hashing(self) -> Hashing:
        """Which hash of a row it computes."""

    def sums(self, bits: int, among: Buckets | None = None) -> pl.DataFrame:
        """Per bucket of `bits`, within `among`: `record_count`, `sum_high`, `sum_low`, as `completeness.Rows.sums`."""

    def listed(self, among: Buckets) -> Iterator[pl.DataFrame]:
        """The records of these buckets, as `completeness.Rows.listed`, in frames of bounded size."""

    def named(self, ids: Sequence[str]) -> pl.DataFrame:
        """The records with one of these ids, whatever their time."""

    def without_time(self) -> int:
        """How many records have no time."""


OpenProducer = Callable[[Asked, Path], AbstractContextManager[Producer]]


@dataclass(frozen=True)
class Comparison:
    """One run, as the catalog keeps it under `number`; counts are of records, but where the name says events.

    A record is matched, missing, different or a duplicate; `outside_event_count` of the matched and different ones have
    their event beyond the period or the cut's effective time, and `outside_record_count` events have a record beyond
    the period. Money is per currency: `{"count", "money"}` in minor units.
    """

    number: int
    source: str
    flow: str
    event_type: str
    producer: str
    amount_of: str
    period: Span | None
    cut: Cut
    record_count: int
    event_count: int
    matched_count: int
    missing_count: int
    unexpected_count: int
    different_count: int
    duplicate_count: int
    without_id_count: int
    without_time_count: int
    outside_event_count: int
    outside_record_count: int
    missing_money: dict[str, dict[str, int]]
    unexpected_money: dict[str, dict[str, int]]
    different_money: dict[str, dict[str, int]]
    estimated: bool

    @property
    def completeness(self) -> float | None:
        """The share of the records, each id once, that have a matching event; None without any."""
        records = self.record_count - self.duplicate_count
        return self.matched_count / records if records else None

    @property
    def is_whole(self) -> bool:
        """Whether every record has its event, every event its record, and every record one id of its own."""
        return self.matched_count == self.record_count and not (self.unexpected_count or self.without_id_count)


def compare(
    workspace: Workspace,
    open_producer: OpenProducer,
    request: CutRequest,
    names: Sequence[str] = (),
    *,
    period: str = "",
    report: Progress = lambda _count: None,
) -> Iterator[Comparison]:
    """Compare the named producer sources, or all, with the log at a cut, one after the other.

    `period` is a month, week, day or hour, in the time zone of the model in force; empty for everything. `report` is
    told the records that are done. Raises UsageError for a source or period that cannot be meant and for an empty
    ledger, and as the source is opened.
    """
    sources = workspace.settings.producer_sources
    if unknown := [name for name in names if name not in sources]:
        expected = ", ".join(sources) or "none"
        raise UsageError("producer_source_unknown", f"expected a producer source of: {expected}; found {unknown[0]!r}")
    if not sources:
        raise UsageError("producer_source_missing", "expected producer_sources in clearwell.yaml, found none")
    for name in names or sources:
        known = known_at(workspace, request)
        asked = Asked(name, sources[name], _period(period, known))
        event = _event_type(known, asked)
        with (
            open_producer(asked, workspace.folder) as producer,
            tempfile.TemporaryDirectory(prefix="comparison-", dir=workspace.data_folder) as scratch,
        ):
            amount = _amount(asked, event) if producer.columns.has_amount else ""
            place, hashing = Path(scratch), producer.hashing
            with compared_events(known, event, amount, asked.period, place, hashing=hashing) as events:
                run = _Run(workspace, known.cut, asked, event, amount)
                yield run.compared(producer, events, report)


def differences(workspace: Workspace, number: int, most: int | None = None) -> Iterator[dict[str, Any]]:
    """The first `most` differences of a run, or all, as docs/guides/completeness.md has them."""
    with workspace.catalog.read() as connection:
        for row in comparisons.differences(connection, number, most):
            yield {name: value for name, value in row.items() if name not in {"comparison", "place"}}


def kept(workspace: Workspace, source: str = "", before: int | None = None, most: int = 100) -> list[dict[str, Any]]:
    """The newest `most` runs that were kept, of one source or all, the newest first; with `before`, older ones.

    Each is as docs/guides/completeness.md has it, without its differences.
    """
    if not workspace.has_ledger:
        return []
    with workspace.catalog.read() as connection:
        return [_kept(dict(row)) for row in comparisons.newest_comparisons(connection, source, before, most)]


def kept_differences(workspace: Workspace, number: int, after: int, most: int) -> list[dict[str, Any]]:
    """At most `most` differences of a run that was kept, beyond the place `after`, each with its `place`.

    Raises UsageError when there is no such run.
    """
    with workspace.catalog.read() as connection:
        newest = comparisons.newest_comparisons(connection, "", number + 1, 1)
        if newest and newest[0]["number"] == number:
            rows = comparisons.differences(connection, number, most, after)
            return [{name: value for name, value in row.items() if name != "comparison"} for row in rows]
    raise UsageError("comparison_unknown", f"expected the number of a comparison that was kept, found {number}")


def _kept(row: Mapping[str, Any]) -> dict[str, Any]:
    content = dict(row)
    for name in ("complete", "period_start", "period_until", "cut_effective_at", "cut_recorded_at", "cut_sequence"):
        del content[name]
    records = row["record_count"] - row["duplicate_count"]
    return {
        **content,
        **{name: json.loads(row[name]) for name in ("missing_money", "unexpected_money", "different_money")},
        "period": {"start": row["period_start"], "until": row["period_until"]} if row["period_start"] else None,
        "cut": {name: row[f"cut_{name}"] for name in ("effective_at", "recorded_at", "sequence")},
        "completeness": row["matched_count"] / records if records else None,
    }


def _period(text: str, known: Known) -> Span | None:
    try:
        return parse_named(text, known.time_zone) if text else None
    except ValueError as error:
        raise UsageError("period_unreadable", f"--period: {error}") from error


def _event_type(known: Known, asked: Asked) -> EventType:
    found = known.model.event_types.get(asked.source.event_type)
    if found is None:
        names = ", ".join(known.model.event_types)
        message = f"{asked.name}: expected an event type of the model ({names}), found {asked.source.event_type!r}"
        raise UsageError("event_type_unknown", message)
    return found


def _amount(asked: Asked, event: EventType) -> str:
    """The amount of the event that is compared."""
    names = [item.name for item in event.amounts]
    wanted = asked.source.amount_of or (names[0] if len(names) == 1 else "")
    if wanted not in names:
        found = repr(wanted) if wanted else "none"
        message = f"{asked.name}: expected in amount_of an amount of {event.name} ({', '.join(names)}), found {found}"
        raise UsageError("producer_amount_unknown", message)
    return wanted


@dataclass(frozen=True)
class _Run:
    """One comparison, from the sums of buckets to the rows of the catalog."""

    workspace: Workspace
    cut: Cut
    asked: Asked
    event: EventType
    amount: str

    def compared(self, producer: Producer, events: ComparedEvents, report: Progress) -> Comparison:
        """Compare, and keep what was found."""
        event_count = events.count()
        bits, differing, rows = _narrowed(producer, events, event_count)
        records, without_id = rows
        report(records)
        _list(producer, events, bits, differing, report)
        outside_events = events.find_outside()
        outside_records = self._find_records(producer, events)
        counts, money = events.tell_apart()
        per_kind: dict[str, dict[str, dict[str, int]]] = {kind: {} for kind in completeness.KINDS}
        for kind, currency, count, amount in money:
            per_kind[kind][currency] = {"count": count, "money": int(amount)}
        missing = counts.get("missing", 0)
        estimated = not producer.columns.has_amount and missing > 0
        if estimated:
            per_kind["missing"] = self._usual(events, missing)
        found = {f"{kind}_count": counts.get(kind, 0) for kind in completeness.KINDS}
        row: dict[str, Any] = {
            "source": self.asked.name,
            "flow": self.event.flow,
            "event_type": self.event.name,
            "amount_of": self.amount,
            "record_count": records,
            "event_count": event_count,
            "matched_count": records - missing - found["different_count"] - found["duplicate_count"],
            **found,
            "without_id_count": without_id,
            "without_time_count": producer.without_time() if self.asked.period is not None else 0,
            "outside_event_count": outside_events,
            "outside_record_count": outside_records,
            "missing_money": per_kind["missing"],
            "unexpected_money": per_kind["unexpected"],
            "different_money": per_kind["different"],
            "estimated": estimated,
        }
        number = self._keep(row, events, report)
        return Comparison(number=number, producer=self.event.producer, period=self.asked.period, cut=self.cut, **row)

    def _find_records(self, producer: Producer, events: ComparedEvents) -> int:
        """Look, beyond the period, for records of the events that have none within it."""
        if self.asked.period is None:
            return 0
        found = 0
        for ids in events.unmatched_ids(_NAMED_AT_ONCE):
            own = producer.named(ids)["id"].unique()
            found += own.len()
            events.take_outside(own)
        return found

    def _usual(self, events: ComparedEvents, missing: int) -> dict[str, dict[str, int]]:
        """What so many records are estimated to be, per currency."""
        estimates = {
            currency: completeness.estimated_money(missing, own, of_all, int(usual))
            for currency, own, of_all, usual in events.usual_money(self.event)
        }
        parts = {currency: {"count": count, "money": money} for currency, (count, money) in estimates.items()}
        return parts or {"": {"count": missing, "money": 0}}

    def _keep(self, row: dict[str, Any], events: ComparedEvents, report: Progress) -> int:
        """Write the run and its differences to the catalog, some at a time: no other writer waits for long."""
        period, catalog = self.asked.period, self.workspace.catalog
        own = {
            **{name: json.dumps(value) if isinstance(value, dict) else value for name, value in row.items()},
            "period_start": stored_text(period.start) if period is not None else "",
            "period_until": stored_text(period.until) if period is not None else "",
            "cut_effective_at": stored_text(self.cut.effective_at),
            "cut_recorded_at": stored_text(self.cut.recorded_at),
            "cut_sequence": self.cut.sequence,
            "evaluated_at": stored_text(self.workspace.clock()),
        }
        with catalog.write() as connection:
            number = comparisons.begin_comparison(connection, own)
        try:
            for rows in events.found(_KEPT_AT_ONCE):
                with catalog.write() as connection:
                    comparisons.append_differences(connection, number, rows)
                report(len(rows))
        except BaseException:
            with catalog.write() as connection:
                comparisons.drop_comparison(connection, number)
            raise
        with catalog.write() as connection:
            comparisons.finish_comparison(connection, number)
            note(connection, self.workspace, "completeness.compare", self.asked.name, comparison=number)
        return number


def _narrowed(producer: Producer, events: ComparedEvents, event_count: int) -> tuple[int, list[int], tuple[int, int]]:
    """By how many bits the rows were put into buckets at last, which of these differ, and what the first look gave.

    That is how many records there are, and how many without an id.
    """
    bits, among, first = completeness.first_bits(event_count), None, None
    with ThreadPoolExecutor(1) as pool:
        while True:
            asking = pool.submit(producer.sums, bits, among)
            if first is None:
                events.hash_all()  # While the producer's database is at it, too.
            sums = asking.result()
            differing = events.differing(bits, among, sums)
            if first is None:
                without_id = int(sums.filter(pl.col("bucket").is_null())["record_count"].sum())
                first = (int(sums["record_count"].sum()) - without_id, without_id)
                compared = 1 << bits
            numbers = differing["bucket"].to_list()
            more = completeness.further_bits(
                compared, len(numbers), int(differing["row_count"].sum()), event_count + first[0]
            )
            if not more:
                return bits, numbers, first
            among, compared = Buckets(bits, numbers), len(numbers) << more
            bits += more


def _list(producer: Producer, events: ComparedEvents, bits: int, differing: list[int], report: Progress) -> None:
    """Fetch the records of the buckets that differ, for comparing them one by one."""
    with ThreadPoolExecutor(1) as pool:
        listing = pool.submit(events.list_buckets, bits)  # While the producer's database begins, too.
        named = len(differing) <= completeness.MOST_NAMED
        among = Buckets(bits, differing) if named else Buckets(bits)
        for frame in one_ahead(producer.listed(among)) if differing else iter(()):
            listing.result()
            events.take_records(frame, None if named else bits)
            report(frame.height)
        listing.result()
    if differing:
        events.leave_out_matched()
