"""What `--sql` prints can be read by the system that it is for; what is run of it is in the modules beside."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import pyarrow as pa
import pytest
import sqlglot
from metrics_world import AT, log_of_three, tell_everything
from sqlglot import exp
from statements import ClickHouseStatements

from agreement import Both
from clearwell.application.cutting import CutRequest
from clearwell.application.measuring import MeasureRequest, statement_behind
from clearwell.quality.cleared import BUSINESS_WINDOWS
from clearwell.quality.dialects import DIALECTS, EVENTS_TABLE, Dialect
from clearwell.quality.relations import EVENTS
from clearwell.values.accounts import SEPARATOR

if TYPE_CHECKING:
    from conftest import NewLedger

WANTED = [MeasureRequest("timeliness", by=("charge", "day")), MeasureRequest("clearing", "2026-03", ("charge", "day"))]


_NOT_COLUMNS = {"EPOCH_MICROSECOND", "INDEX", "join_use_nulls", "union_by_name"}
"""What is read as a column, and is a part or a setting."""


@pytest.fixture(scope="module")
def everything(new_ledger: NewLedger) -> Both:
    """The world of everything."""
    return tell_everything(new_ledger)


def _statement(world: Both, wanted: MeasureRequest, dialect: Dialect) -> str:
    with world.ledger.open() as workspace:
        return statement_behind(workspace, CutRequest(AT), wanted, dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: wanted.metric)
def test_a_statement_can_be_read_back(everything: Both, wanted: MeasureRequest, dialect: Dialect) -> None:
    """It is one query of its dialect, over one table that is not its own, with every name quoted."""
    (query,) = sqlglot.parse(_statement(everything, wanted, dialect), dialect=dialect)
    assert isinstance(query, exp.Select)
    own = {common.alias for common in query.find_all(exp.CTE)}
    tables = {table.name for table in query.find_all(exp.Table) if isinstance(table.this, exp.Identifier)} - own
    assert tables == (set() if dialect == "duckdb" else {EVENTS_TABLE})
    assert BUSINESS_WINDOWS in own or wanted.metric == "timeliness"
    columns = [column.this for column in query.find_all(exp.Column) if isinstance(column.this, exp.Identifier)]
    assert {item.name for item in columns if not item.quoted} <= _NOT_COLUMNS


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_statement_has_no_character_that_nobody_sees(everything: Both, dialect: Dialect) -> None:
    """Copied from a terminal, the separator of account keys would be lost, and two accounts be one."""
    text = _statement(everything, WANTED[1], dialect)
    assert SEPARATOR not in text
    assert text.isprintable() or set(filter(lambda letter: not letter.isprintable(), text)) == {"\n"}


def test_parts_of_a_key_are_texts_in_snowflake(everything: Both) -> None:
    """Not of the type that a list has there, whose text would be printed with quotes."""
    text = _statement(everything, WANTED[1], "snowflake")
    assert "SPLIT_PART(" in text
    assert "GET(" not in text


class _WithoutSetting(ClickHouseStatements):
    """ClickHouse as it is by default."""

    def _answer(self, sql: str) -> pa.Table:
        assert "join_use_nulls = 1" in sql
        return super()._answer(sql.replace("join_use_nulls = 1", "join_use_nulls = 0"))


def test_clickhouse_needs_its_setting(tmp_path: Path) -> None:
    """Without it, a join fills what it does not find with zeros, where a column has no nulls of its own."""
    log = log_of_three(tmp_path / "log")
    rows = ibis.table(log.schema, name=EVENTS)
    first = rows.filter(rows.sequence == 1).select(first=rows.sequence, one=ibis.literal(1))
    joined = rows.left_join(first, rows.sequence == first.first)
    unfound = joined.filter(first.one.isnull())
    answer = unfound.agg(unfound_count=unfound.count())
    for engine, expected in ((ClickHouseStatements(log), 2), (_WithoutSetting(log), 0)):
        with closing(engine):
            assert engine.run(answer).to_pylist() == [{"unfound_count": expected}]
