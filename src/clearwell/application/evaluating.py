"""The history of scores: evaluates many periods at one cut, and keeps them with it.

A point that is kept can be computed again from its cut, and is the same then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clearwell.application.auditing import noting
from clearwell.application.cutting import CutRequest, Known
from clearwell.application.scoring import Scoring, period_named, scoring_at
from clearwell.application.workspace import Workspace
from clearwell.catalog import scores as kept
from clearwell.catalog.scores import Evaluation
from clearwell.errors import UsageError
from clearwell.quality.score import share_of
from clearwell.values import periods
from clearwell.values.cuts import Cut
from clearwell.values.periods import PeriodKind, Span
from clearwell.values.times import stored_text

MOST_PERIODS = 20_000
_AT_ONCE = 100


@dataclass(frozen=True)
class EvaluationReport:
    """The cut, how many periods were evaluated, and how many of them had not been kept at that cut before."""

    cut: Cut
    periods: int
    added: int


@dataclass(frozen=True)
class Point:
    """The tree of scores of a period, as it was evaluated at a cut; rows as docs/guides/quality.md lists them."""

    evaluation: Evaluation
    nodes: list[dict[str, Any]]


class Evaluating:
    """An evaluation in steps, so that progress can be shown."""

    def __init__(self, workspace: Workspace, scoring: Scoring, spans: list[Span]) -> None:
        self._workspace, self._scoring = workspace, scoring
        self.spans = spans
        self.added = 0

    @property
    def cut(self) -> Cut:
        """The cut of all periods."""
        return self._scoring.known.cut

    def steps(self) -> Iterator[int]:
        """Evaluate and keep the periods, some at a time; gives how many each time. What is kept stays kept."""
        trees = self._scoring.trees(self.spans)
        with noting(self._workspace, "scores.evaluate") as told:
            for start in range(0, len(self.spans), _AT_ONCE):
                spans = self.spans[start : start + _AT_ONCE]
                at = stored_text(self._workspace.clock())
                made = [(span, next(trees)) for span in spans]
                evaluated = [(_evaluation(span, self.cut, at, tree.comparisons), tree.nodes) for span, tree in made]
                with self._workspace.catalog.write() as connection:
                    self.added += kept.add(connection, evaluated)
                told.update(first=self.spans[0].name, last=spans[-1].name, added=self.added, sequence=self.cut.sequence)
                yield len(spans)


def evaluate(
    workspace: Workspace, request: CutRequest, kind: PeriodKind, since: str = "", until: str = ""
) -> EvaluationReport:
    """Evaluate the periods of a kind from the one that holds `since` to the one that holds `until`, and keep them.

    Empty, they are the first event and the cut. Raises UsageError for an instant, period or cut that cannot be.
    """
    with scoring_at(workspace, request) as scoring:
        evaluating = evaluating_at(workspace, scoring, kind, since, until)
        count = sum(evaluating.steps())
        return EvaluationReport(evaluating.cut, count, evaluating.added)


def evaluating_at(workspace: Workspace, scoring: Scoring, kind: PeriodKind, since: str, until: str) -> Evaluating:
    """What `evaluate` does, not yet begun."""
    known = scoring.known
    first = _instant(since, known.time_zone) or _first(known)
    last = _instant(until, known.time_zone) or known.cut.effective_at
    if first is None or first > last:
        return Evaluating(workspace, scoring, [])
    spans = []
    for span in periods.following(kind, first, last, known.time_zone):
        spans.append(span)
        if len(spans) > MOST_PERIODS:
            message = f"expected at most {MOST_PERIODS} periods, found more from {first} to {last}: evaluate some"
            raise UsageError("periods_too_many", message)
    return Evaluating(workspace, scoring, spans)


def history(workspace: Workspace, kind: PeriodKind) -> list[Point]:
    """Of each period of a kind that was evaluated the newest evaluation, in order of period."""
    if not workspace.has_ledger:
        return []
    with workspace.catalog.read() as connection:
        found = kept.newest(connection, kind)
    return [Point(evaluation, [_with_score(node) for node in nodes]) for evaluation, nodes in found]


def compute_again(workspace: Workspace, point: Point, engine: str = "duckdb") -> Point:
    """The point computed anew at its cut, by an engine from the log or, with none, from the sums that are kept.

    What is missing is so by the comparisons that it was evaluated with, whichever ran since. For one that does not
    remember them, it is so by the newest up to its cut.
    """
    kept_as = point.evaluation
    cut = Cut(
        effective_at=datetime.fromisoformat(kept_as.effective_at),
        recorded_at=datetime.fromisoformat(kept_as.recorded_at),
        sequence=kept_as.sequence,
    )
    with scoring_at(workspace, CutRequest(exact=cut), engine, kept_as.comparisons) as scoring:
        span = period_named(kept_as.period, scoring.known)
        (tree,) = scoring.trees([span])
    return Point(kept_as, tree.nodes)


def _first(known: Known) -> datetime | None:
    """The earliest time, on either clock, of any event at the cut."""
    segments = [item for item in known.log.segments if item.first_sequence <= known.cut.sequence]
    times = [at for item in segments for at in (item.first_recorded_at, item.first_effective_at)]
    return datetime.fromisoformat(min(times)) if times else None


def _with_score(node: dict[str, Any]) -> dict[str, Any]:
    lost = node["uncleared_money"] + node["late_money"] + node["missing_money"]
    share = share_of(lost, node["total_money"])
    return {**node, "score": None if share is None else float(share)}


def _evaluation(span: Span, cut: Cut, evaluated_at: str, comparisons: tuple[int, ...]) -> Evaluation:
    return Evaluation(
        period_kind=span.kind,
        period=span.name,
        effective_at=stored_text(cut.effective_at),
        recorded_at=stored_text(cut.recorded_at),
        sequence=cut.sequence,
        evaluated_at=evaluated_at,
        comparisons=comparisons,
    )


def _instant(text: str, time_zone: str) -> datetime | None:
    """The start of a period that is named, such as a day."""
    if not text:
        return None
    try:
        span = periods.parse_named(text, time_zone)
    except ValueError as error:
        raise UsageError("period_unreadable", str(error)) from error
    assert span.start_us is not None
    return periods.instant(span.start_us)
