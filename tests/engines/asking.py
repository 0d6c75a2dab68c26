"""What every engine is asked: each metric of a world, in sections, for periods, at cuts; and how answers are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from metrics_world import AT

from clearwell.application import measuring, scoring
from clearwell.application.cutting import CutRequest
from clearwell.application.measuring import MeasureRequest
from clearwell.quality.metrics import METRICS, Metric
from clearwell.quality.running import Engine, LogAtCut

if TYPE_CHECKING:
    from conftest import Ledger

Start = Callable[[LogAtCut], Engine]
Answers = dict[str, list[dict[str, Any]]]

_SECTIONS: dict[Metric, tuple[tuple[str, ...], ...]] = {
    "timeliness": ((), ("network",), ("producer", "day"), ("charge",)),
    "lags": ((), ("charge",), ("producer", "day")),
    "clearing": ((), ("business",), ("day",), ("charge", "month")),
    "aging": ((), ("charge",), ("week",)),
}
_PERIODS = {
    "timeliness": ("all", "2026-03-31"),
    "lags": ("all",),
    "clearing": ("all", "2026-03-08"),
    "aging": ("all", "2026-03"),
}

QUESTIONS = tuple(
    MeasureRequest(metric, period, by, most=3)
    for metric in METRICS
    for period in _PERIODS[metric]
    for by in (_SECTIONS[metric] if period == "all" else _SECTIONS[metric][-1:])
)
"""Of three values of a property; what others there are comes together."""

QUESTIONS_OF_THE_PAST = tuple(
    item for item in QUESTIONS if item.period == "all" and item.by[-1:] in (("day",), ("week",))
)

CUTS = (CutRequest(AT), CutRequest("2026-03-08T16:00:00Z", "60"))


def answers(ledger: Ledger, engine: str = "duckdb", start: Start | None = None) -> Answers:
    """The rows of every question by what was asked; an engine that is not the product's is started by `start`."""
    found = {}
    with ledger.open() as workspace:
        chosen = workspace if start is None else replace(workspace, engine=lambda _name, log, _connection: start(log))
        for cut in CUTS:
            if cut.known_at and workspace.log().last_sequence < int(cut.known_at):
                continue
            with measuring.measuring(chosen, cut, engine) as measures:
                for wanted in QUESTIONS if not cut.known_at else QUESTIONS_OF_THE_PAST:
                    span = scoring.period_named(wanted.period, measures.books)
                    found[f"{cut} {wanted.metric} {wanted.period} {wanted.by}"] = measures.rows(wanted, span)
    return found


def hold_together(found: Answers, expected: Answers) -> None:
    """Every answer is the same, value by value; what differs is named."""
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert found[name] == rows, name
