"""Opens the catalog's database, brings its tables up to date, and hands out transactions.

The catalog is a SQLite file, or a schema of a PostgreSQL database. Which of them it is, is known here and nowhere else,
but for how what was erased is destroyed (`catalog.quarantine`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select

from clearwell.catalog.copying import copy_database, copy_rows, put_rows
from clearwell.catalog.sqlite import SqliteFile
from clearwell.catalog.tables import metadata
from clearwell.errors import StorageError, UsageError

if TYPE_CHECKING:
    from clearwell.catalog.postgresql import PostgresqlSchema

HEAD = "0010"
"""The newest migration; tests/structure proves that it is Alembic's head too."""

_VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32)),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Where Alembic keeps the version of the tables."""

_LEDGER = Table("ledger", MetaData(), Column("id", String(32), primary_key=True))
"""In PostgreSQL: which ledger it is, whose data folder has the same id. A SQLite file lies in that folder itself."""

_MIGRATIONS = Path(__file__).parent / "migrations"

Place = Path | URL
"""Where a catalog is: a SQLite file, or what `postgresql.catalog_address` gives."""


class Database:
    """One catalog, with the tables of this version."""

    def __init__(self, place: Place) -> None:
        """Open the catalog at `place`, or create it. Raises StorageError when it cannot be used."""
        self._store: SqliteFile | PostgresqlSchema
        self._store = SqliteFile(place, "catalog") if isinstance(place, Path) else _postgresql(place)
        try:
            with self.read() as connection:
                found = _revision(connection)
            if found != HEAD:
                with self.write() as connection:
                    self._migrate(connection)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """Where it is, in words for people."""
        return self._store.name

    def write(self) -> AbstractContextManager[Connection]:
        """As `Transactions.write`."""
        return self._store.write()

    def read(self) -> AbstractContextManager[Connection]:
        """As `Transactions.read`."""
        return self._store.read()

    def settle(self) -> str:
        """Destroy what was erased, as `SqliteFile.settle` with `anew`; in PostgreSQL the erasing did it."""
        return self._store.settle(anew=True) if isinstance(self._store, SqliteFile) else ""

    def copy(self, target: Path) -> None:
        """Write the catalog, as it is at one instant, into one new SQLite file, durably. Writers need not stop.

        Raises StorageError when it cannot be read, OSError when the target cannot be written.
        """
        if isinstance(self._store, SqliteFile):
            copy_database(self._store.path, target)
            return
        with self._store.snapshot() as connection:
            names = ", ".join(connection.dialect.identifier_preparer.quote(name) for name in metadata.tables)
            connection.exec_driver_sql(f"LOCK TABLE {names} IN ACCESS SHARE MODE")  # Before the instant is chosen.
            copy_rows(connection, target, _create)

    def fill(self, source: Connection, ledger: str) -> None:
        """Put every row of another catalog into this one in PostgreSQL, all at once, as that of `ledger`.

        Raises UsageError (`restore_not_empty`) when it has another ledger, and as `write` does.
        """
        from clearwell.catalog.postgresql import set_counters

        with self.write() as connection:
            found = ledger_id(connection)
            if found not in (None, ledger):
                message = f"expected no ledger in the catalog {self.name}, found ledger {found}"
                raise UsageError("restore_not_empty", f"{message}: name another schema")
            put_rows(source, connection)
            set_counters(connection, metadata.sorted_tables)
            set_ledger_id(connection, ledger)

    def close(self) -> None:
        """Release the connections."""
        self._store.close()

    def _migrate(self, connection: Connection) -> None:
        found = _revision(connection)
        if found == HEAD:
            return
        if found is not None and found > HEAD:
            raise StorageError(
                "catalog_too_new",
                f"the catalog has version {found}, this Clearwell knows up to {HEAD}: upgrade Clearwell",
            )
        others = [] if found is not None else inspect(connection).get_table_names()
        if found is None and not isinstance(self._store, SqliteFile):
            if others:
                message = f"expected an empty schema for a new catalog ({self.name}), found a table {others[0]} in it"
                raise StorageError("catalog_schema_taken", message)
            self._store.make_schema(connection)
            _LEDGER.create(connection, checkfirst=False)
        if found is None and not others:
            _create(connection)
            return
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def known_ledger(place: URL) -> str | None:
    """Which ledger's catalog a schema has, if any; makes nothing. Raises StorageError when it cannot be asked."""
    schema = _postgresql(place)
    try:
        with schema.read() as connection:
            return ledger_id(connection) if _revision(connection) is not None else None
    finally:
        schema.close()


def ledger_id(connection: Connection) -> str | None:
    """Which ledger a catalog in PostgreSQL is of; None before anybody said."""
    return connection.execute(select(_LEDGER.c.id)).scalar_one_or_none()


def set_ledger_id(connection: Connection, value: str) -> None:
    """Say which ledger a catalog in PostgreSQL is of."""
    connection.execute(_LEDGER.delete())
    connection.execute(insert(_LEDGER), [{"id": value}])


def _postgresql(place: URL) -> PostgresqlSchema:
    from clearwell.catalog.postgresql import PostgresqlSchema  # Most ledgers do not need it.

    return PostgresqlSchema(place, "catalog")


def _create(connection: Connection) -> None:
    """Make the tables of a new catalog at once: the migrations give the same, but Alembic is slow to import."""
    metadata.create_all(connection, checkfirst=False)
    _VERSION.create(connection, checkfirst=False)
    connection.execute(insert(_VERSION), [{"version_num": HEAD}])


_FINDS_VERSION = {
    "sqlite": "SELECT name FROM sqlite_master WHERE name = 'alembic_version'",
    "postgresql": "SELECT name FROM to_regclass('alembic_version') AS name WHERE name IS NOT NULL",
}


def _revision(connection: Connection) -> str | None:
    if not connection.exec_driver_sql(_FINDS_VERSION[connection.dialect.name]).all():
        return None
    return connection.execute(select(_VERSION.c.version_num)).scalar_one_or_none()
