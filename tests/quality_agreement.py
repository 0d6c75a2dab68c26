"""Holds a quality report of the product against the auditor's rows, family by family, whatever order rows come in.

A report is asked with `Project.quality(at=, known_at=, period=)`; the auditor with `quality_rows(books, period)`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Any

from agreement import Ask, Both
from clearwell.catalog.incidents import RULES
from clearwell.project import Project
from clearwell.simulation.auditor import (
    Books,
    Completeness,
    Finding,
    Period,
    ProducerRecord,
    completeness_of,
    explained_rows,
    findings,
    quality_rows,
)
from clearwell.simulation.auditor.periods import PeriodKind, period_of
from clearwell.values.instants import format_instant

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


@dataclass(frozen=True)
class Records:
    """What a producer has: `there` of the events of a type that the log has, and so many that it has `gone` without.

    Of the latter every third is of a time before the period of the cut, where there is such a time.
    """

    there: int = 0
    gone: int = 0

    def held(self, both: Both, books: Books, period: Period) -> list[Completeness]:
        """Write the records as a source of the project; returns what the auditor finds of them."""
        event = next(iter(books.model.event_types.values()))
        if not self.there + self.gone:
            return []
        at = books.cut.effective_at
        earlier = at if period.start is None else period.start - timedelta(microseconds=1)
        known = [item.event.id for item in books.known if item.event.type == event.name][: self.there]
        records = [ProducerRecord(name, at, 1, "USD") for name in known]
        records += [
            ProducerRecord(f"gone{place}", at if place % 3 else earlier, place + 1, "EUR" if place % 2 else "USD")
            for place in range(self.gone)
        ]
        path = both.ledger.folder / "records.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "amount", "currency", "time"])
            rows.writerows((item.id, item.amount, item.currency, format_instant(item.at)) for item in records)
        source = {"event_type": event.name, "file": "records.csv", "amount_of": event.amounts[0].name}
        zone = both.audit.periods[-1].time_zone
        both.ledger.write_settings(time_zone=zone, batch_events=both.batch_events, producer_sources={"records": source})
        return [completeness_of(books, event.name, records, period)]


NO_RECORDS = Records()


def quality_disagreements(product: Rows, auditor: Rows) -> Iterator[str]:
    """What product and auditor say differently, row by row; each text begins with the family's name.

    Every field that the auditor tells must be the product's: shares to twelve digits, all else exactly.
    """
    for family, names in FAMILIES.items():
        yield from _disagreements(family, names, product[family], auditor[family])


def _disagreements(family: str, names: Sequence[str], product: Sequence[Row], auditor: Sequence[Row]) -> Iterator[str]:
    found, expected = (_by_name(family, names, rows) for rows in (product, auditor))
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


Choose = Callable[[Sequence[Finding]], Sequence[Finding]]
"""Which of the findings have a cause."""


def hold_explained(both: Both, ask: Ask, kind: PeriodKind, choose: Choose, records: Records = NO_RECORDS) -> None:
    """Attribute some findings, of all time, and fail unless product and auditor explain the same of a period.

    The product says it twice: from sums that are kept, and by an engine from the log. `records` are what a producer has
    of events of a type: they are compared at the cut, of the period.
    """
    with both.project() as project:
        report = project.scores(ask.at, ask.known_at, kind)
        books = both.audit.books(report.cut)
        period = period_of(kind, report.cut.effective_at, books.time_zone)
        held = records.held(both, books, period)
        if held:
            with both.project() as comparing:  # It has the settings that name the source.
                comparing.completeness(period="" if kind == "all" else report.period.name, **asked(ask))
        chosen = choose([*findings(books), *findings(books, period, held)])
        _attribute(project, chosen)
        reports = [project.scores(ask.at, ask.known_at, kind, engine) for engine in ("", "duckdb")]
    assert reports[0].nodes == reports[1].nodes
    expected = explained_rows(books, {item.subject: "cause" for item in chosen}, period, held)
    money = ("uncleared_money", "late_money", "missing_money")
    found = [{**row, "lost_money": sum(row[name] for name in money)} for row in reports[0].nodes]
    wrong = list(_disagreements("explained", FAMILIES["nodes"], found, expected))
    if wrong:
        raise AssertionError("\n".join(wrong))


def asked(ask: Ask) -> dict[str, Any]:
    """The cut of a question."""
    return {"at": ask.at, "known_at": ask.known_at}


def _attribute(project: Project, chosen: Sequence[Finding]) -> None:
    """To one incident or another; the auditor's causes are by subject alone, whatever the rule."""
    names = {subject: rule for rule in RULES for subject in sorted({it.subject for it in chosen if it.rule == rule})}
    for place, name in enumerate(("first", "second")):
        project.open_incident(name)
        for rule in RULES:
            own = [subject for subject, kind in names.items() if kind == rule][place::2]
            if own:
                project.attribute(name, *own, rule=rule)


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
