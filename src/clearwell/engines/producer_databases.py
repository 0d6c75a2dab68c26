"""A producer's records in its database: PostgreSQL, MySQL, MariaDB or SQLite, by SQLAlchemy."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pyarrow as pa
from sqlalchemy import URL, Connection, CursorResult, Engine, Row, bindparam, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from clearwell.application.comparing import Asked
from clearwell.engines.producer_columns import LISTED, SUMS, Kind, columns_of, wrong_column
from clearwell.errors import DataError, StorageError, UsageError
from clearwell.quality.completeness import DIALECTS, HASH_BITS, POSTGRESQL_HASH, Buckets, Columns, Hashing, Rows
from clearwell.quality.row_hashes import PROBES, text_hashes
from clearwell.values.instants import parse_instant

_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "sqlite": "sqlite",
}
_ROWS_AT_ONCE = 100_000
_CONNECT_SECONDS = 10
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMED_OUT = {"57014", 3024, 1969, "interrupted"}
"""How PostgreSQL, MySQL, MariaDB and SQLite say that a statement took too long."""

_POSTGRESQL_KINDS: dict[object, Kind] = {
    **dict.fromkeys((20, 21, 23), "integer"), **dict.fromkeys((700, 701, 790, 1700), "decimal"),
    **dict.fromkeys((18, 19, 25, 1042, 1043, 2950), "text"), 1184: "instant",
    **dict.fromkeys((1082, 1083, 1114, 1266), "local"),
}  # fmt: skip
"""By the number that PostgreSQL has for a type."""

_MYSQL_KINDS: dict[object, Kind] = {
    **dict.fromkeys((1, 2, 3, 8, 9, 13), "integer"), **dict.fromkeys((0, 4, 5, 246), "decimal"),
    **dict.fromkeys((15, 252, 253, 254), "text"), **dict.fromkeys((7, 12), "instant"),
    **dict.fromkeys((10, 11), "local"),
}  # fmt: skip
"""By the number that MySQL has for a type. Its times have no zone: the session's is UTC, and they are read so."""


@contextmanager
def database_records(asked: Asked, folder: Path, environment: Mapping[str, str]) -> Iterator[DatabaseRecords]:
    """The records in the database of a source. Raises as `producers.open_producer` does."""
    url = _url(asked, environment)
    engine = _engine(asked.name, url, folder)
    dialect = DIALECTS["mysql" if url.get_backend_name() == "mariadb" else url.get_backend_name()]
    empty = DatabaseRecords(engine, None, asked, Rows(dialect, "", Columns(False, False)), (url.password or "",))  # type: ignore[arg-type]
    try:
        with empty.telling(connecting=True):
            connection = engine.connect()
        with connection:
            yield replace(empty, connection=connection).begun()
    finally:
        engine.dispose()


def _url(asked: Asked, environment: Mapping[str, str]) -> URL:
    """The URL with the variables of the environment in their places. Raises UsageError."""

    def filled(value: str) -> str:
        for name in _VARIABLE.findall(value):
            if name not in environment:
                raise UsageError("variable_missing", f"{asked.name}: expected a variable {name} in the environment")
        return _VARIABLE.sub(lambda match: environment[match[1]], value)

    given = asked.source.url
    try:
        # A password may have any character: it is put in after the URL was taken apart.
        url = make_url(filled(given) if _VARIABLE.fullmatch(given) else given)
        parts: dict[str, Any] = {name: getattr(url, name) for name in ("username", "password", "host", "database")}
        url = url.set(**parts | {name: filled(value) for name, value in parts.items() if value})
    except (ArgumentError, ValueError):
        raise UsageError("producer_url_invalid", f"{asked.name}: expected a URL such as postgresql://…") from None
    if url.get_backend_name() not in _DRIVERS:
        expected, found = "postgresql, mysql, mariadb or sqlite", url.get_backend_name()
        raise UsageError("producer_url_invalid", f"{asked.name}: expected a database of {expected}, found {found}")
    return url.set(drivername=_DRIVERS[url.get_backend_name()])


def _engine(source: str, url: URL, folder: Path) -> Engine:
    if url.get_backend_name() == "sqlite":
        path = folder / (url.database or "")
        if not path.is_file():
            raise UsageError("producer_file_missing", f"{source}: expected a SQLite file {url.database}, found none")
        address = f"file:{quote(str(path))}?mode=ro"
        return create_engine(
            "sqlite://",
            poolclass=NullPool,
            creator=lambda: sqlite3.connect(address, uri=True, check_same_thread=False, isolation_level=None),
        )
    extra = url.get_backend_name()
    if extra == "mysql":
        url = url.update_query_dict({"charset": "utf8mb4"})
    try:
        return create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": _CONNECT_SECONDS})
    except ModuleNotFoundError as error:
        expected = f"expected the package {error.name}: install it with `pip install 'clearwell[{extra}]'`"
        raise UsageError("producer_driver_missing", f"{source}: {expected}") from error


@dataclass(frozen=True)
class DatabaseRecords:
    """The records of a database, as `comparing.Producer`, in one transaction that only reads."""

    engine: Engine
    connection: Connection
    asked: Asked
    rows: Rows
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def columns(self) -> Columns:
        """What the records have."""
        return self.rows.columns

    @property
    def hashing(self) -> Hashing:
        """Its own hash where the server has the one that we compute, else MD5."""
        return self.rows.dialect.hashing

    def begun(self) -> DatabaseRecords:
        """The same with the transaction begun, and with the rows of the source's query."""
        name = self.rows.dialect.name
        _BEGIN[name](self)
        query = _escaped(self.asked.source.query.rstrip().removesuffix(";"))
        described = self._run(f"SELECT * FROM (\n{query}\n) AS records WHERE 1 = 0")
        description = described.cursor.description if described.cursor is not None else ()
        described.close()
        known = {"postgresql": _POSTGRESQL_KINDS, "mysql": _MYSQL_KINDS, "sqlite": {}}[name]
        kinds: dict[str, Kind] = {item[0]: known.get(item[1], "unknown") for item in description}
        columns = columns_of(self.asked.name, kinds, needs_time=self.asked.period is not None)
        dialect = POSTGRESQL_HASH if name == "postgresql" and self._has_own_hash() else self.rows.dialect
        rows = Rows(dialect, query, columns, within=self.asked.period is not None)
        if name == "sqlite":
            self._require_values(query, columns)
        return replace(self, rows=rows)

    def _has_own_hash(self) -> bool:
        """Whether the server hashes texts as `row_hashes` does: not on big-endian machines, or in other encodings."""
        asked = text('SELECT hashtextextended(probe COLLATE "C", 0) FROM unnest(CAST(:probes AS text[])) AS probe')
        try:
            with self.connection.begin_nested():
                found = self.connection.execute(asked, {"probes": list(PROBES)}).scalars().all()
        except DBAPIError:
            return False
        return sorted(found) == sorted(text_hashes(pa.array(PROBES)).tolist())

    def _require_values(self, query: str, columns: Columns) -> None:
        """Raise DataError for a value that cannot be compared: SQLite's columns have no types, its values have."""
        tests = {"id": ("typeof(id) IN ('real', 'blob')", "text or whole numbers")}
        if columns.has_amount:
            tests["amount"] = ("typeof(amount) NOT IN ('integer', 'null')", "whole minor units")
            tests["currency"] = ("typeof(currency) NOT IN ('text', 'null')", "text")
        if columns.has_time:
            wrong = "time IS NOT NULL AND clearwell_micros(time) IS NULL"
            tests["time"] = (wrong, "an instant with an offset such as 2026-01-02T03:04:05Z")
        for name, (condition, expected) in tests.items():
            found = self._run(f"SELECT {name} FROM (\n{query}\n) AS records WHERE {condition} LIMIT 1").first()
            if found is not None:
                raise wrong_column(self.asked.name, name, expected, repr(found[0]))

    def sums(self, bits: int, among: Buckets | None = None) -> pl.DataFrame:
        """As `Rows.sums`."""
        with self.telling():
            return _frame(self._run(self.rows.sums(bits, among), self._bounds()).all(), SUMS)

    def listed(self, among: Buckets) -> Iterator[pl.DataFrame]:
        """As `Rows.listed`, in frames of bounded size."""
        sql = self.rows.listed(among)
        if self.rows.dialect.name == "postgresql":
            yield from self._copied(sql)
            return
        result = self._run(sql, self._bounds(), streamed=True)
        while True:
            with self.telling():
                rows = result.fetchmany(_ROWS_AT_ONCE)
            if not rows:
                return
            yield _frame(rows, LISTED)

    def _copied(self, sql: str) -> Iterator[pl.DataFrame]:
        """The rows by PostgreSQL's COPY: by all processors, unlike a cursor of the server, and read in a fifth."""
        compiled = text(sql).compile(dialect=self.connection.dialect)
        driver: Any = self.connection.connection.cursor()
        copying = f"COPY ({compiled.string}) TO STDOUT (FORMAT csv)"
        with self.telling(), driver, driver.copy(copying, self._bounds()) as rows:
            blocks = iter(rows)
            while block := b"".join(islice(blocks, _ROWS_AT_ONCE)):
                frame = pl.read_csv(block, has_header=False, schema=LISTED)
                yield frame.with_columns(pl.col("id").fill_null(""))  # An empty text is read as null.

    def named(self, ids: Sequence[str]) -> pl.DataFrame:
        """As `Rows.named`."""
        statement = text(self.rows.named(":ids")).bindparams(bindparam("ids", expanding=True))
        with self.telling():
            return _frame(self.connection.execute(statement, {"ids": list(ids)}).all(), LISTED)

    def without_time(self) -> int:
        """As `Rows.without_time`."""
        return int(self._run(self.rows.without_time()).scalar_one())

    def _bounds(self) -> dict[str, Any]:
        """The period, in the form in which the database compares its times with it."""
        period = self.asked.period
        if period is None:
            return {}
        form = _BOUNDS[self.rows.dialect.name]
        return {"start": form(period.start), "until": form(period.until)}

    def _run(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, streamed: bool = False
    ) -> CursorResult[Any]:
        with self.telling():
            if self.rows.dialect.name == "sqlite":
                _limit_time(self.connection, self.asked.source.timeout_seconds)
            connection = self.connection.execution_options(stream_results=streamed)
            return connection.execute(text(sql), dict(parameters or {}))

    @property
    def _driver_error(self) -> type[Exception]:
        """What the driver raises where it is used without SQLAlchemy."""
        found: type[Exception] = self.engine.dialect.loaded_dbapi.Error
        return found

    @contextmanager
    def telling(self, *, connecting: bool = False) -> Iterator[None]:
        """Tell what the database says in an error of ours, without the password."""
        try:
            yield
        except (DBAPIError, self._driver_error) as error:
            said_by = error.orig if isinstance(error, DBAPIError) else error
            said = " ".join(str(said_by).split())
            for secret in filter(None, self.secrets):
                said = said.replace(secret, "***")
            if _is_time_out(said_by):
                expected = f"expected an answer within {self.asked.source.timeout_seconds} s"
                raise StorageError("producer_timed_out", f"{self.asked.name}: {expected}: {said}") from None
            if connecting or getattr(error, "connection_invalidated", False):
                raise StorageError("producer_unreachable", f"{self.asked.name} cannot be reached: {said}") from None
            raise DataError("producer_query_failed", f"{self.asked.name}: {said}") from None


def _is_time_out(error: BaseException | None) -> bool:
    given = [getattr(error, "sqlstate", None), str(error), *(error.args[:1] if error is not None else ())]
    return any(item in _TIMED_OUT for item in given)


def _escaped(query: str) -> str:
    """The query as SQLAlchemy's text that has no parameters."""
    return query.replace(":", "\\:")


def _frame(rows: Sequence[Row[Any]], schema: pl.Schema) -> pl.DataFrame:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pl.DataFrame(
        [pl.Series(name, values, dtype=kind) for (name, kind), values in zip(schema.items(), columns, strict=True)]
    )


def _begin_postgresql(records: DatabaseRecords) -> None:
    limit = int(records.asked.source.timeout_seconds) * 1000
    with records.telling():
        records.connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        # The hashes are computed by all processors, and each row only once (the barrier of `quality.completeness`).
        settings = ("jit = off", "parallel_tuple_cost = 0", "parallel_setup_cost = 0", "TimeZone = 'UTC'")
        for setting in (f"statement_timeout = {limit}", *settings):
            records.connection.exec_driver_sql(f"SET LOCAL {setting}")


def _begin_mysql(records: DatabaseRecords) -> None:
    seconds = int(records.asked.source.timeout_seconds)
    with records.telling():
        run = records.connection.exec_driver_sql
        of_mariadb = getattr(records.connection.dialect, "is_mariadb", False)
        limit = f"max_statement_time = {seconds}" if of_mariadb else f"max_execution_time = {seconds * 1000}"
        for setting in (limit, "time_zone = '+00:00'", "TRANSACTION ISOLATION LEVEL REPEATABLE READ"):
            run(f"SET SESSION {setting}")
        run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")


def _begin_sqlite(records: DatabaseRecords) -> None:
    with records.telling():
        connection: Any = records.connection.connection.dbapi_connection
        connection.create_function("clearwell_hash", 1, _hash, deterministic=True)
        connection.create_function("clearwell_micros", 1, _micros, deterministic=True)
        for statement in ("PRAGMA query_only = ON", "BEGIN"):
            records.connection.exec_driver_sql(statement)


_BEGIN: dict[str, Callable[[DatabaseRecords], None]] = {
    "postgresql": _begin_postgresql,
    "mysql": _begin_mysql,
    "sqlite": _begin_sqlite,
}


def _hash(content: str | None) -> int | None:
    """As the other databases compute it (`quality.completeness`)."""
    if content is None:
        return None
    return int(hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()[: HASH_BITS // 4], 16)


def _micros(value: object) -> int | None:
    """Microseconds since 1970 of an instant as text; None when it is none."""
    try:
        return _since_epoch(parse_instant(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _since_epoch(instant: datetime) -> int:
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


_BOUNDS: dict[str, Callable[[datetime], Any]] = {
    "postgresql": lambda instant: instant,
    "mysql": lambda instant: instant.astimezone(UTC).replace(tzinfo=None),
    "sqlite": _since_epoch,
}


def _limit_time(connection: Connection, seconds: int) -> None:
    """Have SQLite stop what it does after so many seconds from now."""
    until = time.monotonic() + seconds
    sqlite: Any = connection.connection.dbapi_connection
    sqlite.set_progress_handler(lambda: time.monotonic() > until, 100_000)
