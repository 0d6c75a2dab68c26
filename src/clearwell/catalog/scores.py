"""Evaluated scores in the catalog: they are added, never changed, and each says the cut that it is of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select

from clearwell.catalog.tables import evaluation_comparisons, evaluations, scores

_MONEY = ("total_money", "uncleared_money", "late_money", "missing_money")
_FIELDS = ("node", "name", "parent", "currency", *_MONEY, "missing_estimated")
_AT_ONCE = 500


@dataclass(frozen=True)
class Evaluation:
    """Which period's scores were evaluated, at which cut, and when. Instants are as the catalog writes them."""

    period_kind: str
    period: str
    effective_at: str
    recorded_at: str
    sequence: int
    evaluated_at: str
    comparisons: tuple[int, ...] | None = None
    """The numbers of the comparisons whose missing money is in the scores; None when that was not remembered."""


def add(connection: Connection, evaluated: Iterable[tuple[Evaluation, Sequence[Mapping[str, Any]]]]) -> int:
    """Keep evaluations with their nodes, in order; returns how many were not kept before."""
    added = 0
    for evaluation, nodes in evaluated:
        found = select(evaluations.c.number).where(
            evaluations.c.period_kind == evaluation.period_kind,
            evaluations.c.period == evaluation.period,
            evaluations.c.effective_at == evaluation.effective_at,
            evaluations.c.recorded_at == evaluation.recorded_at,
        )
        if connection.execute(found).first() is not None:
            continue
        row = {name: value for name, value in evaluation.__dict__.items() if name != "comparisons"}
        number = (connection.execute(select(func.max(evaluations.c.number))).scalar_one() or 0) + 1
        connection.execute(insert(evaluations), [{**row, "number": number}])
        if evaluation.comparisons is not None:
            used = {"evaluation": number, "comparisons": json.dumps(evaluation.comparisons)}
            connection.execute(insert(evaluation_comparisons), used)
        rows = [
            {"evaluation": number, "position": position, **{name: node[name] for name in _FIELDS}}
            | {name: str(node[name]) for name in _MONEY}
            for position, node in enumerate(nodes)
        ]
        for start in range(0, len(rows), _AT_ONCE):
            connection.execute(insert(scores), rows[start : start + _AT_ONCE])
        added += 1
    return added


def newest(connection: Connection, period_kind: str) -> list[tuple[Evaluation, list[dict[str, Any]]]]:
    """Of each period of a kind the evaluation of the newest cut, with its nodes, in order of period."""
    chosen: dict[str, tuple[int, Evaluation]] = {}
    ordered = (evaluations.c.recorded_at, evaluations.c.effective_at, evaluations.c.number)
    for row in connection.execute(
        select(evaluations, evaluation_comparisons.c.comparisons)
        .join(evaluation_comparisons, isouter=True)
        .where(evaluations.c.period_kind == period_kind)
        .order_by(*ordered)
    ).mappings():
        fields = dict(row)
        fields["comparisons"] = None if row["comparisons"] is None else tuple(json.loads(row["comparisons"]))
        chosen[row["period"]] = (fields.pop("number"), Evaluation(**fields))
    return [
        (evaluation, _nodes(connection, number))
        for _period, (number, evaluation) in sorted(chosen.items(), key=lambda item: item[0])
    ]


def newest_first(connection: Connection, period_kind: str) -> Iterator[tuple[int, Evaluation]]:
    """The evaluations of periods of a kind with their numbers: the latest period first, of each the newest cut."""
    latest = (evaluations.c.period.desc(), evaluations.c.recorded_at.desc(), evaluations.c.number.desc())
    statement = select(evaluations).where(evaluations.c.period_kind == period_kind).order_by(*latest)
    for row in connection.execute(statement).mappings():
        fields = dict(row)
        yield fields.pop("number"), Evaluation(**fields)


def nodes_of(connection: Connection, number: int) -> list[dict[str, Any]]:
    """The nodes of an evaluation, in order."""
    return _nodes(connection, number)


def _nodes(connection: Connection, number: int) -> list[dict[str, Any]]:
    rows = connection.execute(
        select(*(scores.c[name] for name in _FIELDS)).where(scores.c.evaluation == number).order_by(scores.c.position)
    ).mappings()
    return [{**row, **{name: int(row[name]) for name in _MONEY}} for row in rows]
