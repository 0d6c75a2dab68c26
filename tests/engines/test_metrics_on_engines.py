"""Every metric has the same values on every engine, and by the auditor's plain loops; Spark has a module of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from asking import CUTS, Answers, answers, hold_together
from metrics_world import tell_everything, tell_nothing
from statements import ClickHouseStatements, DuckDBStatements, PostgresServer, PostgresStatements, postgres_server

from agreement import Both
from clearwell.application import measuring
from clearwell.engines.duckdb import DuckDBEngine
from clearwell.simulation.auditor import quality_rows
from clearwell.values.instants import parse_cut_instant
from quality_agreement import agree_on_quality

if TYPE_CHECKING:
    from conftest import NewLedger


@pytest.fixture(scope="module", params=["everything", "nothing"])
def world(request: pytest.FixtureRequest, new_ledger: NewLedger) -> Both:
    """The world of everything, and one without an event."""
    return (tell_everything if request.param == "everything" else tell_nothing)(new_ledger)


@pytest.fixture(scope="module")
def expected(world: Both) -> Answers:
    """What DuckDB says by the episodes that the projections keep."""
    return answers(world.ledger)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    with postgres_server() as server:
        yield server


def test_duckdb_agrees_with_the_auditor(world: Both) -> None:
    """By kept episodes, each family of rows is what plain loops find, at a cut of now and one of the past."""
    for cut in CUTS[: 2 if world.audit.events else 1]:
        at, known_at = parse_cut_instant(cut.at), int(cut.known_at) if cut.known_at else None
        with world.ledger.open() as workspace:
            report = measuring.quality(workspace, cut, "all")
        books = world.audit.books(world.audit.cut(world.ledger.clock.now, at, known_at))
        agree_on_quality(report.__dict__, quality_rows(books))


def test_duckdb_over_the_files_agrees(world: Both, expected: Answers) -> None:
    """From the log alone, episodes are those that the projections keep."""
    hold_together(answers(world.ledger, "scan", DuckDBEngine), expected)


def test_the_statement_for_duckdb_runs_as_it_is(world: Both, expected: Answers) -> None:
    """It names the files itself, and has columns that none of them has."""
    hold_together(answers(world.ledger, "statement", DuckDBStatements), expected)


def test_the_statement_for_clickhouse_agrees(world: Both, expected: Answers) -> None:
    """Whose joins, without a setting, fill what they do not find with zeros and empty texts."""
    hold_together(answers(world.ledger, "statement", ClickHouseStatements), expected)


def test_the_statement_for_postgresql_agrees(world: Both, expected: Answers, postgres: PostgresServer) -> None:
    """With the events copied there."""
    hold_together(answers(world.ledger, "statement", lambda log: PostgresStatements(log, postgres)), expected)


def test_the_world_has_what_it_should(world: Both, expected: Answers) -> None:
    """Sums beyond 64 bits, nulls, a rest of values, accounts on time, late and open: else the suite proves little."""
    rows: list[dict[str, Any]] = [row for found in expected.values() for row in found]
    if not world.audit.events:
        assert not rows
        return
    assert any(row.get("money", 0) > 2**64 for row in rows)
    assert any(row.get("is_rest") for row in rows)
    assert any(row.get("value", "") is None and not row["is_rest"] for row in rows)
    assert any(
        0 < row.get("on_time_count", 0) < row["due_count"] - row["overdue_count"] for row in rows if "due_count" in row
    )
    assert {row["past_due"] for row in rows if "past_due" in row} > {"7 d", "30 d"}


def test_another_value_is_caught(expected: Answers) -> None:
    """The check can fail: one unit of money more in one row is found."""
    for name, rows in expected.items():
        for place, row in enumerate(rows):
            if row.get("money"):
                wrong = [*rows[:place], row | {"money": row["money"] + 1}, *rows[place + 1 :]]
                with pytest.raises(AssertionError):
                    hold_together({**expected, name: wrong}, expected)
                return
    assert not any(expected.values()), "only the empty world has no money"
