"""Apache Spark: runs relations over the files of the log, where one machine is too small."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import ibis
import pyarrow as pa
from ibis.expr.types import Table

from clearwell.engines.answers import as_declared
from clearwell.engines.spark_sessions import opened
from clearwell.errors import StorageError
from clearwell.quality.dialects import EVENTS_TABLE, events_query
from clearwell.quality.relations import EVENTS, MICROSECONDS
from clearwell.quality.running import LogAtCut

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DIALECT = "pyspark"

_TYPES = {"int64": "BIGINT", "string": "STRING"}


class SparkEngine:
    """A session of Spark, whose relation `events` is the log at a cut.

    The machines of a cluster read the files by the same paths as this one.
    """

    def __init__(self, log: LogAtCut, address: str) -> None:
        """Raises UsageError for what cannot be an address or is not installed, StorageError when nothing answers."""
        self._opened = opened(address)
        self._session = self._opened.session
        try:
            with _failing():
                self._files(log).createOrReplaceTempView(EVENTS_TABLE)
                self._session.sql(events_query(log, "spark")).createOrReplaceTempView(EVENTS)
        except BaseException:
            self.close()
            raise

    def run(self, relation: Table, tables: Mapping[str, pa.Table] | None = None) -> pa.Table:
        """The rows of a relation over `events` and `tables`. Raises StorageError when Spark fails."""
        with _failing():
            for name, table in (tables or {}).items():
                self._session.createDataFrame(table).createOrReplaceTempView(name)
            return as_declared(relation, self._session.sql(statement(relation)).toArrow())

    def close(self) -> None:
        """End the session, and what was started for it."""
        self._opened.close()

    def _files(self, log: LogAtCut) -> DataFrame:
        """The events of the files. The columns are told, so that no footer is read for them; absent ones are null."""
        columns = {MICROSECONDS.get(name, name): dtype for name, dtype in log.schema.items()}
        instants = set(MICROSECONDS.values())
        schema = ", ".join(
            f"`{name}` {'TIMESTAMP' if name in instants else _TYPES[dtype]}" for name, dtype in columns.items()
        )
        if not log.paths:
            return self._session.createDataFrame([], schema)
        return self._session.read.schema(schema).parquet(*map(_escaped, log.paths))


def _escaped(path: str) -> str:
    """A path that Spark does not take for a pattern, whatever its folders are called."""
    return re.sub(r"([][{}*?\\])", r"\\\1", path)


def statement(relation: Table) -> str:
    """The SQL of a relation."""
    return str(ibis.to_sql(relation, dialect=DIALECT))


@contextmanager
def _failing() -> Iterator[None]:
    """Raise StorageError for an error of Spark."""
    from pyspark.errors import PySparkException

    try:
        yield
    except PySparkException as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StorageError("engine_failed", f"Spark could not answer: {reason}") from error
