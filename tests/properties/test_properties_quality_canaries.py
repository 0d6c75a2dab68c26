"""What holds quality against the auditor can fail: for each metric, what is planted in the product is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from agreement import NOW, Acceptance, Ask, Both, Delivery, History, tell
from clearwell.application import comparing
from clearwell.application.cutting import CutRequest
from clearwell.bootstrap import open_producer
from clearwell.project import Project
from clearwell.simulation.auditor import arrived, lags, quality_rows
from planting import Plant, in_text, replace_with
from producer_records import Event, Record, expected, told, write_csv
from quality_agreement import FAMILIES, quality_disagreements

if TYPE_CHECKING:
    from conftest import NewLedger

FLOW = """{flow: f, owner: o, accounts: {pool: {kind: reservoir},
  c: {kind: clearing, properties: [p], clears_within: 10 minutes},
  d: {kind: clearing, properties: [p], clears_within: learned}},
events: {fill: {producer: a, arrives_within: 1 hour,
    moves: [{amount: x, from: pool, to: c}, {amount: x, from: pool, to: d}]},
  drain: {producer: a, moves: [{amount: x, from: c, to: pool}, {amount: x, from: d, to: pool}]}}}"""

DAY = datetime(2026, 3, 5, tzinfo=UTC)
TICK, MINUTE, HOUR = timedelta(microseconds=1), timedelta(minutes=1), timedelta(hours=1)
DUE = DAY + 11 * MINUTE
"""The instant at which the account `open` of `c` becomes overdue; that of `d`, 2 min later."""


def _record(kind: str, account: str, at: datetime, occurred_at: datetime = NOW, amount: int = 5) -> dict[str, Any]:
    times = {"effective_at": at.isoformat(), "occurred_at": occurred_at.isoformat()}
    own = {"properties": {"p": account}, "currency": "USD", "amounts": {"x": amount}}
    return {"type": kind, "id": f"{kind} {account}", **times, **own}


STORY = History(
    FLOW,
    "UTC",
    500_000,
    (
        Delivery(
            (
                _record("fill", "on time", DAY, NOW + TICK - HOUR),
                _record("drain", "on time", DAY + 10 * MINUTE),
                _record("fill", "open", DUE - 10 * MINUTE, NOW - 2 * HOUR, amount=7),
                _record("fill", "an hour past due", DUE - HOUR - 10 * MINUTE),
                _record("fill", "young", DUE - MINUTE),
                *(
                    _record(kind, name, DUE - took * MINUTE)
                    for name, began, ended in (("fast", 30, 25), ("faster", 20, 19))
                    for kind, took in (("fill", began), ("drain", ended))
                ),
                _record("fill", "nothing", DAY, amount=0),
            )
        ),
        Acceptance(),
    ),
)
"""An event that came just in time, one that is late, an account that cleared just in time, one that is due just at the
cut, one that is just an hour past due, one in flight, and an event that moves nothing."""


def wrong(new_ledger: NewLedger) -> Iterator[str]:
    """What differs, each told by its family."""
    both = tell(new_ledger, STORY)
    assert [item.seconds for item in both.audit.windows] == [720]
    for at in (DUE, DUE + 2 * MINUTE):
        with both.project() as project:
            yield from _differing(both, project, Ask(at))


def _differing(both: Both, project: Project, ask: Ask) -> Iterator[str]:
    report = project.quality(ask.at, period="all")
    books = both.audit.books(report.cut)
    audited = quality_rows(books)
    yield from quality_disagreements({family: getattr(report, family) for family in FAMILIES}, audited)
    kept = {**audited, "nodes": project.scores(ask.at, period="all").nodes}
    yield from (f"kept {text}" for text in quality_disagreements(kept, audited))
    most = {name: own[-1] // timedelta(seconds=1) for name, own in lags(books).items()}
    if {row["event_type"]: row["lag_max_seconds"] for row in report.lags} != most:
        yield "lags: other ones"
    # Without a history every day that is over is counted, and none is judged.
    for item in project.arrivals("day", 366, NOW + timedelta(days=1)).subjects:
        if item.count != len(arrived(both.audit.books(both.audit.cut(NOW)), item.subject_kind, item.subject)):
            yield f"arrivals: of {item.subject}"


def test_the_story_as_it_is_agrees(new_ledger: NewLedger) -> None:
    """With nothing planted, product and auditor agree; so what follows fails for what is planted alone."""
    assert list(wrong(new_ledger)) == []


def _changed(**columns: Callable[[Any], Any]) -> Plant:
    """In the relation that a step is given, other columns."""

    def plant(sound: Any) -> Any:
        return lambda rows, *rest: sound(rows.mutate(**{name: of(rows) for name, of in columns.items()}), *rest)

    return plant


PLANTED: dict[str, tuple[str, str, Plant]] = {
    "timeliness: what comes just in time is late": (
        "timeliness",
        "clearwell.quality.relations._moved",
        lambda sound: lambda log, *rest: sound(log.mutate(recorded_us=log.recorded_us + 1), *rest),
    ),
    "timeliness: an event is counted once for each move": (
        "timeliness",
        "clearwell.quality.timeliness.timeliness",
        _changed(event_count=lambda rows: rows.event_count * 2),
    ),
    "timeliness: late money is off by one": (
        "timeliness",
        "clearwell.quality.timeliness.timeliness",
        _changed(money=lambda rows: rows.money + 1),
    ),
    "lags: a second is added": (
        "lags",
        "clearwell.quality.timeliness.lags",
        _changed(recorded_us=lambda rows: rows.recorded_us + 1_000_000),
    ),
    "clearing: a window runs out a microsecond late": (
        "clearing",
        "clearwell.quality.cleared.clearing",
        _changed(due_us=lambda rows: rows.due_us + 1),
    ),
    "clearing: what clears just in time is late": (
        "clearing",
        "clearwell.quality.cleared.clearing",
        _changed(last_us=lambda rows: rows.last_us + 1),
    ),
    "clearing: due money is what came in alone": (
        "clearing",
        "clearwell.quality.cleared.clearing",
        _changed(turnover=lambda rows: rows.turnover - 1),
    ),
    "clearing: a learned window is a second longer": (
        "clearing",
        "clearwell.application.measuring.fixed_windows",
        lambda sound: lambda *own: sound(*own) | {"d": 721},
    ),
    "clearing: accepted windows are forgotten": (
        "clearing",
        "clearwell.application.cutting.in_use",
        lambda _sound: lambda *_: {},
    ),
    "aging: the end of a bucket is in the next one": (
        "aging",
        "clearwell.quality.cleared.aging",
        lambda sound: lambda rows, at, limits, by: sound(rows, at, tuple(limit - 1 for limit in limits), by),
    ),
    "aging: what is in flight has an age": (
        "aging",
        "clearwell.quality.cleared.aging",
        _changed(due_us=lambda rows: rows.opened_us),
    ),
    "score: late money does not lower it": (
        "nodes",
        "clearwell.quality.score.Sums.lost_money",
        lambda _sound: property(lambda sums: sums.uncleared_money + sums.missing_money),
    ),
    "score: uncleared money is not in the flow": (
        "nodes",
        "clearwell.quality.score.Sums.add",
        lambda sound: lambda own, other: sound(own, other) if other.total_money else None,
    ),
    "kept score: what cleared is not due": (
        "kept nodes",
        "clearwell.quality.clearing.due_by_quarter",
        lambda sound: lambda *own: sound(*own).replace("sum(turnover) FILTER", "sum(turnover - turnover) FILTER"),
    ),
    "kept score: late money is not kept": (
        "kept nodes",
        "clearwell.application.scoring.event_sums_at",
        lambda sound: lambda *own: sound(*own).with_columns(late_money=pl.col("late_money") * 0),
    ),
    "kept score: a learned window is a second longer": (
        "kept nodes",
        "clearwell.quality.windows._window",
        lambda sound: lambda *own: sound(*own).replace("720", "721"),
    ),
    "arrivals: what moves nothing fills an account": (
        "arrivals",
        "clearwell.quality.expectations.subjects._any_of",
        lambda _sound: lambda _ways: pl.lit(value=True),
    ),
}
"""What is planted: the family in which it must be found, what is replaced, and by what."""


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_planted_is_found(new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch, planted: str) -> None:
    """One mistake in a metric fails the comparison, and the failure names the metric's family."""
    family, target, plant = PLANTED[planted]
    replace_with(monkeypatch, target, plant)
    assert any(found.startswith(f"{family}:") for found in wrong(new_ledger))


# --- completeness -----------------------------------------------------------------------------------------------------

EVENTS = [Event("a", 1000, "USD", 10, 1), Event("b", 1000, "USD", 20, 2), Event("c", 1000, "USD", 30, 3)]
RECORDS = [
    Record("a", 1000, "USD", 10),
    Record("b", 900, "USD", 20),
    Record("missing", 70, "USD", 40),
    Record("a", 1000, "USD", 50),
]
"""One as it came and told twice, one of another amount, one that never came; and of `c` there is no record."""


def incomplete(new_ledger: NewLedger, creation: Callable[..., dict[str, Any]]) -> Iterator[str]:
    """What a comparison finds otherwise than plain Python, and what a score has of it."""
    ledger = new_ledger()
    for item in EVENTS:
        at = Record(item.id, 0, "", item.seconds).shown_time
        gross = {"gross": {"value": item.amount, "currency": item.currency}}
        ledger.ingest(creation(id=item.id, occurred_at=at, effective_at=at, amounts=gross), name=f"{item.id}.ndjson")
    source = {"event_type": "charge.creation", **write_csv(ledger.folder, RECORDS)}
    ledger.write_settings(producer_sources={"charges": source})
    with ledger.open() as workspace:
        (found,) = comparing.compare(workspace, open_producer, CutRequest())
        rows = list(comparing.differences(workspace, found.number))
        company = Project(workspace).scores(period="all").nodes[0]
    try:
        differ = told(found, rows) != expected(RECORDS, EVENTS)
    except AssertionError:
        differ = True
    if differ:
        yield "completeness"
    if (company["missing_money"], company["total_money"]) != (70, 3070):
        yield "score"


def test_the_comparison_as_it_is_agrees(new_ledger: NewLedger, creation: Callable[..., dict[str, Any]]) -> None:
    """With nothing planted, a comparison finds what plain Python finds, and the score has what is missing."""
    assert list(incomplete(new_ledger, creation)) == []


PLANTED_IN_COMPARISONS: dict[str, tuple[str, str, Plant]] = {
    "a missing record is told as another": (
        "completeness",
        "clearwell.quality.completeness.differences",
        in_text("WHEN sequence IS NULL THEN 'missing'", "WHEN sequence IS NULL THEN 'different'"),
    ),
    "amounts are not compared": (
        "completeness",
        "clearwell.quality.completeness._money_of",
        lambda _: lambda _row: "''",
    ),
    "an event without a record is passed over": (
        "completeness",
        "clearwell.quality.completeness.differences",
        in_text("WHERE id NOT IN (SELECT id FROM records)", "WHERE false"),
    ),
    "buckets that differ are passed over": (
        "completeness",
        "clearwell.quality.completeness.DIFFERING",
        lambda sound: sound.replace("WHERE (", "WHERE false AND ("),
    ),
    "missing money is in no score": (
        "score",
        "clearwell.application.scoring.comparisons.missing_money",
        lambda _sound: lambda *_: [],
    ),
}


@pytest.mark.parametrize("planted", PLANTED_IN_COMPARISONS)
def test_what_is_planted_in_a_comparison_is_found(
    new_ledger: NewLedger, monkeypatch: pytest.MonkeyPatch, creation: Callable[..., dict[str, Any]], planted: str
) -> None:
    """One mistake in what compares records and events, or in what the score takes of it, is found."""
    family, target, plant = PLANTED_IN_COMPARISONS[planted]
    replace_with(monkeypatch, target, plant)
    assert family in list(incomplete(new_ledger, creation))
