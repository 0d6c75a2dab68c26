"""A producer's records in Parquet or CSV files, compared by DuckDB."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Timer
from typing import Any

import duckdb
import polars as pl

from clearwell.application.comparing import Asked
from clearwell.engines.producer_columns import LISTED, SUMS, Kind, columns_of, wrong_column
from clearwell.errors import DataError, StorageError, UsageError
from clearwell.ledger.views import quoted_text
from clearwell.quality.completeness import DIALECTS, Buckets, Columns, Hashing, Rows

_ROWS_AT_ONCE = 100_000
_MEMORY = "1GB"
_INTEGER = "-?[0-9]{1,18}"
_OFFSET = ".*[0-9][ ]?(Z|[+-][0-9]{2}(:?[0-9]{2})?)"


@contextmanager
def file_records(asked: Asked, folder: Path) -> Iterator[FileRecords]:
    """The records in the files of a source. Raises as `producers.open_producer` does."""
    paths = sorted(glob.glob(str(folder / asked.source.file)))  # noqa: PTH207 - an absolute pattern
    if not paths:
        raise UsageError("producer_file_missing", f"{asked.name}: expected files {asked.source.file}, found none")
    with duckdb.connect(config={"memory_limit": _MEMORY}) as connection:
        records = FileRecords(connection, asked, Rows(DIALECTS["duckdb"], "", Columns(False, False)))
        yield records.of(_reading(asked.name, paths), paths)


def _reading(source: str, paths: Sequence[str]) -> str:
    """What reads the files. The values of a CSV are text: nothing guesses that `0012` is a number."""
    files = ", ".join(map(quoted_text, paths))
    kinds = {Path(path).suffix.lower() for path in paths if not path.lower().endswith((".csv", ".csv.gz", ".csv.zst"))}
    if not kinds:
        return f"read_csv([{files}], all_varchar = true, header = true, union_by_name = true)"
    if kinds == {".parquet"} and all(path.lower().endswith(".parquet") for path in paths):
        return f"read_parquet([{files}], union_by_name = true)"
    raise UsageError("producer_file_unknown", f"{source}: expected files all .parquet, or all .csv, found {paths[0]}")


@dataclass(frozen=True)
class FileRecords:
    """The records of files, as `comparing.Producer`."""

    connection: duckdb.DuckDBPyConnection
    asked: Asked
    rows: Rows

    @property
    def columns(self) -> Columns:
        """What the records have."""
        return self.rows.columns

    @property
    def hashing(self) -> Hashing:
        """MD5, which DuckDB computes itself."""
        return self.rows.dialect.hashing

    def of(self, reading: str, paths: Sequence[str]) -> FileRecords:
        """The same with the rows that the source's query gives of the files, and with nothing else to read."""
        self._run(f"CREATE VIEW records AS SELECT * FROM {reading}")
        self._run(f"SET allowed_paths = [{', '.join(map(quoted_text, paths))}]")
        self._run("SET enable_external_access = false; SET TimeZone = 'UTC'; SET lock_configuration = true")
        query = self.asked.source.query.rstrip().removesuffix(";") or "SELECT * FROM records"
        types = self._run(f"DESCRIBE SELECT * FROM (\n{query}\n) AS records").fetchall()
        kinds = {row[0]: _kind(row[1]) for row in types}
        read = self._read_texts(kinds, query)
        columns = columns_of(self.asked.name, kinds, needs_time=self.asked.period is not None)
        if columns.has_amount:  # Whatever kind of integer it is: it must fit into 64 bits.
            read["amount"] = "CAST(amount AS BIGINT)"
        replaced = ", ".join(f"{expression} AS {name}" for name, expression in read.items())
        chosen = f"SELECT * REPLACE ({replaced}) FROM (\n{query}\n)" if replaced else query
        rows = Rows(DIALECTS["duckdb"], chosen, columns, within=self.asked.period is not None)
        return replace(self, rows=rows)

    def _read_texts(self, kinds: dict[str, Kind], query: str) -> dict[str, str]:
        """How amounts and times that are text are read; says so in `kinds`. Raises DataError for one that is none."""
        forms = {
            "amount": (_INTEGER, "BIGINT", "integer", "whole minor units"),
            "time": (_OFFSET, "TIMESTAMPTZ", "instant", "an instant with an offset such as 2026-01-02T03:04:05Z"),
        }
        read = {}
        for name, (form, type_name, kind, expected) in forms.items():
            if kinds.get(name) == "text":
                right = f"regexp_full_match({name}, '{form}') AND TRY_CAST({name} AS {type_name}) IS NOT NULL"
                wrong = (
                    f"SELECT {name} FROM (\n{query}\n) AS records WHERE {name} IS NOT NULL AND NOT ({right}) LIMIT 1"
                )
                found = self._run(wrong).fetchone()
                if found is not None:
                    raise wrong_column(self.asked.name, name, expected, repr(found[0]))
                read[name], kinds[name] = f"CAST({name} AS {type_name})", kind  # type: ignore[assignment]
        return read

    def sums(self, bits: int, among: Buckets | None = None) -> pl.DataFrame:
        """As `Rows.sums`."""
        return _frame(self._run(self.rows.sums(bits, among), self._bounds()).fetchall(), SUMS)

    def listed(self, among: Buckets) -> Iterator[pl.DataFrame]:
        """As `Rows.listed`, in frames of bounded size."""
        result = self._run(self.rows.listed(among), self._bounds())
        while rows := result.fetchmany(_ROWS_AT_ONCE):
            yield _frame(rows, LISTED)

    def named(self, ids: Sequence[str]) -> pl.DataFrame:
        """As `Rows.named`."""
        return _frame(self._run(self.rows.named("(SELECT unnest($ids))"), {"ids": list(ids)}).fetchall(), LISTED)

    def without_time(self) -> int:
        """As `Rows.without_time`."""
        row = self._run(self.rows.without_time()).fetchone()
        assert row is not None
        return int(row[0])

    def _bounds(self) -> dict[str, Any]:
        period = self.asked.period
        return {} if period is None else {"start": period.start, "until": period.until}

    def _run(self, sql: str, parameters: dict[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
        timer = Timer(self.asked.source.timeout_seconds, self.connection.interrupt)
        timer.daemon = True
        timer.start()
        try:
            return self.connection.execute(sql, parameters)
        except duckdb.InterruptException as error:
            expected = f"expected an answer within {self.asked.source.timeout_seconds} s"
            raise StorageError("producer_timed_out", f"{self.asked.name}: {expected}, found none") from error
        except duckdb.Error as error:
            raise DataError("producer_query_failed", f"{self.asked.name}: {str(error).splitlines()[0]}") from error
        finally:
            timer.cancel()


def _frame(rows: Sequence[tuple[Any, ...]], schema: pl.Schema) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema, orient="row")


def _kind(type_name: str) -> Kind:
    """What a type of DuckDB holds."""
    if type_name.endswith("INT") or type_name in {"INTEGER", "UINTEGER"}:
        return "integer"
    if type_name.startswith("DECIMAL") or type_name in {"DOUBLE", "FLOAT"}:
        return "decimal"
    if type_name in {"VARCHAR", "UUID"}:
        return "text"
    if type_name == "TIMESTAMP WITH TIME ZONE":
        return "instant"
    return "local" if type_name.startswith(("TIMESTAMP", "DATE", "TIME")) else "unknown"
