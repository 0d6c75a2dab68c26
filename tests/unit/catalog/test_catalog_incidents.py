"""Attributions in the catalog: one incident at most per rule and subject, withdrawn and never deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from clearwell.catalog import incidents
from clearwell.catalog.database import Database
from clearwell.catalog.tables import attributions

NOW = "2026-01-02T00:00:00.000000Z"


@pytest.fixture
def catalog(tmp_path: Path) -> Database:
    """A catalog with two incidents, 1 and 2."""
    catalog = Database(tmp_path / "catalog.sqlite")
    with catalog.write() as connection:
        incidents.add(connection, "outage", "", NOW)
        incidents.add(connection, "deploy", "", NOW)
    return catalog


def test_a_subject_has_one_incident_per_rule(catalog: Database) -> None:
    """Attributed again it is counted once, to another incident it moves there; other rules are apart."""
    with catalog.write() as connection:
        assert incidents.attribute(connection, 1, "late", [("a/1", 1), ("a/2", 2)], NOW) == 2
        assert incidents.attribute(connection, 1, "late", [("a/2", 2), ("a/3", 3)], NOW) == 1
        assert incidents.attribute(connection, 1, "missing", [("a/2", None)], NOW) == 1
        assert incidents.elsewhere(connection, 2, "late", ["a/1", "a/9"]) == [("a/1", "outage")]
        assert incidents.attribute(connection, 2, "late", [("a/1", 1)], NOW) == 1
        assert list(incidents.subjects_in_force(connection, "late")) == [("a/1", 1), ("a/2", 2), ("a/3", 3)]
        assert incidents.counts_in_force(connection) == {(1, "late"): 2, (1, "missing"): 1, (2, "late"): 1}
        assert incidents.rules_in_force(connection) == {"late", "missing"}
        assert connection.execute(select(func.count()).select_from(attributions)).scalar() == 5


def test_the_database_itself_refuses_a_second_one(catalog: Database) -> None:
    """Two processes at once cannot attribute one subject twice."""
    row = {"rule": "late", "subject": "a/1", "attributed_at": NOW, "withdrawn_at": ""}
    with catalog.write() as connection:
        connection.execute(insert(attributions), [{**row, "incident": 1, "withdrawn_at": NOW}, {**row, "incident": 1}])
    with pytest.raises(IntegrityError), catalog.write() as connection:
        connection.execute(insert(attributions), [{**row, "incident": 2}])


def test_what_is_withdrawn_no_longer_counts(catalog: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """By subject, only at its own incident, or all of an incident page by page."""
    monkeypatch.setattr(incidents, "PAGE", 2)
    with catalog.write() as connection:
        incidents.attribute(connection, 1, "uncleared", [(f"c{{p={n}}}", None) for n in range(5)], NOW)
        assert incidents.withdraw(connection, 2, "uncleared", ["c{p=0}"], NOW) == 0
        assert incidents.withdraw(connection, 1, "uncleared", ["c{p=0}", "c{p=9}"], NOW) == 1
        assert [incidents.withdraw_some(connection, 1, NOW) for _ in range(3)] == [2, 2, 0]
        assert incidents.rules_in_force(connection) == set()


def test_questions_use_the_index_of_those_in_force(catalog: Database) -> None:
    """However many were withdrawn, what is in force is found without a look at them."""
    with catalog.read() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT subject FROM attributions WHERE withdrawn_at = '' AND rule = 'late'"
        ).all()
    assert "attributions_in_force" in str(plan)
