"""Keeps DuckDB started between questions, and a file attached to it only while somebody reads it.

To attach a file takes a tenth of the time of starting DuckDB. Between questions the file is free for a writer. While a
writer of the same process has the file to share it, readers have connections of the writer's.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

import duckdb

from clearwell.ledger.views import quoted_text

ATTACHED = "projections"
"""The name of the database that a file is attached as."""

MEMORY = "1GB"
"""What DuckDB keeps in memory at most, of the file and of results; what is larger goes to a file beside it."""


class Reading:
    """DuckDB in memory, for the readers of one file. All in a process share it, and threads may.

    That is a must: when a process closes a file, the operating system drops every lock that it had on that file.
    """

    def __init__(self, path: Path) -> None:
        """Use `of` to get one. Nothing is started before `connection`."""
        self._path = path
        self._lock = Lock()
        self._engine: duckdb.DuckDBPyConnection | None = None
        self._connections: set[duckdb.DuckDBPyConnection] = set()
        self._is_confined = False
        self._shared: duckdb.DuckDBPyConnection | None = None

    @property
    def is_shared(self) -> bool:
        """Whether a writer of this process shares the file."""
        return self._shared is not None

    def share(self, connection: duckdb.DuckDBPyConnection | None) -> None:
        """From now on, give readers connections like this one, which nobody else uses; with None, no more."""
        with self._lock:
            self._shared = connection

    @classmethod
    def of(cls, path: Path) -> Reading:
        """The one for the readers of the file at `path`, for as long as somebody refers to it."""
        with _known_lock:
            found = _known.get(path)
            if found is None:
                found = _known[path] = cls(path)
            return found

    def connection(self) -> duckdb.DuckDBPyConnection:
        """A connection whose database is the file, with nothing temporary on it. Raises as DuckDB does.

        It sees one state of the file, whatever a writer of this process does meanwhile.
        """
        with self._lock:
            if self._shared is not None:
                connection = self._shared.cursor()
                connection.execute(f"USE {ATTACHED}; BEGIN TRANSACTION")
                return connection
            if not self._connections:
                self._attach()
            assert self._engine is not None
            connection = self._engine.cursor()
            self._connections.add(connection)
            connection.execute(f"USE {ATTACHED}")
            return connection

    def has_own(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """Whether the connection is one of readers alone, and no writer's."""
        return connection in self._connections

    def confine(self, connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
        """As `confine`, where that has not been done; ends when the last of the readers that are there now has gone."""
        with self._lock:
            if self.has_own(connection) and not self._is_confined:
                self._is_confined = True
                confine(connection, folder)

    def close(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Close a connection; the last one releases the file. Closing twice is nothing."""
        with self._lock:
            if connection not in self._connections:
                connection.close()
                return
            connection.close()
            self._connections.remove(connection)
            if not self._connections:
                self._detach()

    def _attach(self) -> None:
        if self._engine is not None:
            try:
                self._engine.execute(self._statement)
            except duckdb.Error:
                self._stop()  # An earlier error may have made it unusable; what a new one says counts.
            else:
                return
        engine = duckdb.connect(config={"temp_directory": f"{self._path}.tmp", "memory_limit": MEMORY})
        engine.execute("SET GLOBAL TimeZone = 'UTC'")
        engine.execute(self._statement)
        self._engine = engine

    @property
    def _statement(self) -> str:
        return f"ATTACH {quoted_text(str(self._path))} AS {ATTACHED} (READ_ONLY)"

    def _detach(self) -> None:
        if self._engine is not None and not self._is_confined:
            try:
                self._engine.execute(f"DETACH {ATTACHED}")
            except duckdb.Error:
                self._stop()
        else:
            self._stop()

    def _stop(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._engine, self._is_confined = None, False


def confine(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Leave the connections of this DuckDB nothing to reach but what is attached, and `folder`."""
    connection.execute(f"SET allowed_directories = [{quoted_text(str(folder))}]")
    connection.execute("SET enable_external_access = false; SET lock_configuration = true")


_known: WeakValueDictionary[Path, Reading] = WeakValueDictionary()
_known_lock = Lock()
