"""Holds a quality report of the product against the auditor's rows, family by family, whatever order rows come in.

A report is asked with `Project.quality(at=, known_at=, period=)`; the auditor with `quality_rows(books, period)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from agreement import Ask, Both
from clearwell.simulation.auditor import quality_rows
from clearwell.simulation.auditor.periods import PeriodKind, period_of

Row = Mapping[str, Any]
Rows = Mapping[str, Sequence[Row]]

FAMILIES = {
    "nodes": ("node", "name", "parent", "currency"),
    "timeliness": ("event_type", "flow", "owner", "producer", "currency"),
    "clearing": ("flow", "account_type", "owner", "currency"),
    "aging": ("account_type", "currency", "past_due"),
}
"""The families of a report, and the fields that name a row of each."""

_DIGITS = 1e-12


def quality_disagreements(product: Rows, auditor: Rows) -> Iterator[str]:
    """What product and auditor say differently, row by row; each text begins with the family's name.

    Every field that the auditor tells must be the product's: shares to twelve digits, all else exactly.
    """
    for family, names in FAMILIES.items():
        found, expected = (_by_name(family, names, rows[family]) for rows in (product, auditor))
        for name in sorted({*found, *expected}, key=str):
            if name not in expected or name not in found:
                where = "the auditor" if name in found else "the product"
                yield f"{family}: {where} has no row {_told(names, name)}"
                continue
            for field, figure in expected[name].items():
                if field not in found[name]:
                    yield f"{family}: the product says no {field} of {_told(names, name)}"
                elif not _same(found[name][field], figure):
                    texts = f"{found[name][field]!r}, and the auditor {figure!r}"
                    yield f"{family}: {field} of {_told(names, name)}: the product says {texts}"


def agree_on_quality(product: Rows, auditor: Rows) -> None:
    """Fail, naming every figure that differs, unless product and auditor say the same."""
    wrong = list(quality_disagreements(product, auditor))
    if wrong:
        raise AssertionError("\n".join(wrong))


def hold_quality(both: Both, ask: Ask, kind: PeriodKind, engine: str = "duckdb") -> None:
    """Fail unless the product, by an engine, and the auditor have the same rows of a period that holds the cut."""
    with both.project() as project:
        report = project.quality(ask.at, ask.known_at, kind, engine)
    books = both.audit.books(report.cut)
    product = {family: getattr(report, family) for family in FAMILIES}
    agree_on_quality(product, quality_rows(books, period_of(kind, report.cut.effective_at, books.time_zone)))


def _by_name(family: str, names: Sequence[str], rows: Sequence[Row]) -> dict[tuple[Any, ...], Row]:
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        name = tuple(row[field] for field in names)
        assert name not in found, f"{family}: two rows {_told(names, name)}"
        found[name] = row
    return found


def _told(names: Sequence[str], name: tuple[Any, ...]) -> str:
    return ", ".join(f"{field}={value}" for field, value in zip(names, name, strict=True))


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, Fraction) and isinstance(found, int | float | Fraction):
        return abs(Fraction(found) - expected) <= _DIGITS
    return bool(type(found) is type(expected) and found == expected)
