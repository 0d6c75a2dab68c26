"""What arrivals are of: an event type with its events, or an account type with the events that move money into it.

Says which events these are, as conditions on columns of the log. Runs no query.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Literal

import polars as pl

from clearwell.flows.model import EventType, Model
from clearwell.values import columns

SubjectKind = Literal["event_type", "account_type"]


@dataclass(frozen=True)
class Subject:
    """An event type or an account type, by name."""

    kind: SubjectKind
    name: str


def conditions(models: Mapping[str, Model], model: Model) -> dict[Subject, pl.Expr]:
    """Per subject of `model`, which events of the log are its own: event types first, in the order of the model.

    An event is of an account type when the `models` under which it was posted gives it an entry there of more than
    zero. Account types that no event can fill are left out. The columns are `type` and `model_version` as texts, and
    those of amounts.
    """
    found: dict[Subject, pl.Expr] = {Subject("event_type", name): pl.col("type") == name for name in model.event_types}
    for name in model.account_types:
        if (fills := _fills(models, name)) is not None:
            found[Subject("account_type", name)] = fills
    return found


def amounts(models: Mapping[str, Model]) -> list[str]:
    """The columns of amounts that conditions may name."""
    return [
        columns.amount_column(name) for name in sorted({it for model in models.values() for it in model.amount_names})
    ]


def _fills(models: Mapping[str, Model], account_type: str) -> pl.Expr | None:
    """Whether an event brings money into such an account; None where none ever can."""
    versions: dict[tuple[str, frozenset[tuple[str, int]]], list[str]] = defaultdict(list)
    for version, model in models.items():
        for event in model.event_types.values():
            if ways := _ways(event, account_type):
                versions[event.name, ways].append(version)
    if not versions:
        return None
    return reduce(or_, (_posted_as(name, own) & _any_of(ways) for (name, ways), own in versions.items()))


def _ways(event: EventType, account_type: str) -> frozenset[tuple[str, int]]:
    """By which amounts an event brings money into such an account: 1 where the amount is above zero, -1 below."""
    signed = {rule.name for rule in event.amounts if rule.signed}
    brought = {(move.amount, 1) for move in event.moves if move.destination.account_type == account_type}
    returned = {(move.amount, -1) for move in event.moves if move.source.account_type == account_type}
    return frozenset(brought | {way for way in returned if way[0] in signed})


def _posted_as(event_type: str, versions: list[str]) -> pl.Expr:
    return (pl.col("type") == event_type) & pl.col("model_version").is_in(sorted(versions))


def _any_of(ways: frozenset[tuple[str, int]]) -> pl.Expr:
    return reduce(or_, (_is_beyond_zero(amount, sign) for amount, sign in sorted(ways)))


def _is_beyond_zero(amount: str, sign: int) -> pl.Expr:
    value = pl.col(columns.amount_column(amount))
    return (value > 0 if sign > 0 else value < 0).fill_null(value=False)
