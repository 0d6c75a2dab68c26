"""The events that a producer's records are compared with: of one type, at a cut, and of a period by `occurred_at`.

They are hashed once, from the columns that it takes, and never leave DuckDB unless their bucket differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import duckdb.func
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from clearwell.application.cutting import Known
from clearwell.application.reading import reading
from clearwell.flows.model import EventType, Model
from clearwell.ledger.views import quoted_name, quoted_text
from clearwell.log.reader import LogReader
from clearwell.quality import completeness
from clearwell.quality.completeness import DIALECTS, DUCKDB_HASH, Buckets, Columns, Dialect, Hashing, Rows
from clearwell.quality.row_hashes import text_hashes
from clearwell.values import columns
from clearwell.values.periods import Span
from clearwell.values.times import stored_text

_MEMORY = "1GB"
_ROWS_AT_ONCE = 200_000


@dataclass(frozen=True)
class ComparedEvents:
    """The events of a comparison, on a connection that has the relations which `quality.completeness` names."""

    connection: duckdb.DuckDBPyConnection
    log: LogReader
    chosen: str
    """All that are known at the cut: `sequence`, `id`, `amount`, `currency`, `time_us`."""
    scope: str
    """The condition on those that the comparison is about."""
    books: str
    """The condition on an event of the log that the books at the cut have it."""
    models: Mapping[str, Model]
    """By version: each event moved what its own model says."""
    has_amount: bool
    dialect: Dialect
    """Its hash is the one that the producer's database computes."""

    def count(self) -> int:
        """How many there are."""
        return int(self._one(f"SELECT count(*) FROM ({self.chosen}) WHERE {self.scope}"))

    def hash_all(self) -> None:
        """Compute the hashes, and keep them: the log is read once, however often buckets are split."""
        rows = Rows(self.dialect, f"SELECT * FROM ({self.chosen}) WHERE {self.scope}", Columns(self.has_amount, False))
        if self.dialect.hashing == "md5":
            query = f"SELECT sequence, {rows.hash()} AS h FROM ({rows.query}) AS records"
            self._run(f"CREATE TEMP TABLE event_hashes AS {query}")
            return
        # A function of SQL would be called for 2,048 rows at once: that takes three times as long.
        self._run("CREATE TEMP TABLE event_hashes (sequence BIGINT, h BIGINT)")
        with reading(self.log), self.connection.cursor() as other:
            query = f"SELECT sequence, {rows.content()} AS content FROM ({rows.query}) AS records"
            for batch in other.execute(query).to_arrow_reader(_ROWS_AT_ONCE):
                hashes = pa.array(_hashes(batch["content"]))
                self.connection.register("hashed", pa.table({"sequence": batch["sequence"], "h": hashes}))
                self._run("INSERT INTO event_hashes FROM hashed")

    def differing(self, bits: int, among: Buckets | None, sums: pl.DataFrame) -> pl.DataFrame:
        """The buckets that differ from a producer's `sums`: `bucket`, and `row_count` of both sides together."""
        self.connection.register("producer_sums", sums)
        condition = f"WHERE {among.condition()}" if among is not None else ""
        own = f"{completeness.hash_sums(bits, self.dialect)} FROM event_hashes {condition} GROUP BY 1"
        self._run(f"CREATE OR REPLACE TEMP TABLE event_sums AS {own}")
        found = self._run(f"CREATE OR REPLACE TEMP TABLE differing AS {completeness.DIFFERING}; FROM differing")
        frame = pl.from_arrow(found.to_arrow_table())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def list_buckets(self, bits: int) -> None:
        """Make `events`, those of the buckets that differ, and the empty relations for what is elsewhere."""
        shift = completeness.HASH_BITS - bits
        own = f"SELECT sequence FROM event_hashes WHERE h >> {shift} IN (SELECT bucket FROM differing)"
        self._run(f"CREATE TEMP TABLE events AS FROM ({self.chosen}) WHERE sequence IN ({own})")
        fields = "id VARCHAR, amount BIGINT, currency VARCHAR, time_us BIGINT"
        self._run(f"CREATE TEMP TABLE records ({fields})")
        self._run("CREATE TEMP TABLE outside_records (id VARCHAR)")

    def take_records(self, frame: pl.DataFrame, chosen_bits: int | None) -> None:
        """Add records to compare one by one; with `chosen_bits`, those alone whose bucket differs."""
        self.connection.register("taken", frame)
        condition = ""
        if chosen_bits is not None:
            hashed = Rows(self.dialect, "", Columns(self.has_amount, False)).hash()
            condition = f"WHERE {hashed} >> {completeness.HASH_BITS - chosen_bits} IN (SELECT bucket FROM differing)"
        self._run(f"INSERT INTO records SELECT id, amount, currency, time_us FROM taken AS records {condition}")

    def leave_out_matched(self) -> None:
        """Keep of `records` and `events` only those of ids that are in question."""
        self._run(f"CREATE TEMP TABLE in_question AS {completeness.IN_QUESTION}")
        for name in ("records", "events"):
            self._run(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM {name} WHERE id IN (FROM in_question)")

    def find_outside(self) -> int:
        """Make `outside_events`, of records that have none among `events`; returns how many are out of bounds.

        One that is within them is in a bucket that does not differ, so that another record of its id is equal to it:
        it is `paired`.
        """
        own = "SELECT id FROM records WHERE id NOT IN (SELECT id FROM events)"
        chosen = f"SELECT *, ({self.scope}) AS paired FROM ({self.chosen})"
        self._run(f"CREATE TEMP TABLE outside_events AS FROM ({chosen}) WHERE id IN ({own})")
        return int(self._one("SELECT count(DISTINCT id) FROM outside_events WHERE NOT paired"))

    def unmatched_ids(self, most: int) -> Iterator[list[str]]:
        """The ids of events without a record among `records`, so many at a time."""
        query = (
            "SELECT DISTINCT id FROM events WHERE id NOT IN (SELECT id FROM records) AND id > $after "
            f"ORDER BY id LIMIT {int(most)}"
        )
        after = ""
        while rows := self._run(query, {"after": after}).fetchall():
            yield [row[0] for row in rows]
            after = rows[-1][0]

    def take_outside(self, ids: pl.Series) -> None:
        """Say that the producer has records of these ids elsewhere."""
        self.connection.register("taken_ids", pl.DataFrame({"id": ids}))
        self._run("INSERT INTO outside_records SELECT DISTINCT id FROM taken_ids")

    def tell_apart(self) -> tuple[dict[str, int], list[tuple[str, str, int, int]]]:
        """Make `found`, the differences in order. Returns their counts by kind, and the rows of `MONEY`."""
        self._run(f"CREATE TEMP TABLE found AS {completeness.differences()}")
        counts = dict(self._run("SELECT kind, count(*) FROM found GROUP BY kind").fetchall())
        return counts, self._run(completeness.MONEY).fetchall()

    def found(self, most: int) -> Iterator[list[dict[str, Any]]]:
        """The differences, so many at a time, as rows of the catalog's `comparison_differences`."""
        result = self._run(
            "SELECT place, kind, id, amount, currency, strftime(make_timestamp(time_us), '%Y-%m-%dT%H:%M:%S.%fZ') "
            "AS occurred_at, sequence, event_amount, event_currency FROM found ORDER BY place"
        )
        names = [item[0] for item in result.description or ()]
        while rows := result.fetchmany(most):
            yield [dict(zip(names, row, strict=True)) for row in rows]

    def usual_money(self, event: EventType) -> list[tuple[str, int, int, int]]:
        """The rows of `completeness.usual_money`, of all events of the type that the books have at the cut."""
        names = _column_names(self.connection, self.log)
        amounts = [
            (
                quoted_name(columns.amount_column(move.amount)),
                quoted_name(columns.currency_column(move.amount)),
                f"model_version = {quoted_text(version)}",
            )
            for version, model in self.models.items()
            if event.name in model.event_types
            for move in model.event_types[event.name].moves
            if columns.amount_column(move.amount) in names
        ]
        if not amounts:
            return []
        self._run(f"CREATE TEMP VIEW of_type AS {_of_type(self.log, event.name)} AND {self.books}")
        return self._run(completeness.usual_money(amounts, "of_type")).fetchall()

    def _one(self, query: str) -> Any:
        row = self._run(query).fetchone()
        assert row is not None
        return row[0]

    def _run(self, query: str, parameters: dict[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
        with reading(self.log):
            return self.connection.execute(query, parameters)


@contextmanager
def compared_events(
    known: Known, event: EventType, amount: str, period: Span | None, scratch: Path, *, hashing: Hashing
) -> Iterator[ComparedEvents]:
    """The events of a type at a cut; `amount` is the one that is compared, or empty, and `hashing` how.

    What does not fit into memory is put below `scratch`.

    Raises StorageError for a file of the log that cannot be read.
    """
    log = known.log
    effective_at = f"effective_at <= TIMESTAMPTZ '{stored_text(known.cut.effective_at)}'"
    bounds = (
        f"AND occurred_at >= TIMESTAMPTZ '{stored_text(period.start)}' "
        f"AND occurred_at < TIMESTAMPTZ '{stored_text(period.until)}'"
        if period is not None
        else ""
    )
    with duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": str(scratch)}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        with reading(log):
            names = _column_names(connection, log)
        money = "NULL::BIGINT AS amount, NULL::VARCHAR AS currency"
        if amount and columns.amount_column(amount) in names:
            value, currency = columns.amount_column(amount), columns.currency_column(amount)
            money = f"{quoted_name(value)} AS amount, {quoted_name(currency)} AS currency"
        chosen = (
            f"SELECT sequence, id, {money}, epoch_us(occurred_at) AS time_us, occurred_at, effective_at "
            f"FROM ({_of_type(log, event.name)}) WHERE sequence <= {int(known.cut.sequence)}"
        )
        books = f"sequence <= {int(known.cut.sequence)} AND {effective_at}"
        dialect = DIALECTS["duckdb"]
        if hashing == "lookup3":
            dialect = DUCKDB_HASH
            arrow = duckdb.func.PythonUDFType.ARROW
            connection.create_function("clearwell_hash", _hashed, ["VARCHAR"], "BIGINT", type=arrow)
        yield ComparedEvents(
            connection, log, chosen, f"{effective_at} {bounds}", books, known.models, bool(amount), dialect
        )


def _hashed(texts: pa.ChunkedArray | pa.Array) -> pa.Array:
    """As a function of DuckDB."""
    return pa.array(_hashes(texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts))


def _hashes(texts: pa.Array) -> npt.NDArray[np.int64]:
    return text_hashes(texts) & ((1 << completeness.HASH_BITS) - 1)


def _of_type(log: LogReader, event_type: str) -> str:
    return f"SELECT * FROM {_files(log)} WHERE type = {quoted_text(event_type)}"


def _files(log: LogReader) -> str:
    paths = ", ".join(quoted_text(str(log.path(item))) for item in log.files)
    return f"read_parquet([{paths}], union_by_name = true)" if paths else _NO_EVENTS


_NO_EVENTS = (
    "(SELECT 0::BIGINT AS sequence, '' AS type, '' AS id, now() AS effective_at, now() AS occurred_at WHERE false)"
)


def _column_names(connection: duckdb.DuckDBPyConnection, log: LogReader) -> set[str]:
    return {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {_files(log)}").fetchall()}
