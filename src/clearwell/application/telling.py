"""Answers as JSON has them, for every skin: the command line prints them, and the service sends them.

It imports none of what makes them, so that a command pays only for its own question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from clearwell.values.instants import format_instant

if TYPE_CHECKING:
    from clearwell.application.arriving import ArrivalsReport
    from clearwell.application.comparing import Comparison
    from clearwell.application.evaluating import Point
    from clearwell.application.expecting import Expectation, ExpectationsReport
    from clearwell.application.measuring import MeasureReport
    from clearwell.application.modelling import CheckReport
    from clearwell.application.scoring import ScoreReport
    from clearwell.application.tracing import Trace
    from clearwell.catalog.quarantine import QuarantinedRecord
    from clearwell.values.cuts import Cut
    from clearwell.values.periods import Span


def plain(value: object) -> object:
    """What JSON has no form for: instants and days as ISO 8601."""
    if isinstance(value, datetime):
        return format_instant(value) if value.tzinfo else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


def cut_as_json(cut: Cut) -> dict[str, object]:
    """The cut, as every answer says it."""
    return {"effective_at": cut.effective_at, "recorded_at": cut.recorded_at, "sequence": cut.sequence}


def trace_as_json(found: Trace) -> dict[str, object]:
    """Everything of a trace."""
    content = {"cut": cut_as_json(found.cut), "events": found.events, "accounts": found.accounts}
    return {**content, "truncated": found.truncated}


def period_as_json(span: Span) -> dict[str, object]:
    """A period by its name and its ends, which are none for all time."""
    from clearwell.values.periods import instant  # Not every command needs it.

    edges = {"start": span.start_us, "end": span.end_us}
    return {"name": span.name} | {name: None if at is None else instant(at) for name, at in edges.items()}


def scores_as_json(report: ScoreReport) -> dict[str, object]:
    """The tree of scores."""
    own = {"cut": cut_as_json(report.cut), "period": period_as_json(report.period)}
    return {**own, "explained_at": report.explained_at, "nodes": report.changes}


def measured_as_json(report: MeasureReport, metric: str) -> dict[str, object]:
    """The rows of a metric, under its name."""
    return {"cut": cut_as_json(report.cut), "period": period_as_json(report.period), metric: report.rows}


def history_as_json(points: Sequence[Point], node: str, currency: str | None) -> list[dict[str, Any]]:
    """A row per period of a node, and per currency or of the one that is wanted, with the cut that it is of."""
    return [
        {"period": point.evaluation.period, **row, "cut": _evaluated_at(point)}
        for point in points
        for row in point.nodes
        if row["name"] == node and currency in (None, row["currency"])
    ]


def _evaluated_at(point: Point) -> dict[str, object]:
    names = ("effective_at", "recorded_at", "sequence", "evaluated_at", "comparisons")
    return {name: getattr(point.evaluation, name) for name in names}


def comparison_as_json(item: Comparison) -> dict[str, Any]:
    """A comparison, without its differences."""
    period = None if item.period is None else {"start": item.period.start, "until": item.period.until}
    return {**item.__dict__, "period": period, "cut": cut_as_json(item.cut), "completeness": item.completeness}


def expectations_as_json(report: ExpectationsReport) -> dict[str, object]:
    """What was learned, and under which rules."""
    rules = report.rules
    return {
        "cut": cut_as_json(report.cut),
        "quantile": str(rules.quantile),
        "headroom": str(rules.headroom),
        "minimum_episodes": rules.minimum_episodes,
        "accepted_at": report.accepted_at or None,
        "account_types": [_expectation_as_json(item) for item in report.expectations],
    }


def _expectation_as_json(item: Expectation) -> dict[str, Any]:
    fitted = item.fitted
    return {
        "flow": item.account_type.flow,
        "account_type": item.account_type.name,
        "owner": item.account_type.owner,
        "property": item.subdivided_by or None,
        "value": fitted.value,
        "is_rest": fitted.is_rest,
        "declared": str(item.account_type.clears_within),
        "accepted_seconds": item.accepted_seconds,
        "accepted_at": item.accepted.fitted_at if item.accepted else None,
        "window_seconds": item.held.window_seconds,
        "episode_count": fitted.episode_count,
        "open_count": fitted.open_count,
        "quantile_seconds": {str(share): seconds for share, seconds in fitted.quantiles.items()},
        "state": fitted.state,
        "learned_seconds": fitted.seconds,
        "due_count": item.held.due_count,
        "beyond": item.held.beyond,
        "called_overdue": item.held.called_overdue,
        "warning": item.warning or None,
    }


def arrivals_as_json(report: ArrivalsReport) -> dict[str, object]:
    """What was judged, and every finding."""
    rules = report.rules
    content = {"cut": cut_as_json(report.cut), "bucket": rules.bucket, "from": rules.start(rules.first)}
    subjects = [{**item.__dict__, "findings": len(item.findings)} for item in report.subjects]
    return {**content, "findings": [item.__dict__ for item in report.findings], "subjects": subjects}


def quarantined_as_json(item: QuarantinedRecord) -> dict[str, Any]:
    """A record in quarantine, its bytes as text."""
    row = asdict(item)
    reason = row.pop("reason")
    record = row.pop("record")
    return {
        "number": row.pop("number"),
        **reason,
        **row,
        "record": record.decode("utf-8", errors="backslashreplace"),
    }


def check_as_json(report: CheckReport) -> dict[str, object]:
    """What was proved of the flows, and what a change would mean."""
    return {
        "ok": report.ok,
        "version": report.version,
        "in_force": report.in_force,
        "problems": [asdict(item) for item in report.problems],
        "equations": [{**asdict(item), "equation": item.text} for item in report.equations],
        "changes": [asdict(item) for item in report.changes],
        "consequences": [asdict(item) for item in report.consequences],
        "personal": [asdict(item) for item in report.personal],
    }
