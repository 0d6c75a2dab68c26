"""Opens the catalog's database, brings its tables up to date, and hands out transactions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    create_engine,
    event,
    insert,
    inspect,
)
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool, PoolProxiedConnection

from clearwell.catalog.tables import metadata
from clearwell.errors import StorageError

HEAD = "0009"
"""The newest migration; tests/structure proves that it is Alembic's head too."""

BUSY_MILLISECONDS = 10_000
"""So long a transaction waits for one of another process."""

_VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32)),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Where Alembic keeps the version of the tables."""

_MIGRATIONS = Path(__file__).parent / "migrations"


class SqliteFile:
    """One SQLite file. Reads see committed state only; one write transaction at a time."""

    def __init__(self, path: Path, what: str, pragmas: Sequence[str] = ()) -> None:
        """The file at `path`, made when it is first used; `what` it is begins the codes of its errors."""
        self.path = path
        self._what = what
        self._engine = _engine(path, pragmas)
        self._held: PoolProxiedConnection | None = None

    def hold(self) -> None:
        """Keep the file open until `close`: otherwise SQLite settles its log after each transaction, which is slow."""
        self._held = self._engine.raw_connection()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits, durably, when the block ends without an exception.

        Raises StorageError when the database refuses, as when its disk is full or another process holds it.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except DatabaseError as error:
            raise self._told(error, "not_writable", "written") from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading, which takes no write lock. Raises StorageError when it cannot be read."""
        try:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                yield connection
        except DatabaseError as error:
            raise self._told(error, "unusable", "read") from error

    def _told(self, error: DatabaseError, code: str, act: str) -> Exception:
        """The error for the caller: what the file or the disk refuses is no mistake in a statement."""
        if type(error) not in (OperationalError, DatabaseError):
            return error
        return StorageError(f"{self._what}_{code}", f"the {self._what} {self.path} cannot be {act}: {error.orig}")

    def settle(self, *, anew: bool = False) -> str:
        """Bring the write-ahead log into the file and empty it; with `anew`, write the whole file anew before.

        What was overwritten in a transaction is on no page afterwards, and with `anew`, what was deleted neither.
        Returns why that could not be done, as when another process reads the file: then old pages are still there.
        """
        try:
            with self.read() as connection:
                if anew:
                    connection.exec_driver_sql("VACUUM")
                busy: int = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
        except StorageError as error:
            return error.message
        return "another process is using it" if busy else ""

    def close(self) -> None:
        """Release the connections."""
        if self._held is not None:
            self._held.close()
        self._engine.dispose()


class Database(SqliteFile):
    """One catalog, with the tables of this version."""

    def __init__(self, path: Path) -> None:
        """Open, or create, the SQLite file at `path`. Raises StorageError when it cannot be used."""
        super().__init__(path, "catalog")
        with self.read() as connection:
            found = _revision(connection)
        if found != HEAD:
            with self.write() as connection:
                _migrate(connection)


def _engine(path: Path, pragmas: Sequence[str]) -> Engine:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        wait = f"busy_timeout={BUSY_MILLISECONDS}"
        for pragma in (wait, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", *pragmas):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _migrate(connection: Connection) -> None:
    found = _revision(connection)
    if found == HEAD:
        return
    if found is not None and found > HEAD:
        raise StorageError(
            "catalog_too_new",
            f"the catalog has version {found}, this Clearwell knows up to {HEAD}: upgrade Clearwell",
        )
    if found is None and not inspect(connection).get_table_names():
        _create(connection)
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _create(connection: Connection) -> None:
    """Make the tables of a new catalog at once: the migrations give the same, but Alembic is slow to import."""
    metadata.create_all(connection, checkfirst=False)
    _VERSION.create(connection, checkfirst=False)
    connection.execute(insert(_VERSION), [{"version_num": HEAD}])


def _revision(connection: Connection) -> str | None:
    names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").all()
    if not names:
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
