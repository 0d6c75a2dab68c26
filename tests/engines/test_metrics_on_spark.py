"""Every metric has the same values on Spark in this process; Spark Connect and a cluster answer as it does.

What a question means is proved in this process. Behind Connect and on a cluster, one question of each way to an answer
proves that files, tables and rows get there and back.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import pyarrow as pa
import pytest
from asking import Answers, answers, hold_together
from ibis.expr.types import Table
from metrics_world import AT, log_of_three, tell_everything, tell_nothing
from sparks import JAVA_OPTIONS, cluster, connect_server, require_spark
from statements import StatementEngine, stored_columns

from agreement import Ask, Both
from clearwell.application import measuring
from clearwell.application.cutting import CutRequest
from clearwell.application.measuring import MeasureRequest
from clearwell.engines import spark_sessions
from clearwell.engines.duckdb import DuckDBEngine
from clearwell.engines.spark import SparkEngine
from clearwell.engines.spark_sessions import opened
from clearwell.errors import StorageError
from clearwell.quality import relations
from clearwell.quality.dialects import EVENTS_TABLE, Dialect
from clearwell.quality.metrics import METRICS, Metric
from clearwell.quality.running import LogAtCut
from clearwell.values.periods import ALL_TIME
from played_world import OPTIONS, tell_world, write
from quality_agreement import hold_quality

if TYPE_CHECKING:
    from conftest import Ledger, NewLedger

pytestmark = pytest.mark.xdist_group("spark")

WAYS: tuple[Metric, ...] = ("lags", "clearing")
"""Of events alone, and of episodes, which takes tables along and gives back money of 128 bits and texts."""


@pytest.fixture(scope="module", autouse=True)
def few_rows() -> Iterator[None]:
    """Small worlds do not need as many partitions as a large log, and a Java that lives shortly compiles little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spark_sessions, "_LOCAL_PARTITIONS", 2)
        for name, value in JAVA_OPTIONS.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def everything(new_ledger: NewLedger) -> Both:
    """The world of everything."""
    require_spark()
    return tell_everything(new_ledger)


@pytest.fixture(scope="module")
def expected(everything: Both) -> Answers:
    """What DuckDB says by the episodes that the projections keep."""
    return answers(everything.ledger)


@pytest.fixture
def numbers(tmp_path: Path) -> LogAtCut:
    """A log of three events, in a folder whose name is a pattern, too."""
    return log_of_three(tmp_path / "a [b] {c} d*")


class SparkStatements(StatementEngine):
    """Spark, which has the events as a view."""

    dialect: Dialect = "spark"

    def _put_events(self, log: LogAtCut) -> None:
        self._opened = opened("local[2]")
        types = {"instant": "TIMESTAMP", "int64": "BIGINT", "string": "STRING"}
        schema = ", ".join(f"{name} {types[dtype]}" for name, dtype in stored_columns(log).items())
        files = self._opened.session.read.schema(schema).parquet(*log.paths)
        files.createOrReplaceTempView(EVENTS_TABLE)

    def _answer(self, sql: str) -> pa.Table:
        return self._opened.session.sql(sql).toArrow()

    def close(self) -> None:
        self._opened.close()


def report(ledger: Ledger, engine: str, metrics: Sequence[Metric] = METRICS) -> Answers:
    """Metrics of all time in their finest sections: each question takes long."""
    with ledger.open() as workspace, measuring.measuring(workspace, CutRequest(AT), engine) as measures:
        return {metric: measures.rows(MeasureRequest(metric, by=("charge", "day")), ALL_TIME) for metric in metrics}


def test_spark_in_this_process_agrees(everything: Both, expected: Answers) -> None:
    """Every question of the suite, at a cut of now and one of the past."""
    hold_together(answers(everything.ledger, "local[2]"), expected)


def test_the_auditor_agrees_with_spark(new_ledger: NewLedger, tmp_path: Path) -> None:
    """Scores and metrics of a simulated world with faults of every kind are those of plain loops."""
    require_spark()
    both = tell_world(write(tmp_path), new_ledger)
    hold_quality(both, Ask(OPTIONS.end), "month", "local[2]")


def test_the_statement_for_spark_agrees(everything: Both) -> None:
    """As it is printed, with the events in a view."""
    with everything.ledger.open() as workspace:
        chosen = replace(workspace, engine=lambda _name, log, _connection: SparkStatements(log))
        cut, wanted = CutRequest(AT), MeasureRequest("clearing", by=("charge", "day"))
        with measuring.measuring(chosen, cut, "statement") as measures:
            found = measures.rows(wanted, ALL_TIME)
        assert found == measuring.measure(workspace, cut, wanted).rows


def test_an_empty_log_has_no_rows(everything: Both, new_ledger: NewLedger) -> None:
    """A model in force, and no event: every answer is empty, as DuckDB's."""
    ledger = tell_nothing(new_ledger).ledger
    hold_together(report(ledger, "local[2]"), report(ledger, "duckdb"))


def test_spark_connect_agrees(everything: Both) -> None:
    """Whatever the server's own defaults for time zone and overflow are."""
    with connect_server() as address:
        hold_together(report(everything.ledger, address, WAYS), report(everything.ledger, "duckdb", WAYS))


def test_a_cluster_agrees(everything: Both) -> None:
    """Two workers each read a part of the log."""
    with cluster() as address:
        hold_together(report(everything.ledger, address, WAYS), report(everything.ledger, "duckdb", WAYS))


def test_instants_and_nulls_are_those_of_the_files(numbers: LogAtCut) -> None:
    """Milliseconds become microseconds, also before 1970; a column of no file is null; folders are no patterns."""
    require_spark()
    log = ibis.table(numbers.schema, name=relations.EVENTS)
    rows = log.select("sequence", "effective_us", "amount_x", "property_none").order_by("sequence")
    with _spark(numbers) as spark:
        assert spark.run(rows).to_pylist() == DuckDBEngine(numbers).run(rows).to_pylist()
        assert spark.run(rows)["effective_us"].to_pylist() == [-1_000, 0, 1_000_000]


def test_what_overflows_is_an_error(numbers: LogAtCut) -> None:
    """A sum beyond its type is refused, never another sum."""
    require_spark()
    log = ibis.table(numbers.schema, name=relations.EVENTS)
    beyond: Table = log.select(doubled=log.amount_x + log.amount_x)
    with _spark(numbers) as spark, pytest.raises(StorageError) as caught:
        spark.run(beyond)
    assert caught.value.code == "engine_failed"
    assert "overflow" in caught.value.message.lower()


def test_a_missing_file_is_an_error(numbers: LogAtCut) -> None:
    """A file that is not there is told, not left out."""
    require_spark()
    gone = replace(numbers, paths=[f"{numbers.paths[0]}.gone"])
    with pytest.raises(StorageError) as caught, _spark(gone) as spark:
        spark.run(ibis.table(gone.schema, name=relations.EVENTS).count().as_table())
    assert caught.value.code == "engine_failed"


@pytest.mark.parametrize("scheme", ["spark", "sc"])
def test_an_address_where_nobody_listens_is_told(numbers: LogAtCut, scheme: str) -> None:
    """At once, before Spark begins to try."""
    require_spark()
    with socket.socket() as taken:  # Bound, and not listening.
        taken.bind(("127.0.0.1", 0))
        address = f"{scheme}://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StorageError) as caught:
            SparkEngine(numbers, address)
    assert (caught.value.code, address in caught.value.message) == ("engine_unreachable", True)


@contextmanager
def _spark(log: LogAtCut) -> Iterator[SparkEngine]:
    engine = SparkEngine(log, "local[2]")
    try:
        yield engine
    finally:
        engine.close()
