"""Opens the catalog's database, brings its tables up to date, and hands out transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from clearwell.errors import StorageError

HEAD = "0002"
"""The newest migration; tests/structure proves that it is Alembic's head too."""

BUSY_MILLISECONDS = 10_000
"""So long a transaction waits for one of another process."""

_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """One catalog. Reads see committed state only; one write transaction at a time."""

    def __init__(self, path: Path) -> None:
        """Open, or create, the SQLite file at `path`. Raises StorageError when it cannot be used."""
        self._path = path
        self._engine = _engine(path)
        with self.read() as connection:
            found = _revision(connection)
        if found != HEAD:
            with self.write() as connection:
                _migrate(connection)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits, durably, when the block ends without an exception.

        Raises StorageError when the database refuses, as when its disk is full or another process holds it.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except DatabaseError as error:
            raise self._told(error, "catalog_not_writable", "written") from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading, which takes no write lock. Raises StorageError when it cannot be read."""
        try:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                yield connection
        except DatabaseError as error:
            raise self._told(error, "catalog_unusable", "read") from error

    def _told(self, error: DatabaseError, code: str, act: str) -> Exception:
        """The error for the caller: what the file or the disk refuses is no mistake in a statement."""
        if type(error) not in (OperationalError, DatabaseError):
            return error
        return StorageError(code, f"the catalog {self._path} cannot be {act}: {error.orig}")

    def close(self) -> None:
        """Release the connections."""
        self._engine.dispose()


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in (f"busy_timeout={BUSY_MILLISECONDS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
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
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").all()
    if not names:
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
