"""A database that is one SQLite file, which any number of processes of one machine may use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from clearwell.catalog import transactions
from clearwell.catalog.transactions import Transactions
from clearwell.errors import StorageError


class SqliteFile(Transactions):
    """One SQLite file. Reads see committed state only; one write transaction at a time."""

    def __init__(self, path: Path, what: str, pragmas: Sequence[str] = ()) -> None:
        """The file at `path`, made when it is first used."""
        super().__init__(_engine(path, pragmas), what, str(path))
        self.path = path

    def told(self, error: DBAPIError, code: str, act: str) -> Exception:
        """As `Transactions.told`."""
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


def _engine(path: Path, pragmas: Sequence[str]) -> Engine:
    # Connections are kept: to open one takes longer than a small transaction. Parameters may be secrets.
    engine = create_engine(f"sqlite:///{path}", isolation_level="AUTOCOMMIT", max_overflow=-1, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        wait = f"busy_timeout={transactions.BUSY_MILLISECONDS}"
        for pragma in (wait, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", *pragmas):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
