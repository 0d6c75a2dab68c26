"""Product and auditor say the same of quality: scores, timeliness, clearing and aging, from the log and from sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st
from worlds import asks, examples, histories

from agreement import NOW, Acceptance, Ask, Delivery, History, agree, tell, turning_points
from clearwell.simulation.auditor import Finding, arrived, local_days
from clearwell.simulation.auditor.periods import period_of
from clearwell.simulation.auditor.timeliness import lags, quantile, timeliness_rows
from clearwell.values import periods
from quality_agreement import Records, hold_explained, hold_quality

if TYPE_CHECKING:
    from clearwell.quality.expectations.subjects import SubjectKind
    from conftest import NewLedger

KINDS: tuple[periods.PeriodKind, ...] = ("all", "month", "week", "day", "hour")


@given(history=histories(), data=st.data())
@examples(9)
def test_every_figure_of_quality_is_the_auditor_s(new_ledger: NewLedger, history: History, data: st.DataObject) -> None:
    """At cuts on both clocks, and for periods of every kind, also around the moments when something happened."""
    both = tell(new_ledger, history)
    for kind in data.draw(st.permutations(KINDS), label="kinds")[:2]:
        ask = data.draw(asks(both.audit), label="ask")
        event(f"{kind}, {'now' if ask == Ask() else 'a cut'}")
        hold_quality(both, ask, kind)


@given(history=histories(), data=st.data())
@examples(9)
def test_scores_from_sums_are_those_of_the_log(new_ledger: NewLedger, history: History, data: st.DataObject) -> None:
    """Sums that are kept give the scores that the whole log gives, at any cut, of a period and the one before."""
    both = tell(new_ledger, history)
    kind = data.draw(st.sampled_from(KINDS), label="kind")
    later = timedelta(days=data.draw(st.sampled_from([0, 0, 1, 30, 400]), label="later"))
    both.ledger.clock.advance(seconds=int(later.total_seconds()))
    ask = data.draw(asks(both.audit), label="ask")
    with both.project() as project:
        kept, computed = (project.scores(ask.at, ask.known_at, kind, engine) for engine in ("", "duckdb"))
    assert kept.nodes == computed.nodes
    assert kept.before == computed.before


@given(history=histories(), data=st.data())
@examples(8)
def test_a_kept_score_can_be_computed_again(new_ledger: NewLedger, history: History, data: st.DataObject) -> None:
    """Whatever was kept, at whichever cut, is what the log alone gives for that cut later; repeating adds nothing."""
    both = tell(new_ledger, history)
    kind = data.draw(st.sampled_from(KINDS[1:4]), label="kind")
    ask = data.draw(asks(both.audit), label="ask")
    with both.project() as project:
        told = project.evaluate(kind, at=ask.at, known_at=ask.known_at)
        assert told.added == told.periods
        points = project.history(kind)
        assert len(points) == told.periods
        event(f"{min(len(points), 3)} points")
        for point in data.draw(st.permutations(points), label="points")[:3]:
            cut, name = point.evaluation, point.evaluation.period
            # A sequence says more than its recorded time, which a whole batch has; but a model may have come since.
            of_events = {str(item.recorded_at) for item in both.audit.events}
            known = cut.sequence if str(told.cut.recorded_at) in of_events else cut.recorded_at
            again = project.scores(cut.effective_at, known, name, engine="duckdb")
            explained = {"attributed_money", "explained"}  # That is no part of a history: it goes by what is known now.
            assert [{name: row[name] for name in row.keys() - explained} for row in again.nodes] == point.nodes
            assert project.compute_again(point) == point
        assert project.evaluate(kind, at=told.cut.effective_at, known_at=ask.known_at).added == 0


@given(history=histories(), data=st.data())
@examples(9)
def test_what_is_explained_is_the_auditor_s(new_ledger: NewLedger, history: History, data: st.DataObject) -> None:
    """With any part of the findings attributed, at any cut and period: overdue, late, and missing of a producer."""
    both = tell(new_ledger, history)
    ask, kind = data.draw(asks(both.audit), label="ask"), data.draw(st.sampled_from(KINDS[:4]), label="kind")
    records = data.draw(st.builds(Records, st.integers(0, 3), st.integers(0, 5)), label="records")

    def choose(found: Sequence[Finding]) -> list[Finding]:
        every = data.draw(st.sampled_from([1, 1, 2, 3]), label="every")
        chosen = list(found[data.draw(st.integers(0, every), label="first") :: every])
        event(f"{sorted({item.rule for item in chosen})}, {'some' if len(chosen) < len(found) else 'all'}")
        return chosen

    hold_explained(both, ask, kind, choose, records)


@given(history=histories(), data=st.data())
@examples(8)
def test_cross_sections_are_the_auditor_s(new_ledger: NewLedger, history: History, data: st.DataObject) -> None:
    """By property, period, producer and flow, and lags by event type: the sums and quantiles of plain loops."""
    both = tell(new_ledger, history)
    ask = data.draw(asks(both.audit), label="ask")
    by = data.draw(st.sampled_from([("flow",), ("producer", "day"), ("p", "week"), ("q",), ("currency",)]), label="by")
    known = {name for period in both.audit.periods for name in period.model.property_names}
    assume(not {"p", "q"} & set(by) - known)
    with both.project() as project:
        moved = project.measure("timeliness", ask.at, ask.known_at, by=by)
        late = project.measure("lags", ask.at, ask.known_at, by=("event_type",))
    books = both.audit.books(moved.cut)
    names = [*(f"property_{name}" if len(name) == 1 else name for name in by if name != "currency"), "currency"]
    wanted = timeliness_rows(books, by=names)
    assert sorted(map(_figures, moved.rows)) == sorted(map(_figures, wanted))
    assert {row["event_type"]: _lags(row) for row in late.rows} == {
        name: [len(own), *(quantile(own, percent) // timedelta(seconds=1) for percent in (50, 90, 99, 100))]
        for name, own in lags(both.audit.books(late.cut)).items()
    }


@given(history=histories(), data=st.data())
@examples(8)
def test_arrivals_are_the_auditor_s(new_ledger: NewLedger, history: History, data: st.DataObject) -> None:
    """Of every event type, and into every account type that can be filled, as many events as plain loops count.

    Nothing here has a history, so that every day that is over is counted, and none is judged.
    """
    both = tell(new_ledger, history)
    ask = data.draw(asks(both.audit), label="ask")
    with both.project() as project:
        report = project.arrivals("day", 366, ask.at, ask.known_at)
    books = both.audit.books(report.cut)
    today = report.cut.effective_at.astimezone(ZoneInfo(books.time_zone)).date()
    counts = {(item.subject_kind, item.subject): item.count for item in report.subjects}
    subjects: tuple[tuple[SubjectKind, Iterable[str]], ...] = (
        ("event_type", books.model.event_types),
        ("account_type", books.model.account_types),
    )
    for kind, names in subjects:
        for name in names:
            days = local_days(books, arrived(books, kind, name))
            assert counts.pop((kind, name), 0) == sum(day < today for day in days), (kind, name)
    assert not counts


LEARNING_FLOW = """{flow: f, owner: o, accounts: {pool: {kind: reservoir},
  one: {kind: clearing, properties: [p, q], clears_within: learned},
  two: {kind: clearing, properties: [q], clears_within: learned},
  three: {kind: clearing, properties: [q], clears_within: 10 minutes}},
events: {fill: {producer: a, moves: [{amount: x, from: pool, to: one}, {amount: y, from: pool, to: two},
    {amount: y, from: pool, to: three}]},
  drain: {producer: a, moves: [{amount: x, from: one, to: pool}, {amount: y, from: two, to: pool},
    {amount: y, from: three, to: pool}]}}}"""


@st.composite
def learning_histories(draw: st.DrawFn) -> History:
    """Episodes of some hours that cleared after seconds or hours, or never; windows are accepted once or twice."""
    acts: list[Delivery | Acceptance] = []
    for part in range(draw(st.integers(1, 2))):
        records: list[dict[str, Any]] = []
        for number in range(draw(st.integers(2, 8))):
            opened = NOW - timedelta(minutes=draw(st.sampled_from([1, 15, 16, 59, 60, 61, 119, 300])))
            took = draw(st.sampled_from([0, 1, 40, 600, 899, 3_600, 7_300, None]))
            own = {"p": draw(st.sampled_from(["a", "b"])), "q": f"{part}.{number}"}
            records.append(_told("fill", opened, own))
            if took is not None:
                records.append(_told("drain", opened + timedelta(seconds=took), own))
        acts += [Delivery(tuple(records), draw(st.sampled_from([0, 1, 900]))), Acceptance(draw(st.integers(0, 1)))]
    return History(LEARNING_FLOW, "UTC", 500_000, tuple(acts))


def _told(kind: str, at: datetime, own: Mapping[str, str]) -> dict[str, Any]:
    told = {"type": kind, "id": f"{kind}{own['q']}", "effective_at": at.isoformat(), "occurred_at": at.isoformat()}
    amounts = {"x": {"value": 3, "currency": "USD"}, "y": {"value": 5, "currency": "EUR"}}
    return {**told, "properties": dict(own), "amounts": amounts}


@given(history=learning_histories(), data=st.data())
@examples(6)
def test_accepted_windows_are_the_auditor_s(new_ledger: NewLedger, history: History, data: st.DataObject) -> None:
    """What a learned window makes due: as known just before one was accepted, at that instant, and now."""
    both = tell(new_ledger, history)
    event(f"{len(both.audit.windows)} windows")
    instants = [item.accepted_at for item in both.audit.windows]
    around = [instant + step for instant in instants for step in (-timedelta(microseconds=1), timedelta())]
    at = data.draw(st.sampled_from([None, *turning_points(both.audit)]), label="at")
    for known_at in data.draw(st.permutations([None, *around]), label="known at")[:2]:
        agree(both, Ask(at, known_at, "pool"))
        kind = data.draw(st.sampled_from(KINDS), label="kind")
        hold_quality(both, Ask(at, known_at), kind)
        with both.project() as project:
            kept, computed = (project.scores(at, known_at, kind, engine) for engine in ("", "duckdb"))
        assert (kept.nodes, kept.before) == (computed.nodes, computed.before)


def _figures(row: Mapping[str, Any]) -> tuple[Any, ...]:
    section = row.get("value", next((row[name] for name in row if name.startswith("property_")), None))
    sums = ("event_count", "money", "judged_count", "judged_money", "late_count", "late_money")
    return str(section), row.get("producer", ""), row["currency"], *(row[name] for name in sums)


def _lags(row: Mapping[str, Any]) -> list[int]:
    return [row[name] for name in ("event_count", *(f"lag_{name}_seconds" for name in ("p50", "p90", "p99", "max")))]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York", "Europe/Amsterdam", "America/Sao_Paulo"])
@given(
    seconds=st.integers(0, 60 * 366 * 86_400),
    kind=st.sampled_from(KINDS),
)
@examples(60)
def test_periods_are_the_auditor_s(zone: str, seconds: int, kind: periods.PeriodKind) -> None:
    """An instant lies in the same period, by both, and the names of periods name them."""
    at = datetime(1971, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    span, wanted = periods.period_of(kind, at, zone), period_of(kind, at, zone)
    edges = [None if edge is None else periods.instant(edge) for edge in (span.start_us, span.end_us)]
    assert edges == [wanted.start, wanted.end]
    if kind != "hour":  # Where clocks are set back, two hours have one name.
        assert periods.parse_period(span.name, at, zone) == span
