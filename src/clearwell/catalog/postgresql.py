"""A catalog that is one schema of a PostgreSQL database, with the guarantees of a SQLite file.

Who writes has the schema's advisory lock from the beginning of the transaction to its end, so that writers never
overlap. Every text is `TEXT COLLATE "C"`, sorted by code point; NUL, which PostgreSQL refuses, is escaped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Dialect,
    Engine,
    String,
    Table,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.base import PGTypeCompiler
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import ArgumentError, DBAPIError, InternalError, OperationalError

from clearwell.catalog import transactions
from clearwell.catalog.transactions import Transactions
from clearwell.errors import StorageError, UsageError

DEFAULT_SCHEMA = "clearwell"

_DRIVER = "postgresql+clearwell"
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_IDLE_MILLISECONDS = 60_000
"""So long a writer that was stopped within a transaction can shut the others out: then the server ends it."""

_CONNECTING = {
    "connect_timeout": "10", "keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3",
    "tcp_user_timeout": "60000", "application_name": "clearwell",
}  # fmt: skip
"""How a connection is made, and how soon one to a server that is gone is given up; a URL can say otherwise."""

_UNREACHABLE = re.compile(r"08...|28...|3D000|53300|57P0[1-5]|25P0[34]")
"""States by which the server says that it takes, or keeps, no connection."""

_REFUSED = {"42501"}
"""A right is missing: no mistake in a statement."""

_NUL, _NUL_ESCAPED, _ESCAPE, _ESCAPE_ESCAPED = "\0", "\x1b0", "\x1b", "\x1b1"


class PostgresqlSchema(Transactions):
    """One schema. Reads see committed state only; one write transaction at a time."""

    def __init__(self, url: URL, what: str) -> None:
        """The schema that `catalog_address` gave `url` for; nothing is opened yet.

        Raises UsageError (`catalog_driver_missing`) without psycopg.
        """
        self.schema = str(url.query["schema"])
        shown = f"{url.host or url.query.get('host', 'localhost')}/{url.database or ''}, schema {self.schema}"
        super().__init__(_engine(url, self.schema), what, shown)
        self._secrets = [str(url.password or ""), *(str(url.query.get(name, "")) for name in _SECRETS)]

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A transaction that reads, and sees everything as it is at one instant. Raises as `read` does."""
        try:
            with self.engine.connect().execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            ) as connection:
                yield connection
        except DBAPIError as error:
            raise self.told(error, "unusable", "read") from error

    def told(self, error: DBAPIError, code: str, act: str) -> Exception:
        """As `Transactions.told`, without a password; `catalog_unreachable` where a connection fails or breaks."""
        state = getattr(error.orig, "sqlstate", None)
        said = " ".join(str(error.orig).split())
        for secret in filter(None, self._secrets):
            said = said.replace(secret, "***")
        broken = error.connection_invalidated or (isinstance(error, OperationalError) and state is None)
        if broken or _UNREACHABLE.fullmatch(state or ""):
            advice = "try again when it can be; where something was written, run the command again"
            message = f"the {self._what} in PostgreSQL ({self.name}) cannot be reached: {said}; {advice}"
            return StorageError(f"{self._what}_unreachable", message)
        if isinstance(error, (OperationalError, InternalError)) or state in _REFUSED:
            message = f"the {self._what} in PostgreSQL ({self.name}) cannot be {act}: {said}"
            return StorageError(f"{self._what}_{code}", message)
        return error

    def make_schema(self, connection: Connection) -> None:
        """Make the schema when it is not there. Raises StorageError for a database that cannot keep every text."""
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            message = f"expected a database with the encoding UTF8 for the {self._what}, found {encoding}"
            raise StorageError(f"{self._what}_unusable", message)
        there = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
        if connection.exec_driver_sql(there, (self.schema,)).first() is None:
            connection.exec_driver_sql(f'CREATE SCHEMA "{self.schema}"')


_SECRETS = ("password", "sslpassword")


def catalog_address(text: str) -> URL:
    """What `CLEARWELL_CATALOG_URL` says, with the schema in its query. Raises UsageError, which never shows the text.

    Beside `schema`, the query may have whatever libpq knows, but `options`.
    """
    expected = "expected CLEARWELL_CATALOG_URL such as postgresql://user:password@host/database?schema=name"
    try:
        url = make_url(text)
        name = url.get_backend_name()
    except (ArgumentError, ValueError):
        raise UsageError("catalog_url_invalid", f"{expected}, found no URL") from None
    if name not in {"postgresql", "postgres"}:
        raise UsageError("catalog_url_invalid", f"{expected}, found one of another kind of database")
    if not url.database:
        raise UsageError("catalog_url_invalid", f"{expected}, found no database in it")
    if any(sign in url.database for sign in "@/:"):
        raise UsageError(
            "catalog_url_invalid", f"{expected}: write signs in a password as in any URL, such as %40 for @"
        )
    if "options" in url.query:
        raise UsageError("catalog_url_invalid", f"{expected}, found `options` in it, which Clearwell sets")
    schema = url.query.get("schema", DEFAULT_SCHEMA)
    if not isinstance(schema, str) or not _SCHEMA_NAME.fullmatch(schema) or schema.startswith("pg_"):
        raise UsageError("catalog_url_invalid", f"{expected}, with a schema of small letters, digits and _")
    return url.set(drivername=_DRIVER).difference_update_query(["schema"]).update_query_dict({"schema": schema})


def _engine(url: URL, schema: str) -> Engine:
    settings = {
        "search_path": schema,
        "lock_timeout": transactions.BUSY_MILLISECONDS,
        "idle_in_transaction_session_timeout": _IDLE_MILLISECONDS,
        "synchronous_commit": "on",
        "client_min_messages": "warning",
    }
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    given = url.difference_update_query(["schema"])
    connecting = {name: value for name, value in _CONNECTING.items() if name not in url.query}
    try:
        how = {**connecting, "options": options}
        engine = create_engine(given, pool_pre_ping=True, connect_args=how, hide_parameters=True)
    except ModuleNotFoundError as error:
        message = f"expected the package {error.name} for a catalog in PostgreSQL: install it with "
        raise UsageError("catalog_driver_missing", f"{message}`pip install 'clearwell[postgresql]'`") from error
    number = int.from_bytes(hashlib.sha256(f"clearwell catalog {schema}".encode()).digest()[:8], "big", signed=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Each statement after the lock sees what the writer before has committed: READ COMMITTED, PostgreSQL's usual.
        if connection.get_execution_options().get("isolation_level") is None:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({number})")

    return engine


def write_anew(connection: Connection, column: Column[Any]) -> None:
    """Write a column's whole table into new files, within the transaction: what its rows said before is not in them.

    PostgreSQL only keeps a row's former versions from sight until they are overwritten, some time later.
    """
    quoted = connection.dialect.identifier_preparer.quote
    kind = connection.dialect.type_compiler_instance.process(column.type)
    connection.exec_driver_sql(
        f"ALTER TABLE {quoted(column.table.name)} ALTER COLUMN {quoted(column.name)} TYPE {kind} "
        f"USING {quoted(column.name)} || ''"
    )


def set_counters(connection: Connection, tables: Iterable[Table]) -> None:
    """Have PostgreSQL count on from the numbers that are there, in tables whose numbers it gives."""
    for table in tables:
        column = table.autoincrement_column
        if column is not None:
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            newest = select(func.max(column)).scalar_subquery()
            connection.execute(select(func.setval(sequence, func.coalesce(newest, 1), newest.is_not(None))))


class _Types(PGTypeCompiler):
    """Every text of any length has one type: lengths are held by nobody else either."""

    def visit_VARCHAR(self, type_: Any, **kw: Any) -> str:  # noqa: N802  (SQLAlchemy's name.)
        return 'TEXT COLLATE "C"'

    def visit_TEXT(self, type_: Any, **kw: Any) -> str:  # noqa: N802
        return 'TEXT COLLATE "C"'


class _EscapedText(String):
    """A text that may have NUL in it."""

    render_bind_cast = True

    def bind_processor(self, dialect: Dialect) -> Callable[[str | None], str | None]:
        return _escaped

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], str | None]:
        return _unescaped


def _escaped(value: str | None) -> str | None:
    if value is None or (_NUL not in value and _ESCAPE not in value):
        return value
    return value.replace(_ESCAPE, _ESCAPE_ESCAPED).replace(_NUL, _NUL_ESCAPED)


def _unescaped(value: str | None) -> str | None:
    if value is None or _ESCAPE not in value:
        return value
    return value.replace(_NUL_ESCAPED, _NUL).replace(_ESCAPE_ESCAPED, _ESCAPE)


class CatalogDialect(PGDialect_psycopg):
    """PostgreSQL by psycopg, with texts as the catalog has them."""

    supports_statement_cache = True
    type_compiler_cls = _Types
    colspecs = {**PGDialect_psycopg.colspecs, String: _EscapedText}  # noqa: RUF012  (SQLAlchemy's own has no ClassVar.)


registry.register("postgresql.clearwell", __name__, CatalogDialect.__name__)
