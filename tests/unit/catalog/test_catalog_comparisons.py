"""Runs of comparisons in the catalog: whole or not seen, read by pages, the newest at a cut."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import Connection, func, select

import catalogs
from clearwell.catalog import comparisons
from clearwell.catalog.comparisons import ComparisonReplacedError, MissingMoney
from clearwell.catalog.database import Database
from clearwell.catalog.tables import comparison_differences
from clearwell.values.cuts import Cut
from clearwell.values.periods import Span, parse_named

ZERO = dict.fromkeys(
    ("record_count", "event_count", "matched_count", "missing_count", "unexpected_count", "different_count",
     "duplicate_count", "without_id_count", "without_time_count", "outside_event_count", "outside_record_count"), 0,
)  # fmt: skip


def kept(catalog: Database, *, complete: bool = True, **changes: Any) -> int:
    """Keep a run with these fields; returns its number."""
    row = {
        "source": "charges", "flow": "card_payments", "event_type": "charge.creation", "amount_of": "gross",
        "period_start": "", "period_until": "", "cut_effective_at": "2026-01-10T00:00:00.000000Z",
        "cut_recorded_at": "2026-01-10T00:00:00.000000Z", "cut_sequence": 10, **ZERO, "missing_money": "{}",
        "unexpected_money": "{}", "different_money": "{}", "estimated": False, "evaluated_at": "2026-01-10",
    }  # fmt: skip
    with catalog.write() as connection:
        number = comparisons.begin_comparison(connection, {**row, **changes})
        if complete:
            comparisons.finish_comparison(connection, number)
    return number


def cut(day: int, sequence: int) -> Cut:
    instant = datetime(2026, 1, day, tzinfo=UTC)
    return Cut(effective_at=instant, recorded_at=instant, sequence=sequence)


def missing(connection: Connection, period: Span | None, at: Cut) -> list[MissingMoney]:
    """What is missing by the newest runs."""
    return comparisons.missing_money(connection, comparisons.newest(connection, period, at))


def usd(money: int) -> str:
    return json.dumps({"USD": {"count": 1, "money": money}})


def test_the_newest_whole_run_of_each_source_counts(tmp_path: Path) -> None:
    """At a cut: not a later run, not one of another period, and not one that is not whole."""
    catalog = Database(catalogs.place(tmp_path))
    big = 10**30
    kept(catalog, missing_money=usd(1))
    kept(catalog, missing_money=usd(big))
    kept(catalog, missing_money=usd(3), cut_sequence=11)
    kept(catalog, missing_money=usd(4), cut_effective_at="2026-01-11T00:00:00.000000Z")
    kept(catalog, missing_money=usd(5), complete=False)
    kept(catalog, missing_money=usd(6), source="payouts", estimated=True)
    january = {"period_start": "2026-01-01T00:00:00.000000Z", "period_until": "2026-02-01T00:00:00.000000Z"}
    kept(catalog, missing_money=usd(7), **january)
    with catalog.read() as connection:
        found = missing(connection, None, cut(10, 10))
        assert [(row.source, row.currency, row.money, row.estimated) for row in found] == [
            ("charges", "USD", big, False),
            ("payouts", "USD", 6, True),
        ]
        assert [row.money for row in missing(connection, None, cut(12, 12))] == [4, 6]
        assert [row.money for row in missing(connection, parse_named("2026-01", "UTC"), cut(10, 10))] == [7]
        assert missing(connection, None, cut(9, 10)) == []


def test_differences_are_read_by_pages(tmp_path: Path) -> None:
    """In order, all of them or the first, whatever the page holds; a run that is dropped leaves none."""
    catalog = Database(catalogs.place(tmp_path))
    number, other = kept(catalog, complete=False), kept(catalog, source="payouts", complete=False)
    empty = dict.fromkeys(("amount", "currency", "occurred_at", "sequence", "event_amount", "event_currency"))
    rows = [{"place": place, "kind": "missing", "id": f"evt_{place}", **empty} for place in range(1, 8)]
    with catalog.write() as connection:
        comparisons.append_differences(connection, number, rows)
        comparisons.append_differences(connection, other, rows[:1])
        assert list(comparisons.differences(connection, number)) == []
        comparisons.finish_comparison(connection, number)
        comparisons.finish_comparison(connection, other)
    with catalog.read() as connection, patch.object(comparisons, "_PAGE", 3):
        for most in (None, 1, 3, 5, 7, 9):
            found = [row["place"] for row in comparisons.differences(connection, number, most)]
            assert found == list(range(1, 8))[:most]
    with catalog.write() as connection:
        comparisons.drop_comparison(connection, number)
        assert list(comparisons.differences(connection, number)) == []
        assert len(list(comparisons.differences(connection, other))) == 1


def test_what_a_killed_run_left_goes_with_the_next_of_its_source(tmp_path: Path) -> None:
    """It is never seen; the next run of the same source clears it, one of another source leaves it."""
    catalog = Database(catalogs.place(tmp_path))
    killed = kept(catalog, missing_money=usd(5), complete=False)
    empty = dict.fromkeys(("amount", "currency", "occurred_at", "sequence", "event_amount", "event_currency"))
    row = {"place": 1, "kind": "missing", "id": "evt_1", **empty}
    count = select(func.count()).select_from(comparison_differences)
    with catalog.write() as connection:
        comparisons.append_differences(connection, killed, [row])
    kept(catalog, source="payouts")
    with catalog.read() as connection:
        assert comparisons.newest(connection, None, cut(10, 10)) == [2]
        assert comparisons.missing_money(connection, [killed]) == []
        assert list(comparisons.differences(connection, killed)) == []
        assert connection.execute(count).scalar() == 1
    assert kept(catalog) == killed + 2
    with catalog.read() as connection:
        assert connection.execute(count).scalar() == 0
    with catalog.write() as connection, pytest.raises(ComparisonReplacedError):
        comparisons.append_differences(connection, killed, [row])
    with catalog.write() as connection, pytest.raises(ComparisonReplacedError):
        comparisons.finish_comparison(connection, killed)
