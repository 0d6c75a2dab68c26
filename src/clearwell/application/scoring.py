"""The score at a cut, of one period or of many: from sums that are kept, or by an engine from the log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from clearwell.application.cutting import CutRequest, Evaluated, Known, books_at
from clearwell.application.explaining import Attributed, attributed_at, attributions_changed_at, overdue_on
from clearwell.application.reading import reading
from clearwell.application.workspace import Workspace
from clearwell.catalog import comparisons
from clearwell.errors import UsageError
from clearwell.projections.cuts import event_sums_at
from clearwell.quality import clearing, score
from clearwell.quality.changes import with_changes
from clearwell.quality.rows import Subjects, rows_within, summed
from clearwell.values import periods
from clearwell.values.cuts import Cut
from clearwell.values.periods import QUARTER_US, Span

if TYPE_CHECKING:
    from clearwell.application.measuring import Measures

_HOUR_US = 4 * QUARTER_US


@dataclass(frozen=True)
class ScoreReport:
    """The cut, the period, and the tree of scores: rows as docs/guides/quality.md lists them.

    `before` is the tree of the period before, at the same cut; empty for all time. What is explained goes by the
    attributions in force when it was asked, whatever the cut: they are so since `explained_at`, None without any.
    """

    cut: Cut
    period: Span
    nodes: list[dict[str, Any]]
    before: list[dict[str, Any]]
    explained_at: datetime | None

    @property
    def changes(self) -> list[dict[str, Any]]:
        """The rows of `nodes`, each with `score_before`, `score_change` and `lost_money_change`."""
        return with_changes(self.nodes, None if self.period.start_us is None else self.before)


@dataclass(frozen=True)
class Missing:
    """What of producers' records of a period has no event, as rows, and the numbers of the comparisons that say so."""

    comparisons: tuple[int, ...]
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Tree:
    """The tree of scores of a period, as rows, and the numbers of the comparisons that its missing money is from."""

    nodes: list[dict[str, Any]]
    comparisons: tuple[int, ...]


def scores(workspace: Workspace, request: CutRequest, period: str = "month", engine: str = "") -> ScoreReport:
    """The scores of a period, and of the one before it.

    With an engine, its name or address, that computes them from the log. Raises UsageError for a cut, a period or an
    engine that cannot be, and when the ledger is empty.
    """
    with scoring_at(workspace, request, engine) as scoring:
        known = scoring.known
        span = period_named(period, known)
        earlier = periods.before(span, known.time_zone)
        explained_at = attributions_changed_at(workspace)
        tree, *before = scoring.trees([span, *([earlier] if earlier else [])], explained=True)
        return ScoreReport(known.cut, span, tree.nodes, before[0].nodes if before else [], explained_at)


def period_named(text: str, known: Known) -> Span:
    """The period that the user means. Raises UsageError."""
    try:
        return periods.parse_period(text, known.cut.effective_at, known.time_zone)
    except ValueError as error:
        raise UsageError("period_unreadable", f"--period: {error}") from error


@dataclass(frozen=True)
class Scoring:
    """Scores at one cut, from what events moved and what was due, by quarter of an hour."""

    known: Known
    sums: Callable[[Sequence[Span]], tuple[pl.DataFrame, pl.DataFrame]]
    """Both frames are in order of `quarter`."""
    missing: Callable[[Span], Missing]
    attributed: Callable[[], Attributed | None]
    """What of the lost money is attributed to incidents now."""

    def trees(self, spans: Sequence[Span], *, explained: bool = False) -> Iterator[Tree]:
        """The tree of each of these periods, in turn; `explained`, if that is asked."""
        subjects = Subjects.of(self.known.models, self.known.model)
        moved, due = self.sums(spans)
        attributed = self.attributed() if explained else None
        for span in spans:
            missing = self.missing(span)
            measured = score.Measured(rows_within(moved, span), rows_within(due, span), missing.rows)
            if explained:
                rows = attributed.rows(span, missing.comparisons) if attributed else []
                measured = replace(measured, attributed=rows)
            yield Tree(score.tree(subjects, measured), missing.comparisons)


def tree_of(workspace: Workspace, measures: Measures, span: Span) -> list[dict[str, Any]]:
    """The tree of scores of a period, computed by the metrics, explained by the attributions in force now."""
    (tree,) = _by_metrics(workspace, measures).trees([span], explained=True)
    return tree.nodes


def _by_metrics(workspace: Workspace, measures: Measures, used: Collection[int] | None = None) -> Scoring:
    known = measures.books
    return Scoring(
        known,
        lambda spans: _measured(measures, spans),
        lambda span: _missing(workspace, known, span, used),
        lambda: attributed_at(workspace, known, lambda accounts: _measured_among(measures, accounts)),
    )


def _missing(workspace: Workspace, known: Known, span: Span, used: Collection[int] | None) -> Missing:
    """By the comparisons `used`, or by the newest."""
    with workspace.catalog.read() as connection:
        numbers = used
        if numbers is None:
            numbers = comparisons.newest(connection, None if span == periods.ALL_TIME else span, known.cut)
        found = comparisons.missing_money(connection, numbers)
    return Missing(tuple(numbers), [item.__dict__ for item in found if item.currency])


@contextmanager
def scoring_at(
    workspace: Workspace, request: CutRequest, engine: str = "", used: Collection[int] | None = None
) -> Iterator[Scoring]:
    """Scores at a cut: from sums that are kept, or by an engine from the log.

    What is missing is so by the comparisons `used`, or by the newest up to the cut.
    """
    if engine:
        from clearwell.application.measuring import measuring  # Ibis takes a second.

        with measuring(workspace, request, engine) as measures:
            yield _by_metrics(workspace, measures, used)
        return
    with books_at(workspace, request) as books:
        yield Scoring(
            books,
            lambda spans: _kept(books, spans),
            lambda span: _missing(workspace, books, span, used),
            lambda: attributed_at(workspace, books, lambda accounts: overdue_on(books, accounts)),
        )


def _measured(measures: Measures, spans: Sequence[Span]) -> tuple[pl.DataFrame, pl.DataFrame]:
    from clearwell.quality.metrics import Sections

    by_quarter, whole = Sections(quarters=True), _whole(spans)
    moved, due = (measures.frame(metric, whole, by_quarter) for metric in ("timeliness", "clearing"))
    return moved.sort("quarter"), due.sort("quarter")


def _measured_among(measures: Measures, accounts: pl.DataFrame) -> pl.DataFrame:
    from clearwell.quality.metrics import Sections

    return measures.clearing_among(accounts, Sections(quarters=True))


def _kept(books: Evaluated, spans: Sequence[Span]) -> tuple[pl.DataFrame, pl.DataFrame]:
    kinds = books.kinds
    found = books.ask(clearing.uncertain_hours(kinds)).fetchall()
    uncertain = [clearing.Uncertain(*row) for row in found]
    if any(edge % _HOUR_US for span in spans for edge in (span.start_us, span.end_us) if edge is not None):
        # Where midnight is within an hour of UTC, sums by the hour do not tell what opened before it.
        uncertain = [clearing.Uncertain(*row) for row in books.ask(clearing.all_hours()).fetchall()]
    with reading(books.log):
        moved = event_sums_at(books.store, books.log, books.models, books.cut)
    due = pl.from_arrow(books.ask(clearing.due_by_quarter(uncertain, kinds)).to_arrow_table())
    assert isinstance(due, pl.DataFrame)
    return moved.sort("quarter"), due.with_columns(pl.col(summed(due)).cast(pl.Int128)).sort("quarter")


def _whole(spans: Sequence[Span]) -> Span:
    """The span from the first to the last."""
    starts, ends = [item.start_us for item in spans], [item.end_us for item in spans]
    first = None if None in starts else min(item for item in starts if item is not None)
    last = None if None in ends else max(item for item in ends if item is not None)
    return Span("all", "all", first, last)
