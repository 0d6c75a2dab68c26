"""Cross-sections: things told apart by what they have in common, such as their owner, a property or their day.

Refuses to add money of two currencies: the currency always tells apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any, TypeVar

from clearwell.simulation.auditor.books import Row
from clearwell.simulation.auditor.periods import PERIOD_KINDS, PeriodKind, period_of

Thing = TypeVar("Thing")

PROPERTY = "property_"
"""Begins the name by which things are told apart by a property: `property_business`."""


def sections(
    things: Iterable[Thing], mark: Callable[[Thing, str], Any], by: Sequence[str]
) -> list[tuple[Row, list[Thing]]]:
    """The things by their `mark` under each of the names `by`, sorted by it, null first.

    Raises ValueError when `by` lacks the currency.
    """
    if "currency" not in by:
        raise ValueError(f"expected 'currency' among the names, found {', '.join(by)}")
    found: dict[tuple[Any, ...], list[Thing]] = {}
    for thing in things:
        found.setdefault(tuple(mark(thing, name) for name in by), []).append(thing)
    ordered = sorted(found, key=lambda key: [(value is not None, value or "") for value in key])
    return [(dict(zip(by, key, strict=True)), found[key]) for key in ordered]


def start_of(kind: str, instant: datetime, time_zone: str) -> datetime | None:
    """The start of the period of this kind in which the instant lies. Raises KeyError when it is no kind."""
    kinds: dict[str, PeriodKind] = {name: name for name in PERIOD_KINDS}
    return period_of(kinds[kind], instant, time_zone).start


def share_left(lost: int, whole: int) -> Fraction | None:
    """The share of the whole that is not lost; None when there is no whole."""
    return 1 - Fraction(lost, whole) if whole else None
