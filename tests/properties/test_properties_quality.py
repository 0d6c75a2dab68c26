"""Product and auditor say the same of quality: scores, timeliness, clearing and aging, from the log and from sums."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from worlds import asks, examples, histories

from agreement import Ask, Both, History, tell
from clearwell.simulation.auditor import quality_rows
from clearwell.simulation.auditor.periods import period_of
from clearwell.values import periods
from quality_agreement import agree_on_quality

if TYPE_CHECKING:
    from conftest import NewLedger

KINDS: tuple[periods.PeriodKind, ...] = ("all", "month", "week", "day", "hour")


@given(history=histories(), data=st.data())
@examples(12)
def test_every_figure_of_quality_is_the_auditor_s(new_ledger: NewLedger, history: History, data: st.DataObject) -> None:
    """At cuts on both clocks, and for periods of every kind, also around the moments when something happened."""
    both = tell(new_ledger, history)
    for kind in data.draw(st.permutations(KINDS), label="kinds")[:2]:
        ask = data.draw(asks(both.audit), label="ask")
        event(f"{kind}, {'now' if ask == Ask() else 'a cut'}")
        hold_quality(both, ask, kind)


@given(history=histories(), data=st.data())
@examples(12)
def test_scores_from_sums_are_those_of_the_log(new_ledger: NewLedger, history: History, data: st.DataObject) -> None:
    """Sums that are kept give the scores that the whole log gives, of this period and the one before."""
    both = tell(new_ledger, history)
    kind = data.draw(st.sampled_from(KINDS), label="kind")
    later = timedelta(days=data.draw(st.sampled_from([0, 0, 1, 30, 400]), label="later"))
    both.ledger.clock.advance(seconds=int(later.total_seconds()))
    with both.project() as project:
        kept, computed = (project.scores(period=kind, engine=engine) for engine in ("", "duckdb"))
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
            again = project.scores(cut.effective_at, cut.recorded_at, name, engine="duckdb")
            assert again.nodes == point.nodes
        cut = told.cut
        assert project.evaluate(kind, at=cut.effective_at, known_at=cut.recorded_at).added == 0


def hold_quality(both: Both, ask: Ask, kind: periods.PeriodKind) -> None:
    """Fail unless product and auditor have the same rows."""
    with both.project() as project:
        report = project.quality(at=ask.at, known_at=ask.known_at, period=kind)
    books = both.audit.books(report.cut)
    product: dict[str, Any] = {name: getattr(report, name) for name in ("nodes", "timeliness", "clearing", "aging")}
    agree_on_quality(product, quality_rows(books, period_of(kind, report.cut.effective_at, books.time_zone)))


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
